"""Looking at the hub and into it: the samples, lists of streams and channels, one of them closely.

Whoever may administer sees who reads what. What an event says they see only with the grants and permissions that any reader
would need. Knows the hub's surveys and facts; must not know how they come about.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, TypeVar

import msgspec
from starlette.responses import Response

from headwater.asgi.dashboard.board import CHANNEL
from headwater.asgi.poll import PollResponse
from headwater.asgi.request import address_of, start_of, wants_poll
from headwater.asgi.site import Call, json_response
from headwater.asgi.stream import StreamResponse
from headwater.asgi.subscribe import place
from headwater.channels import Principal, check_channel
from headwater.errors import InvalidInput, NotFound
from headwater.event import Event
from headwater.hub import Subscription, survey
from headwater.hub.facts import ChannelFacts, channel_facts, stream_facts
from headwater.hub.frames import timestamp
from headwater.hub.survey import ChannelOrder, StreamOrder, StreamSurvey

MAX_ROWS: Final = 100
"""Rows of one list."""

ROWS: Final = 50

MAX_SHOWN: Final = 2_000
"""Characters of an event's data that are shown."""

MAX_SEARCH: Final = 200
"""Characters of a search."""

Order = TypeVar("Order", bound=StrEnum)


class ShownEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One event of a channel.

    Attributes:
        id: its cursor.
        time: when the log accepted it, ISO 8601 in UTC.
        permissions: those that it asks for.
        type: None where you may not see it.
        data: JSON or text, as it is, cut if it is long; None likewise.
        bytes: of the whole data.
    """

    id: str
    time: str
    permissions: list[str]
    type: str | None = None
    data: str | None = None
    bytes: int | None = None


class ShownChannel(msgspec.Struct, frozen=True, kw_only=True):
    """One channel, closely.

    Attributes:
        name: the channel.
        followed: whether this node follows it.
        readers: streams and held polls that read it here.
        ring: events kept encoded here.
        events, bytes: retained.
        first: the oldest event; None if there is none.
        recent: the newest, newest first.
        complete_from: the earliest cursor from which it can be read without a reset.
        granted: whether your grants cover it; without, you see no event's type or data.
        streams: the first that read it here, those behind on top.
    """

    name: str
    followed: bool
    readers: int
    ring: int
    events: int
    bytes: int
    first: ShownEvent | None
    recent: list[ShownEvent]
    complete_from: str
    granted: bool
    streams: StreamSurvey


async def events(call: Call) -> Response:
    """The samples of the last ten minutes and those to come, as a stream or a poll."""
    with place(call) as lease:
        start = start_of(call.scope, call.query, default="all")
        is_poll = wants_poll(call.scope)
        hub = await call.site.board.open()
        subscription = Subscription(
            channels=(CHANNEL,),
            principal=call.principal,
            start=start,
            address=address_of(call.scope),
            release=lease.release,
        )
        return PollResponse(hub, subscription, call.query) if is_poll else StreamResponse(hub, subscription)


async def streams(call: Call) -> Response:
    """The first streams in some order."""
    hub = call.site.hub
    hub.check_running()
    order = _order(call, StreamOrder)
    search, channel, limit = _search(call, "search"), _search(call, "channel"), _limit(call)

    async def find() -> StreamSurvey:
        return await survey.streams(hub, order, search=search, channel=channel, limit=limit)

    return _answer(call, await call.site.board.lists.do(("streams", order, search, channel, limit), find))


async def channels(call: Call) -> Response:
    """The first channels in some order."""
    hub = call.site.hub
    hub.check_running()
    order, prefix, limit = _order(call, ChannelOrder), _search(call, "prefix"), _limit(call)

    async def find() -> survey.ChannelSurvey:
        return await survey.channels(hub, order, search=prefix, limit=limit)

    return _answer(call, await call.site.board.lists.do(("channels", order, prefix, limit), find))


def _answer(call: Call, value: object) -> Response:
    return json_response(value, headers=call.site.board.headers)


def _order(call: Call, orders: type[Order]) -> Order:
    text = call.field("order", next(iter(orders)))
    try:
        return orders(text)
    except ValueError:
        raise InvalidInput(f"order={text[:40]!r} cannot be used", expected=" or ".join(orders)) from None


def _search(call: Call, name: str) -> str:
    text = call.field(name)
    if len(text) > MAX_SEARCH:
        raise InvalidInput(f"{name} is {len(text)} characters long", expected=f"at most {MAX_SEARCH}")
    return text


def _limit(call: Call) -> int:
    text = call.field("limit", str(ROWS))
    if not (text.isascii() and text.isdigit() and len(text) < 10 and 1 <= int(text) <= MAX_ROWS):
        raise InvalidInput(f"limit={text[:40]!r} cannot be used", expected=f"1 to {MAX_ROWS}")
    return int(text)


async def stream(call: Call) -> Response:
    """One stream."""
    return _answer(call, stream_facts(call.site.hub, number_of(call.rest)))


def number_of(text: str) -> int:
    """A stream's number.

    Raises:
        NotFound: it is none.
    """
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise NotFound(f"no stream {text[:40]!r} is open here", fix="GET /streams lists those that are")
    return int(text)


async def channel(call: Call) -> Response:
    """One channel."""
    name = check_channel(call.rest, own=True)
    hub = call.site.hub
    facts = await channel_facts(hub, name)
    readers = await survey.streams(hub, StreamOrder.BEHIND, channel=name, limit=20)
    return _answer(call, shown_channel(facts, readers, call.principal))


def shown_channel(facts: ChannelFacts, readers: StreamSurvey, viewer: Principal) -> ShownChannel:
    """A channel as somebody may see it."""
    retained = facts.retained
    return ShownChannel(
        name=facts.name,
        followed=facts.followed,
        readers=facts.readers,
        ring=facts.ring,
        events=0 if retained is None else retained.events,
        bytes=0 if retained is None else retained.bytes,
        first=None if facts.first is None else _shown(facts.first, viewer),
        recent=[_shown(event, viewer) for event in facts.recent],
        complete_from=facts.complete_from,
        granted=viewer.may_subscribe(facts.name),
        streams=readers,
    )


def _shown(event: Event, viewer: Principal) -> ShownEvent:
    known = ShownEvent(id=str(event.position), time=timestamp(event.time / 1000), permissions=sorted(event.permissions))
    if not (viewer.may_subscribe(event.channel) and viewer.may_see(event.permissions)):
        return known
    return msgspec.structs.replace(known, type=event.type, data=event.data[:MAX_SHOWN], bytes=len(event.data.encode()))
