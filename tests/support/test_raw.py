"""Tests of the raw client, against servers of a few lines."""

from __future__ import annotations

import asyncio
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from tests.support.raw import Head, RawClient, streaming
from tests.support.waiting import until

STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"

Handler = Callable[[StreamReader, StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    """A TCP server that runs `handler` for each connection; its URL."""
    listener = await asyncio.start_server(handler, "127.0.0.1", 0)
    async with listener:
        yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"


def answering(answer: bytes) -> Handler:
    """A handler that reads a request's head, answers, and closes."""

    async def handle(reader: StreamReader, writer: StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()
        await writer.wait_closed()

    return handle


def test_a_head_is_read_into_lower_case_names() -> None:
    """Names are lower case and repeated headers are joined."""
    head = Head.parse(b"HTTP/1.1 204 No Content\r\nVary: Accept\r\nVARY:  Origin \r\n\r\n")
    assert (head.status, head.headers) == (204, {"vary": "Accept, Origin"})


async def test_the_request_goes_out_as_given() -> None:
    """Method, target, version, headers and body are what the test said."""
    seen = bytearray()

    async def handle(reader: StreamReader, writer: StreamWriter) -> None:
        seen.extend(await reader.readuntil(b"!"))
        await answering(b"HTTP/1.1 204 No Content\r\n\r\n")(_ended(), writer)

    def _ended() -> StreamReader:
        reader = StreamReader()
        reader.feed_data(b"\r\n\r\n")
        return reader

    async with serving(handle) as url, await RawClient.connect(url) as client:
        await client.request("/x?y", {"A": "b"}, method="POST", body=b"hi!", version="1.0")
        assert await client.read_body() == b""
    assert bytes(seen) == b"POST /x?y HTTP/1.0\r\nHost: localhost\r\nContent-Length: 3\r\nA: b\r\n\r\nhi!"


@pytest.mark.parametrize(
    ("answer", "body", "ended"),
    [
        (b"Content-Length: 3\r\n\r\nabc", b"abc", "whole"),
        (b"Content-Length: 3\r\n\r\nab", b"ab", "cut"),
        (b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n2;x=y\r\nbc\r\n0\r\nTrailer: t\r\n\r\n", b"abc", "whole"),
        (b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", b"abc", "cut"),
        (b"Transfer-Encoding: chunked\r\n\r\n3\r\na", b"a", "cut"),
        (b"\r\nabc", b"abc", "cut"),
    ],
)
async def test_a_body_and_the_manner_of_its_end(answer: bytes, body: bytes, ended: str) -> None:
    """Every framing is undone, and a body that was cut short is told from a whole one."""
    async with serving(answering(b"HTTP/1.1 200 OK\r\n" + answer)) as url, await RawClient.connect(url) as client:
        await client.request("/")
        assert (await client.read_body(), client.ended) == (body, ended)


async def test_head_has_no_body() -> None:
    """A response to HEAD has no body, whatever length it states."""
    async with (
        serving(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n")) as url,
        await RawClient.connect(url) as client,
    ):
        await client.request("/", method="HEAD")
        assert (await client.read_body(), client.ended) == (b"", "whole")


async def test_messages_come_decoded_and_comments_in_the_body() -> None:
    """Frames become messages whatever their chunks; the end of the stream is an EOFError."""
    frames = b"8\r\n:\nid: 1\n\r\n9\r\ndata: a\n\n\r\n14\r\nevent: b\ndata: c\n\n:\n\r\n0\r\n\r\n"
    async with serving(answering(STREAM_HEAD + frames)) as url, streaming(f"{url}/events?channel=a") as client:
        first, second = await client.messages(2)
        assert (first.id, first.data, second.type, second.data) == ("1", "a", "b", "c")
        assert client.body.startswith(b":\n")
        with pytest.raises(EOFError, match="whole"):
            await client.message()


async def test_messages_of_other_types_are_dropped_on_request() -> None:
    """`message_of` passes over what comes before, and `body_contains` reads until the bytes have come."""
    frames = b"9\r\ndata: a\n\n\r\n13\r\nevent: b\ndata: cc\n\n\r\n2\r\n:\n\r\n0\r\n\r\n"
    async with serving(answering(STREAM_HEAD + frames)) as url, streaming(url) as client:
        assert (await client.message_of("b")).data == "cc"
        await client.body_contains(b"\n:\n")
        with pytest.raises(EOFError):
            await client.body_contains(b"never")


async def test_a_refused_stream_fails_with_what_the_server_said() -> None:
    """`streaming` shows head and body of anything but a 200."""
    answer = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno"
    async with serving(answering(answer)) as url:
        with pytest.raises(AssertionError, match=r"(?s)403 Forbidden.*no"):
            async with streaming(url):
                pass


async def test_a_stalled_reader_holds_the_sender_up() -> None:
    """With a small receive buffer the server's writes stop soon after `stall`, and go on after `resume`."""
    sent: list[int] = []
    done = asyncio.Event()

    async def handle(reader: StreamReader, writer: StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 50000000\r\n\r\n")
        for _ in range(500):
            writer.write(bytes(100_000))
            await writer.drain()
            sent.append(100_000)
        done.set()
        writer.close()
        await writer.wait_closed()

    async with serving(handle) as url, await RawClient.connect(url, receive_buffer=4096) as client:
        await client.request("/")
        client.stall()
        await until(lambda: len(sent) > 1, "the first writes")
        assert not done.is_set()
        client.resume()
        assert len(await client.read_body()) == 50_000_000
        assert done.is_set()


async def test_half_close_leaves_the_other_direction_open() -> None:
    """After our FIN the server still answers."""

    async def handle(reader: StreamReader, writer: StreamWriter) -> None:
        await reader.read()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        writer.close()
        await writer.wait_closed()

    async with serving(handle) as url, await RawClient.connect(url) as client:
        client.half_close()
        assert (await client.read_head()).status == 200


async def test_reset_reaches_the_server_as_a_reset() -> None:
    """The server's read fails with ECONNRESET, not with a polite end."""
    outcome: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def handle(reader: StreamReader, writer: StreamWriter) -> None:
        try:
            await reader.read()
        except ConnectionResetError:
            outcome.set_result("reset")
        else:
            outcome.set_result("end")
        writer.close()

    async with serving(handle) as url, await RawClient.connect(url) as client:
        client.reset()
        assert await outcome == "reset"


async def test_a_reset_by_the_server_ends_the_body() -> None:
    """A connection that the server resets is told from one that it closed."""

    async def handle(reader: StreamReader, writer: StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(STREAM_HEAD)
        await writer.drain()
        await reader.readexactly(1)
        client_of(writer).reset()

    def client_of(writer: StreamWriter) -> RawClient:
        return RawClient(StreamReader(), writer)

    async with serving(handle) as url, streaming(url) as client:
        await client.send(b"!")
        assert (await client.read_body(), client.ended) == (b"", "reset")


async def test_a_connection_refused_leaves_nothing_open() -> None:
    """No server: the error is the system's, and the socket is closed (an open one would be a ResourceWarning)."""
    async with serving(answering(b"")) as url:
        pass
    with pytest.raises(ConnectionRefusedError):
        await RawClient.connect(url)
