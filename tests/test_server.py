"""The detaching protocol and the configuration around it. How it behaves on the wire is in tests/e2e; here is what a test
with real sockets cannot make happen on purpose."""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import Any

import pytest
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from headwater import server, wire
from headwater.brokers import open_broker
from headwater.hub import Hub, Subscription
from headwater.server import DetachingProtocol, StreamProtocol, config, http_protocol, self_check

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


class Transport(asyncio.Transport):
    """A transport that writes down what is done to it."""

    def __init__(self, sock: socket.socket | None = None) -> None:
        super().__init__({"socket": sock} if sock else {})
        self.written = b""
        self.ended = ""
        self.protocol: Any = None

    def write(self, data: Any) -> None:
        """Keep the bytes."""
        self.written += bytes(data)

    def close(self) -> None:
        """A clean end."""
        self.ended = self.ended or "closed"

    def abort(self) -> None:
        """An abrupt one."""
        self.ended = "aborted"

    def is_closing(self) -> bool:
        """After either."""
        return bool(self.ended)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """The new owner."""
        self.protocol = protocol

    def pause_reading(self) -> None:
        """Nothing to pause."""

    def resume_reading(self) -> None:
        """Nothing to resume."""


async def nothing(scope: Any, receive: Any, send: Any) -> None:
    """An application that never answers, and ends with the connection."""
    while (await receive())["type"] != "http.disconnect":
        pass


def connection(transport: Transport, app: Any = nothing, request: bytes = REQUEST) -> DetachingProtocol:
    """A protocol that has read a request's head."""
    made = uvicorn.Config(app, log_config=None, access_log=False)
    made.load()
    protocol = DetachingProtocol(made, ServerState(), {})
    protocol.connection_made(transport)
    if request:
        protocol.data_received(request)
    return protocol


def offer_of(protocol: DetachingProtocol) -> Any:
    """The offer to detach, as an application finds it in its scope."""
    scope: Any = protocol.scope
    return scope["extensions"]["headwater.detach"]


async def started(protocol: DetachingProtocol, **headers: str) -> Any:
    """Send a response's head through the protocol, and the offer to detach."""
    offer = offer_of(protocol)
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    await protocol.cycle.send({"type": "http.response.start", "status": 200, "headers": pairs})
    return offer


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


async def test_t10_a_request_already_waiting_ends_the_stream(hub: Hub) -> None:
    """T10: it was pipelined before the stream began; the stream is told of it in the next turn."""
    transport = Transport()
    writer = await streamed(hub, connection(transport, request=REQUEST + REQUEST))
    await asyncio.sleep(0)
    assert hub.statistics().ended == {"pipelined": 1}
    writer.connection_lost(None)


async def test_t10_every_request_of_a_connection_hears_of_its_end() -> None:
    """T10: uvicorn tells the newest only; the one that is being answered would wait for ever."""
    protocol = connection(Transport(), request=REQUEST + REQUEST)
    cycles = [cycle for cycle, _ in protocol.pipeline]
    current = protocol.cycle
    protocol.connection_lost(None)
    for cycle in {current, *cycles}:
        assert cycle.disconnected
        assert cycle.message_event.is_set()


async def test_t15_a_reset_connection_keeps_no_timer() -> None:
    """T15: the keep-alive timer would hold the connection's objects for seconds after a RST."""
    protocol = connection(Transport(), request=b"")
    protocol.timeout_keep_alive_task = asyncio.get_running_loop().call_later(60, print)
    protocol.connection_lost(ConnectionResetError())
    assert protocol.timeout_keep_alive_task is None


async def test_a_connection_that_never_asked_ends_quietly() -> None:
    """No request, no error."""
    protocol = connection(Transport(), request=b"")
    protocol.connection_lost(None)
    assert not protocol.connections


async def test_t09_the_kernel_is_told_how_long_to_wait(hub: Hub) -> None:
    """T9: TCP_USER_TIMEOUT is a little more than `max_lag`, so our own eviction, which is counted, comes first."""
    with socket.socket() as sock:
        await (await started(connection(Transport(sock))))(hub)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == (60 + 10) * 1000
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == 2 * server.SEND_BUFFER


async def test_systems_without_a_user_timeout_have_the_buffer_bounded(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only Linux has TCP_USER_TIMEOUT."""
    monkeypatch.delattr(socket, "TCP_USER_TIMEOUT")
    with socket.socket() as sock:
        await (await started(connection(Transport(sock))))(hub)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == 2 * server.SEND_BUFFER


async def test_sockets_without_that_option_are_fine(hub: Hub) -> None:
    """A Unix socket has no such thing, and a closed one refuses it."""
    with socket.socket(socket.AF_UNIX) as unix:
        assert await (await started(connection(Transport(unix))))(hub) is not None
    with socket.socket() as closed:
        protocol = connection(Transport(closed))
    assert await (await started(protocol))(hub) is not None


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
    monkeypatch.setattr(server, "_NEEDED_OF_CYCLE", ("response_started", "renamed"))
    assert self_check() == ["RequestResponseCycle.renamed"]


def test_the_direct_way_can_be_switched_off() -> None:
    """For applications whose middlewares must see every byte."""
    assert http_protocol(direct=False) == "auto"


def test_t40_a_concurrency_limit_is_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    """T40: uvicorn's --limit-concurrency counts every open stream and then answers 503 to everything."""
    with caplog.at_level(logging.WARNING):
        made = config(nothing, limit_concurrency=100, port=1, grace=2.4)
    assert "HEADWATER_MAX_STREAMS" in caplog.text
    assert (made.timeout_graceful_shutdown, made.port, made.server_header) == (2, 1, False)
