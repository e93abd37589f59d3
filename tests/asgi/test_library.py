"""The hub in somebody's application: lifespan, signals, and what `stream` makes of a request."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.requests import Request

from headwater import Hub, Limiter, Limits, Principal
from headwater.brokers import open_broker
from headwater.errors import (
    ConfigurationError,
    InvalidChannel,
    InvalidCursor,
    InvalidInput,
    NotAcceptable,
    TooManyRequests,
)
from headwater.testing.asgi import open_stream
from headwater.testing.asgi import request as call
from tests.support.waiting import until


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    """A running hub in memory."""
    made = Hub("memory://")
    async with made.lifespan():
        yield made


def asking(query: str = "", **headers: str) -> Request:
    """A request as a route gets it."""
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": "GET", "path": "/", "query_string": query.encode(), "headers": pairs}
    return Request({**scope, "client": ("192.0.2.7", 1)})


async def test_stream_makes_a_stream_of_what_the_request_asks(hub: Hub) -> None:
    """Cursor and address come from the request; channels, principal and shape from the application."""
    await hub.publish("a", "said", 1, permissions=["p"])
    await hub.publish("b", "said", 2)
    response = hub.stream(
        asking("since=all"),
        "a",
        "b",
        "a",
        principal=Principal(id="ada", permissions=frozenset({"p"})),
        connected="hello",
        hello=lambda default: {"mine": default["channels"]},
        headers={"x-mine": "1"},
    )
    async with open_stream(response, "/") as stream:
        assert stream.headers["x-mine"] == "1"
        first, *rest = [await stream.message() for _ in range(3)]
        assert (first.type, json.loads(first.data)) == ("hello", {"mine": ["a", "b"]})
        assert [(message.channel, message.data) for message in rest] == [("a", "1"), ("b", "2")]
        (info,) = hub.infos()
        assert (info.principal, info.address, info.channels) == ("ada", "192.0.2.7", ("a", "b"))


async def test_the_same_request_as_a_poll(hub: Hub) -> None:
    """`Accept: application/json` on the same route gets the same events as JSON."""
    await hub.publish("a", "said", 1)
    reply = await call(hub.stream(asking("since=all", accept="application/json"), "a"), "GET", "/")
    assert [event["data"] for event in reply.json()["events"]] == [1]


async def test_fields_are_added_to_the_first_frame(hub: Hub) -> None:
    """A mapping as hello extends the default."""
    async with open_stream(hub.stream(asking(), "a", hello={"roomId": 7}), "/") as stream:
        data = json.loads((await stream.message()).data)
        assert data["roomId"] == 7
        assert {"cursor", "channels", "time"} < data.keys()


async def test_malformed_requests_are_errors_in_the_route(hub: Hub) -> None:
    """They can be handled where other errors of the application are."""
    with pytest.raises(InvalidInput, match="no channel"):
        hub.stream(asking())
    with pytest.raises(InvalidChannel):
        hub.stream(asking(), "a b")
    with pytest.raises(InvalidChannel):
        hub.stream(asking(), "$own")
    with pytest.raises(InvalidCursor):
        hub.stream(asking("since=x"), "a")
    with pytest.raises(NotAcceptable):
        hub.stream(asking(accept="image/png"), "a")


async def test_t43_a_request_of_another_kind_of_framework_is_refused(hub: Hub) -> None:
    """T43: under WSGI an endless response would be collected for ever; the error says what to do instead."""
    request: Any = {"wsgi.version": (1, 0)}
    with pytest.raises(ConfigurationError, match=r"builtins\.dict.*under ASGI.*headwater serve"):
        hub.stream(request, "a")


@pytest.mark.parametrize("heartbeat", [0, 0.0])
async def test_t23_a_heartbeat_of_zero_is_none(hub: Hub, heartbeat: float) -> None:
    """T23: 0 means off, not as fast as possible."""
    async with open_stream(hub.stream(asking(), "a", heartbeat=heartbeat), "/") as stream:
        await stream.message()
        (only,) = hub.streams.open.values()
        assert only.heartbeat_at == float("inf")


@pytest.mark.parametrize(
    ("choice", "line"), [(False, b""), (True, b":\n"), ("heartbeat", b":heartbeat\n"), ("", b":\n")]
)
async def test_a_heartbeat_may_be_a_comment(hub: Hub, choice: bool | str, line: bytes) -> None:
    """Bare, or with the text that somebody's front end looks for."""
    async with open_stream(hub.stream(asking(), "a", heartbeat_comment=choice), "/") as stream:
        await stream.message()
        (only,) = hub.streams.open.values()
        assert only.comment_heartbeat == line


async def test_t20_a_heartbeat_comes_every_15_seconds_unless_you_say_otherwise(hub: Hub) -> None:
    """T20: well below the 30 to 60 seconds after which proxies end a silent connection."""
    assert hub.timing.heartbeat == 15
    async with open_stream(hub.stream(asking(), "a", heartbeat=30), "/") as stream:
        await stream.message()
        (only,) = hub.streams.open.values()
        assert only.heartbeat == 30


async def test_a_broker_of_your_own_is_taken_as_it_is() -> None:
    """An object instead of a URL."""
    broker = open_broker("memory://")
    hub = Hub(broker, heartbeat=3)
    assert hub.broker is broker
    assert hub.timing.heartbeat == 3


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_t03_a_signal_drains_and_then_goes_where_it_went_before(number: signal.Signals) -> None:
    """T3: the hub puts itself before the handler that the server installed, and takes itself out at the end."""
    heard: list[int] = []
    before = signal.signal(number, lambda number, frame: heard.append(number))
    try:
        installed = signal.getsignal(number)
        hub = Hub("memory://")
        async with hub.lifespan():
            async with open_stream(hub.stream(asking(), "a"), "/") as stream:
                await stream.message()
                os.kill(os.getpid(), number)
                assert [message.type async for message in stream] == ["closing"]
            assert hub.is_draining
            assert heard == [number]
            os.kill(os.getpid(), number)
            await asyncio.sleep(0)
            assert heard == [number, number]
        assert signal.getsignal(number) is installed
    finally:
        signal.signal(number, before)


async def test_a_handler_installed_later_is_left_alone() -> None:
    """Whoever chained after us keeps its place."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        async with Hub("memory://").lifespan():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)


async def test_the_default_action_follows_the_drain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a server's handler the signal does what it would have done: it is raised again with its default action."""
    raised: list[int] = []
    monkeypatch.setattr(signal, "raise_signal", raised.append)
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        async with Hub("memory://").lifespan():
            handler: Any = signal.getsignal(signal.SIGTERM)
            handler(signal.SIGTERM, None)
        assert raised == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)


async def test_an_ignored_signal_stays_ignored() -> None:
    """A shell starts its background jobs with SIGINT ignored. A Ctrl-C for something else must not drain the hub of a
    process that goes on."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        hub = Hub("memory://")
        async with hub.lifespan():
            signal.raise_signal(signal.SIGINT)
            await asyncio.sleep(0)
            assert not hub.is_draining
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


async def test_a_handler_that_is_not_pythons_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """An embedding program's. It could neither be called nor put back."""
    installed: list[int] = []
    with monkeypatch.context() as patch:
        patch.setattr(signal, "getsignal", lambda number: None)
        patch.setattr(signal, "signal", lambda number, handler: installed.append(number))
        async with Hub("memory://").lifespan():
            pass
    assert installed == []


def test_t03_in_another_thread_there_are_no_signals() -> None:
    """T3: a server in a thread works; its application calls `drain` itself, here through the end of the lifespan."""
    done: list[bool] = []

    async def main() -> None:
        handler = signal.getsignal(signal.SIGTERM)
        hub = Hub("memory://")
        async with hub.lifespan():
            assert signal.getsignal(signal.SIGTERM) is handler
            await hub.publish("a")
        done.append(hub.is_draining)

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    thread.join()
    assert done == [True]


async def test_a_late_signal_finds_the_hub_stopped() -> None:
    """A signal that comes after the end changes nothing."""
    hub = Hub("memory://")
    handlers: list[Any] = []
    async with hub.lifespan():
        handlers.append(signal.getsignal(signal.SIGINT))
        hub._drain_soon()
        await asyncio.sleep(0)
        hub._drain_soon()
    hub._drain_soon()


def test_a_signal_after_the_loop_has_closed_is_passed_on() -> None:
    """Between the loop's end and the process's, the server's handler still gets it."""
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    try:
        hub = Hub("memory://")

        async def main() -> Any:
            async with hub.lifespan():
                return signal.getsignal(signal.SIGTERM)

        handler = asyncio.run(main())
        handler(signal.SIGTERM, None)
        assert heard == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)


async def test_a_limiter_counts_streams_until_they_are_over(hub: Hub) -> None:
    """And refuses one too many. What never becomes a stream is not counted, and the application hears of the end, too."""
    limiter, ended = Limiter(Limits(max_streams_per_principal=1)), asyncio.Event()
    ada = Principal(id="ada")
    async with open_stream(hub.stream(asking(), "a", principal=ada, limiter=limiter, release=ended.set), "/") as stream:
        await stream.message()
        assert limiter.streams == 1
        with pytest.raises(TooManyRequests):
            hub.stream(asking(), "a", principal=ada, limiter=limiter)
    await ended.wait()
    assert limiter.streams == 0
    async with open_stream(hub.stream(asking(), "a", limiter=limiter), "/") as stream:
        assert limiter.streams == 1
    with pytest.raises(NotAcceptable):
        hub.stream(asking(accept="image/png"), "a", principal=ada, limiter=limiter)
    await until(lambda: limiter.streams == 0, "all places to be free")
