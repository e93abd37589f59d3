"""Reading channels: `GET /events` and `GET /channels/{channel}`, as a stream or a poll.

Decides whether the caller may, and hands over to the two responses that do it. Knows principals, limits and requests; must
not know how a stream runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from starlette.responses import Response

from headwater.asgi.limits import Lease
from headwater.asgi.poll import PollResponse
from headwater.asgi.request import address_of, channels_of, start_of, wants_poll
from headwater.asgi.site import Call
from headwater.asgi.stream import StreamResponse
from headwater.channels import Principal, check_channel
from headwater.errors import NotAllowed
from headwater.hub import Subscription


async def subscribe(call: Call) -> Response:
    """The channels that the query names."""
    with place(call) as lease:
        return _response(call, lease, channels_of(call.query, call.site.limiter.limits.max_channels_per_stream))


async def subscribe_one(call: Call) -> Response:
    """The channel that the path names."""
    with place(call) as lease:
        return _response(call, lease, [check_channel(call.rest, own=True)])


@contextmanager
def place(call: Call) -> Iterator[Lease]:
    """Lend a place for a stream; take it back at once if no response comes of it."""
    lease = call.site.limiter.connect(address_of(call.scope) or None, call.principal.id)
    try:
        yield lease
    except BaseException:
        lease.release()
        raise


def _response(call: Call, lease: Lease, channels: Sequence[str]) -> Response:
    start = start_of(call.scope, call.query)
    is_poll = wants_poll(call.scope)
    check_grants(call.principal, channels)
    subscription = Subscription(
        channels=tuple(channels),
        principal=call.principal,
        start=start,
        address=address_of(call.scope),
        release=lease.release,
    )
    if is_poll:
        return PollResponse(call.site.hub, subscription, call.query)
    return StreamResponse(call.site.hub, subscription)


def check_grants(principal: Principal, channels: Sequence[str]) -> None:
    """Refuse channels that the principal may not read. Whether they exist is not looked at, so nothing is said of it.

    Raises:
        NotAllowed: it may not read one of them, which is named.
    """
    for channel in channels:
        if not principal.may_subscribe(channel):
            raise NotAllowed(
                f"the token does not grant reading channel {channel}",
                expected="a subscribe pattern that covers it",
                fix="ask the issuer of the token for one",
            )
