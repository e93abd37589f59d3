"""From history to live: the one place where a stream catches up with the log.

A new stream, a returning one and one whose socket was full for a while are the same case: a stream at some position that is
behind. It is brought forward from the rings, or from the broker where the rings do not reach back far enough, and joins the
live set in the very step in which nothing lies between. Nothing is queued for it meanwhile; the log is the queue.

Why nothing is lost or sent twice: `Ring` holds every event of its channel from its floor on. While `stream.position` is
below a floor, events are read from the broker, up to that floor. From the floor on they come from the rings, up to the
fan-out's position, without awaiting. At that moment the stream has everything up to the fan-out's position, and the fan-out
gives its live streams everything after it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

from headwater.errors import PositionLost, Unavailable
from headwater.event import ResetReason
from headwater.hub.fanout import Fanout
from headwater.hub.reading import FIRST_PAGE, Reader, next_limit
from headwater.hub.registry import View
from headwater.hub.ring import Batch
from headwater.stream import Happening, State, Stream

RETRY = (0.1, 5.0)
"""Seconds to wait before asking a broker again that was unavailable: first and longest; doubled, with full jitter."""

FORGIVEN = 3
"""Times that a stream which asked for what the log still has may find that its first page has meanwhile gone. More would be
a log that loses events faster than they can be read."""


class Handoff:
    """Brings streams forward.

    Args:
        tell_reset: writes the reset frame that a stream is owed and places it at the fan-out's position.
        broken: told of a stream that cannot be brought forward: its writer raised, or its replay did.
        max_replay: events one catch-up may read from the broker before it is given up with a reset (`overflow`); 0 for
            no bound.
    """

    def __init__(
        self,
        fanout: Fanout,
        reader: Reader,
        *,
        loop: asyncio.AbstractEventLoop,
        tell_reset: Callable[[Stream, ResetReason], None],
        broken: Callable[[Stream, Exception], None],
        max_replay: int,
    ) -> None:
        self.replayed = 0  # events written by catching up
        self.live = 0  # streams that the fan-out writes to
        self._fanout = fanout
        self._reader = reader
        self._loop = loop
        self._tell_reset = tell_reset
        self._broken = broken
        self._max_replay = max_replay

    def resume(self, stream: Stream) -> None:
        """Bring a replaying stream forward: at once if the rings suffice, else in a task that ends when it is live."""
        if stream.state is State.REPLAYING and stream.task is None and not self._advance(stream):
            stream.task = self._loop.create_task(self._replay(stream))

    def _advance(self, stream: Stream) -> bool:
        """Do what needs no waiting. False if the broker must be read first."""
        fanout = self._fanout
        if stream.reset is not None:
            self._tell_reset(stream, stream.reset)
        if stream.position > fanout.position:
            # It was replayed past what is still pending; write that to the others now, so that it does not get it again.
            fanout.flush()
        view: View = stream.view
        while stream.state is State.REPLAYING:
            if stream.position < view.floor:
                return False
            if stream.position >= fanout.position:
                self._go_live(stream, view)
                break
            self._write(stream, view, view.recent(stream.position, fanout.position))
        return True

    def _go_live(self, stream: Stream, view: View) -> None:
        stream.happen(Happening.CAUGHT_UP)
        view.live.add(stream)
        self.live += 1
        stream.origin = -1
        stream.bytes_base -= view.bytes_out
        stream.events_base -= view.events_out

    def leave_live(self, stream: Stream) -> None:
        """Take a stream out of the live set, with everything up to the fan-out's position written."""
        view: View = stream.view
        view.live.discard(stream)
        self.live -= 1
        stream.position = self._fanout.position
        stream.bytes_base += view.bytes_out
        stream.events_base += view.events_out

    async def _replay(self, stream: Stream) -> None:
        try:
            await self._catch_up(stream)
        except Exception as error:
            # Neither the broker's errors nor the writer's: a defect. The stream must not hang with nobody to move it.
            self._broken(stream, error)
        finally:
            stream.task = None

    async def _catch_up(self, stream: Stream) -> None:
        budget = self._max_replay or float("inf")
        limit, delay, forgiven, is_late = FIRST_PAGE, RETRY[0], FORGIVEN, False
        while stream.state is State.REPLAYING and not self._advance(stream):
            view: View = stream.view
            after = stream.position
            try:
                if is_late:
                    is_late = False
                    await self._begin_later(stream, view)
                    continue
                batch = await self._reader.read(view.channels, after, view.floor, limit)
            except PositionLost as lost:
                is_late = after == stream.origin and forgiven > 0
                forgiven -= 1
                if not is_late:
                    stream.reset = ResetReason(lost.reason)
                continue
            except Unavailable:
                await asyncio.sleep(random.uniform(0, delay))
                delay = min(2 * delay, RETRY[1])
                continue
            limit = next_limit(limit, batch)
            budget -= len(batch.frames)
            if budget < 0:
                stream.reset = stream.reset or ResetReason.OVERFLOW
            elif stream.view is view and stream.position == after and stream.reset is None:
                self._write(stream, view, batch)

    async def _begin_later(self, stream: Stream, view: View) -> None:
        """Retention was quicker than a stream that asked for what the log still has and was given nothing of it yet. That is
        no gap: what the log still has begins later now."""
        after = stream.position
        horizon = await self._reader.horizon(view.channels)
        await self._fanout.reached(horizon)
        if stream.position == after and stream.reset is None:
            stream.position = stream.origin = max(after, horizon)

    def _write(self, stream: Stream, view: View, batch: Batch) -> None:
        """Write a batch, as far as the socket takes it; the stream's position is then where it stopped."""
        try:
            for data, upto, events in batch.pieces(view.audience):
                if stream.state is not State.REPLAYING:
                    return
                # First of all, because a socket that fills up and drains from within the write goes on from here.
                stream.position = upto
                if data:
                    stream.bytes_base += len(data)
                    stream.events_base += events
                    self.replayed += events
                    stream.write(data)
        except Exception as error:
            self._broken(stream, error)
