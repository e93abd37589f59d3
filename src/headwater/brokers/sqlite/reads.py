"""Everything that reads the log: pages, batches for the feed, positions by time, channels.

Knows the tables and events. Each function is one look at one state of the log, and names the epoch it saw, so that the
caller notices when that is another log than the one it meant.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import lru_cache

import msgspec

from headwater.brokers.base import ChannelInfo, Page
from headwater.brokers.sqlite.sql import SQL
from headwater.errors import PositionLost
from headwater.event import Event, Position, ResetReason

BATCH_EVENTS = 1000
BATCH_BYTES = 4 << 20  # of data, unless the first event alone has more

_rows = msgspec.json.Decoder(list[tuple[int, int, str, str | None, str, int, str | None]])
_marks = msgspec.json.Decoder(list[tuple[str, int]])
_channels = msgspec.json.Decoder(list[tuple[str, int, int, int, int]])


class Batch(msgspec.Struct, frozen=True):
    """What the log holds after a position, of all channels.

    Attributes:
        epoch: of the log that was read.
        after: the position asked for.
        upto: the batch is complete up to here, except for what is lost.
        head: of the log.
        events: in order.
        lost: channels from which retention has removed events after `after`.
        lost_unnamed: the same has happened to channels that are not even known any more.
    """

    epoch: str
    after: int
    upto: int
    head: int
    events: list[Event]
    lost: frozenset[str] = frozenset()
    lost_unnamed: bool = False


def head(connection: sqlite3.Connection) -> tuple[str, Position]:
    """The newest event's position."""
    epoch, newest, *_ = connection.execute(SQL["log"]).fetchone()
    return epoch, Position(epoch, newest)


def since(connection: sqlite3.Connection, after: int) -> Batch:
    """The next events of all channels after `after`."""
    bounds = {"after": after, "limit": BATCH_EVENTS, "bytes": BATCH_BYTES}
    with _snapshot(connection):
        epoch, newest, rows = connection.execute(SQL["since"], bounds).fetchone()
        events = _events(epoch, rows)
        upto = events[-1].position.seq if events else newest
        if len(events) == upto - after:
            return Batch(epoch, after, upto, newest, events)
        # Positions are given without gaps, so retention has been quicker than this reader.
        floor, names = connection.execute(SQL["lost"], {"after": after}).fetchone()
        lost = frozenset(msgspec.json.decode(names, type=list[str]))
        return Batch(epoch, after, upto, newest, events, lost, floor > after)


@contextmanager
def _snapshot(connection: sqlite3.Connection) -> Iterator[None]:
    """All statements within see the same state of the log."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")


def page(
    connection: sqlite3.Connection, channels: Collection[str], after: int, until: int, limit: int
) -> tuple[str, Page]:
    """The oldest `limit` events of the channels with after < seq <= until.

    Raises:
        PositionLost: retention has removed later ones than `after`.
    """
    names = set(channels)
    wanted = {"names": _names(names), "after": after, "until": until, "limit": limit}
    epoch, newest, floor, marks, rows = connection.execute(SQL["page"], wanted).fetchone()
    known = dict(_marks.decode(marks))
    for name in names:
        if after < known.get(name, floor):
            raise PositionLost(ResetReason.EXPIRED, f"events of channel {name!r} after position {after} are gone")
    events = tuple(_events(epoch, rows))
    return epoch, Page(events, events[-1].position if len(events) == limit else Position(epoch, min(until, newest)))


def page_back(connection: sqlite3.Connection, channels: Collection[str], before: int, limit: int) -> tuple[str, Page]:
    """The newest `limit` events of the channels with seq <= before, newest first."""
    wanted = {"names": _names(set(channels)), "before": before, "limit": limit}
    epoch, rows = connection.execute(SQL["page_back"], wanted).fetchone()
    events = tuple(reversed(_events(epoch, rows)))
    return epoch, Page(events, events[-1].position if len(events) == limit else Position(epoch, 0))


def horizon(connection: sqlite3.Connection, channels: Collection[str]) -> tuple[str, Position]:
    """The newest position that retention has removed from any of the channels."""
    names = set(channels)
    epoch, mark = connection.execute(SQL["horizon"], {"names": _names(names), "count": len(names)}).fetchone()
    return epoch, Position(epoch, mark)


def position_at(connection: sqlite3.Connection, time: int) -> tuple[str, Position]:
    """The position before the first event that was accepted at `time` or later; the head if there is none.

    Times rise with positions, so halving the range finds it without an index on time.
    """
    with _snapshot(connection):
        epoch, newest = head(connection)
        low, high = 0, newest.seq
        while low < high:
            middle = (low + high) // 2
            found = _next_after(connection, middle)
            if found is None or found[1] >= time:
                high = middle
            else:
                low = found[0]
        later = _next_after(connection, low)
        return epoch, newest if later is None else Position(epoch, later[0] - 1)


def _next_after(connection: sqlite3.Connection, seq: int) -> tuple[int, int] | None:
    """The seq and time of the first event after `seq`."""
    found: tuple[int, int] | None = connection.execute(SQL["next_time"], (seq + 1,)).fetchone()
    return found


def channels(connection: sqlite3.Connection, prefix: str, limit: int) -> tuple[str, tuple[ChannelInfo, ...]]:
    """The channels with events whose names begin with `prefix`."""
    epoch, rows = connection.execute(SQL["list_channels"], {"prefix": prefix, "limit": limit}).fetchone()
    return epoch, tuple(
        ChannelInfo(name, events, size, Position(epoch, last), time)
        for name, events, size, last, time in _channels.decode(rows)
    )


def _names(channels: set[str]) -> str:
    return msgspec.json.encode(list(channels)).decode()


def _events(epoch: str, rows: str) -> list[Event]:
    decoded = _rows.decode(rows)
    decoded.sort(key=_seq)  # SQLite does not promise the order in which it aggregates
    return [
        Event(
            position=Position(epoch, seq),
            time=time,
            channel=channel,
            type="message" if type is None else type,
            data=data,
            text=bool(text),
            permissions=_permissions(permissions),
        )
        for seq, time, channel, type, data, text, permissions in decoded
    ]


def _seq(row: tuple[int, int, str, str | None, str, int, str | None]) -> int:
    return row[0]


@lru_cache(maxsize=1024)
def _permissions(text: str | None) -> frozenset[str]:
    return frozenset() if text is None else frozenset(text.split(" "))
