"""The poll: the same read as a stream's, answered at once or when something comes.

Knows channels' rings, the reader and the fan-out's position; must not know HTTP.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec

from headwater.errors import PositionLost
from headwater.event import Event, Position, ResetReason
from headwater.hub.fanout import Fanout
from headwater.hub.reading import FIRST_PAGE, Reader, next_limit
from headwater.hub.registry import Channel
from headwater.hub.ring import Batch, merged
from headwater.hub.start import Beginning

MAX_EVENTS = 1000
"""Events in one answer; the cursor says where the next poll goes on."""

MAX_BYTES = 4 << 20
"""Data in one answer, but for the last event, which may go beyond."""


class Polled(msgspec.Struct, frozen=True):
    """What a poll answers.

    Attributes:
        events: visible to the principal, in order.
        end: everything up to here has been answered. With its epoch, because that may change before the answer is sent.
        reset: why the client must load its state anew; None if it missed nothing.
    """

    events: tuple[Event, ...]
    end: Position
    reset: ResetReason | None


class Poller:
    """Answers one poll request, whose beginning was found just before. Its channels must be followed and stay so."""

    def __init__(
        self, fanout: Fanout, reader: Reader, channels: Sequence[Channel], permissions: frozenset[str]
    ) -> None:
        self._fanout = fanout
        self._epoch = fanout.epoch  # that all positions here are in
        self._reader = reader
        self._channels = channels
        self._permissions = permissions

    async def poll(self, beginning: Beginning, wait: float, stop: asyncio.Future[None], *, forgiven: int = 0) -> Polled:
        """Everything visible after the beginning; if that is nothing, what comes within `wait` seconds or before `stop`
        is done.

        Args:
            wait: seconds.
            forgiven: times that it is no gap if retention is quicker than the reading (see `asks_for_what_is_left`).

        Raises:
            BrokerUnavailable: the log cannot be read now.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait
        seq, reset = beginning
        while True:
            try:
                events, seq = await self._read(seq)
            except PositionLost as lost:
                if forgiven == 0:
                    return self._now(ResetReason(lost.reason))
                forgiven -= 1
                seq = await self._reader.horizon(self._channels)
                continue
            if self._fanout.epoch != self._epoch:
                return self._now(ResetReason.EPOCH_CHANGED)
            left = deadline - loop.time()
            if events or reset or left <= 0 or stop.done():
                return Polled(tuple(events), Position(self._epoch, seq), reset)
            await self._something(left, stop)

    def _now(self, reset: ResetReason) -> Polled:
        return Polled((), Position(self._fanout.epoch, self._fanout.received), reset)

    async def _read(self, seq: int) -> tuple[list[Event], int]:
        """Visible events after seq, and how far was read: as far as the feed has come, unless an answer is full before."""
        events: list[Event] = []
        size, limit = 0, FIRST_PAGE
        while seq < self._fanout.received and self._fanout.epoch == self._epoch:
            batch = await self._next(seq, limit)
            limit = next_limit(limit, batch)
            for frame in batch.frames:
                if frame.permissions <= self._permissions:
                    events.append(frame.event)
                    size += len(frame.event.data)
                    if len(events) == MAX_EVENTS or size >= MAX_BYTES:
                        return events, frame.seq
            seq = batch.upto
        return events, seq

    async def _next(self, seq: int, limit: int) -> Batch:
        rings = [channel.ring for channel in self._channels]
        floor = max(ring.floor for ring in rings)
        if seq >= floor:
            return merged(rings, seq, self._fanout.received)
        return await self._reader.read(self._channels, seq, floor, limit)

    async def _something(self, most: float, stop: asyncio.Future[None]) -> None:
        """Wait for the next event on any of the channels, `most` seconds at most."""
        loop = asyncio.get_running_loop()
        waiting = {stop}
        for channel in self._channels:
            if channel.arrival is None:
                channel.arrival = loop.create_future()
            waiting.add(channel.arrival)
        await asyncio.wait(waiting, timeout=most, return_when=asyncio.FIRST_COMPLETED)
