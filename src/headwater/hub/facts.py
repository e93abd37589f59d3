"""What an explanation stands on: who, which event, and where a stream is or would be. And what there is to know of a channel.

Asks the parts that delivery asks: the broker for the event, `Hub.prepare` for where a stream would begin, the stream's own
place for where it is. Changes nothing. Must not know tokens or HTTP.
"""

from __future__ import annotations

from typing import Final

import msgspec

from headwater.brokers.base import ChannelInfo
from headwater.channels import Principal
from headwater.errors import InvalidCursor, NotFound, PositionLost
from headwater.event import Event, Position, ResetReason
from headwater.hub.core import Hub
from headwater.hub.explain import Place, Sought
from headwater.hub.opening import Opening
from headwater.hub.registry import View
from headwater.hub.start import Start, asks_for_what_is_left
from headwater.hub.statistics import StreamInfo
from headwater.hub.subscription import Subscription
from headwater.stream import INFINITY, State, Stream

RECENT: Final = 20
"""Events of a channel that are looked at."""


class StreamFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One open stream, closely.

    Attributes:
        info: what lists have of it.
        cursor: everything up to here has been written to it.
        began: everything after here has, or will be; before, it was not connected, or was told of a reset.
        transport: `direct` to the socket, or `asgi` through the server's and middlewares' `send`.
        heartbeat: seconds between heartbeats; 0 for none.
        expires_in: seconds until its token expires; None if it has no end.
        catching_up: what it waits for unless it is live: a `reset` is owed to it, the log is `read` for it, or its socket is
            `full`.
    """

    info: StreamInfo
    cursor: str
    began: str
    transport: str
    heartbeat: float
    expires_in: float | None
    catching_up: str | None


class ChannelFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One channel, closely.

    Attributes:
        name: the channel.
        retained: what the log holds of it; None if nothing.
        first: the oldest event that is retained.
        recent: the newest ones, newest first.
        followed: whether this node follows it.
        readers: streams and held polls that read it here.
        ring: events kept encoded here.
        complete_from: the earliest cursor from which it can be read without a reset.
    """

    name: str
    retained: ChannelInfo | None
    first: Event | None
    recent: tuple[Event, ...]
    followed: bool
    readers: int
    ring: int
    complete_from: str


def open_stream(hub: Hub, number: int) -> Stream:
    """The stream of a number.

    Raises:
        NotFound: it is not open here.
    """
    hub.check_running()
    stream = hub.streams.open.get(number)
    if stream is None:
        raise NotFound(f"no stream {number} is open here", fix="GET /streams lists those that are")
    return stream


def owner_of(stream: Stream) -> Principal:
    """Who reads a stream, as far as the hub knows: with the permissions that decide what it is given, and with grants for
    exactly the channels that it reads."""
    view: View = stream.view
    return Principal(id=stream.principal_id, permissions=view.audience.permissions, subscribe=view.names)


def place_of(hub: Hub, stream: Stream) -> Place:
    """Where an open stream is."""
    reached = hub.fanout.position if stream.state is State.LIVE else stream.position
    began, is_renewed = stream.began, stream.is_renewed
    if stream.reset is not None:  # owed to it: it will go on from the present
        began, is_renewed = hub.fanout.position, is_renewed or stream.events_base > 0
    return Place(
        began=began,
        reached=reached,
        reset=stream.reset,
        is_renewed=is_renewed,
        state=stream.state,
        stream=stream.id,
    )


def stream_facts(hub: Hub, number: int) -> StreamFacts:
    """One open stream. Raises as `open_stream`."""
    stream = open_stream(hub, number)
    place = place_of(hub, stream)
    return StreamFacts(
        info=hub.info(stream),
        cursor=hub.cursor(place.reached),
        began=hub.cursor(place.began),
        transport="direct" if stream.writer.chunked else "asgi",
        heartbeat=stream.heartbeat,
        expires_in=None if stream.expires_at == INFINITY else max(0.0, stream.expires_at - hub.loop.time()),
        catching_up=_hindrance(stream),
    )


def _hindrance(stream: Stream) -> str | None:
    if stream.state is State.LIVE:
        return None
    if stream.state is State.LAGGING:
        return "full"
    return "reset" if stream.reset is not None else "read"


async def channel_facts(hub: Hub, name: str) -> ChannelFacts:
    """One channel.

    Raises:
        BrokerUnavailable: the log cannot be asked now.
    """
    hub.check_running()
    head = await hub.broker.head()
    horizon = await hub.broker.horizon([name])
    found = await hub.broker.channels(name, 1)
    recent = await hub.broker.read_back([name], head.seq, RECENT)
    channel = hub.registry.channels.get(name)
    return ChannelFacts(
        name=name,
        retained=found[0] if found and found[0].name == name else None,
        first=await _first(hub, name, horizon, head),
        recent=recent.events,
        followed=channel is not None,
        readers=0 if channel is None else channel.users,
        ring=0 if channel is None else len(channel.ring),
        complete_from=str(horizon),
    )


async def _first(hub: Hub, name: str, horizon: Position, head: Position) -> Event | None:
    try:
        page = await hub.broker.read([name], horizon.seq, head.seq, 1)
    except PositionLost:  # retention was quicker
        return None
    return page.events[0] if page.events else None


async def sought(hub: Hub, channel: str, cursor: str) -> Sought:
    """The event of a channel that has this id, or why there is none.

    Raises:
        BrokerUnavailable: the log cannot be asked now.
    """
    try:
        position = Position.parse(cursor)
    except InvalidCursor:
        return Sought(permissions=None, missing="That is not the id of any event.")
    head = await hub.broker.head()
    if position.epoch != head.epoch:
        return _missing(None, "That id is of another life of the log: it was wiped, restored or replaced since.")
    if position.seq > head.seq:
        return _missing(position.seq, f"The log has not come that far; it is at {head}.")
    if (recent := _recent(hub, channel, position)) is not None:  # streams are given it even if retention has removed it
        return Sought(seq=position.seq, permissions=recent.permissions)
    try:
        page = await hub.broker.read([channel], max(0, position.seq - 1), position.seq, 1)
    except PositionLost:
        says = f"Retention has removed this part of {channel}; whether the event was there cannot be told."
        return _missing(position.seq, says, is_lost=True)
    if not page.events:
        return _missing(position.seq, f"The event with that id, if there is one, is not in {channel}.")
    return Sought(seq=position.seq, permissions=page.events[0].permissions)


def _recent(hub: Hub, name: str, position: Position) -> Event | None:
    channel = hub.registry.channels.get(name)
    if channel is None or position.epoch != hub.fanout.epoch:
        return None
    return next((frame.event for frame in channel.ring.after(position.seq - 1, position.seq)), None)


def _missing(seq: int | None, says: str, *, is_lost: bool = False) -> Sought:
    return Sought(seq=seq, permissions=None, missing=says, is_lost=is_lost)


async def place_for(hub: Hub, principal: Principal, channel: str, start: Start) -> Place:
    """Where a stream of `channel` would be that asks to begin at `start`, without opening one.

    Raises:
        Draining: no stream would be opened now. BrokerUnavailable: the log cannot be asked now.
    """
    async with hub.prepare(Subscription(channels=(channel,), principal=principal, start=start)) as opening:
        reset = opening.beginning.reset or await _lost(hub, opening)
        reached = hub.fanout.position
        return Place(began=opening.beginning.seq if reset is None else reached, reached=reached, reset=reset)


async def _lost(hub: Hub, opening: Opening) -> ResetReason | None:
    """The reset that a stream would be told of when it is brought forward: the first page says."""
    after = opening.beginning.seq
    floor = max(channel.ring.floor for channel in opening.channels)
    if after >= floor or asks_for_what_is_left(opening.subscription.start):
        return None
    try:
        await hub.broker.read([channel.name for channel in opening.channels], after, floor, 1)
    except PositionLost as lost:
        return ResetReason(lost.reason)
    return None
