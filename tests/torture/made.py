"""A small log, what its publishers wrote down, and the record of a stream that was sent what it may see: all of it right, for
tests to break."""

from __future__ import annotations

import zlib
from collections.abc import Iterable

from torture.oracle import Log, Logged
from torture.plan import Listener, Said
from torture.records import Acknowledged, Beat, Ended, Hello, Meant, Opening, PublisherLine, Seen, StreamLine

EPOCH = "e1"
LISTENER = Listener(number=7, channels=("a", "b"), permissions=frozenset({"read"}))


def said(seq: int) -> Said:
    """The event at a position: every third is of a channel nobody asked for, every fifth needs what nobody holds."""
    permissions = ("staff",) if seq % 5 == 0 else ("read",) if seq % 2 else ()
    return Said(id=f"p-{seq}", channel="abc"[seq % 3], permissions=permissions, size=seq)


def logged(seq: int) -> Logged:
    """The same, as the log has it."""
    one = said(seq)
    crc = zlib.crc32(one.data.encode())
    return Logged(seq=seq, id=one.id, channel=one.channel, type="said", permissions=frozenset(one.permissions), crc=crc)


def log(head: int = 40, without: Iterable[int] = ()) -> Log:
    """A log of events 1 to `head`, less some."""
    gone = set(without)
    return Log(epoch=EPOCH, head=head, events=tuple(logged(seq) for seq in range(1, head + 1) if seq not in gone))


def cursor(seq: int) -> str:
    """The text form."""
    return f"{EPOCH}-{seq}"


def seen(seq: int) -> Seen:
    """The event at a position, as it comes."""
    event = logged(seq)
    return Seen(LISTENER.number, cursor(seq), event.channel, "said", event.crc)


def visible(first: int, last: int) -> list[int]:
    """Positions from `first` to `last` that the listener may see."""
    events = map(logged, range(first, last + 1))
    return [event.seq for event in events if LISTENER.may_see(event.channel, event.permissions)]


def connection(after: int, until: int, *, first: bool = False) -> list[StreamLine]:
    """One connection on which everything is right: `connected`, the events, a heartbeat."""
    number = LISTENER.number
    return [
        Opening(number, 1.0, 0, "" if first else cursor(after)),
        Hello(number, 1.0, cursor(after), cursor(after)),
        *map(seen, visible(after + 1, until)),
        Beat(number, 2.0, cursor(until)),
        Ended(number, 3.0, "left"),
    ]


def record() -> list[StreamLine]:
    """Three connections, over the whole log."""
    return [*connection(4, 15, first=True), *connection(15, 30), *connection(30, 40)]


def published(head: int = 40) -> list[PublisherLine]:
    """Batches of two, all of them acknowledged."""
    lines: list[PublisherLine] = []
    for seq in range(1, head, 2):
        lines.append(Meant("p-0", seq, 1.0, True, (said(seq), said(seq + 1))))
        lines.append(Acknowledged("p-0", seq, 2.0, (cursor(seq), cursor(seq + 1))))
    return lines
