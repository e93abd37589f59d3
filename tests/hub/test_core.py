"""The hub as a whole: it starts, serves, stops and starts again, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable

import pytest

from headwater.brokers.memory import MemoryBroker
from headwater.errors import BrokerUnavailable, HeadwaterError, Unavailable
from headwater.event import Draft, Position
from headwater.hub import After, Ago, All, Hub, Last, Now, Start
from headwater.stream import State
from tests.hub.scripted import Gate, ScriptedBroker
from tests.hub.support import (
    Socket,
    after,
    clocks,
    connect,
    publish,
    running,
    settled,
    stream_of,
    subscription,
    turns,
)
from tests.support.waiting import until


@pytest.mark.parametrize(
    "use",
    [
        lambda hub: hub.count(),
        lambda hub: hub.statistics(),
        lambda hub: hub.infos(),
        lambda hub: hub.publish_sync("a"),
        lambda hub: asyncio.run(hub.revoke("ada")),
        lambda hub: asyncio.run(hub.close(1)),
        lambda hub: asyncio.run(hub.drain()),
        lambda hub: asyncio.run(hub.probe("$probe")),
        lambda hub: asyncio.run(hub.poll(subscription("a"))),
        lambda hub: asyncio.run(hub.prepare(subscription("a")).__aenter__()),
    ],
)
def test_a_hub_that_does_not_run_says_so(use: Callable[[Hub], object]) -> None:
    """Whatever is asked of it; stopping it is no error."""
    hub = Hub(MemoryBroker())
    asyncio.run(hub.stop())
    with pytest.raises(Unavailable, match="not running"):
        use(hub)


async def test_a_hub_whose_broker_cannot_be_opened_does_not_run() -> None:
    """It may be tried again."""

    class Closed(MemoryBroker):
        is_away = True

        async def open(self, feed: object = None) -> Position:
            if self.is_away:
                raise BrokerUnavailable("the store is away")
            return await super().open(feed)  # type: ignore[arg-type]

    broker = Closed()
    hub = Hub(broker)
    with pytest.raises(BrokerUnavailable):
        await hub.start()
    with pytest.raises(Unavailable, match="not running"):
        hub.count()
    broker.is_away = False
    await hub.start()
    assert hub.count() == 0
    await hub.stop()


async def test_a_hub_runs_once() -> None:
    """A second start would lose the streams of the first."""
    async with running() as hub:
        with pytest.raises(HeadwaterError, match="already"):
            await hub.start()
        await connect(hub, "a")
        assert hub.count() == 1


async def test_what_a_feed_brings_before_the_broker_is_open_is_not_forgotten() -> None:
    """Some brokers begin to deliver before `open` returns."""

    class Eager(MemoryBroker):
        async def open(self, feed: object = None) -> Position:
            head = await super().open(feed)  # type: ignore[arg-type]
            assert isinstance(feed, Hub)
            feed.restart(head)
            feed.receive([], Position(head.epoch, head.seq + 5))
            return head

    async with running(Eager()) as hub:
        assert hub.fanout.received == 5


async def test_a_stopped_hub_may_be_started_again() -> None:
    """Its clients resume; what was published meanwhile is theirs."""
    broker = MemoryBroker()
    hub = Hub(broker, **clocks(asyncio.get_running_loop()))
    await hub.start()
    socket = await connect(hub, "a")
    await publish(hub, "a", 1)
    await hub.stop()
    await hub.stop()
    assert socket.types == ["connected", "message", "closing"]
    await broker.open()
    await broker.append([Draft(channel="a", data="2")])
    await hub.start()
    back = await connect(hub, "a", start=After(socket.decoder.last_event_id))
    await settled()
    await publish(hub, "a", 3)
    assert back.data == ["2", "3"]
    await hub.stop()


async def test_who_was_on_the_way_when_the_hub_stopped_does_not_get_into_the_next_life() -> None:
    """Its channels are those of a hub that is gone; it would never be given anything."""
    for call in ("follow", "horizon"):
        broker = ScriptedBroker()
        hub = Hub(broker, **clocks(asyncio.get_running_loop()))
        await hub.start()
        broker.script = gate = Gate(call)
        connecting = asyncio.ensure_future(connect(hub, "a", start=All()))
        await gate.entered.wait()
        await hub.stop()
        await hub.start()
        gate.open()
        with pytest.raises(Unavailable):
            await connecting
        assert hub.count() == 0
        await hub.stop()


async def test_a_hub_that_is_stopped_without_draining_ends_its_streams_at_once() -> None:
    """Whoever has not read to the end then is cut off."""
    async with running() as hub:
        stalled = await connect(hub, "a", capacity=10)
    assert stalled.is_aborted
    assert stream_of(stalled).state is State.CLOSED


async def test_nothing_is_left_in_the_loop_when_a_hub_has_stopped() -> None:
    """No task, no timer, whatever was under way."""
    broker = ScriptedBroker()
    await broker.fill(5)
    loop = asyncio.get_running_loop()
    async with running(broker) as hub:
        await connect(hub, "b")
        broker.script = gate = Gate("read")
        await connect(hub, "a", start=All())
        await gate.entered.wait()
        asking = asyncio.ensure_future(hub.poll(subscription("a", start=All())))
        await turns(3)
        await hub.publish("b")
        await hub.publish("b")
        asking.cancel()
    await settled()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert [handle for handle in loop._scheduled if not handle.cancelled()] == []  # type: ignore[attr-defined]


CALLS: list[tuple[Start, str]] = [
    *((Now(), call) for call in ("follow", "follow done")),
    *((All(), call) for call in ("horizon", "horizon done")),
    *((Ago(60), call) for call in ("position_at", "position_at done", "horizon", "horizon done")),
    *((Last(3), call) for call in ("read_back", "read_back done", "horizon", "horizon done")),
    *((After("{epoch}-7"), call) for call in ("head", "head done", "waiting")),
]


@pytest.mark.parametrize(("start", "call"), CALLS)
async def test_who_gives_up_while_opening_holds_nothing(start: Start, call: str) -> None:
    """Wherever it was; the next one is served as if nothing had been."""
    broker = ScriptedBroker()
    await broker.fill(5)
    async with running(broker) as hub:
        await broker.foreign(Draft(channel="a"), Draft(channel="a"))
        if isinstance(start, After):
            start = After(start.cursor.format(epoch=hub.fanout.epoch))
        before = asyncio.all_tasks()
        broker.script = gate = Gate(call)
        connecting = asyncio.ensure_future(connect(hub, "a", start=start))
        await settled()
        assert gate.entered.is_set() or call == "waiting"
        connecting.cancel()
        await settled()
        assert connecting.cancelled()
        gate.open()
        await settled()
        assert hub.registry.channels["a"].users == 0
        assert asyncio.all_tasks() == before
        broker.deliver()
        socket = await connect(hub, "a", start=after(hub, 0))
        await settled()
        assert len(socket.data) == 7


@pytest.mark.parametrize("error", [ZeroDivisionError, asyncio.CancelledError])
async def test_channels_are_given_back_by_who_fails_before_it_is_a_stream(error: type[BaseException]) -> None:
    """And only then: afterwards they are the stream's."""
    async with running() as hub:
        with pytest.raises(error):
            async with hub.prepare(subscription("a")):
                raise error
        assert hub.registry.channels["a"].users == 0
        socket = Socket(hub)

        async def fail() -> None:
            async with hub.prepare(subscription("a")) as opening:
                socket.begin(opening.attach(socket))
                raise error

        with pytest.raises(error):
            await fail()
        assert hub.registry.channels["a"].users == 1
        socket.leave()
        assert hub.registry.channels["a"].users == 0


def test_t06_two_hubs_one_after_the_other_do_not_know_each_other() -> None:
    """Nor their loops: no state is the module's."""

    async def live() -> list[str]:
        async with running(wall=lambda: 0.0, clock=lambda: 0.0) as hub:
            socket = await connect(hub, "a")
            await publish(hub, "a", 1)
            assert hub.statistics().opened == 1
            return socket.data

    assert [asyncio.run(live()) for _ in range(2)] == [["1"], ["1"]]


def test_t06_one_hub_may_live_in_two_loops_one_after_the_other() -> None:
    """As a test suite does with an application."""
    hub = Hub(MemoryBroker())

    async def live(number: int) -> list[str]:
        await hub.start()
        socket = await connect(hub, "a", start=All())
        await publish(hub, "a", number)
        await settled()
        await hub.stop()
        return socket.data

    assert [asyncio.run(live(number)) for number in (1, 2)] == [["1"], ["1", "2"]]


def test_t06_two_loops_in_two_threads_do_not_know_each_other() -> None:
    """Each has its hub, and neither sees the other's events."""
    both = threading.Barrier(2, timeout=10)
    seen: dict[int, list[str]] = {}

    async def live(number: int) -> None:
        hub = Hub(MemoryBroker())
        await hub.start()
        socket = await connect(hub, "a")
        await asyncio.to_thread(both.wait)
        await asyncio.gather(*(hub.publish("a", data=number) for _ in range(100)))
        await until(lambda: len(socket.data) == 100, "all events")
        await asyncio.to_thread(both.wait)
        await hub.stop()
        seen[number] = socket.data

    threads = [threading.Thread(target=asyncio.run, args=[live(number)]) for number in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == {1: 100 * ["1"], 2: 100 * ["2"]}


async def test_t07_a_thousand_streams_leave_nothing_behind() -> None:
    """Neither tasks nor objects, whether they had history to read or not."""
    broker = ScriptedBroker()
    await broker.fill(20)
    async with running(broker, ring_events=5) as hub:

        async def come_and_go(count: int) -> None:
            for number in range(count):
                socket = await connect(hub, "a", "b", start=after(hub, number % 20), heartbeat=15)
                await turns(number % 3)
                socket.leave()
            await settled()

        await come_and_go(50)
        tasks, objects = len(asyncio.all_tasks()), counted()
        await come_and_go(1000)
        assert len(asyncio.all_tasks()) == tasks
        assert counted() - objects < 50
        assert hub.count() == 0
        assert list(hub.registry.views) == []


def counted() -> int:
    """Objects that the garbage collector knows."""
    gc.collect()
    return len(gc.get_objects())
