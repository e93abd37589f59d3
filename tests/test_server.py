"""The detaching protocol and the configuration around it. How it behaves on the wire is in tests/e2e; here is what a test
with real sockets cannot make happen on purpose."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from headwater import server, wire
from headwater.brokers import open_broker
from headwater.hub import Hub, Subscription
from headwater.server import DetachingProtocol, KeepingProtocol, StreamProtocol, config, http_protocol, self_check
from tests.support.connection import (
    REQUEST,
    Transport,
    complete,
    connection,
    first_offer_of,
    nothing,
    offer_of,
    started,
)


@pytest.fixture
async def hub() -> Any:
    """A running hub in memory."""
    made = Hub(open_broker("memory://"))
    await made.start()
    yield made
    await made.stop()


async def streamed(hub: Hub, protocol: DetachingProtocol) -> StreamProtocol:
    """A stream on the connection."""
    async with hub.prepare(Subscription(channels=("a",))) as opening:
        writer = await (await started(protocol))(hub)
        writer.begin(opening.attach(writer))
    assert isinstance(writer, StreamProtocol)
    return writer


async def test_a_detached_connection_leaves_nothing_of_uvicorns_protocol(hub: Hub) -> None:
    """The transport has a new owner, uvicorn lists that one, and the old one holds neither transport, parser nor request."""
    transport = Transport()
    protocol = connection(transport)
    writer = await streamed(hub, protocol)
    assert transport.protocol is writer
    assert protocol.connections == {writer}
    for part in ("cycle", "parser", "transport", "flow", "scope"):
        assert getattr(protocol, part) is None
    assert b"transfer-encoding: chunked" in transport.written
    assert b"event: connected" in transport.written


async def test_events_are_chunks_on_the_transport(hub: Hub) -> None:
    """One chunk for one event, and the last chunk at the end."""
    transport = Transport()
    writer = await streamed(hub, connection(transport))
    before = len(transport.written)
    position = await hub.publish("a", "said", 1)
    assert transport.written[before:] == wire.chunk(f"id: {position}\nevent: said\ndata: 1\n\n".encode())
    writer.shutdown()
    assert transport.written.endswith(wire.LAST_CHUNK)
    assert transport.ended == "closed"
    writer.connection_lost(None)
    assert hub.count() == 0


async def test_http_1_0_has_no_chunks(hub: Hub) -> None:
    """Its body is the bytes as they are, and ends with the connection."""
    transport = Transport()
    protocol = connection(transport, request=REQUEST.replace(b"1.1", b"1.0"))
    offer = offer_of(protocol)
    offer.prepare()
    writer = await (await started(protocol))(hub)
    assert writer.chunked is False
    writer.finish()
    assert b"chunked" not in transport.written
    assert not transport.written.endswith(wire.LAST_CHUNK)


@pytest.mark.parametrize("version", [b"0.9", b"1.0"])
async def test_an_unframed_body_may_also_end_through_asgi(hub: Hub, version: bytes) -> None:
    """A middleware that has to see the body of an HTTP/1.0 response gets it, and its end is no error: uvicorn would miss
    the bytes of a Content-Length that was never sent."""
    transport = Transport()
    protocol = connection(transport, request=REQUEST.replace(b"1.1", version))
    offer_of(protocol).prepare()
    assert await (await started(protocol, content_encoding="gzip"))(hub) is None
    cycle = protocol.cycle
    await cycle.send({"type": "http.response.body", "body": b"some", "more_body": True})
    await cycle.send({"type": "http.response.body", "body": b" more"})
    assert transport.written.endswith(b"\r\n\r\nsome more")
    assert transport.ended == "closed"


async def test_prepare_leaves_http_1_1_alone() -> None:
    """Chunks are decided by uvicorn as ever."""
    protocol = connection(Transport())
    offer_of(protocol).prepare()
    assert protocol.cycle.chunked_encoding is None


async def test_what_the_socket_says_reaches_the_hub(hub: Hub) -> None:
    """Full, drained, more requests, lost: each is the stream's affair."""
    transport = Transport()
    writer = await streamed(hub, connection(transport))
    writer.pause_writing()
    assert hub.statistics().lagging == 1
    writer.resume_writing()
    assert hub.statistics().live == 1
    writer.data_received(b"GET / HTTP/1.1\r\n\r\n")
    assert hub.statistics().ended == {"pipelined": 1}
    writer.connection_lost(None)


async def test_a_socket_that_the_first_frame_fills_is_full(hub: Hub) -> None:
    """A transport says so from within the write of the first frame, when nobody is told of yet whose it is, and never again:
    the stream would stay live, and all that comes would gather in memory for a client that does not read."""
    transport = Transport(high_water=1_000)
    protocol = connection(transport)
    async with hub.prepare(Subscription(channels=("a",), hello={"state": "x" * 10_000})) as opening:
        writer = await (await started(protocol))(hub)
        writer.begin(opening.attach(writer))
    assert hub.statistics().lagging == 1
    writer.resume_writing()
    assert hub.statistics().live == 1
    writer.connection_lost(None)


async def test_a_socket_that_is_full_already_is_full(hub: Hub) -> None:
    """What the connection sent before, and the head, may have filled it; then uvicorn's protocol was told, not ours."""
    protocol = connection(Transport())
    protocol.pause_writing()
    async with hub.prepare(Subscription(channels=("a",))) as opening:
        protocol.cycle.response_started = True
        writer = await offer_of(protocol)(hub)
        writer.begin(opening.attach(writer))
    assert hub.statistics().lagging == 1
    writer.connection_lost(None)


async def test_before_it_has_a_stream_the_socket_is_ignored(hub: Hub) -> None:
    """Between letting go and beginning there is nobody to tell."""
    writer = await (await started(connection(Transport())))(hub)
    writer.pause_writing()
    writer.resume_writing()
    writer.data_received(b"x")
    writer.shutdown()
    writer.connection_lost(None)
    assert hub.statistics().opened == 0


async def test_abort_cuts(hub: Hub) -> None:
    """No waiting for a client that does not read."""
    transport = Transport()
    (await (await started(connection(transport)))(hub)).abort()
    assert transport.ended == "aborted"


@pytest.mark.parametrize("obstacle", ["encoded", "closing", "gone", "complete", "body"])
async def test_what_cannot_be_detached_is_not(hub: Hub, obstacle: str) -> None:
    """A body that is encoded, a connection that is closing or gone, a finished response, a request still sending its own
    body: the stream then goes through ASGI."""
    transport = Transport()
    request = REQUEST.replace(b"\r\n\r\n", b"\r\nContent-Length: 5\r\n\r\nab") if obstacle == "body" else REQUEST
    protocol = connection(transport, request=request)
    offer = await started(protocol, **({"content_encoding": "gzip"} if obstacle == "encoded" else {}))
    match obstacle:
        case "closing":
            transport.ended = "closed"
        case "gone":
            protocol.cycle.disconnected = True
        case "complete":
            protocol.cycle.response_complete = True
    assert await offer(hub) is None
    assert transport.protocol is None


async def test_a_head_that_does_not_come_is_not_waited_for(hub: Hub) -> None:
    """After PATIENCE turns of the loop the offer lapses."""
    protocol = connection(Transport())
    assert await offer_of(protocol)(hub) is None


async def test_t10_a_request_already_waiting_ends_the_stream(hub: Hub, caplog: pytest.LogCaptureFixture) -> None:
    """T10: it was pipelined before the stream began. The stream is told of it in the next turn and ends with its reason and
    cleanly, and the application that returned without an end of its own is not taken for a broken one."""
    transport = Transport()
    done = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async with hub.prepare(Subscription(channels=("a",))) as opening:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            writer = await scope["extensions"]["headwater.detach"](hub)
            writer.begin(opening.attach(writer))
        asyncio.get_running_loop().call_soon(done.set)

    connection(transport, app, REQUEST + REQUEST)
    await done.wait()
    assert hub.statistics().ended == {"pipelined": 1}
    assert b'{"reason":"pipelined"}' in transport.written
    assert transport.written.endswith(wire.LAST_CHUNK)
    assert "without completing" not in caplog.text
    transport.protocol.connection_lost(None)


async def test_t10_every_request_of_a_connection_hears_of_its_end() -> None:
    """T10: uvicorn tells the newest only; the one that is being answered would wait for ever, and keep its place."""
    heard: list[str] = []
    ended = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await nothing(scope, receive, send)
        heard.append(scope["path"])
        ended.set()

    protocol = connection(Transport(), app, REQUEST + REQUEST.replace(b"GET /", b"GET /second"))
    (queued, _), newest = protocol.pipeline[0], protocol.cycle
    await asyncio.sleep(0)
    protocol.connection_lost(None)
    await ended.wait()
    assert heard == ["/"]
    assert queued is newest
    assert queued.disconnected


@pytest.mark.parametrize("when", ["before", "after"])
async def test_t10_a_request_behind_a_stream_through_asgi_ends_it(hub: Hub, when: str) -> None:
    """T10: uvicorn reads nothing more from a connection with a request waiting, so it would not hear of the client's end."""
    transport = Transport()
    protocol = connection(transport, request=REQUEST + (REQUEST if when == "before" else b""))
    first, offer = protocol._cycles[0], first_offer_of(protocol)
    offer.prepare()
    await first.send({"type": "http.response.start", "status": 200, "headers": [(b"content-encoding", b"gzip")]})
    assert await offer(hub) is None
    if when == "after":
        assert transport.ended == ""
        protocol.data_received(REQUEST)
    assert transport.ended == "closed"


async def test_a_request_behind_an_answer_with_an_end_waits(hub: Hub) -> None:
    """That is ordinary pipelining, also on a connection that has had a stream through ASGI, which ended."""
    transport = Transport()
    protocol = connection(transport)
    first, offer = protocol.cycle, offer_of(protocol)
    offer.prepare()
    await complete(protocol)
    protocol.data_received(REQUEST + REQUEST)
    assert first.response_complete
    assert transport.ended == ""


async def test_a_websocket_handshake_is_left_to_uvicorn() -> None:
    """There is no response to detach, so nothing is offered."""
    protocol = connection(Transport(), request=b"")
    protocol.ws_protocol_class = object  # type: ignore[assignment]
    protocol.handle_websocket_upgrade = lambda: None  # type: ignore[method-assign]
    protocol.data_received(REQUEST.replace(b"\r\n\r\n", b"\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"))
    assert protocol.cycle is None


def test_the_installed_uvicorn_has_what_we_need() -> None:
    """T2: every private name that the direct way uses is there in the pinned version."""
    assert self_check() == []
    assert http_protocol() is DetachingProtocol


@pytest.mark.parametrize(
    ("owner", "name"), [(HttpToolsProtocol, "_unset_keepalive_if_required"), (RequestResponseCycle, "send")]
)
def test_t02_without_a_name_streams_fall_back(
    owner: type, name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """T2: a uvicorn that has changed inside is served through ASGI, with a warning that names what is missing."""
    monkeypatch.delattr(owner, name)
    with caplog.at_level(logging.WARNING):
        assert http_protocol() == "auto"
    assert f"{owner.__name__}.{name}" in caplog.text


def test_t02_attributes_of_a_request_are_looked_for_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """T2: those that `__init__` sets are found by name in its code."""
    monkeypatch.setattr(server, "_NEEDED_OF_INSTANCES", {RequestResponseCycle: ("response_started", "renamed")})
    assert self_check() == ["RequestResponseCycle.renamed"]


def test_the_direct_way_can_be_switched_off() -> None:
    """For applications whose middlewares must see every byte."""
    assert http_protocol(direct=False) is KeepingProtocol


async def test_a_protocol_may_keep_its_connections(hub: Hub) -> None:
    """Streams then go through ASGI; what a connection may send and hold stays bounded all the same."""
    protocol = connection(Transport())
    protocol.lets_go = False
    assert await (await started(protocol))(hub) is None


def test_t40_a_concurrency_limit_is_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    """T40: uvicorn's --limit-concurrency counts every open stream and then answers 503 to everything."""
    with caplog.at_level(logging.WARNING):
        made = config(nothing, limit_concurrency=100, port=1, grace=2.4)
    assert "HEADWATER_MAX_STREAMS" in caplog.text
    assert (made.timeout_graceful_shutdown, made.port, made.server_header) == (2, 1, False)


def test_without_such_a_limit_nothing_is_said(caplog: pytest.LogCaptureFixture) -> None:
    """The defaults are our own."""
    with caplog.at_level(logging.WARNING):
        assert config(nothing).http is DetachingProtocol
    assert not caplog.text
