"""The Python client and the real hub, through a network that breaks."""

from __future__ import annotations

import asyncio
import random
import signal
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pytest

from headwater.client import (
    FileCursor,
    Policy,
    Publisher,
    ReceivedEvent,
    Reset,
    State,
    Status,
    Subscription,
    publish_sync,
    subscribe,
    subscribe_sync,
)
from headwater.errors import RequestRefused
from tests.support.proxy import Proxy, proxying
from tests.support.server import Server, running
from tests.support.tokens import SECRET
from tests.support.waiting import until

QUICK = Policy(base=0.01, cap=0.05, stable=0.0)
Transport = Literal["stream", "poll"]


@asynccontextmanager
async def hub(*args: str, broker: str = "memory://", **env: str) -> AsyncIterator[Server]:
    """A hub in development mode."""
    async with running(["serve", "--dev", "--port", "0", "--broker", broker, *args], env=env) as server:
        yield server


async def take(subscription: Subscription, count: int) -> list[ReceivedEvent]:
    """The next so many events."""
    async with asyncio.timeout(20):
        return [await anext(subscription) for _ in range(count)]


@pytest.mark.parametrize("transport", ["stream", "poll"])
async def test_nothing_is_lost_or_doubled_on_a_broken_network(transport: Transport) -> None:
    """While connections are reset again and again, and what is sent comes in pieces of a few bytes, a subscriber gets
    every event once and in order, and every publish happens once, however often it was tried."""
    async with hub() as server, proxying(server.port) as proxy:
        url = proxy.url
        options: dict[str, Any] = {"transport": transport, "policy": QUICK, "since": "all"}
        async with subscribe(url, ["a", "b"], **options) as events, Publisher(url, policy=QUICK) as publisher:
            breaking = asyncio.create_task(break_often(proxy))
            publishing = asyncio.create_task(publish_many(publisher, 150))
            received = await take(events, 150)
            ids = await publishing
            breaking.cancel()
            assert [event.id for event in received] == ids
            assert [event.json() for event in received] == list(range(150))
            assert [event.channel for event in received] == ["a", "b", "a"] * 50
        assert proxy.accepted > 5


async def break_often(proxy: Proxy) -> None:
    """Reset all connections every few bytes, at random."""
    dice = random.Random(7)
    proxy.slow(piece=37)
    while True:
        bound = proxy.forwarded["down"] + dice.randrange(500, 4000)
        await until(partial(forwarded, proxy, bound), "more bytes", patience=30)
        await proxy.drop()


def forwarded(proxy: Proxy, bytes: int) -> bool:
    """Whether a client has been sent so much."""
    return proxy.forwarded["down"] >= bytes


async def publish_many(publisher: Publisher, count: int) -> list[str]:
    """Publish numbers to two channels; their ids."""
    channels = "aba"
    return [await publisher.publish(channels[number % 3], data=number) for number in range(count)]


async def test_a_stream_and_a_poll_agree() -> None:
    """Both transports bring the same events with the same ids, so that a client may switch between them."""
    async with hub() as server, Publisher(server.url) as publisher:
        for data in (1, "text", None, {"\u00e9": ["\u2028"]}):
            await publisher.publish("a", "log", data)
        seen = {}
        for transport in ("stream", "poll"):
            options: dict[str, Any] = {"transport": transport, "since": "all"}
            async with subscribe(server.url, "a", **options) as events:
                seen[transport] = await take(events, 4)
        assert seen["stream"] == seen["poll"]


async def test_text_is_published_and_received() -> None:
    """Text comes as it was published, line by line, and is no JSON."""
    async with hub() as server, Publisher(server.url) as publisher:
        id = await publisher.publish_text("a", "one\n\ntwo", "note")
        async with subscribe(server.url, "a", since="all") as events:
            assert await take(events, 1) == [ReceivedEvent(id=id, type="note", data="one\n\ntwo", channel="a")]


async def test_a_batch_is_published_once() -> None:
    """The same key again, from whichever publisher, is the same event."""
    async with hub() as server, Publisher(server.url) as one, Publisher(server.url) as two:
        first = await one.publish("a", data=1, idempotency_key="order-7")
        assert await two.publish("a", data=1, idempotency_key="order-7") == first
        with pytest.raises(RequestRefused, match="Idempotency key reused") as caught:
            await two.publish("a", data=2, idempotency_key="order-7")
        assert caught.value.status == 409


async def test_an_id_of_another_log_is_a_reset() -> None:
    """A client that comes with a place in a log that is no more is told so, and goes on with the new one."""
    resets: list[Reset] = []
    async with hub() as server, Publisher(server.url) as publisher:
        async with subscribe(server.url, "a", last_event_id="another-7", on_reset=resets.append) as events:
            (reset,) = await take(events, 1)
            await publisher.publish("a", data=1)
            (event,) = await take(events, 1)
    assert (reset.type, reset.json()["reason"]) == ("reset", "epoch_changed")
    assert [each.reason for each in resets] == ["epoch_changed"]
    assert resets[0].cursor == reset.id
    assert event.json() == 1


async def test_a_restart_of_the_hub_is_survived(tmp_path: Path) -> None:
    """A hub that drains tells its clients when to come back; they do, to the next process, and miss nothing of what was
    published in between."""
    broker = f"sqlite:///{tmp_path}/events.db"
    seen: list[Status] = []
    port = free_port()
    listen = ["serve", "--dev", "--port", str(port), "--broker", broker]
    async with subscribe(f"http://127.0.0.1:{port}", "a", since="all", on_status=seen.append) as events:
        async with running(listen) as server, Publisher(server.url) as publisher:
            await publisher.publish("a", data=1)
            assert [event.json() for event in await take(events, 1)] == [1]
            waiting = asyncio.ensure_future(take(events, 1))
            assert await server.stop(signal.SIGTERM) in (0, -signal.SIGTERM)
        async with running(listen) as server, Publisher(server.url) as publisher:
            await publisher.publish("a", data=2)
            assert [event.json() for event in await waiting] == [2]
    told = [status.reason for status in seen if status.state is State.WAITING]
    assert told[0].startswith("closing: ")


def free_port() -> int:
    """A port that the system says is free."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def token(**claims: Any) -> str:
    """A token that the hub takes, unless it has expired."""
    import jwt

    grants = {"subscribe": ["**"], "publish": ["**"]}
    defaults = {"sub": "ann", "exp": time.time() + 60, "headwater": grants}
    return jwt.encode({**defaults, **claims}, SECRET, "HS256")


async def test_an_expired_token_is_renewed() -> None:
    """A subscriber and a publisher whose token function gives a token that has just expired ask again and go on."""
    expired = token(exp=time.time() - 3600)
    to_read, to_write = iter([expired, token()]), iter([expired, token()])
    async with running(
        ["serve", "--port", "0", "--broker", "memory://"], env={"HEADWATER_JWT_SECRET": SECRET}
    ) as server:
        async with subscribe(server.url, "a", token=lambda: next(to_read), since="all") as events:
            async with Publisher(server.url, lambda: next(to_write)) as publisher:
                waiting = asyncio.ensure_future(take(events, 1))
                await publisher.publish("a", data=1)
                assert [event.json() for event in await waiting] == [1]
        with pytest.raises(RequestRefused, match="401"):
            async with subscribe(server.url, "a", token=expired) as events:
                await anext(events)


async def test_a_program_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """Run after run, a program with a cursor file works through the log: nothing twice that it was done with."""
    path = tmp_path / "place"

    def run(url: str) -> list[int]:
        with subscribe_sync(url, "a", since="all", cursor=FileCursor(path)) as events:
            done = []
            for event in events:
                done.append(event.json())
                if len(done) == 3:
                    events.acknowledge()
                    return done
        return done

    async with hub() as server:
        for number in range(9):
            await asyncio.to_thread(publish_sync, server.url, "a", data=number)
        runs = [await asyncio.to_thread(run, server.url) for _ in range(3)]
    assert runs == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
