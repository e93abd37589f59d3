"""The streams open here, and what may happen to them: they open, fill up, drain, are due for something, and end.

Decides with `Stream`'s table and then acts: every end goes through `close`, every full socket through `full`. Knows views,
the fan-out, the hand-off and the wheel; must not know brokers or HTTP.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence

from headwater import wire
from headwater.event import ResetReason
from headwater.hub import frames
from headwater.hub.fanout import Fanout
from headwater.hub.following import Following
from headwater.hub.handoff import Handoff
from headwater.hub.registry import Channel, Registry, View
from headwater.hub.start import Beginning, asks_for_what_is_left
from headwater.hub.subscription import Subscription, Timing
from headwater.hub.wheel import LOOKAHEAD, Wheel
from headwater.stream import INFINITY, CloseReason, Happening, State, Stream, Writer

log = logging.getLogger("headwater")

FINISH = 5.0
"""Seconds a stream that was ended gets to take its last bytes before its connection is cut."""

WARN_AGAIN = 1.0
"""Seconds until a stream is warned whose socket was full when that was due."""


class Streams:
    """All streams of one hub.

    Args:
        wall: Unix time in seconds.
        opened, closed: told of every stream that has opened or ended.
    """

    def __init__(
        self,
        registry: Registry,
        fanout: Fanout,
        following: Following,
        timing: Timing,
        *,
        opened: Callable[[Stream], None],
        closed: Callable[[Stream, CloseReason], None],
        loop: asyncio.AbstractEventLoop,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.open: dict[int, Stream] = {}
        self.ended: Counter[CloseReason] = Counter()
        self.resets: Counter[ResetReason] = Counter()
        self.lagged = 0  # times a socket was full
        self.lagging = 0  # streams whose socket is full now
        self.finishing: set[Stream] = set()  # closed, with bytes still on their way
        self.handoff: Handoff  # set by the hub: the two know each other
        self._registry = registry
        self._fanout = fanout
        self._following = following
        self._timing = timing
        self._opened = opened
        self._closed = closed
        self._loop = loop
        self._wall = wall
        self._wheel = Wheel(loop.time())
        self._last_id = 0
        self._quiet: asyncio.Future[None] | None = None

    # -- opening ---------------------------------------------------------------------------------------------------------

    def hello(self, subscription: Subscription, beginning: Beginning) -> bytes:
        """The first frame of a stream.

        Raises:
            ConfigurationError: the application's `hello` made something that is no JSON. Whatever else it raises.
        """
        cursor = self._fanout.cursor(beginning.seq)
        return frames.connected(
            cursor,
            subscription.channels,
            self._wall(),
            id=cursor if beginning.reset is None else None,
            name=subscription.connected,
            hello=subscription.hello,
            retry=self._timing.retry,
        )

    def attach(
        self,
        subscription: Subscription,
        channels: Sequence[Channel],
        beginning: Beginning,
        hello: bytes,
        writer: Writer,
    ) -> Stream:
        """Begin a stream: first frame, then history, then live. From here on the channels are the stream's to release."""
        self._fanout.flush()  # see `move`
        self._last_id += 1
        principal = subscription.principal
        stream = Stream(self._last_id, writer, principal_id=principal.id, position=beginning.seq)
        stream.began = beginning.seq
        stream.reset = beginning.reset
        stream.address = subscription.address
        stream.release = subscription.release
        stream.comment_heartbeat = subscription.comment_heartbeat
        if asks_for_what_is_left(subscription.start):
            stream.origin = beginning.seq
        self._registry.join(stream, channels, principal.permissions)
        self.open[stream.id] = stream
        self._set_times(stream, subscription)
        self._opened(stream)
        if self.send(stream, hello):
            self._begin(stream)
        return stream

    def _set_times(self, stream: Stream, subscription: Subscription) -> None:
        now = self._loop.time()
        stream.opened_at = now
        every = self._timing.heartbeat if subscription.heartbeat is None else subscription.heartbeat
        if every > 0:
            stream.heartbeat = every
            stream.heartbeat_at = now + every
        if (expires_at := subscription.principal.expires_at) is not None:
            left = expires_at - self._wall()
            stream.expires_at = now + left
            stream.warn_at = now + max(0.0, left - self._timing.warn_before)
        self._wheel.schedule(stream)

    def _begin(self, stream: Stream) -> None:
        by = self._loop.time() + LOOKAHEAD
        if stream.expires_at <= by:  # the wheel may come too late for it
            self._due(stream, by, {})
        elif stream.position < self._fanout.position:
            # History may be more than the socket takes, and whoever attached can report that only from the next turn on.
            self._loop.call_soon(self.handoff.resume, stream)
        else:
            self.handoff.resume(stream)

    def move(self, stream: Stream, permissions: frozenset[str]) -> None:
        """Give an open stream other permissions, from its position on."""
        view: View = stream.view
        if view.audience.permissions == permissions:
            return
        # What is pending was decided with the old permissions. And a view may be made only while nothing is pending: it
        # would not have got it.
        self._fanout.flush()
        if stream.state is State.CLOSED:  # that broke its writer
            return
        self._rewind(stream)
        channels = view.channels
        self._registry.leave(stream)
        self._registry.join(stream, channels, permissions)
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

    def tell_reset(self, stream: Stream, reason: ResetReason) -> None:
        """Write the reset a stream is owed; it goes on from the present."""
        stream.reset = None
        self._fanout.flush()
        stream.position = stream.began = self._fanout.position
        stream.is_renewed = stream.is_renewed or stream.events_base > 0
        stream.origin = -1
        self.resets[reason] += 1
        self.send(stream, frames.reset(self._fanout.cursor(stream.position), reason))

    def rewind(self) -> None:
        """Take every stream out of the live set, each at its place."""
        for stream in self.open.values():
            self._rewind(stream)

    def resume(self, reset: ResetReason | None) -> None:
        """Bring every stream forward, at once or when its socket has room; with `reset`, from the present."""
        for stream in tuple(self.open.values()):
            if reset is not None:
                stream.reset = reset
                stream.position = self._fanout.position
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
        self.lagging += 1
        stream.lag_from = self._fanout.received
        stream.lag_deadline = self._loop.time() + self._timing.max_lag
        self._wheel.schedule(stream)

    def drained(self, stream: Stream) -> None:
        """Its socket takes bytes again: it catches up from the log."""
        if not stream.happen(Happening.DRAINED):
            return
        self.lagging -= 1
        stream.lag_deadline = INFINITY
        self._wheel.schedule(stream)
        if stream.reset is None and self._fanout.received - stream.lag_from > self._timing.max_lag_events:
            self.close(stream, CloseReason.SLOW)
        else:
            self.handoff.resume(stream)

    def lost(self, stream: Stream) -> None:
        """Its connection is gone."""
        self._over(stream)
        self.close(stream, CloseReason.CLIENT)

    def broken(self, stream: Stream, error: Exception) -> None:
        """Writing to it raised, or reading for it did."""
        log.warning("stream %d failed: %s", stream.id, error)
        self.close(stream, CloseReason.ERROR)

    # -- time ------------------------------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Do everything that would be due (in loop time) before the next tick could be sure to come."""
        by = now + LOOKAHEAD
        beats: dict[tuple[bool, bytes], bytes] = {}
        for stream in self._wheel.advance(by):
            self._due(stream, by, beats)

    def _due(self, stream: Stream, by: float, beats: dict[tuple[bool, bytes], bytes]) -> None:
        if stream in self.finishing:
            if stream.lag_deadline <= by:
                self._cut(stream)
        elif stream.state is State.CLOSED:
            return
        elif stream.lag_deadline <= by:
            self.close(stream, CloseReason.SLOW)
        else:
            if stream.warn_at <= by:
                self._warn(stream)
            if stream.expires_at <= by:
                self.close(stream, CloseReason.EXPIRED)
            elif stream.heartbeat_at <= by:
                stream.heartbeat_at += stream.heartbeat * max(1, (by - stream.heartbeat_at) // stream.heartbeat)
                self._beat(stream, beats)
        if stream.due < 0 and (stream.id in self.open or stream in self.finishing):
            self._wheel.schedule(stream)

    def _warn(self, stream: Stream) -> None:
        if stream.state is State.LAGGING:
            stream.warn_at = self._loop.time() + WARN_AGAIN
            return
        stream.warn_at = INFINITY
        left = stream.expires_at - self._loop.time()
        self.send(stream, frames.token_expiring(self._wall() + left))

    def _beat(self, stream: Stream, beats: dict[tuple[bool, bytes], bytes]) -> None:
        """Write a heartbeat, encoded once per tick and form. A stream that is behind gets a bare comment: it must not be
        given a cursor that it has not reached."""
        if stream.state not in (State.LIVE, State.REPLAYING):
            return
        chunked = stream.writer.chunked
        comment = stream.comment_heartbeat or (b"" if stream.state is State.LIVE else wire.COMMENT)
        data = beats.get((chunked, comment))
        if data is None:
            data = comment or frames.heartbeat(self._fanout.cursor(self._fanout.position), self._wall())
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
        self.lagging -= was is State.LAGGING
        del self.open[stream.id]
        self._wheel.remove(stream)
        view: View = stream.view
        self._registry.leave(stream)
        self._following.release(view.channels)
        if stream.task is not None:
            stream.task.cancel()
        self._release(stream)
        self.ended[reason] += 1
        self._end_body(stream, was, reason, retry)
        self._closed(stream, reason)
        return True

    def _release(self, stream: Stream) -> None:
        release, stream.release = stream.release, None
        if release is not None:
            try:
                release()
            except Exception:  # an application's own; the client must be told that its stream ends, whatever that does
                log.exception("giving back what stream %d was lent failed", stream.id)

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
        cursor = self._fanout.cursor(stream.position) if stream.reset is None else None
        frame = frames.closing(cursor, reason, retry)
        try:
            stream.write(wire.chunk(frame) if stream.writer.chunked else frame)
            stream.writer.finish()
        except Exception:
            self._cut(stream)

    def _cut(self, stream: Stream) -> None:
        """Do not wait any longer for an ended stream to take its last bytes."""
        self._over(stream)
        stream.writer.abort()

    def _over(self, stream: Stream) -> None:
        """Nothing more of an ended stream is on its way."""
        if stream in self.finishing:
            self.finishing.remove(stream)
            self._wheel.remove(stream)
            if not self.finishing and self._quiet is not None and not self._quiet.done():
                self._quiet.set_result(None)

    async def quiet(self, within: float) -> bool:
        """Wait until every ended stream has taken its last bytes; whether that happened within `within` seconds. Those
        that have not are cut off."""
        if self.finishing:
            if self._quiet is None or self._quiet.done():
                self._quiet = self._loop.create_future()
            await asyncio.wait([self._quiet], timeout=within)
        left = tuple(self.finishing)
        for stream in left:
            self._cut(stream)
        return not left
