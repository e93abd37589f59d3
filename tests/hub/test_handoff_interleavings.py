"""Whatever happens in whatever order, a stream is its part of the log.

Random interleavings of everything that can happen to a hub: events of this node and of others, clients that come, stall, go
and come back, retention, slow and failing reads, channels let go, rights moved, the log begun anew. Every client judges what
it is given (see `reader`); at the end each has everything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.errors import BrokerUnavailable, Unavailable
from headwater.event import Draft, Position
from headwater.hub import After, Ago, All, Hub, Last, Now, Start, Timing
from headwater.hub.following import LINGER
from headwater.stream import State
from tests.hub.reader import Reader
from tests.hub.scripted import ScriptedBroker
from tests.hub.support import LeapingLoop, Socket, clocks, subscription, turns

CHANNELS = ("a", "b", "c")
RIGHTS = (frozenset[str](), frozenset({"x"}), frozenset({"x", "y"}))
STARTS: tuple[Start, ...] = (Now(), All(), Ago(1), Last(1), Last(3))


class Dice:
    """A number taken apart into choices."""

    def __init__(self, number: int) -> None:
        self._number = number

    def roll(self, sides: int) -> int:
        """0 to `sides` - 1."""
        self._number, rolled = divmod(self._number, sides)
        return rolled


class SlowSocket(Socket):
    """A socket that takes its time for each write."""

    def __init__(self, world: World, capacity: int | None, chunked: bool) -> None:
        super().__init__(world.hub, capacity=capacity, chunked=chunked)
        self._world = world

    def write(self, data: bytes) -> None:
        self._world.writes += 1
        super().write(data)


class Client:
    """A reader and its present connection."""

    def __init__(self, world: World, dice: Dice) -> None:
        self.world, self.hub, self.broker = world, world.hub, world.broker
        self.capacity = (None, 1, 90, 400)[dice.roll(4)]
        self.chunked = bool(dice.roll(2))
        self.start = STARTS[dice.roll(len(STARTS))]
        channels = (("a",), ("b",), ("a", "b"), ("a", "b", "c"))[dice.roll(4)]
        left = not isinstance(self.start, Now)
        self.reader = Reader(world.broker, channels, RIGHTS[dice.roll(3)], asks_for_what_is_left=left)
        self.socket: Socket | None = None
        self.asking: asyncio.Task[None] | None = None

    @property
    def asked(self) -> Start:
        """Where the next connection begins."""
        return self.start if self.reader.cursor is None else After(str(self.reader.cursor))

    def begin(self, asking: Coroutine[Any, Any, None]) -> None:
        """Ask for something, unless a stream is open or something is asked for already."""
        self.read(0)
        if (self.asking is None or self.asking.done()) and (self.socket is None or self.socket.is_gone):
            self.asking = asyncio.get_running_loop().create_task(asking)
        else:
            asking.close()

    async def stream(self) -> None:
        """Come, or come back with the last id."""
        reader, self.socket = self.reader, None
        socket = SlowSocket(self.world, self.capacity, self.chunked)
        socket.decoder.last_event_id = str(reader.cursor or "")
        socket.decoder.close()
        wanted = subscription(*reader.channels, start=self.asked, permissions=tuple(reader.permissions), heartbeat=15)
        try:
            async with self.hub.prepare(wanted) as opening:
                reader.connecting()
                await turns(2)  # the response's head goes out
                stream = opening.attach(socket)
                self.socket = socket
                socket.begin(stream)
        except Unavailable:
            pass

    async def poll(self, wait: float) -> None:
        """Ask by poll what would come by stream."""
        reader = self.reader
        wanted = subscription(*reader.channels, start=self.asked, permissions=tuple(reader.permissions))
        try:
            polled = await self.hub.poll(wanted, wait)
        except Unavailable:
            return
        reader.connecting()
        end = polled.end
        first = Position(end.epoch, polled.events[0].position.seq - 1) if polled.events else end
        if polled.reset is not None:
            reader.reset(polled.reset, first)
        elif reader.cursor is None:
            reader.cursor = first
        for event in polled.events:
            reader.take(event.position)
        reader.advance(end)

    def read(self, count: int | None = None) -> None:
        """Take bytes, and judge what they say."""
        if self.socket is not None:
            if not self.socket.is_gone:
                self.socket.take(count)
            messages, self.socket.messages = self.socket.messages, []
            for message in messages:
                self.reader.see(message)

    def leave(self) -> None:
        """Lose the connection, with whatever was on its way."""
        if self.socket is not None:
            self.read(0)
            self.socket.leave()

    def move(self, permissions: frozenset[str]) -> None:
        """Have the hub change its permissions."""
        socket, hub = self.socket, self.hub
        if socket is not None and not socket.is_gone and socket.stream is not None:
            stream = socket.stream
            is_live = stream.state is State.LIVE
            self.reader.moved(permissions, hub.fanout.epoch, hub.fanout.received if is_live else stream.position)
            if stream.state is not State.CLOSED:
                hub.streams.move(stream, permissions)


class World:
    """A hub, its broker and its clients, and everything that may happen to them."""

    def __init__(self, dice: Dice) -> None:
        self.broker = ScriptedBroker(script=self._script)
        self.hub = Hub(
            self.broker,
            timing=Timing(max_lag_events=(1000, 6)[dice.roll(2)], max_lag=60),
            ring_events=(1, 3, 1000)[dice.roll(3)],
            ring_bytes=(1 << 20, 2000)[dice.roll(2)],
            max_replay=(0, 7)[dice.roll(2)],
            wall=clocks(asyncio.get_running_loop())["wall"],
            clock=self._clock,
        )
        self.clients: list[Client] = []
        self.writes = 0
        self._number = 0
        self._trouble = Dice(0)

    def _clock(self) -> float:
        """Each write takes a few milliseconds, so that events are held back and joined."""
        return asyncio.get_running_loop().time() + 0.003 * self.writes

    async def _script(self, call: str) -> None:
        if call.startswith("append"):
            return
        match self._trouble.roll(6):
            case 1 | 2:
                await turns(1 + self._trouble.roll(4))
            case 3:
                await asyncio.sleep(0.003 * (1 + self._trouble.roll(4)))
            case 4 if not call.endswith("done") and not call.startswith("unfollow"):
                raise BrokerUnavailable("the store is away")

    def _drafts(self, dice: Dice) -> list[Draft]:
        drafts = []
        for _ in range(1 + dice.roll(4)):
            self._number += 1
            data = str(self._number) + "0" * (0, 40)[dice.roll(2)]
            drafts.append(Draft(channel=CHANNELS[dice.roll(3)], data=data, permissions=RIGHTS[dice.roll(3)]))
        return drafts

    def _client(self, dice: Dice) -> Client | None:
        return self.clients[dice.roll(len(self.clients))] if self.clients else None

    async def step(self, name: str, dice: Dice) -> None:
        """Let one thing happen, and then perhaps a little more of what was under way."""
        happening: Callable[[Dice], Awaitable[None]] = getattr(self, f"do_{name}")
        await happening(dice)
        await turns(dice.roll(3))

    async def do_publish(self, dice: Dice) -> None:
        await self.hub.publish_all(self._drafts(dice))

    async def do_foreign(self, dice: Dice) -> None:
        await self.broker.foreign(*self._drafts(dice))

    async def do_deliver(self, dice: Dice) -> None:
        self.broker.deliver((None, 1, 2)[dice.roll(3)])

    async def do_come(self, dice: Dice) -> None:
        client = Client(self, dice)
        self.clients.append(client)
        client.begin(client.stream())

    async def do_return(self, dice: Dice) -> None:
        if client := self._client(dice):
            client.begin(client.stream())

    async def do_read(self, dice: Dice) -> None:
        if client := self._client(dice):
            client.read((None, 1, 60, 300)[dice.roll(4)])

    async def do_leave(self, dice: Dice) -> None:
        if client := self._client(dice):
            client.read((None, 0, 30, 150)[dice.roll(4)])
            client.leave()
            if dice.roll(2):
                client.begin(client.stream())

    async def do_break(self, dice: Dice) -> None:
        if (client := self._client(dice)) and client.socket is not None:
            client.socket.fault = ConnectionResetError("the network is away")

    async def do_move(self, dice: Dice) -> None:
        if client := self._client(dice):
            client.move(RIGHTS[dice.roll(3)])

    async def do_poll(self, dice: Dice) -> None:
        if client := self._client(dice):
            client.begin(client.poll(0.02 * dice.roll(2)))

    async def do_forget(self, dice: Dice) -> None:
        self.broker.forget(CHANNELS[dice.roll(3)], 1 + dice.roll(4))

    async def do_trouble(self, dice: Dice) -> None:
        self._trouble = Dice(dice.roll(1 << 30))

    async def do_wait(self, dice: Dice) -> None:
        await asyncio.sleep((0.001, 0.02, 0.4, 16, 70)[dice.roll(5)])

    async def do_tick(self, dice: Dice) -> None:
        self.hub.streams.tick(asyncio.get_running_loop().time() + 15)

    async def do_sweep(self, dice: Dice) -> None:
        self.hub.spawn(self.hub.following.sweep(asyncio.get_running_loop().time() + LINGER))

    async def do_wipe(self, dice: Dice) -> None:
        self.broker.wipe(secret=bool(dice.roll(2)))

    async def do_lose_place(self, dice: Dice) -> None:
        self.broker.lose_place()

    async def do_restart(self, dice: Dice) -> None:
        draining = asyncio.get_running_loop().create_task(self.hub.drain(1))
        for client in self.clients:
            await turns(dice.roll(2))
            client.read()
        await draining
        await self.hub.stop()
        await self.hub.start()

    async def end(self) -> None:
        """All troubles end, everyone comes back and reads; then everyone must have everything."""
        self._trouble = Dice(0)
        self.broker.deliver()
        for _ in range(60):
            for client in self.clients:
                client.begin(client.stream())
                client.read()
            await asyncio.sleep(1)
        await self.hub.publish_all([Draft(channel=name) for name in CHANNELS])
        for _ in range(10):
            await asyncio.sleep(0.02)
            for client in self.clients:
                client.read()
        for client in self.clients:
            assert client.socket is not None
            assert client.socket.stream is not None
            assert client.socket.stream.state is State.LIVE
            assert client.reader.cursor is not None
            assert client.reader.cursor.epoch == self.broker.end.epoch
            assert client.reader.missing(self.broker.end) == []


HAPPENINGS = [name.removeprefix("do_") for name in vars(World) if name.startswith("do_")]
OFTEN = ["publish", "publish", "foreign", "deliver", "read", "read", "leave", "return", "come"]


async def live_through(beginning: int, happenings: list[tuple[str, int]]) -> World:
    """Let things happen in this order."""
    world = World(Dice(beginning))
    await world.hub.start()
    try:
        for name, number in happenings:
            await world.step(name, Dice(number))
        await world.end()
    finally:
        await world.hub.stop()
    return world


def run(beginning: int, happenings: list[tuple[str, int]]) -> World:
    """The same, in a loop of its own."""
    with asyncio.Runner(loop_factory=LeapingLoop) as runner:
        return runner.run(live_through(beginning, happenings))


@settings(max_examples=5 * settings().max_examples)
@given(
    beginning=st.integers(0, 200),
    happenings=st.lists(
        st.tuples(st.sampled_from(HAPPENINGS + OFTEN), st.integers(0, (1 << 32) - 1)), min_size=5, max_size=60
    ),
)
def test_a_stream_is_its_part_of_the_log(beginning: int, happenings: list[tuple[str, int]]) -> None:
    """Whatever happens, every client is given every event it may see, once and in order, or is told that it was not."""
    run(beginning, happenings)
