"""The stream as a response: its head, the fallback through `send`, and every way in which either can end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from headwater.asgi.stream import DETACH, StreamResponse
from headwater.brokers import open_broker
from headwater.errors import BrokerUnavailable
from headwater.hub import Hub, Subscription
from headwater.testing.asgi import open_stream, request


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    """A running hub in memory."""
    made = Hub(open_broker("memory://"))
    await made.start()
    yield made
    await made.stop()


class Released:
    """Counts how often what was lent for a stream is given back."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> None:
        self.times += 1


async def forever() -> Any:
    """Never anything."""
    await asyncio.Event().wait()


async def ignore(message: Any) -> None:
    """Take a message."""


def response(hub: Hub, released: Released | None = None, headers: dict[str, str] | None = None) -> StreamResponse:
    """A stream of channel a."""
    return StreamResponse(hub, Subscription(channels=("a",), release=released), headers=headers)


async def test_first_bytes_come_at_once_and_events_follow(hub: Hub) -> None:
    """The head has the headers that proxies need, and the first frame does not wait for an event."""
    async with open_stream(response(hub, headers={"x-extra": "1"}), "/") as stream:
        assert stream.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert (stream.headers["vary"], stream.headers["x-extra"]) == ("Accept", "1")
        assert "content-length" not in stream.headers
        assert (await stream.message()).type == "connected"
        await hub.publish("a", "said", 1)
        assert (await stream.message()).data == "1"


async def test_t22_head_has_no_body_and_no_stream(hub: Hub) -> None:
    """T22: HEAD gets the head, opens nothing, and gives back what was lent."""
    released = Released()
    reply = await request(response(hub, released), "HEAD", "/")
    assert (reply.status, reply.body) == (200, b"")
    assert hub.statistics().opened == 0
    assert released.times == 1


async def test_t22_head_gives_back_even_what_cannot_be_answered(hub: Hub) -> None:
    """Some servers raise when the client has gone meanwhile."""
    released = Released()

    async def send(message: Any) -> None:
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        await response(hub, released)({"type": "http", "method": "HEAD", "headers": []}, forever, send)
    assert released.times == 1


async def test_a_client_that_goes_ends_its_stream(hub: Hub) -> None:
    """The stream is closed, what was lent is given back once, and no task is left."""
    released = Released()
    before = asyncio.all_tasks()
    async with open_stream(response(hub, released), "/") as stream:
        await stream.message()
    assert hub.statistics().ended == {"client": 1}
    assert released.times == 1
    assert asyncio.all_tasks() == before


async def test_a_drain_ends_the_body(hub: Hub) -> None:
    """`closing`, then the end that HTTP knows."""
    async with open_stream(response(hub), "/") as stream:
        await stream.message()
        draining = asyncio.create_task(hub.drain(5))
        assert [message.type async for message in stream] == ["closing"]
        assert await draining is True


async def test_draining_refuses_before_the_head(hub: Hub) -> None:
    """503 with Retry-After as a problem, counted, and nothing is kept."""
    released = Released()
    await hub.drain(0)
    reply = await request(response(hub, released), "GET", "/")
    assert reply.status == 503
    assert int(reply.headers["retry-after"]) >= 1
    assert hub.statistics().rejections == {"Draining": 1}
    assert released.times == 1


async def test_a_broker_that_cannot_follow_is_a_503(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """What fails before the head is a response, not a cut stream."""

    async def fail(channels: Any) -> Any:
        raise BrokerUnavailable("the log is gone", retry_after=3)

    released = Released()
    monkeypatch.setattr(hub.broker, "follow", fail)
    reply = await request(response(hub, released), "GET", "/")
    assert (reply.status, reply.headers["retry-after"]) == (503, "3")
    assert released.times == 1


async def test_a_cancelled_request_gives_back_what_was_lent(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client went, or the server stopped, while the broker was asked."""
    asked = asyncio.Event()

    async def hang(channels: Any) -> Any:
        asked.set()
        await asyncio.Event().wait()

    released = Released()
    monkeypatch.setattr(hub.broker, "follow", hang)
    task = asyncio.create_task(request(response(hub, released), "GET", "/"))
    await asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert released.times == 1


async def test_a_hello_that_is_no_json_is_an_error_of_the_application(hub: Hub) -> None:
    """Said in the log, and to the client only that something is wrong."""
    wrong = StreamResponse(hub, Subscription(channels=("a",), hello={"x": object()}))
    reply = await request(wrong, "GET", "/")
    assert reply.status == 500
    assert b"hello" not in reply.body


async def test_an_error_after_the_head_is_no_second_head(hub: Hub) -> None:
    """The server has to cut the connection; what was lent is given back."""

    class Broken(DrainsAfterTheHead):
        async def __call__(self, hub: Hub) -> Any:
            raise BrokerUnavailable("in the middle of it")

    released = Released()
    with pytest.raises(BrokerUnavailable):
        await call(response(hub, released), Broken(hub))
    assert released.times == 1


async def test_what_was_lent_is_given_back_once_however_it_ends(hub: Hub) -> None:
    """A request that is cancelled while its stream is open ends the stream, which gives it back."""
    released = Released()
    task = asyncio.create_task(request(response(hub, released), "GET", "/"))
    while not hub.count():
        await asyncio.wait([task], timeout=0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert released.times == 1


class DrainsAfterTheHead:
    """An offer to detach during which the hub begins to drain."""

    def __init__(self, hub: Hub, writer: Any = None) -> None:
        self._hub = hub
        self._writer = writer

    def prepare(self) -> None:
        """Before the head."""

    async def __call__(self, hub: Hub) -> Any:
        """After it."""
        await self._hub.drain(0)
        return self._writer


class Ended:
    """A detached connection that says whether it was ended."""

    chunked = False
    finished = False

    def begin(self, stream: Any) -> None:
        """Never reached."""

    def finish(self) -> None:
        """End the body."""
        self.finished = True


async def call(app: StreamResponse, detach: Any) -> list[dict[str, Any]]:
    """What the application sends, with an offer to detach in its scope."""
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.disconnect"}

    scope: Any = {"type": "http", "method": "GET", "headers": [], "extensions": {DETACH: detach}}
    await app(scope, receive, send)
    return sent


async def test_a_drain_between_head_and_stream_ends_the_body_at_once(hub: Hub) -> None:
    """The head is out, so there is no other status to give: an empty body, through `send` or on the connection itself."""
    released = Released()
    sent = await call(response(hub, released), DrainsAfterTheHead(hub))
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    assert released.times == 1


async def test_a_drain_after_detaching_ends_the_connection(hub: Hub) -> None:
    """The same where the server has let go of the connection already."""
    released, writer = Released(), Ended()
    sent = await call(response(hub, released), DrainsAfterTheHead(hub, writer))
    assert [message["type"] for message in sent] == ["http.response.start"]
    assert writer.finished
    assert released.times == 1


async def test_t12_one_reader_of_the_clients_messages(hub: Hub) -> None:
    """T12: two tasks that call `receive` would steal each other's messages; the stream has one such call open, no more."""
    waiting = most = 0
    gone = asyncio.Event()

    async def receive() -> Any:
        nonlocal waiting, most
        waiting += 1
        most = max(most, waiting)
        await gone.wait()
        waiting -= 1
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if b"event: connected" in message.get("body", b""):
            begun.set()
        if b"event: said" in message.get("body", b""):
            gone.set()

    begun = asyncio.Event()
    scope: Any = {"type": "http", "method": "GET", "headers": []}
    task = asyncio.create_task(response(hub)(scope, receive, send))
    await begun.wait()
    await hub.publish("a", "said", 1)
    await task
    assert most == 1
    assert hub.statistics().ended == {"client": 1}


class LetGo(Ended):
    """An offer that is kept: a connection that the server has let go of."""

    def __init__(self) -> None:
        self.written = b""
        self.stream: Any = None

    def prepare(self) -> None:
        """Before the head."""

    async def __call__(self, hub: Hub) -> Any:
        """After it."""
        return self

    def write(self, data: bytes) -> None:
        """Keep the bytes."""
        self.written += data

    def abort(self) -> None:
        """Never reached."""

    def begin(self, stream: Any) -> None:
        """Whose connection it is."""
        self.stream = stream


async def test_a_detached_stream_outlives_its_request(hub: Hub) -> None:
    """The application returns after the head; everything else goes to the connection, and nothing through `send`."""
    released, writer = Released(), LetGo()
    sent = await call(response(hub, released), writer)
    assert [message["type"] for message in sent] == ["http.response.start"]
    await hub.publish("a", "said", 1)
    assert b"event: connected" in writer.written
    assert writer.written.endswith(b"event: said\ndata: 1\n\n")
    assert released.times == 0
    hub.lost(writer.stream)
    assert released.times == 1


async def test_a_stalled_client_lags_and_catches_up(hub: Hub) -> None:
    """What waits for `send` counts: over HIGH_WATER the stream leaves the live set, and comes back when it is sent."""
    async with open_stream(response(hub), "/") as stream:
        await stream.message()
        sent = [await hub.publish("a", "big", f"{number} " + "x" * 50_000) for number in range(40)]
        assert hub.statistics().lagging == 1
        got = [await stream.message() for _ in sent]
        assert [message.id for message in got] == [str(position) for position in sent]
        await hub.publish("a", "small", 1)
        assert (await stream.message()).data == "1"
        assert hub.statistics().live == 1
