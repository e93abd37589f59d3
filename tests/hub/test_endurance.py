"""A day of a hub in seconds: what comes goes again, and the evening looks like the morning."""

from __future__ import annotations

import asyncio
import gc
import logging
import random
import sys
from collections import Counter

import pytest

from headwater.brokers.base import Retention, Rule
from headwater.channels import Principal
from headwater.event import Position
from headwater.hub import After, All, Hub, Now, Start, Timing
from headwater.stream import State
from tests.hub.scripted import Failing, ScriptedBroker
from tests.hub.support import START, WALL, Socket, connect, running, settled, stream_of

PERMISSIONS: tuple[tuple[str, ...], ...] = ((), ("x",), ("x", "y"))


class Day:
    """Clients come, read or do not, leave or are thrown out, and come back; events are published and expire."""

    def __init__(self, hub: Hub, broker: ScriptedBroker) -> None:
        self.hub = hub
        self.broker = broker
        self.random = random.Random(7)
        self.sockets: list[Socket] = []
        self.connected = 0
        self.disorder = 0
        self.miscounted = 0
        self._last: dict[Socket, Position] = {}

    async def minute(self) -> None:
        """What happens in one."""
        for _ in range(self.random.randrange(6)):
            await self.publish()
        for _ in range(self.random.randrange(4)):
            await self.come(Now() if self.random.random() < 0.7 else All())
        for socket in self.random.sample(self.sockets, len(self.sockets) // 4):
            await self.meet(socket)
        self.sockets = [socket for socket in self.sockets if not socket.is_gone]
        self.count()
        if self.random.random() < 0.05:
            self.broker.script = Failing(self.random.choice(["read", "unfollow"]), times=3)

    async def publish(self) -> None:
        """An event, seen by all, some or few."""
        channel = self.random.choice("abcdef")
        await self.hub.publish(channel, data="x" * 500, permissions=self.random.choice(PERMISSIONS))

    async def come(self, start: Start) -> None:
        """A client, with a token that ends within the hour."""
        channels = self.random.sample("abcdefghij", self.random.randrange(1, 4))
        ends = WALL + asyncio.get_running_loop().time() - START + self.random.randrange(60, 3600)
        permissions = frozenset(self.random.choice(PERMISSIONS))
        principal = Principal(id=self.random.choice("uvw"), permissions=permissions, expires_at=ends)
        capacity = self.random.choice([None, None, 1000])
        socket = await connect(
            self.hub, *channels, start=start, principal=principal, capacity=capacity, heartbeat=15, chunked=True
        )
        self.connected += 1
        self.sockets.append(socket)

    async def meet(self, socket: Socket) -> None:
        """Something happens to one of them."""
        self.check(socket)
        match self.random.randrange(6):
            case 0:
                socket.leave()
                if socket.decoder.last_event_id:
                    await self.come(After(socket.decoder.last_event_id))
            case 1:
                socket.fault = OSError("gone")
            case 2:
                await self.hub.revoke(stream_of(socket).principal_id or "")
            case _ if not socket.is_gone:
                socket.take()

    def check(self, socket: Socket) -> None:
        """What it was given is in order."""
        for message in socket.messages:
            position = Position.parse(message.id)
            self.disorder += position < self._last.get(socket, position)
            self._last[socket] = position
        socket.messages.clear()

    def count(self) -> None:
        """The numbers of streams by state are kept by those who change it; walking through them finds the same."""
        states, said = Counter(stream.state for stream in self.hub.streams.open.values()), self.hub.statistics()
        found = states[State.LIVE], states[State.REPLAYING], states[State.LAGGING], len(list(self.hub.registry.views))
        self.miscounted += found != (said.live, said.replaying, said.lagging, said.views)

    async def hours(self, count: int) -> None:
        """Live through some; then everyone leaves, and nobody comes for a while."""
        for _ in range(60 * count):
            await self.minute()
            await asyncio.sleep(60)
            self.broker.history[self.hub.fanout.epoch].clear()
        self.broker.script = None
        for socket in self.sockets:
            socket.leave()
        self.sockets.clear()
        self._last.clear()
        await asyncio.sleep(300)
        await settled()


def weighed() -> tuple[int, int, int]:
    """Blocks of memory, objects with references, and tasks."""
    gc.collect()
    return sys.getallocatedblocks(), len(gc.get_objects()), len(asyncio.all_tasks())


async def test_a_day_leaves_nothing_behind(caplog: pytest.LogCaptureFixture) -> None:
    """Thousands of streams later memory, tasks and channels are what they were, and nobody was given anything twice."""
    caplog.set_level(logging.CRITICAL, "headwater")  # what is captured is kept
    broker = ScriptedBroker(Retention(rules=(Rule(count=100),)))
    timing = Timing(max_lag=120, max_lag_events=10_000)
    async with running(broker, timing=timing, ring_events=50, ring_bytes=1 << 17) as hub:
        day = Day(hub, broker)
        await day.hours(5)  # until the log is full
        blocks, objects, tasks = weighed()
        await day.hours(19)
        blocks_then, objects_then, tasks_then = weighed()
        assert blocks_then - blocks < 1000
        assert objects_then - objects < 200
        assert tasks_then == tasks
        ended = Counter(hub.statistics().ended)
        assert {"client", "expired", "revoked", "error", "slow"} <= set(ended)
        assert ended.total() == day.connected > 2000
        assert (hub.count(), list(hub.registry.views), list(hub.registry.channels)) == (0, [], [])
        assert (len(hub.streams._wheel), hub.registry.budget.used, hub.streams.finishing) == (0, 0, set())
        assert (day.disorder, day.miscounted) == (0, 0)
