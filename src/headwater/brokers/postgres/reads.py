"""Everything that reads the log: pages, batches for the feed, positions by time, channels.

Knows the statements and events. Each function is one look at one state of the log, and names the epoch it saw, so that the
caller notices when that is another log than the one it meant.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache

import msgspec

from headwater.brokers.base import ChannelInfo, Page
from headwater.brokers.postgres.link import Link
from headwater.errors import PositionLost
from headwater.event import Event, Position, ResetReason

BATCH_EVENTS = 1000
BATCH_BYTES = 4 << 20  # of data, unless the first event alone has more

_rows = msgspec.json.Decoder(list[tuple[int, int, str, str, str | None, str | None, str]])
_marks = msgspec.json.Decoder(list[tuple[str, int]])
_names = msgspec.json.Decoder(list[str])
_channels = msgspec.json.Decoder(list[tuple[str, int, int, int, int]])
_text = msgspec.json.Decoder(str)


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
        has_hole: events are missing, and retention has not removed them.
    """

    epoch: str
    after: int
    upto: int
    head: int
    events: list[Event]
    lost: frozenset[str] = frozenset()
    lost_unnamed: bool = False
    has_hole: bool = False


async def head(link: Link) -> tuple[str, Position]:
    """The newest event's position."""
    epoch, newest = await link.row("head")
    return epoch, Position(epoch, newest)


async def since(link: Link, after: int) -> Batch:
    """The next events of all channels after `after`."""
    found = await link.row("since", after=after, limit=BATCH_EVENTS, bytes=BATCH_BYTES)
    epoch, newest, upto, rows, is_broken, lost_unnamed, names = found
    lost = frozenset(_names.decode(names or "[]"))
    has_hole = is_broken and not lost and not lost_unnamed
    return Batch(epoch, after, upto, newest, events(epoch, rows), lost, lost_unnamed, has_hole)


async def page(link: Link, channels: Collection[str], after: int, until: int, limit: int) -> tuple[str, Page]:
    """The oldest `limit` events of the channels with after < seq <= until.

    Raises:
        PositionLost: retention has removed later ones than `after`.
    """
    names = set(channels)
    epoch, newest, floor, marks, rows = await link.row(
        "page", names=list(names), after=after, until=min(until, _MOST), limit=limit
    )
    known: dict[str, int] = dict(_marks.decode(marks or "[]"))
    for name in names:
        if after < known.get(name, int(floor)):
            raise PositionLost(ResetReason.EXPIRED, f"events of channel {name!r} after position {after} are gone")
    found = tuple(events(epoch, rows))
    return epoch, Page(found, found[-1].position if len(found) == limit else Position(epoch, min(until, newest)))


async def page_back(link: Link, channels: Collection[str], before: int, limit: int) -> tuple[str, Page]:
    """The newest `limit` events of the channels with seq <= before, newest first."""
    epoch, rows = await link.row("page_back", names=list(set(channels)), before=min(before, _MOST), limit=limit)
    found = tuple(reversed(events(epoch, rows)))
    return epoch, Page(found, found[-1].position if len(found) == limit else Position(epoch, 0))


async def horizon(link: Link, channels: Collection[str]) -> tuple[str, Position]:
    """The newest position that retention has removed from any of the channels."""
    epoch, mark = await link.row("horizon", names=list(set(channels)))
    return epoch, Position(epoch, mark)


async def position_at(link: Link, time: int) -> tuple[str, Position]:
    """The position before the first event that was accepted at `time` or later; the head if there is none."""
    epoch, found = await link.row("position_at", time=time)
    return epoch, Position(epoch, found)


async def channels(link: Link, prefix: str, limit: int) -> tuple[str, tuple[ChannelInfo, ...]]:
    """The channels with events whose names begin with `prefix`."""
    epoch, rows = await link.row("list_channels", prefix=prefix, limit=limit)
    return epoch, tuple(
        ChannelInfo(name, events, size, Position(epoch, last), time)
        for name, events, size, last, time in _channels.decode(rows or "[]")
    )


async def repeated(link: Link, pending: Collection[int], after: int) -> tuple[str, tuple[bool, list[int]]]:
    """Whether rows are still in the outbox, and the positions after `after` of those that have become events."""
    epoch, _ = await link.row("head")
    is_waiting, seqs = await link.row("repeated", pending=list(pending), after=after)
    return epoch, (is_waiting, seqs)


def events(epoch: str, rows: str | None) -> list[Event]:
    """The events of a statement's answer."""
    return [
        Event(
            position=Position(epoch, seq),
            time=time,
            channel=channel,
            type="message" if type is None else type,
            data=_text.decode(data) if kind == "e" else data,
            text=kind != "j",
            permissions=_permissions(permissions),
        )
        for seq, time, channel, kind, type, permissions, data in _rows.decode(rows or "[]")
    ]


@lru_cache(maxsize=1024)
def _permissions(text: str | None) -> frozenset[str]:
    return frozenset() if text is None else frozenset(text.split(" "))


_MOST = 2**63 - 1
