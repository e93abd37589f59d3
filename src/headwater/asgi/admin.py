"""Looking at the hub and into it: channels, statistics, open streams.

Knows the hub's own snapshots; must not know how they come about.
"""

from __future__ import annotations

import os.path
from collections.abc import Iterable
from importlib.metadata import version
from typing import Final

import msgspec
from starlette.responses import Response

from headwater.asgi.site import Call, json_response
from headwater.brokers.base import ChannelInfo
from headwater.channels import RESERVED_PREFIX, check_channel
from headwater.errors import InvalidInput, NotFound
from headwater.hub.frames import timestamp

MAX_LISTED: Final = 1000
"""Channels or streams in one answer."""

MAX_QUERIES: Final = 16
"""Questions to the broker for one list of channels."""


class ListedChannel(msgspec.Struct, frozen=True):
    """A channel with retained events.

    Attributes:
        name: the channel.
        events: how many are retained.
        bytes: of their data.
        last: the id of the newest.
        time: when the newest was accepted, ISO 8601 in UTC.
        streams: open here, on this process, that read it.
    """

    name: str
    events: int
    bytes: int
    last: str
    time: str
    streams: int


async def channels(call: Call) -> Response:
    """The channels that the caller may read and that have events."""
    prefix = call.field("prefix")
    if prefix not in ("", RESERVED_PREFIX):
        check_channel(prefix, own=True)
    limit = _limit_of(call)
    found: dict[str, ChannelInfo] = {}
    has_more = False
    for each in prefixes(call.principal.subscribe, prefix):
        page = await call.site.hub.broker.channels(each, MAX_LISTED)
        has_more |= len(page) == MAX_LISTED
        found |= {info.name: info for info in page if call.principal.may_subscribe(info.name)}
    names = sorted(found)
    listed = [_listed(call, found[name]) for name in names[:limit]]
    return json_response({"channels": listed, "more": has_more or len(names) > limit})


def prefixes(patterns: Iterable[str], prefix: str) -> list[str]:
    """What the names of all channels begin with that one of the patterns may cover and that begin with `prefix`: as few
    and as long as possible, MAX_QUERIES at most."""
    wanted: set[str] = set()
    for pattern in patterns:
        literal, star, _ = pattern.partition("*")
        if literal.startswith(prefix):
            wanted.add(literal)
        elif star and prefix.startswith(literal):
            wanted.add(prefix)
    found: list[str] = []
    for each in sorted(wanted):
        if not found or not each.startswith(found[-1]):
            found.append(each)
    return found if len(found) <= MAX_QUERIES else [os.path.commonprefix(found)]  # noqa: RUF071 (characters are meant)


def _listed(call: Call, info: ChannelInfo) -> ListedChannel:
    return ListedChannel(
        info.name,
        info.events,
        info.bytes,
        str(info.last),
        timestamp(info.last_time / 1000),
        call.site.hub.count(info.name),
    )


def _limit_of(call: Call) -> int:
    text = call.field("limit", str(MAX_LISTED))
    if not (text.isascii() and text.isdigit() and len(text) < 10 and 1 <= int(text) <= MAX_LISTED):
        raise InvalidInput(f"limit={text[:40]!r} cannot be used", expected=f"1 to {MAX_LISTED}")
    return int(text)


async def stats(call: Call) -> Response:
    """The hub at this moment."""
    statistics = msgspec.to_builtins(call.site.hub.statistics())
    limiter = call.site.limiter
    refused = {reason.value: count for reason, count in limiter.refused.items()}
    return json_response({"version": version("headwater"), **statistics, "refused": refused})


async def streams(call: Call) -> Response:
    """The open streams, oldest first."""
    limit = _limit_of(call)
    hub = call.site.hub
    return json_response({"streams": hub.infos(limit), "more": hub.count() > limit})


async def close_stream(call: Call) -> Response:
    """End one stream."""
    text = call.rest
    if not (text.isascii() and text.isdigit() and len(text) < 19) or not await call.site.hub.close(int(text)):
        raise NotFound(f"no stream {text[:40]!r} is open here", fix="GET /streams lists those that are")
    return Response(status_code=204)
