"""What the detaching protocol bounds: a request's head, in bytes and in time, and what the kernel holds for whom. How
connections are let go of is in `test_server.py`."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from headwater import server
from headwater.asgi.stream import HIGH_WATER
from headwater.brokers import open_broker
from headwater.hub import Hub
from tests.support.connection import REQUEST, Transport, complete, connection, started
from tests.support.waiting import until


@pytest.fixture
async def hub() -> Any:
    """A running hub in memory."""
    made = Hub(open_broker("memory://"))
    await made.start()
    yield made
    await made.stop()


async def test_a_head_without_end_is_refused() -> None:
    """The parser keeps what it has read of a head, so a client could fill the memory with one. It is told why, the
    connection closes, and a head within the bound is none of that."""
    transport = Transport()
    protocol = connection(transport, request=b"")
    protocol.data_received(b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: ")
    for _ in range(server.MAX_UNUSED // 1024):
        protocol.data_received(b"x" * 1024)
    assert transport.ended == ""
    protocol.data_received(b"x")
    assert transport.written.startswith(b"HTTP/1.1 431 ")
    assert transport.ended == "closed"
    protocol.data_received(b"x")  # what the client had sent meanwhile
    assert transport.written.count(b"431") == 1


async def test_a_body_without_end_of_its_own_frame_is_refused() -> None:
    """Trailers and chunk extensions are kept by the parser, too, while the request is being answered: then there is nothing
    to say, and the application hears that the client is gone."""
    transport = Transport()
    protocol = connection(transport, request=REQUEST.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n"))
    protocol.data_received(b"5\r\nhello\r\n")
    protocol.data_received(b"0\r\n")
    for _ in range(server.MAX_UNUSED // 1024 + 1):
        protocol.data_received(b"X: " + b"x" * 1019 + b"\r\n")
    assert transport.ended == "closed"
    assert transport.written == b""


async def test_a_long_body_is_no_head() -> None:
    """However many bytes of it come: each is of use."""
    transport = Transport()
    protocol = connection(transport, request=REQUEST.replace(b"\r\n\r\n", b"\r\nContent-Length: 1000000\r\n\r\n"))
    for _ in range(1000):
        protocol.data_received(b"x" * 1000)
    assert transport.ended == ""
    assert not protocol.cycle.more_body


@pytest.mark.parametrize("since", ["connecting", "the answer before"])
async def test_a_head_has_to_come_in_time(monkeypatch: pytest.MonkeyPatch, since: str) -> None:
    """A client that connects and sends nothing, or a byte now and then, would hold its connection for ever; uvicorn's own
    timer for kept connections ends with the first byte."""
    transport = Transport()
    monkeypatch.setattr(server, "HEAD_TIME", 60)
    protocol = connection(transport, request=b"" if since == "connecting" else REQUEST)
    monkeypatch.setattr(server, "HEAD_TIME", 0)
    if since == "connecting":
        protocol.connection_made(transport)
    else:
        protocol.timeout_keep_alive = 0
        await complete(protocol)
    protocol.data_received(b"GET / HT")
    await until(lambda: transport.ended == "closed", "the connection to be closed")
    protocol.connection_lost(None)


async def test_a_kept_connection_may_be_idle_for_as_long_as_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proxies rely on it: one that closes earlier than they do makes them fail requests."""
    monkeypatch.setattr(server, "HEAD_TIME", 0)
    transport = Transport()
    protocol = connection(transport)
    protocol.timeout_keep_alive = 3600
    await complete(protocol)
    for _ in range(3):
        await asyncio.sleep(0)
    assert transport.ended == ""
    protocol.connection_lost(None)


async def test_a_request_that_is_being_answered_may_take_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once its head is there nothing presses; nor does a request that waits behind another, or a response that ends its
    connection."""
    monkeypatch.setattr(server, "HEAD_TIME", 0)
    transport = Transport()
    protocol = connection(transport, request=REQUEST + REQUEST)
    first = protocol._cycles[0]
    await first.send({"type": "http.response.start", "status": 204, "headers": []})
    await first.send({"type": "http.response.body", "body": b""})
    for _ in range(3):
        await asyncio.sleep(0)
    assert transport.ended == ""
    protocol.cycle.keep_alive = False
    await complete(protocol)
    assert transport.ended == "closed"
    assert protocol._head_timer is None
    protocol.connection_lost(None)


class Gone(socket.socket):
    """A socket as uvloop shows it when its transport is closed."""

    def setsockopt(self, *args: Any) -> None:
        """Fail as that does."""
        raise ValueError("negative file descriptor")


async def test_a_transport_that_is_just_closed_has_nothing_to_bound(hub: Hub) -> None:
    """The stream hears of it in a moment; this is no error."""
    with Gone() as gone:
        assert await (await started(connection(Transport(gone))))(hub) is not None


async def test_a_client_that_takes_nothing_of_an_answer_is_given_up() -> None:
    """Not only streams: the kernel ends any connection whose peer takes nothing, before it would by itself."""
    with socket.socket() as sock:
        protocol = connection(Transport(sock), request=b"")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == server.STALL_TIME * 1000
        protocol.connection_lost(None)


async def test_t09_the_kernel_is_told_how_long_to_wait(hub: Hub) -> None:
    """T9: TCP_USER_TIMEOUT is a little more than `max_lag`, so our own eviction, which is counted, comes first."""
    with socket.socket() as sock:
        await (await started(connection(Transport(sock))))(hub)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == (60 + 10) * 1000
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == 2 * server.SEND_BUFFER


async def test_t09_a_stream_through_asgi_may_be_as_slow_as_others(hub: Hub) -> None:
    """T9: its eviction, too, comes before the kernel's."""
    with socket.socket() as sock:
        assert await (await started(connection(Transport(sock)), content_encoding="gzip"))(hub) is None
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == (60 + 10) * 1000


async def test_what_waits_in_memory_is_the_same_over_tls(hub: Hub) -> None:
    """A TLS transport by itself holds half a megabyte before it says that it is full."""
    transport = Transport()
    await (await started(connection(transport)))(hub)
    assert transport.limit == HIGH_WATER == 64 * 1024


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
