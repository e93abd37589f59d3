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

from headwater.brokers.base import Broker
from headwater.errors import PositionLost, Unavailable
from headwater.event import ResetReason
from headwater.hub.fanout import Fanout
from headwater.hub.registry import View
from headwater.hub.ring import Batch, Frame
from headwater.single_flight import SingleFlight
from headwater.stream import Happening, State, Stream

PAGE = 500
"""Events read from the broker at a time: bounds what one catch-up holds in memory."""

RETRY = (0.1, 5.0)
"""Seconds to wait before asking a broker again that was unavailable: first and longest; doubled, with full jitter."""


class Handoff:
    """Brings streams forward.

    Args:
        tell_reset: writes the reset frame that a stream is owed and places it at the fan-out's position.
        broken: told of a stream whose writer raised.
        max_replay: events one catch-up may read from the broker before it is given up with a reset (`overflow`); 0 for
            no bound.
    """

    def __init__(
        self,
        fanout: Fanout,
        broker: Broker,
        *,
        loop: asyncio.AbstractEventLoop,
        tell_reset: Callable[[Stream], None],
        broken: Callable[[Stream, Exception], None],
        max_replay: int,
    ) -> None:
        self.replayed = 0  # events written by catching up
        self._fanout = fanout
        self._broker = broker
        self._loop = loop
        self._tell_reset = tell_reset
        self._broken = broken
        self._max_replay = max_replay
        self._reads: SingleFlight[Batch] = SingleFlight()

    def resume(self, stream: Stream) -> None:
        """Bring a replaying stream forward: at once if the rings suffice, else in a task that ends when it is live."""
        if stream.task is None and not self._advance(stream):
            stream.task = self._loop.create_task(self._replay(stream))

    def _advance(self, stream: Stream) -> bool:
        """Do what needs no waiting. False if the broker must be read first."""
        fanout = self._fanout
        if stream.reset is not None:
            self._tell_reset(stream)
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
        if stream.happen(Happening.CAUGHT_UP):
            view.live.add(stream)
            stream.bytes_base -= view.bytes_out
            stream.events_base -= view.events_out

    def leave_live(self, stream: Stream) -> None:
        """Take a stream out of the live set, with everything up to the fan-out's position written."""
        view: View = stream.view
        view.live.remove(stream)
        stream.position = self._fanout.position
        stream.bytes_base += view.bytes_out
        stream.events_base += view.events_out

    async def _replay(self, stream: Stream) -> None:
        try:
            budget = self._max_replay or float("inf")
            delay = RETRY[0]
            while stream.state is State.REPLAYING and not self._advance(stream):
                view: View = stream.view
                after = stream.position
                try:
                    batch = await self._read(view, after, view.floor)
                except PositionLost as lost:
                    stream.reset = ResetReason(lost.reason)
                    continue
                except Unavailable:
                    await asyncio.sleep(random.uniform(0, delay))
                    delay = min(2 * delay, RETRY[1])
                    continue
                budget -= len(batch.frames)
                if budget < 0:
                    stream.reset = ResetReason.OVERFLOW
                elif stream.state is State.REPLAYING and stream.view is view and stream.position == after:
                    self._write(stream, view, batch)
        finally:
            stream.task = None

    async def _read(self, view: View, after: int, until: int) -> Batch:
        """A page of the log, asked of the broker once for all streams that need the same one."""

        async def read() -> Batch:
            page = await self._broker.read(view.names, after, until, PAGE)
            batch = Batch([Frame(event) for event in page.events], page.end.seq)
            ring = view.channels[0].ring
            if len(view.channels) == 1 and ring.floor == batch.upto:
                ring.extend_back(batch.frames, after)
            return batch

        return await self._reads.do((view.names, after, until), read)

    def _write(self, stream: Stream, view: View, batch: Batch) -> None:
        """Write a batch, as far as the socket takes it; the stream's position is then where it stopped."""
        try:
            for piece in batch.pieces(view.audience):
                if piece.data:
                    stream.write(piece.data)
                    stream.bytes_base += len(piece.data)
                    stream.events_base += piece.events
                    self.replayed += piece.events
                stream.position = piece.upto
                if stream.state is not State.REPLAYING:
                    return
        except Exception as error:
            self._broken(stream, error)
