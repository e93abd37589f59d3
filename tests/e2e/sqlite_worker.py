"""A process of its own that appends to a SQLite log, for `test_sqlite_processes.py`.

    python -m tests.e2e.sqlite_worker publish PATH NAME APPENDS AT_ONCE [FEED]

Each line of output is JSON: `"ready"`, then `[number, first seq, last seq]` for each acknowledged batch, and with FEED at
the end `{"fed": [...]}`. It begins when a line comes on its input. The batches' sizes follow from their numbers; each
event says which batch of whom it is of, its place in it, and when it was sent (seconds of the machine's monotonic clock).
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator, Sequence

import msgspec

from headwater.brokers import open_broker
from headwater.event import Draft, Event, Position
from tests.support.waiting import until

OPTIONS = "synchronous=normal&busy_timeout=60000"
"""A machine that is busy with many tests may take seconds for one fsync; what is tested here does not depend on it."""


class Feed:
    """Keeps what it gets."""

    def __init__(self) -> None:
        self.seqs: list[int] = []

    def receive(self, events: Sequence[Event], upto: Position) -> None:
        """See `headwater.brokers.base.Feed`."""
        self.seqs += [event.position.seq for event in events]

    def restart(self, head: Position, lost: bool = False) -> None:
        """See `headwater.brokers.base.Feed`."""
        raise AssertionError(f"the log began anew at {head}")


def batch(name: str, number: int) -> list[Draft]:
    """The drafts of one append."""
    size = 1 + number % 5
    return [
        Draft.json(f"c{number % 3}", "log", [name, number, index, size, time.monotonic()], idempotency_key=key)
        for index in range(size)
        for key in ([f"{name}-{number}-{index}"] if number % 2 else [None])
    ]


def say(message: object) -> None:
    """One line on the output, at once."""
    sys.stdout.buffer.write(msgspec.json.encode(message) + b"\n")
    sys.stdout.buffer.flush()


async def publish(path: str, name: str, appends: int, at_once: int, *, feeding: bool) -> None:
    """Append that many batches, several at the same time."""
    broker = open_broker(f"sqlite:///{path}?{OPTIONS}")
    feed = Feed()
    await broker.open(feed if feeding else None)
    if feeding:
        await broker.follow(["c0", "c1", "c2"])
    say("ready")
    sys.stdin.readline()
    numbers = iter(range(appends))

    async def work(numbers: Iterator[int]) -> None:
        for number in numbers:
            positions = await broker.append(batch(name, number))
            say([number, positions[0].seq, positions[-1].seq])

    await asyncio.gather(*(work(numbers) for _ in range(at_once)))
    if feeding:
        say("done")
        sys.stdin.readline()
        head = (await broker.head()).seq
        await until(lambda: len(feed.seqs) >= head, "the other processes' events")
        say({"fed": feed.seqs})
    await broker.aclose()


if __name__ == "__main__":
    _, _, path, name, appends, at_once, *rest = sys.argv
    asyncio.run(publish(path, name, int(appends), int(at_once), feeding=bool(rest)))
