"""What came of a run: the log read from the broker, the records judged by it, and all of it told.

Knows where a world keeps its records; judges with `oracle` and `ledger`.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from headwater.brokers import open_broker
from headwater.event import Event
from torture.ledger import Ledger
from torture.oracle import Log, Logged, Violation, judge_streams
from torture.plan import Plan, listeners
from torture.records import Ended, PublisherLine, StreamLine, publisher_lines, stream_lines

SHOWN: Final = 20
"""Violations that are told; all are in a file."""

WIDEST: Final = 400
"""Characters of one violation that are told; all of them are in the file, too."""

_PAGE: Final = 1000
_COUNTED: Final = ("lost", "doubled", "reordered", "foreign", "reset")


class _Data(msgspec.Struct):
    id: str


class Outcome(msgspec.Struct, kw_only=True):
    """Everything there is to say about a run.

    Attributes:
        events: in the log.
        acknowledged: of them, known to their publishers.
        refusals: attempts to publish that failed, tried again or not.
        delivered: events that streams were given where they belong.
        connections: how many of the streams' connections ended in which way.
        faults: by kind.
        calm_after: seconds after the last fault was healed until every stream had everything.
        violations: everything that should not be.
        notes: what else is worth knowing.
    """

    events: int = 0
    acknowledged: int = 0
    refusals: int = 0
    delivered: int = 0
    connections: Counter[str] = msgspec.field(default_factory=Counter)
    faults: Counter[str] = msgspec.field(default_factory=Counter)
    calm_after: float = 0.0
    violations: list[Violation] = msgspec.field(default_factory=list)
    notes: list[str] = msgspec.field(default_factory=list)


async def read_log(url: str, channels: Sequence[str], *, is_later: bool = False) -> Log:
    """The whole log as these channels see it, straight from the broker. `is_later`: see `Log`."""
    broker = open_broker(url)
    try:
        await broker.open()
        head = await broker.head()
        events: list[Logged] = []
        after = 0
        while after < head.seq:
            page = await broker.read(channels, after, head.seq, _PAGE)
            events += map(_logged, page.events)
            assert page.end.seq > after, "the broker's page does not end"
            after = page.end.seq
    finally:
        await broker.aclose()
    return Log(epoch=head.epoch, head=head.seq, events=tuple(events), is_later=is_later)


def _logged(event: Event) -> Logged:
    return Logged(
        seq=event.position.seq,
        id=msgspec.json.decode(event.data, type=_Data).id,
        channel=event.channel,
        type=event.type,
        permissions=event.permissions,
        crc=zlib.crc32(event.data.encode()),
    )


async def judge(plan: Plan, url: str, folder: Path) -> Outcome:
    """Judge what a run has left in its folder.

    Args:
        plan: of the run.
        url: of its log.
    """
    log = await read_log(url, plan.names, is_later=plan.lossy)
    outcome = Outcome(events=len(log.events))
    ledger = Ledger(_published(folder))
    outcome.violations += ledger.judge(log)
    outcome.acknowledged, outcome.refusals = ledger.acknowledged, ledger.refusals
    verdict = judge_streams(listeners(plan), log, _counting(streamed(folder), outcome.connections))
    outcome.delivered = verdict.delivered
    outcome.violations += verdict.violations
    return outcome


def _published(folder: Path) -> Iterator[PublisherLine]:
    for path in sorted(folder.glob("publisher-*.jsonl")):
        yield from publisher_lines(path)


def streamed(folder: Path) -> Iterator[StreamLine]:
    """Everything that the streams of a run wrote down."""
    for path in sorted(folder.glob("streams*.jsonl")):
        yield from stream_lines(path)


def _counting(lines: Iterator[StreamLine], ends: Counter[str]) -> Iterator[StreamLine]:
    """The lines, and count on their way how connections ended."""
    for line in lines:
        if isinstance(line, Ended):
            ends[line.why] += 1
        yield line


def told(outcome: Outcome, plan: Plan) -> str:
    """The outcome, for people."""
    kinds = Counter(violation.kind for violation in outcome.violations)
    lines = [
        f"  faults       {outcome.faults.total():,}: {_listed(outcome.faults)}",
        f"  published    {outcome.events:,} events in the log, {outcome.acknowledged:,} of them acknowledged; "
        f"{outcome.refusals:,} attempts failed",
        f"  delivered    {outcome.delivered:,} events to {plan.streams} streams",
        f"  connections  {outcome.connections.total():,} ended: {_listed(outcome.connections)}",
        f"  calm         {outcome.calm_after:.1f} s after the last fault was healed",
        *outcome.notes,
        "",
        "  "
        + ", ".join(f"{kinds.pop(kind, 0)} {kind}" for kind in _COUNTED)
        + (f", {_listed(kinds)}" if kinds else ""),
    ]
    lines += [f"  ! {violation}"[:WIDEST] for violation in outcome.violations[:SHOWN]]
    if len(outcome.violations) > SHOWN:
        lines.append(f"  ! and {len(outcome.violations) - SHOWN} more")
    return "\n".join(lines)


def _listed(counted: Counter[str]) -> str:
    return ", ".join(f"{number} {name}" for name, number in counted.most_common()) or "none"
