"""`headwater.publisher`: what a program holds, used from coroutines and from plain functions."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

import headwater
from headwater import Draft, Publisher, publisher
from headwater.brokers import open_broker
from headwater.errors import ConfigurationError, InvalidChannel, InvalidEvent, InvalidInput, TooLarge
from headwater.event import Event
from tests.publishing.scripted import Store


@pytest.fixture
def store() -> Store:
    """Where events go."""
    return Store()


@pytest.fixture
def events(store: Store) -> Iterator[Publisher]:
    """A publisher to somewhere else on the network."""
    events = Publisher(store.target(max_event_bytes=20))
    yield events
    events.close()


async def logged(url: str) -> list[Event]:
    """Everything in a log's channel `a`."""
    broker = open_broker(url)
    head = await broker.open()
    page = await broker.read(["a"], 0, head.seq)
    await broker.aclose()
    return list(page.events)


async def test_coroutines_publish(tmp_path: Path) -> None:
    """One event, a text, a batch; ids are those that streams show, as text. The same key publishes once."""
    url = f"sqlite:///{tmp_path}/log.db"
    async with headwater.publisher(url) as events:
        ids = [await events.publish("a", "log", {"n": 1}, permissions=["p"], idempotency_key="k")]
        ids += [await events.publish_text("a", "two\r\n", "said", permissions=["q"], idempotency_key="l")]
        ids += await events.publish_all([Draft.json("a", data=3), Draft.json("a", data=4)])
        assert await events.publish_all([]) == ()
        assert await events.publish("a", "log", {"n": 1}, permissions=["p"], idempotency_key="k") == ids[0]
    found = await logged(url)
    assert [str(event.position) for event in found] == ids
    assert [(event.type, event.data, event.text) for event in found] == [
        ("log", '{"n":1}', False),
        ("said", "two\n", True),
        ("message", "3", False),
        ("message", "4", False),
    ]
    assert [event.permissions for event in found[:2]] == [{"p"}, {"q"}]


def test_plain_functions_publish(tmp_path: Path) -> None:
    """The same, without an event loop."""
    url = f"sqlite:///{tmp_path}/log.db"
    with publisher(url) as events:
        ids = [events.publish_sync("a", "log", {"n": 1}, permissions=["p"], idempotency_key="k")]
        ids += [events.publish_text_sync("a", "two", "said", permissions=["q"], idempotency_key="l")]
        ids += events.publish_all_sync([Draft.json("a", data=3)])
        assert events.publish_all_sync([]) == ()
        assert events.publish_sync("a", "log", {"n": 1}, permissions=["p"], idempotency_key="k") == ids[0]
    found = asyncio.run(logged(url))
    assert [str(event.position) for event in found] == ids
    assert [(event.data, sorted(event.permissions)) for event in found] == [
        ('{"n":1}', ["p"]),
        ("two", ["q"]),
        ("3", []),
    ]


def test_neither_way_needs_a_context(events: Publisher, store: Store) -> None:
    """Both go through the publisher's own thread, whichever loop the caller has, so that nothing is left in a loop that is
    gone by the next call."""
    assert not store.threads
    for count in (1, 2):
        assert asyncio.run(events.publish("a")) == f"e-{2 * count - 1}"
        assert events.publish_sync("a") == f"e-{2 * count}"
    (thread,) = store.threads
    assert thread is not threading.current_thread()
    events.close()
    assert store.closed == 1
    assert events.publish_sync("a") == "e-5"


async def test_within_a_context_the_callers_loop_has_a_connection(events: Publisher, store: Store) -> None:
    """No thread is in between; what is published outside it, or by a thread, does not use that connection. Leaving the
    context closes all."""
    async with events:
        async with events:
            await events.publish("a")
        await asyncio.to_thread(events.publish_sync, "a")
        assert store.threads[0] is threading.current_thread()
        assert len(store.threads) == 2
    assert store.closed == 2
    await events.aclose()
    await events.publish("a")
    assert store.threads[2] is not threading.current_thread()
    await events.aclose()
    assert store.closed == 3


async def test_what_is_no_network_has_one_connection(store: Store) -> None:
    """A file is opened once in a process, whoever publishes."""
    async with Publisher(store.target(is_remote=False)) as events:
        await events.publish("a")
        await asyncio.to_thread(events.publish_sync, "a")
        assert len(store.threads) == 1
    assert store.closed == 1


async def test_a_coroutine_can_be_cancelled(events: Publisher, store: Store) -> None:
    """The attempt in the thread is then over, too."""
    store.opens = asyncio.Event()
    work = asyncio.create_task(events.publish("a"))
    await asyncio.to_thread(store.began.wait)
    work.cancel()
    await asyncio.wait([work])
    assert work.cancelled()
    await events.aclose()
    assert store.events == []


async def test_a_loop_is_not_blocked(events: Publisher, store: Store) -> None:
    """Within an event loop, any, the asynchronous forms are named instead, and nothing is sent."""
    calls: list[tuple[Callable[[], object], str]] = [
        (lambda: events.publish_sync("a"), "await publish"),
        (lambda: events.publish_text_sync("a", "x"), "await publish_text"),
        (lambda: events.publish_all_sync([Draft(channel="a")]), "await publish_all"),
    ]
    for call, instead in calls:
        with pytest.raises(ConfigurationError, match=rf"inside an event loop.*{instead}\("):
            call()
    assert not store.threads


@pytest.mark.parametrize(
    ("drafts", "error"),
    [
        (lambda: [Draft(channel="a"), Draft(channel="$own")], InvalidChannel),
        (lambda: [Draft(channel="a"), Draft(channel="a", data='"' + 19 * "x" + '"')], TooLarge),
        (lambda: [Draft(channel="a", data="\N{EURO SIGN}" * 7, text=True)], TooLarge),
        (lambda: (Draft(channel="a") for _ in range(1001)), TooLarge),
        (lambda: [Draft.json("a", data=object())], InvalidEvent),
    ],
    ids=["the hub's own channel", "too large", "too large in bytes", "too many", "no JSON"],
)
async def test_what_is_malformed_is_not_sent(
    events: Publisher, store: Store, drafts: Callable[[], list[Draft]], error: type[Exception]
) -> None:
    """Nothing of the batch is, wherever the mistake stands."""

    async def refused(publish: Callable[[], Awaitable[object]]) -> None:
        with pytest.raises(error):
            await publish()

    await refused(lambda: events.publish_all(drafts()))
    await refused(lambda: asyncio.to_thread(lambda: events.publish_all_sync(drafts())))
    assert not store.threads


async def test_permissions_must_be_names(events: Publisher) -> None:
    """A plain string would be taken for its letters."""
    with pytest.raises(InvalidInput):
        await events.publish_text("a", "x", permissions="rooms.read")


async def test_as_much_as_is_allowed_is_taken(events: Publisher, store: Store) -> None:
    """A thousand events, and exactly so many bytes; 0 is no bound."""
    assert len(await events.publish_all(Draft(channel="a") for _ in range(1000))) == 1000
    await events.publish("a", data="x" * 18)
    async with Publisher(store.target()) as endless:
        await endless.publish("a", data="x" * 1_000_000)


def test_it_looks_like_its_url_without_passwords() -> None:
    """It may be logged."""
    assert repr(publisher("http://me:hunter2@hub")) == "<headwater.Publisher http://me:***@hub>"


def test_what_a_log_does_not_need_is_not_imported() -> None:
    """Neither the client's driver nor another broker's."""
    code = """if True:
        import sys, headwater
        with headwater.publisher("memory://") as events:
            events.publish_sync("a")
        print(*({"httpx2", "redis", "psycopg", "headwater.client"} & set(sys.modules)))
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
