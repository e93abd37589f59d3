"""Which streams and channels there are: the first of many, in some order, within some search.

For people who look at a hub with thousands of streams. A survey walks through all of them, but in slices between which the
loop does its work, and describes only those it returns. Knows the registry, streams and the broker's list of channels; must
not know who asks.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from typing import Final, TypeVar

import msgspec

from headwater.channels import RESERVED_PREFIX, check_channel
from headwater.errors import InvalidChannel
from headwater.hub.core import Hub
from headwater.hub.registry import Channel, View
from headwater.hub.statistics import StreamInfo
from headwater.stream import State, Stream

SLICE: Final = 500
"""Streams or channels looked at between two turns of the loop: about a millisecond."""

WINDOW: Final = 10.0
"""Seconds over which a channel's pace is taken."""

T = TypeVar("T")


class StreamOrder(StrEnum):
    """What comes first in a list of streams."""

    BEHIND = "behind"
    NEWEST = "newest"
    OLDEST = "oldest"


class ChannelOrder(StrEnum):
    """What comes first in a list of channels."""

    PACE = "pace"
    READERS = "readers"
    NAME = "name"


class StreamSurvey(msgspec.Struct, frozen=True):
    """Some streams of many.

    Attributes:
        streams: the first ones.
        matching: how many match the search.
        total: open now.
    """

    streams: list[StreamInfo]
    matching: int
    total: int


class SurveyedChannel(msgspec.Struct, frozen=True, kw_only=True):
    """One channel, as this node sees it.

    Attributes:
        name: the channel.
        followed: whether this node follows it: somebody reads it here, or did within the last minute.
        readers: streams and held polls that read it here.
        pace: events per second, over the last ten seconds; 0 if it is not followed.
        time: Unix time in milliseconds of its newest event; None if nothing is known of one.
        events: retained by the log, where it was asked; None where not.
    """

    name: str
    followed: bool = True
    readers: int = 0
    pace: float = 0.0
    time: int | None = None
    events: int | None = None


class ChannelSurvey(msgspec.Struct, frozen=True):
    """Some channels of many.

    Attributes:
        channels: the first ones.
        matching: how many of the followed ones match the search.
        total: followed now.
    """

    channels: list[SurveyedChannel]
    matching: int
    total: int


async def streams(hub: Hub, order: StreamOrder, *, search: str = "", channel: str = "", limit: int) -> StreamSurvey:
    """The first `limit` open streams.

    Args:
        search: text within the principal, the address or a channel's name; or `#` and the number of a stream.
        channel: only those that read it.
    """
    position = hub.fanout.received
    keys: dict[StreamOrder, Callable[[Stream], tuple[int, int]]] = {
        StreamOrder.BEHIND: lambda stream: (_behind(stream, position), -stream.id),
        StreamOrder.NEWEST: lambda stream: (stream.id, 0),
        StreamOrder.OLDEST: lambda stream: (-stream.id, 0),
    }
    best: list[Stream] = []
    matching = 0
    is_wanted = _filter(search, channel)
    for slice_ in _slices(tuple(hub.streams.open.values())):
        found = [stream for stream in slice_ if is_wanted(stream)]
        matching += len(found)
        best = heapq.nlargest(limit, [*best, *found], key=keys[order])
        await asyncio.sleep(0)
    here = [hub.info(stream) for stream in best if stream.state is not State.CLOSED]
    return StreamSurvey(here, matching, len(hub.streams.open))


def _slices(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), SLICE):
        yield items[start : start + SLICE]


def _behind(stream: Stream, position: int) -> int:
    return 0 if stream.state is State.LIVE else max(0, position - stream.position)


def _filter(search: str, channel: str) -> Callable[[Stream], bool]:
    """Names are compared once per view, which many streams share."""
    known: dict[View, tuple[bool, bool]] = {}
    wanted = search.lower()

    def is_wanted(stream: Stream) -> bool:
        view: View = stream.view
        judged = known.get(view)
        if judged is None:
            names = view.names
            judged = known[view] = (not channel or channel in names, any(wanted in name.lower() for name in names))
        reads, is_named = judged
        own = (stream.principal_id or "").lower(), stream.address.lower()
        return reads and (is_named or any(wanted in text for text in own) or wanted == f"#{stream.id}")

    return is_wanted


async def channels(hub: Hub, order: ChannelOrder, *, search: str = "", limit: int) -> ChannelSurvey:
    """The first `limit` channels: those followed here, and if there is room, others that the log has events of.

    Args:
        search: what their names begin with.

    Raises:
        BrokerUnavailable: the log cannot be asked now.
    """
    now = int(hub.wall() * 1000)
    keys: dict[ChannelOrder, Callable[[SurveyedChannel], tuple[float, str]]] = {
        ChannelOrder.PACE: lambda row: (-row.pace, row.name),
        ChannelOrder.READERS: lambda row: (-row.readers, row.name),
        ChannelOrder.NAME: lambda row: (0.0, row.name),
    }
    best: list[SurveyedChannel] = []
    matching = 0
    for slice_ in _slices(tuple(hub.registry.channels.values())):
        found = [_surveyed(channel, now) for channel in slice_ if channel.name.startswith(search)]
        matching += len(found)
        best = heapq.nsmallest(limit, [*best, *found], key=keys[order])
        await asyncio.sleep(0)
    if len(best) < limit and _may_begin(search):
        best = sorted(await _with_retained(hub, best, search, limit), key=keys[order])
    return ChannelSurvey(best, matching, len(hub.registry.channels))


def _may_begin(search: str) -> bool:
    """Whether there can be channels whose names begin so. Not every log can be asked for just anything."""
    try:
        return search in ("", RESERVED_PREFIX) or bool(check_channel(search, own=True))
    except InvalidChannel:
        return False


def _surveyed(channel: Channel, now: int) -> SurveyedChannel:
    pace = channel.ring.pace(now - int(WINDOW * 1000), now)
    return SurveyedChannel(name=channel.name, readers=channel.users, pace=pace, time=channel.ring.newest)


async def _with_retained(hub: Hub, rows: Sequence[SurveyedChannel], search: str, limit: int) -> list[SurveyedChannel]:
    """The rows with what the log says of their channels, and with channels that nobody reads here."""
    retained = {info.name: info for info in await hub.broker.channels(search, limit)}
    known = []
    for row in rows:
        info = retained.pop(row.name, None)
        known.append(row if info is None else msgspec.structs.replace(row, time=info.last_time, events=info.events))
    others = [
        SurveyedChannel(name=info.name, followed=False, time=info.last_time, events=info.events)
        for info in retained.values()
        if info.name not in hub.registry.channels
    ]
    return [*known, *others[: limit - len(known)]]
