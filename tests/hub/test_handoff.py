"""A stream that is behind is brought forward: from the rings, from the broker, once, in order, without a gap."""

from __future__ import annotations

import asyncio

from headwater.errors import BrokerUnavailable
from headwater.event import Draft, Position
from headwater.hub import All, Timing
from headwater.hub.reading import FIRST_PAGE
from headwater.stream import State
from tests.hub.scripted import Failing, Gate, ScriptedBroker
from tests.hub.support import Socket, after, connect, numbers, publish, running, settled, stream_of, subscription, turns
from tests.support.waiting import until


async def test_t25_events_published_while_history_is_read_come_once_and_in_order() -> None:
    """The classic mistakes are to lose them (read, then subscribe) or to send them twice (subscribe, then read)."""
    broker = ScriptedBroker()
    await broker.fill(3)
    async with running(broker) as hub:
        broker.script = gate = Gate("read done")
        socket = await connect(hub, "a", start=All())
        await gate.entered.wait()
        await publish(hub, "a", 4, 5)
        assert socket.data == []
        gate.open()
        await settled()
        await publish(hub, "a", 6)
        assert socket.data == numbers(1, 6)
        assert stream_of(socket).state is State.LIVE


async def test_history_that_the_ring_holds_is_not_asked_of_the_broker() -> None:
    """It goes from memory to the live set in one step."""
    broker = ScriptedBroker()
    async with running(broker) as hub:
        await connect(hub, "a")
        await publish(hub, "a", 1, 2, 3)
        socket = await connect(hub, "a", start=after(hub, 1))
        await turns()
        assert socket.data == ["2", "3"]
        assert broker.calls["read"] == 0
        assert hub.handoff.replayed == 2


async def test_streams_that_need_the_same_history_share_one_read() -> None:
    """Two hundred clients that come back together cost the broker as much as one."""
    broker = ScriptedBroker()
    await broker.fill(FIRST_PAGE + 20)
    async with running(broker) as hub:
        sockets = [await connect(hub, "a", start=after(hub, 5)) for _ in range(200)]
        await settled()
        assert all(socket.data == numbers(6, FIRST_PAGE + 20) for socket in sockets)
        assert broker.calls["read"] == 2
        late = await connect(hub, "a", start=after(hub, FIRST_PAGE + 10))
        await settled()
        assert late.data == numbers(FIRST_PAGE + 11, FIRST_PAGE + 20)
        assert broker.calls["read"] == 2, "what was read last is in the ring now"


async def test_streams_with_other_permissions_share_the_read_and_not_the_bytes() -> None:
    """The broker knows no permissions; each stream gets what it may see."""
    broker = ScriptedBroker()
    await broker.past(
        Draft(channel="a", data="1"), Draft(channel="a", data="2", permissions=frozenset({"x"})), Draft(channel="a")
    )
    async with running(broker) as hub:
        held = await connect(hub, "a", start=All(), permissions=("x",))
        bare = await connect(hub, "a", start=All())
        await settled()
        assert (held.data, bare.data) == (["1", "2", "null"], ["1", "null"])
        assert broker.calls["read"] == 1


async def test_a_replay_survives_an_outage_of_the_broker() -> None:
    """It asks again, ever more slowly, and the stream stays open and exact."""
    broker = ScriptedBroker()
    await broker.fill(3)
    async with running(broker) as hub:
        broker.script = failing = Failing("read", times=12)
        socket = await connect(hub, "a", start=All())
        begun = asyncio.get_running_loop().time()
        await until(lambda: not failing.left, "the broker to be back")
        await asyncio.sleep(5)
        assert socket.data == numbers(1, 3)
        assert 2 < asyncio.get_running_loop().time() - begun < 60


async def test_a_store_that_is_behind_its_own_feed_is_waited_for() -> None:
    """It is asked again after a while, not in a loop that takes all the time there is."""

    class Behind(ScriptedBroker):
        is_behind = True

        async def read(self, channels, after, until, limit=500):  # type: ignore[no-untyped-def]
            return await super().read(channels, after, after if self.is_behind else until, limit)

    broker = Behind()
    await broker.fill(3)
    async with running(broker) as hub:
        socket = await connect(hub, "a", start=All())
        await asyncio.sleep(10)
        assert broker.calls["read"] < 30
        broker.is_behind = False
        await asyncio.sleep(6)
        assert socket.data == numbers(1, 3)


async def test_an_outage_is_not_a_defect_of_the_stream() -> None:
    """While the broker is away streams stay open, replaying, with heartbeats that leave their cursors alone."""
    broker = ScriptedBroker()
    await broker.fill(2)
    async with running(broker, timing=Timing(heartbeat=5)) as hub:
        broker.script = Failing("read", times=10_000, error=BrokerUnavailable("away"))
        socket = await connect(hub, "a", start=All(), heartbeat=5)
        await asyncio.sleep(30)
        assert stream_of(socket).state is State.REPLAYING
        assert socket.types == ["connected"]
        assert socket.comments == 6


async def test_a_ring_smaller_than_what_is_pending_loses_nothing() -> None:
    """Then a stream is replayed past what the others were written, and those get theirs first."""
    broker = ScriptedBroker()
    async with running(broker, ring_events=1) as hub:
        live = await connect(hub, "a")
        await broker.fill(1)
        broker.script = gate = Gate("read")
        behind = await connect(hub, "a", start=after(hub, 0))
        await publish(hub, "a", 2)
        await gate.entered.wait()
        await broker.fill(3, first=3)
        gate.open()
        await settled()
        await publish(hub, "a", 6)
        assert live.data == behind.data == numbers(1, 6)


async def test_a_stream_replayed_past_what_is_pending_does_not_get_it_twice() -> None:
    """What the broker has given it, the flush that was waiting would give it again."""
    loop = asyncio.get_running_loop()
    broker = ScriptedBroker()
    written: list[bytes] = []
    async with running(broker, ring_events=1, clock=lambda: loop.time() + len(written)) as hub:
        live = await connect(hub, "a")
        written = live.writes
        await broker.fill(4)
        behind = await connect(hub, "a", start=after(hub, 0))
        await broker.fill(2, first=5)
        assert hub.fanout.position < hub.fanout.received
        await settled()
        assert hub.fanout.position == hub.fanout.received, "the stream that caught up had the rest written"
        await asyncio.sleep(1)
        assert live.data == behind.data == numbers(1, 6)


async def test_a_socket_that_fills_up_during_history_goes_on_where_it_stopped() -> None:
    """However often that happens."""
    broker = ScriptedBroker()
    await broker.fill(300)
    async with running(broker) as hub:
        socket = await connect(hub, "a", start=All(), capacity=500)
        for _ in range(60):
            await settled()
            assert len(socket.waiting) < 500 + (1 << 16)
            socket.take()
        await publish(hub, "a", 301)
        socket.take()
        assert socket.data == numbers(1, 301)


async def test_a_socket_that_drains_from_within_the_write_goes_on_after_it() -> None:
    """Such a writer is told `full` and `drained` before its write has returned; nothing comes twice."""

    class Sponge(Socket):
        def write(self, data: bytes) -> None:
            super().write(data)
            if self.stream is not None:
                self.hub.full(self.stream)
                self.hub.drained(self.stream)

    broker = ScriptedBroker()
    await broker.past(*(Draft(channel="a", data=f'"{"x" * 9000}{number}"') for number in range(30)))
    async with running(broker) as hub:
        for start in (All(), after(hub, 20)):
            socket = Sponge(hub)
            async with hub.prepare(subscription("a", start=start)) as opening:
                socket.begin(opening.attach(socket))
            await settled()
            await publish(hub, "a", 1, 2)
            await settled()
            ids = [Position.parse(message.id).seq for message in socket.of("message")]
            assert ids == list(range(ids[0], hub.fanout.received + 1))


async def test_a_writer_that_breaks_during_history_ends_its_stream() -> None:
    """And no other."""
    broker = ScriptedBroker()
    await broker.fill(3)
    async with running(broker) as hub:
        broken, other = [await connect(hub, "a", start=All()) for _ in range(2)]
        broken.fault = OSError("gone")
        await settled()
        assert stream_of(broken).state is State.CLOSED
        assert broken.is_aborted
        assert other.data == numbers(1, 3)
        assert stream_of(broken).task is None


async def test_a_replay_that_fails_for_no_known_reason_ends_its_stream() -> None:
    """The client comes back; a stream that nobody moves any more would look alive for ever."""
    broker = ScriptedBroker()
    await broker.fill(3)
    async with running(broker) as hub:
        broker.script = Failing("read", error=ZeroDivisionError())
        socket = await connect(hub, "a", start=All())
        await settled()
        assert stream_of(socket).state is State.CLOSED
        assert hub.statistics().ended == {"error": 1}


async def test_a_stream_that_ends_stops_its_replay() -> None:
    """Nothing more is asked of the broker for it, and its task is gone."""
    broker = ScriptedBroker()
    await broker.fill(3)
    async with running(broker) as hub:
        before = asyncio.all_tasks()
        broker.script = gate = Gate("read")
        socket = await connect(hub, "a", start=All())
        await gate.entered.wait()
        socket.leave()
        await settled()
        assert asyncio.all_tasks() == before
        assert stream_of(socket).task is None
        assert broker.calls["read done"] == 0


async def test_one_of_many_that_share_a_read_may_go() -> None:
    """The others get what was read."""
    broker = ScriptedBroker()
    await broker.fill(3)
    async with running(broker) as hub:
        broker.script = gate = Gate("read")
        sockets = [await connect(hub, "a", start=All()) for _ in range(3)]
        await gate.entered.wait()
        await turns(3)
        sockets[0].leave()
        gate.open()
        await settled()
        assert [socket.data for socket in sockets] == [[], numbers(1, 3), numbers(1, 3)]


async def test_a_stream_that_fills_up_while_history_is_read_reads_it_when_it_drains() -> None:
    """What was read meanwhile is not written to it."""
    broker = ScriptedBroker()
    await broker.fill(3)
    async with running(broker) as hub:
        broker.script = gate = Gate("read")
        socket = await connect(hub, "a", start=All(), capacity=10_000)
        await gate.entered.wait()
        hub.full(stream_of(socket))
        gate.open()
        await settled()
        socket.take()
        assert socket.data == []
        hub.drained(stream_of(socket))
        await settled()
        socket.take()
        assert socket.data == numbers(1, 3)


async def test_rights_that_change_while_history_is_read_hold_for_what_was_read() -> None:
    """From the position where the stream was when they changed."""
    broker = ScriptedBroker()
    secret = frozenset({"x"})
    await broker.past(*(Draft(channel="a", data=each, permissions=secret) for each in numbers(1, 3)))
    async with running(broker) as hub:
        broker.script = gate = Gate("read done")
        socket = await connect(hub, "a", start=All())
        await gate.entered.wait()
        hub.streams.move(stream_of(socket), secret)
        gate.open()
        await settled()
        assert socket.data == numbers(1, 3)
