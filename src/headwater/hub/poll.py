"""The poll: the same read as a stream's, answered at once or when something comes.

Knows channels' rings, the broker and the fan-out's position; must not know HTTP.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec

from headwater.brokers.base import Broker
from headwater.errors import PositionLost
from headwater.event import Event, ResetReason
from headwater.hub.fanout import Fanout
from headwater.hub.registry import Channel
from headwater.hub.ring import merged
from headwater.hub.start import Beginning

MAX_EVENTS = 1000
"""Events in one answer; the cursor says where the next poll goes on."""


class Polled(msgspec.Struct, frozen=True):
    """What a poll answers.

    Attributes:
        events: visible to the principal, in order.
        seq: everything up to here has been answered.
        reset: why the client must load its state anew; None if it missed nothing.
    """

    events: tuple[Event, ...]
    seq: int
    reset: ResetReason | None


class Poller:
    """Reads for one poll request. Its channels must be followed and stay so."""

    def __init__(
        self, fanout: Fanout, broker: Broker, channels: Sequence[Channel], permissions: frozenset[str]
    ) -> None:
        self._fanout = fanout
        self._broker = broker
        self._channels = channels
        self._permissions = permissions

    async def poll(self, beginning: Beginning, wait: float, stop: asyncio.Future[None]) -> Polled:
        """Everything visible after the beginning; if that is nothing, what comes within `wait` seconds or before `stop`
        is done.

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
                return Polled((), self._fanout.received, ResetReason(lost.reason))
            left = deadline - loop.time()
            if events or reset or left <= 0 or stop.done():
                return Polled(tuple(events), seq, reset)
            await self._something(left, stop)

    async def _read(self, seq: int) -> tuple[list[Event], int]:
        """Visible events after seq, and how far was read: as far as the feed has come, unless an answer is full before."""
        events: list[Event] = []
        rings = [channel.ring for channel in self._channels]
        while seq < self._fanout.received and len(events) < MAX_EVENTS:
            floor = max(ring.floor for ring in rings)
            if seq >= floor:
                batch = merged(rings, seq, self._fanout.received)
                found, end = [frame.event for frame in batch.frames], batch.upto
            else:
                page = await self._broker.read([channel.name for channel in self._channels], seq, floor)
                found, end = list(page.events), page.end.seq
            visible = [event for event in found if event.permissions <= self._permissions]
            room = MAX_EVENTS - len(events)
            seq = end if len(visible) <= room else visible[room - 1].position.seq
            events += visible[:room]
        return events, seq

    async def _something(self, most: float, stop: asyncio.Future[None]) -> None:
        """Wait for the next event on any of the channels, `most` seconds at most."""
        loop = asyncio.get_running_loop()
        waiting = {stop}
        for channel in self._channels:
            if channel.arrival is None:
                channel.arrival = loop.create_future()
            waiting.add(channel.arrival)
        await asyncio.wait(waiting, timeout=most, return_when=asyncio.FIRST_COMPLETED)
