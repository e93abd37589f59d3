"""The streams open here, and what may happen to them: they open, fill up, drain, are due for something, and end.

Decides with `Stream`'s table and then acts: every end goes through `close`, every full socket through `full`. Knows views,
the fan-out, the hand-off and the wheel; must not know brokers or HTTP.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence

import msgspec

from headwater import wire
from headwater.channels import ANYONE, Principal
from headwater.event import ResetReason
from headwater.hub import frames
from headwater.hub.fanout import Fanout
from headwater.hub.following import Following
from headwater.hub.handoff import Handoff
from headwater.hub.registry import Channel, Registry, View
from headwater.hub.start import Beginning, Now, Start
from headwater.hub.wheel import RESOLUTION, Wheel
from headwater.stream import INFINITY, CloseReason, Happening, State, Stream, Writer

FINISH = 5.0
"""Seconds a stream that was ended gets to take its last bytes before its connection is cut."""


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
        comment_heartbeat: a bare comment line instead of an event. It cannot move the client's cursor.
        release: called once when the stream is over.
    """

    channels: tuple[str, ...]
    principal: Principal = ANYONE
    start: Start = Now()
    address: str = ""
    connected: str = "connected"
    hello: frames.Hello = None
    heartbeat: float | None = None
    comment_heartbeat: bool = False
    release: Callable[[], object] | None = None


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """What the hub does when. All in seconds but `retry`.

    Attributes:
        heartbeat: between heartbeats, unless a subscription says otherwise.
        warn_before: how long before the end of a token its stream is warned.
        max_lag: how long a socket may stay full before its stream is ended.
        max_lag_events: positions a stream may fall behind before it is ended when it could go on.
        retry: milliseconds in the `retry:` line of the first frame.
    """

    heartbeat: float = 15.0
    warn_before: float = 30.0
    max_lag: float = 60.0
    max_lag_events: int = 100_000
    retry: int = 2000


class Streams:
    """All streams of one hub.

    Args:
        cursor: makes the cursor text of a seq.
        opened, closed: told of every stream that has opened or ended.
    """

    def __init__(
        self,
        registry: Registry,
        fanout: Fanout,
        following: Following,
        timing: Timing,
        *,
        cursor: Callable[[int], str],
        opened: Callable[[Stream], None],
        closed: Callable[[Stream, CloseReason], None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.open: dict[int, Stream] = {}
        self.ended: Counter[CloseReason] = Counter()
        self.resets: Counter[ResetReason] = Counter()
        self.lagged = 0  # times a socket was full
        self.finishing: set[Stream] = set()  # closed, with bytes still on their way
        self.handoff: Handoff  # set by the hub: the two know each other
        self._registry = registry
        self._fanout = fanout
        self._following = following
        self._timing = timing
        self._cursor = cursor
        self._opened = opened
        self._closed = closed
        self._loop = loop
        self._wheel = Wheel(loop.time())
        self._last_id = 0
        self._quiet: asyncio.Future[None] | None = None

    # -- opening ---------------------------------------------------------------------------------------------------------

    def attach(
        self, subscription: Subscription, channels: Sequence[Channel], beginning: Beginning, writer: Writer
    ) -> Stream:
        """Begin a stream: first frame, then history, then live. From here on the channels are the stream's to release."""
        self._last_id += 1
        principal = subscription.principal
        stream = Stream(self._last_id, writer, principal_id=principal.id, position=beginning.seq)
        stream.reset = beginning.reset
        stream.address = subscription.address
        stream.release = subscription.release
        stream.comment_heartbeat = subscription.comment_heartbeat
        self._registry.join(stream, channels, principal.permissions)
        self.open[stream.id] = stream
        self._set_times(stream, subscription)
        hello = frames.connected(
            self._cursor(stream.position),
            subscription.channels,
            time.time(),
            name=subscription.connected,
            hello=subscription.hello,
            retry=self._timing.retry,
        )
        self._opened(stream)
        if self.send(stream, hello):
            self.handoff.resume(stream)
        return stream

    def _set_times(self, stream: Stream, subscription: Subscription) -> None:
        now = self._loop.time()
        stream.opened_at = now
        every = self._timing.heartbeat if subscription.heartbeat is None else subscription.heartbeat
        if every > 0:
            stream.heartbeat = every
            stream.heartbeat_at = now + every
        if (expires_at := subscription.principal.expires_at) is not None:
            left = expires_at - time.time()
            stream.expires_at = now + left
            stream.warn_at = now + max(0.0, left - self._timing.warn_before)
        self._wheel.schedule(stream)

    def move(self, stream: Stream, permissions: frozenset[str]) -> None:
        """Give an open stream other permissions, from its position on."""
        view: View = stream.view
        if view.audience.permissions == permissions:
            return
        if stream.state is State.LIVE:
            # What is pending was decided with the old permissions; let it go out before they change.
            self._fanout.flush()
        self._rewind(stream)
        channels = view.channels
        self._registry.leave(stream)
        self._registry.join(stream, channels, permissions)
        if stream.state is State.REPLAYING:
            self.handoff.resume(stream)

    # -- writing ---------------------------------------------------------------------------------------------------------

    def send(self, stream: Stream, data: bytes) -> bool:
        """Write a frame of the hub's own to a stream; False if that ended it."""
        if stream.writer.chunked:
            data = wire.chunk(data)
        stream.bytes_base += len(data)
        try:
            stream.write(data)
        except Exception as error:
            self.broken(stream, error)
        return stream.state is not State.CLOSED

    def tell_reset(self, stream: Stream) -> None:
        """Write the reset a stream is owed; it goes on from the present."""
        reason, stream.reset = stream.reset, None
        if reason is None:
            return
        self._fanout.flush()
        stream.position = self._fanout.position
        self.resets[reason] += 1
        self.send(stream, frames.reset(self._cursor(stream.position), reason))

    def restart(self) -> None:
        """A new epoch: every stream is told, at once or when its socket has room."""
        for stream in tuple(self.open.values()):
            self._rewind(stream)
            stream.reset = ResetReason.EPOCH_CHANGED
            if stream.state is State.REPLAYING:
                self.handoff.resume(stream)

    def _rewind(self, stream: Stream) -> None:
        if stream.state is State.LIVE:
            self.handoff.leave_live(stream)
            stream.happen(Happening.REWOUND)

    # -- what writers report ---------------------------------------------------------------------------------------------

    def full(self, stream: Stream) -> None:
        """Its socket takes no more: nothing is written to it until it drains."""
        was_live = stream.state is State.LIVE
        if not stream.happen(Happening.FULL):
            return
        if was_live:
            self.handoff.leave_live(stream)
        self.lagged += 1
        stream.lag_deadline = self._loop.time() + self._timing.max_lag
        self._wheel.schedule(stream)

    def drained(self, stream: Stream) -> None:
        """Its socket takes bytes again: it catches up from the log."""
        if not stream.happen(Happening.DRAINED):
            return
        stream.lag_deadline = INFINITY
        self._wheel.schedule(stream)
        if self._fanout.received - stream.position > self._timing.max_lag_events:
            self.close(stream, CloseReason.SLOW)
        else:
            self.handoff.resume(stream)

    def lost(self, stream: Stream, reason: CloseReason = CloseReason.CLIENT) -> None:
        """Its connection is gone."""
        if stream in self.finishing:
            self.finishing.remove(stream)
            self._wheel.remove(stream)
            if not self.finishing and self._quiet is not None and not self._quiet.done():
                self._quiet.set_result(None)
        else:
            self.close(stream, reason)

    def broken(self, stream: Stream, error: Exception) -> None:
        """Writing to it raised."""
        self.close(stream, CloseReason.ERROR)

    # -- time ------------------------------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Do everything that is due by `now` (loop time)."""
        beats: dict[tuple[bool, bool], bytes] = {}
        for stream in self._wheel.advance(now):
            # The wheel rounds down, so what is due within one tick counts as due.
            self._due(stream, now + RESOLUTION, beats)

    def _due(self, stream: Stream, by: float, beats: dict[tuple[bool, bool], bytes]) -> None:
        if stream.state is State.CLOSED:
            stream.writer.abort()
            return
        if stream.expires_at <= by:
            self.close(stream, CloseReason.EXPIRED)
            return
        if stream.lag_deadline <= by:
            self.close(stream, CloseReason.SLOW)
            return
        if stream.warn_at <= by:
            stream.warn_at = INFINITY
            if stream.state is not State.LAGGING:
                left = stream.expires_at - self._loop.time()
                self.send(stream, frames.token_expiring(time.time() + left))
        if stream.heartbeat_at <= by and stream.id in self.open:
            stream.heartbeat_at += stream.heartbeat * max(1, (by - stream.heartbeat_at) // stream.heartbeat)
            self._beat(stream, beats)
        if stream.id in self.open:  # writing may have ended it
            self._wheel.schedule(stream)

    def _beat(self, stream: Stream, beats: dict[tuple[bool, bool], bytes]) -> None:
        """Write a heartbeat, encoded once per tick and form. A stream that is behind gets a bare comment: it must not be
        given a cursor that it has not reached."""
        if stream.state is State.LAGGING:
            return
        chunked = stream.writer.chunked
        comment = stream.comment_heartbeat or stream.state is not State.LIVE
        data = beats.get((chunked, comment))
        if data is None:
            data = wire.COMMENT if comment else frames.heartbeat(self._cursor(self._fanout.position), time.time())
            data = beats[chunked, comment] = wire.chunk(data) if chunked else data
        stream.bytes_base += len(data)
        try:
            stream.write(data)
        except Exception as error:
            self.broken(stream, error)

    # -- ending ----------------------------------------------------------------------------------------------------------

    def close(self, stream: Stream, reason: CloseReason, *, retry: int | None = None) -> bool:
        """End a stream; whether it was open. Its client is told why wherever it can still be told."""
        was = stream.state
        if was is State.LIVE:
            self.handoff.leave_live(stream)
        if not stream.happen(Happening.ENDED):
            return False
        del self.open[stream.id]
        self._wheel.remove(stream)
        view: View = stream.view
        self._registry.leave(stream)
        self._following.release(view.channels)
        if stream.task is not None:
            stream.task.cancel()
        if stream.release is not None:
            stream.release()
            stream.release = None
        self.ended[reason] += 1
        self._end_body(stream, was, reason, retry)
        self._closed(stream, reason)
        return True

    def _end_body(self, stream: Stream, was: State, reason: CloseReason, retry: int | None) -> None:
        if reason is CloseReason.CLIENT:
            return
        if reason is CloseReason.ERROR or (was is State.LAGGING and reason is not CloseReason.DRAIN):
            # It cannot be told: what we write now would wait behind what it does not read.
            stream.writer.abort()
            return
        self.finishing.add(stream)
        stream.heartbeat_at = stream.warn_at = stream.expires_at = INFINITY
        stream.lag_deadline = self._loop.time() + FINISH
        self._wheel.schedule(stream)
        frame = frames.closing(self._cursor(stream.position), reason, retry)
        try:
            stream.write(wire.chunk(frame) if stream.writer.chunked else frame)
            stream.writer.finish()
        except Exception:
            stream.writer.abort()

    async def quiet(self, within: float) -> bool:
        """Wait until every ended stream has taken its last bytes; whether that happened within `within` seconds. Those
        that have not are cut off."""
        if self.finishing:
            self._quiet = self._loop.create_future()
            await asyncio.wait([self._quiet], timeout=within)
        left = tuple(self.finishing)
        for stream in left:
            stream.writer.abort()
        return not left
