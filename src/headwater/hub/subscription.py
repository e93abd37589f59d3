"""What a subscriber asks for, and what the hub does when: values that every stream is made from.

Knows principals and starts; must not know streams.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from headwater.channels import ANYONE, Principal
from headwater.hub import frames
from headwater.hub.start import Now, Start


class Subscription(msgspec.Struct, frozen=True, kw_only=True):
    """What a subscriber asks for, once it is known to be allowed.

    Attributes:
        channels: their names, in the order asked for.
        principal: who it is for; its permissions decide what is visible, its `expires_at` when the stream ends.
        start: where to begin.
        address: the client's, for logs and limits.
        connected: the first frame's event type; empty for a plain message.
        hello: changes to the first frame's data (see `frames.Hello`).
        heartbeat: seconds; 0 for none, None for the hub's default.
        comment_heartbeat: the comment line to send instead of an event (see `wire.comment`); empty for the event. A comment
            cannot move the client's cursor.
        release: called once when the stream is over.
    """

    channels: tuple[str, ...]
    principal: Principal = ANYONE
    start: Start = Now()
    address: str = ""
    connected: str = "connected"
    hello: frames.Hello = None
    heartbeat: float | None = None
    comment_heartbeat: bytes = b""
    release: Callable[[], object] | None = None


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """What the hub does when. All in seconds but `retry`.

    Attributes:
        heartbeat: between heartbeats, unless a subscription says otherwise.
        warn_before: how long before the end of a token its stream is warned.
        max_lag: how long a socket may stay full before its stream is ended.
        max_lag_events: positions the log may grow by while a socket is full; beyond it the stream is ended when it drains.
        retry: milliseconds in the `retry:` line of the first frame.
    """

    heartbeat: float = 15.0
    warn_before: float = 30.0
    max_lag: float = 60.0
    max_lag_events: int = 100_000
    retry: int = 2000
