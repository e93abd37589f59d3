"""How a stream through ASGI's `send` ends when it is not the client that ends it: aborted, cancelled, or full before it
began. Everything else about stream responses is in `test_stream.py`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from headwater.asgi.stream import HIGH_WATER, SendWriter, StreamResponse
from headwater.brokers import open_broker
from headwater.hub import Hub, Subscription
from headwater.stream import CloseReason
from headwater.testing.asgi import open_stream
from tests.support.waiting import until


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    """A running hub in memory."""
    made = Hub(open_broker("memory://"))
    await made.start()
    yield made
    await made.stop()


def response(hub: Hub) -> StreamResponse:
    """A stream of one channel."""
    return StreamResponse(hub, Subscription(channels=("a",)))


async def forever() -> Any:
    """Never anything."""
    await asyncio.Event().wait()


async def ignore(message: Any) -> None:
    """Take a message."""


async def test_an_aborted_stream_ends_though_its_client_does_not_read(hub: Hub) -> None:
    """`abort` ends a pump that is stuck inside `send`, without an error in the application."""
    async with open_stream(response(hub), "/") as stream:
        await stream.message()
        for number in range(40):
            await hub.publish("a", "big", f"{number} " + "x" * 50_000)
        (only,) = hub.streams.open.values()
        assert hub.end(only, CloseReason.SLOW)
    assert hub.statistics().ended == {"slow": 1}


async def test_an_aborted_stream_leaves_its_task_uncancelled(hub: Hub) -> None:
    """The cancelling was our own, so a timeout around the response does not take it for its own, and still works."""

    async def answer() -> None:
        async with asyncio.timeout(3600) as timeout:
            await response(hub)({"type": "http", "method": "GET", "headers": []}, forever, ignore)
            timeout.reschedule(0)
            await forever()

    task = asyncio.create_task(answer())
    await until(lambda: hub.count() == 1, "the stream")
    (only,) = hub.streams.open.values()
    only.writer.abort()
    with pytest.raises(TimeoutError):
        await task


async def test_t13_a_request_cancelled_by_its_server_still_says_goodbye(hub: Hub) -> None:
    """T13: some servers end requests by cancelling them. The client gets `closing` and the body's end, and the cancellation
    goes on its way."""
    bodies: list[bytes] = []
    started = asyncio.Event()

    async def send(message: Any) -> None:
        bodies.append(message.get("body", b""))
        if bodies[-1]:
            started.set()

    async def receive() -> Any:
        await asyncio.Event().wait()

    scope: Any = {"type": "http", "method": "GET", "headers": []}
    task = asyncio.create_task(response(hub)(scope, receive, send))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert b'{"reason":"drain"}' in bodies[-2]
    assert bodies[-1] == b""
    assert hub.statistics().ended == {"drain": 1}


async def test_a_request_cancelled_when_its_stream_is_over_is_just_cancelled(hub: Hub) -> None:
    """Nothing is said twice."""
    started = asyncio.Event()

    async def send(message: Any) -> None:
        if message.get("body"):
            started.set()

    async def receive() -> Any:
        await asyncio.Event().wait()

    async def held(message: Any) -> None:
        await send(message)
        if b"closing" in message.get("body", b""):
            await asyncio.Event().wait()

    scope: Any = {"type": "http", "method": "GET", "headers": []}
    task = asyncio.create_task(response(hub)(scope, receive, held))
    await started.wait()
    (only,) = hub.streams.open.values()
    hub.end(only, CloseReason.ADMIN)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert hub.statistics().ended == {"admin": 1}


async def test_a_writer_that_is_full_before_it_begins_says_so(hub: Hub) -> None:
    """What was written before the hub knows the stream counts too."""
    writer = SendWriter(hub)
    writer.write(b"x" * (HIGH_WATER + 1))
    async with hub.prepare(Subscription(channels=("a",))) as opening:
        writer.begin(opening.attach(writer))
    assert hub.statistics().lagging == 1


async def test_aborting_outside_a_task_is_harmless(hub: Hub) -> None:
    """A writer made by a callback has no task to cancel."""
    made: list[SendWriter] = []
    asyncio.get_running_loop().call_soon(lambda: made.append(SendWriter(hub)))
    await asyncio.sleep(0)
    made[0].abort()
