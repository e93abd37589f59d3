"""Publishing: what is checked before the log sees it, what comes back, and from which threads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from headwater.brokers.memory import MemoryBroker
from headwater.errors import (
    BrokerUnavailable,
    HeadwaterError,
    IdempotencyConflict,
    InvalidChannel,
    InvalidEvent,
    TooLarge,
    Unavailable,
)
from headwater.event import Draft, Event, Position
from headwater.hub import Hub
from headwater.hub.publishing import Publishing
from tests.hub.scripted import Failing, ScriptedBroker
from tests.hub.support import running

BOUND = 20


@pytest.fixture
def broker() -> ScriptedBroker:
    """The hub's log."""
    return ScriptedBroker()


@pytest.fixture
async def hub(broker: ScriptedBroker) -> AsyncIterator[Hub]:
    """A hub that takes events of at most BOUND bytes."""
    async with running(broker, max_event_bytes=BOUND) as hub:
        yield hub


def logged(broker: ScriptedBroker) -> list[Event]:
    """Everything in the log."""
    return broker.history[broker.end.epoch]


async def test_an_event_is_in_the_log_when_its_position_comes_back(hub: Hub, broker: ScriptedBroker) -> None:
    """What was published is the newest event of the log, as it was meant."""
    position = await hub.publish("room:1", "note", {"a": [1, None]}, permissions=["p", "q"])
    event = logged(broker)[-1]
    assert event.position == position == broker.end
    assert (event.channel, event.type, event.data) == ("room:1", "note", '{"a":[1,null]}')
    assert event.permissions == {"p", "q"}


async def test_only_the_channel_must_be_said(hub: Hub, broker: ScriptedBroker) -> None:
    """Without more said an event is a plain message that says null to everyone."""
    await hub.publish("a")
    event = logged(broker)[-1]
    assert (event.type, event.data, event.permissions) == ("message", "null", frozenset())


async def test_the_same_key_publishes_once(hub: Hub, broker: ScriptedBroker) -> None:
    """Published again with its key, an event is not appended again; with the key of another one it is refused."""
    first = await hub.publish("a", data=1, idempotency_key="k")
    assert await hub.publish("a", data=1, idempotency_key="k") == first
    with pytest.raises(IdempotencyConflict):
        await hub.publish("a", data=2, idempotency_key="k")
    assert len(logged(broker)) == 1


async def test_several_events_are_published_together(hub: Hub, broker: ScriptedBroker) -> None:
    """All drafts get increasing positions, in order, and are counted; none at all is fine, too."""
    positions = await hub.publish_all([Draft(channel=name) for name in "abc"])
    assert [each.position for each in logged(broker)] == list(positions) == sorted(positions)
    assert await hub.publish_all([]) == ()
    assert hub.published == 3


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (Draft(channel="$own"), InvalidChannel),
        (Draft(channel="a", data='"' + BOUND * "x" + '"'), TooLarge),
    ],
    ids=["the hub's own channel", "too large"],
)
async def test_one_bad_draft_and_none_is_published(
    hub: Hub, broker: ScriptedBroker, bad: Draft, error: type[Exception]
) -> None:
    """If one draft is refused, wherever it stands, the log sees none of them and nothing is counted."""
    good = Draft(channel="a")
    for drafts in ([bad, good], [good, bad]):
        with pytest.raises(error):
            await hub.publish_all(drafts)
    assert broker.calls["append"] == 0
    assert hub.published == 0


@pytest.mark.parametrize(
    ("channel", "type", "data", "error"),
    [
        ("a b", "message", 1, InvalidChannel),
        ("a", "heartbeat", 1, InvalidEvent),
        ("a", "message", object(), InvalidEvent),
    ],
)
async def test_a_malformed_event_is_refused(
    hub: Hub, broker: ScriptedBroker, channel: str, type: str, data: object, error: type[Exception]
) -> None:
    """What cannot be an event never comes near the log."""
    with pytest.raises(error):
        await hub.publish(channel, type, data)
    assert broker.calls["append"] == 0


@pytest.mark.parametrize("text", ["x" * (BOUND - 2), "\N{EURO SIGN}" * ((BOUND - 2) // 3)])
async def test_the_bound_is_of_bytes(hub: Hub, text: str) -> None:
    """Exactly as many bytes as allowed, quotes included, may be published, and not one more: letters outside ASCII count
    as what they are on the wire."""
    await hub.publish("a", data=text)
    with pytest.raises(TooLarge, match=f"event of {BOUND + 1} bytes") as caught:
        await hub.publish("a", data=text + "x")
    assert caught.value.expected == f"at most {BOUND}"


async def test_no_bound_is_no_bound() -> None:
    """With a bound of 0 an event may be of any size."""
    async with running(max_event_bytes=0) as hub:
        await hub.publish("a", data="x" * 1_000_000)


async def test_what_the_log_did_not_take_is_not_counted(hub: Hub, broker: ScriptedBroker) -> None:
    """The log's own error reaches the publisher."""
    broker.script = Failing("append")
    with pytest.raises(BrokerUnavailable, match="the store is away"):
        await hub.publish("a")
    assert hub.published == 0


async def test_a_hub_that_does_not_run_publishes_nothing(broker: ScriptedBroker) -> None:
    """Before the start and after the stop, publishing says that the hub does not run and how to start it."""

    async def refused(hub: Publishing) -> None:
        calls: list[Callable[[], Awaitable[object]]] = [lambda: hub.publish("a"), lambda: hub.publish_all([])]
        for call in calls:
            with pytest.raises(Unavailable, match=r"not running.*lifespan"):
                await call()
        for check in (hub.check_running, lambda: hub.loop, lambda: hub.publish_sync("a")):
            with pytest.raises(Unavailable, match="not running"):
                check()

    await refused(Publishing(broker, BOUND))
    async with running(broker) as hub:
        hub.check_running()
        assert hub.loop is asyncio.get_running_loop()
    await refused(hub)
    assert broker.calls["append"] == 0


# From threads


async def test_the_hubs_own_thread_must_await(hub: Hub, broker: ScriptedBroker) -> None:
    """In the loop's thread `publish_sync` would wait for itself for ever, so it says what to do instead."""
    with pytest.raises(HeadwaterError, match=r"await hub\.publish"):
        hub.publish_sync("a")
    assert broker.calls["append"] == 0


def in_another_thread(work: Callable[[Hub], object]) -> tuple[ScriptedBroker, list[object]]:
    """Run something in a thread of its own while a hub runs in this one; what it returned or raised."""
    broker = ScriptedBroker()
    outcome: list[object] = []

    async def serve() -> None:
        hub = Hub(broker, max_event_bytes=BOUND)
        await hub.start()
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def run() -> None:
            try:
                outcome.append(work(hub))
            except Exception as error:
                outcome.append(error)
            loop.call_soon_threadsafe(done.set)

        thread = threading.Thread(target=run)
        thread.start()
        await done.wait()
        thread.join()
        await hub.stop()

    asyncio.run(serve())
    return broker, outcome


def test_another_thread_publishes() -> None:
    """A plain thread gets the position once the event is in the log, with everything that `publish` takes."""

    def work(hub: Hub) -> Position:
        return hub.publish_sync("a", "note", [1], permissions=["p"], idempotency_key="k")

    broker, outcome = in_another_thread(work)
    (event,) = logged(broker)
    assert outcome == [event.position]
    assert (event.channel, event.type, event.data, event.permissions) == ("a", "note", "[1]", frozenset({"p"}))


def test_another_thread_gets_the_error() -> None:
    """What `publish` raises, the thread gets."""
    broker, outcome = in_another_thread(lambda hub: hub.publish_sync("a", data="x" * BOUND))
    assert [type(each) for each in outcome] == [TooLarge]
    assert broker.calls["append"] == 0


def test_a_thread_with_a_loop_of_its_own_publishes() -> None:
    """A thread that runs another loop than the hub's may block, and publishes."""

    async def elsewhere(hub: Hub) -> Position:
        return hub.publish_sync("a")

    broker, outcome = in_another_thread(lambda hub: asyncio.run(elsewhere(hub)))
    assert outcome == [broker.end]


async def test_the_bound_and_the_log_are_as_given() -> None:
    """A publishing side has published nothing yet."""
    broker = MemoryBroker()
    publishing = Publishing(broker, BOUND)
    assert (publishing.broker, publishing.max_event_bytes, publishing.published) == (broker, BOUND, 0)
