"""Whether the log is what was published: every acknowledged event once and at its place, every batch whole, nothing else.

Pure: judges what the publishers wrote down against the log as it was read when all was over.
"""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Iterable

import msgspec

from headwater.errors import InvalidInput
from headwater.event import Position
from torture.oracle import Log, Logged, Violation
from torture.plan import Said
from torture.records import Acknowledged, Meant, PublisherLine, Refused


class _Entry(msgspec.Struct):
    """One batch's history."""

    meant: Meant
    acknowledged: Acknowledged | None = None
    given_up: bool = False


class Ledger:
    """Everything that publishers meant to publish, and what they were told about it.

    Attributes:
        meant: events.
        acknowledged: events.
        refusals: failed attempts, tried again or not.
    """

    def __init__(self, lines: Iterable[PublisherLine]) -> None:
        self.meant = self.acknowledged = self.refusals = 0
        self.violations: list[Violation] = []
        self._entries: dict[tuple[str, int], _Entry] = {}
        for line in lines:
            self._take(line)

    def judge(self, log: Log) -> list[Violation]:
        """Everything that is wrong with the log."""
        self._judge_order(log)
        found: dict[str, list[Logged]] = defaultdict(list)
        for event in log.events:
            found[event.id].append(event)
        for entry in self._entries.values():
            self._judge_batch(log, entry, [found.pop(said.id, []) for said in entry.meant.said])
        for id, events in found.items():
            self._wrong("foreign", f"the log has {id!r} at {_places(events)}, which nobody published")
        self._judge_lanes(log)
        return self.violations

    def _take(self, line: PublisherLine) -> None:
        key = (line.lane, line.number)
        match line:
            case Meant():
                self.meant += len(line.said)
                self._entries[key] = _Entry(line)
            case Acknowledged():
                self.acknowledged += len(line.positions)
                self._entries[key].acknowledged = line
            case Refused():
                self.refusals += 1
                self._entries[key].given_up = line.final

    def _judge_order(self, log: Log) -> None:
        """Positions grow, in the order in which the broker reads its log."""
        before = 0
        for event in log.events:
            if event.seq <= before:
                self._wrong("log", f"position {event.seq} comes after {before}")
            before = event.seq
        if before > log.head:
            self._wrong("log", f"it has an event at {before}, beyond its head {log.head}")

    def _judge_batch(self, log: Log, entry: _Entry, found: list[list[Logged]]) -> None:
        meant = entry.meant
        for said, events in zip(meant.said, found, strict=True):
            if len(events) > 1:
                self._wrong("doubled", f"{said.id} is in the log at {_places(events)}")
            elif events:
                self._compare(said, events[0])
        there = [events[0].seq for events in found if events]
        if there and len(there) < len(found):
            missing = [said.id for said, events in zip(meant.said, found, strict=True) if not events]
            self._wrong(
                "torn", f"of the batch of {meant.said[0].id} {', '.join(missing)} is not in the log, others are"
            )
        elif there != sorted(there):
            self._wrong("log", f"the batch of {meant.said[0].id} is out of order, at {there}")
        if entry.acknowledged is not None:
            self._judge_answer(log, meant, entry.acknowledged, there)
        elif meant.keyed and entry.given_up:
            self._wrong("given up", f"{meant.said[0].id} has a key and was not tried until its outcome was known")

    def _judge_answer(self, log: Log, meant: Meant, answer: Acknowledged, there: list[int]) -> None:
        told = [_seq(log, position) for position in answer.positions]
        if log.is_later and told.count(None) == len(told):
            return  # it was in an epoch that is lost
        if told != there:
            name = meant.said[0].id
            self._wrong(
                "unacknowledged" if there else "lost", f"{name} was acknowledged at {answer.positions}, is at {there}"
            )

    def _compare(self, said: Said, event: Logged) -> None:
        meant = (said.channel, frozenset(said.permissions), zlib.crc32(said.data.encode()))
        if (event.channel, event.permissions, event.crc) != meant:
            self._wrong("altered", f"{said.id} was published as {meant}, the log has {event}")

    def _judge_lanes(self, log: Log) -> None:
        """What was published after an answer lies after it."""
        last: dict[str, tuple[int, str]] = {}
        for (lane, number), entry in sorted(self._entries.items()):
            if entry.acknowledged is None:
                continue
            first, final = (_seq(log, entry.acknowledged.positions[at]) for at in (0, -1))
            before, name = last.get(lane, (0, ""))
            if first is None or final is None:
                continue  # of an epoch that is lost, or the answer was found wrong already
            if first <= before:
                self._wrong("reordered", f"batch {number} of {lane} is at {first}, {name} before it at {before}")
            last[lane] = (final, f"batch {number}")

    def _wrong(self, kind: str, what: str) -> None:
        self.violations.append(Violation(kind=kind, what=what))


def _places(events: Iterable[Logged]) -> str:
    return " and ".join(str(event.seq) for event in events)


def _seq(log: Log, position: str) -> int | None:
    """The number in a position, if it is of this log."""
    try:
        parsed = Position.parse(position)
    except InvalidInput:
        return None
    return parsed.seq if parsed.epoch == log.epoch else None
