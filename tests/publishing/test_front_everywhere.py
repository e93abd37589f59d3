"""The publisher of docs/howto/publish.md, as it stands there, on every kind of log and on a hub; and Redis on bad days."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Literal, get_args

import pytest

import headwater
from headwater.brokers import open_broker
from headwater.errors import BrokerUnavailable, ConfigurationError
from headwater.event import Event
from tests.e2e.test_quickstart import block
from tests.support.postgres import shared_server
from tests.support.redis import SharedServers, running_redis
from tests.support.server import running
from tests.support.waiting import PATIENCE

PAGE = "docs/howto/publish.md"
Place = Literal["sqlite", "redis", "postgres", "hub"]


async def logged(log: str) -> list[Event]:
    """Everything in channel `room:42`."""
    broker = open_broker(log)
    head = await broker.open()
    page = await broker.read(["room:42"], 0, head.seq)
    await broker.aclose()
    return list(page.events)


@asynccontextmanager
async def places(place: Place, folder: Path, redis: SharedServers) -> AsyncIterator[tuple[str, str]]:
    """Where to publish, and the log in which that ends."""
    log = redis.url() if place == "redis" else f"sqlite:///{folder}/events.db"
    if place == "hub":
        async with running(["serve", "--dev", "--port", "0", "--broker", log]) as server:
            yield server.url, log
    elif place == "postgres":
        with shared_server(18).database() as log:
            yield log, log
    else:
        yield log, log


@pytest.mark.parametrize("place", get_args(Place))
async def test_the_pages_example(place: Place, tmp_path: Path, redis_servers: SharedServers) -> None:
    """Coroutines and plain functions publish what they say, in order, with all that belongs to it."""
    example: dict[str, Any] = {}
    exec(block(PAGE, "python", holding="plain_function"), example)
    async with places(place, tmp_path, redis_servers) as (url, log):
        await example["job"](url)
        await asyncio.to_thread(example["plain_function"], url)
        await asyncio.to_thread(example["plain_function"], url)  # its key makes it one event
        found = [(event.type, event.data, event.text, sorted(event.permissions)) for event in await logged(log)]
    assert found == [
        ("log", '{"message":"starting"}', False, ["rooms.read"]),
        *(("log", f'{{"n":{n}}}', False, []) for n in range(3)),
        ("message", "plain text", True, []),
        ("log", '{"message":"from a plain function"}', False, []),
    ]


@pytest.mark.parametrize("place", get_args(Place))
async def test_ids_are_the_same_wherever_they_come_from(
    place: Place, tmp_path: Path, redis_servers: SharedServers
) -> None:
    """Text, and what the log calls the event; a hub of this process publishes it as a position with that text."""
    async with places(place, tmp_path, redis_servers) as (url, log):
        async with headwater.publisher(url) as events:
            ids = [await events.publish("room:42"), await asyncio.to_thread(events.publish_sync, "room:42")]
            ids += await events.publish_all([headwater.Draft(channel="room:42")] * 2)
        hub = headwater.Hub(log)
        async with hub.lifespan():
            ids.append(str(await hub.publish("room:42")))
        assert [str(event.position) for event in await logged(log)] == ids


async def until_published(publish: Callable[[], Awaitable[object]]) -> None:
    """As a program does: again while the log is away. A busy machine takes longer to connect than these tests wait."""
    async with asyncio.timeout(PATIENCE):
        while True:
            with suppress(BrokerUnavailable):
                await publish()
                return


@pytest.mark.parametrize("in_context", [True, False])
async def test_redis_away_and_back(tmp_path: Path, in_context: bool) -> None:
    """A publish waits as long as the URL says and then says when to come back; the publisher is as good as before when
    Redis is, and the key makes of all attempts one event."""

    async def publish(number: int) -> str:
        return await events.publish("room:42", data=number, idempotency_key=str(number))

    async with running_redis(appendonly=True, data=tmp_path) as server:
        events = headwater.publisher(server.url(wait=0.3))
        if in_context:
            await events.__aenter__()
        await publish(1)
        await server.kill()
        began = time.monotonic()
        with pytest.raises(BrokerUnavailable) as caught:
            await publish(2)
        assert 0.25 < time.monotonic() - began < PATIENCE
        assert caught.value.retry_after
        await server.restart()
        await until_published(lambda: publish(2))
        await publish(2)
        await events.aclose()
        assert [event.data for event in await logged(server.url())] == ["1", "2"]


async def test_redis_that_is_not_there_yet(tmp_path: Path) -> None:
    """A program may start before its Redis: who publishes hears that it is away, and later it works."""
    async with running_redis(appendonly=True, data=tmp_path) as server:
        await server.kill()
        async with headwater.publisher(server.url(wait=0.1)) as events:
            for _ in range(2):
                with pytest.raises(BrokerUnavailable):
                    await events.publish("room:42", idempotency_key="k")
            await server.restart()
            await until_published(lambda: events.publish("room:42", idempotency_key="k"))
        assert len(await logged(server.url())) == 1


async def test_a_wrong_password_is_the_operators(tmp_path: Path) -> None:
    """It is said at once, and not repeated."""
    async with running_redis("requirepass right", data=tmp_path) as server:
        async with headwater.publisher(server.url(password="hunter2")) as events:
            with pytest.raises(ConfigurationError) as caught:
                await events.publish("room:42")
    assert "hunter2" not in str(caught.value) + repr(events)
