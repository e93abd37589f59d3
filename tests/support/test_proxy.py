"""Tests of the stoppable proxy, in front of an echo server."""

from __future__ import annotations

import asyncio
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator

import pytest

from tests.support.proxy import Proxy, proxying
from tests.support.raw import RawClient
from tests.support.waiting import until


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    """A proxy before a server that sends back what it gets, and says `bye` when its client's direction ends."""

    async def echo(reader: StreamReader, writer: StreamWriter) -> None:
        try:
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
            writer.write(b"bye")
            await writer.drain()
        except ConnectionError:
            pass
        writer.close()

    listener = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with listener, proxying(listener.sockets[0].getsockname()[1]) as proxy:
        yield proxy


async def connect(proxy: Proxy) -> tuple[StreamReader, StreamWriter]:
    """A connection through the proxy that has been used once, so that both of its halves exist."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(b"hello")
    assert await reader.readexactly(5) == b"hello"
    return reader, writer


async def test_bytes_pass_both_ways_and_are_counted(proxy: Proxy) -> None:
    """What goes in comes out, each direction counted."""
    _, writer = await connect(proxy)
    await until(lambda: proxy.forwarded == {"up": 5, "down": 5}, "both counts")
    assert (proxy.accepted, proxy.connections) == (1, 1)
    writer.close()


async def test_an_end_passes_through(proxy: Proxy) -> None:
    """A FIN reaches the other side, whose last words still arrive; then nothing is left open."""
    reader, writer = await connect(proxy)
    writer.write_eof()
    assert await reader.read() == b"bye"
    writer.close()
    await until(lambda: proxy.connections == 0, "the connection to end")


async def test_cut_resets_and_refuses_until_restored(proxy: Proxy) -> None:
    """`cut` resets what is open and refuses what is new; after `restore` the same port works."""
    reader, writer = await connect(proxy)
    port = proxy.port
    await proxy.cut()
    with pytest.raises(ConnectionResetError):
        await reader.read()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)
    await proxy.restore()
    assert proxy.port == port
    _, again = await connect(proxy)
    writer.close()
    again.close()


async def test_drop_takes_new_connections_at_once(proxy: Proxy) -> None:
    """`drop` resets what is open; the next connection works."""
    reader, writer = await connect(proxy)
    await proxy.drop()
    with pytest.raises(ConnectionResetError):
        await reader.read()
    _, again = await connect(proxy)
    writer.close()
    again.close()


async def test_a_stalled_direction_holds_bytes_and_ends_back(proxy: Proxy) -> None:
    """While `down` is stalled nothing comes back, though the server got it all; `resume` delivers everything in order."""
    reader, writer = await connect(proxy)
    proxy.stall("down")
    writer.write(b"one")
    writer.write_eof()
    await until(lambda: proxy.forwarded["up"] == 8, "the server to get it")
    assert proxy.forwarded["down"] == 5
    proxy.resume()
    assert await reader.read() == b"onebye"
    writer.close()


async def test_a_stalled_proxy_can_be_cut(proxy: Proxy) -> None:
    """Cutting does not wait for a stalled network."""
    reader, writer = await connect(proxy)
    proxy.stall()
    writer.write(b"lost")
    await writer.drain()
    await proxy.cut()
    with pytest.raises(ConnectionResetError):
        await reader.read()
    writer.close()


async def test_a_trickle_arrives_whole(proxy: Proxy) -> None:
    """One byte at a time, in order, and fast again afterwards."""
    reader, writer = await connect(proxy)
    proxy.slow(piece=1)
    writer.write(b"byte by byte")
    assert await reader.readexactly(12) == b"byte by byte"
    proxy.slow()
    writer.close()


async def test_a_delay_holds_each_piece(proxy: Proxy) -> None:
    """A piece that goes there and back takes two delays at least."""
    reader, writer = await connect(proxy)
    proxy.slow(delay=0.01)
    loop = asyncio.get_running_loop()
    before = loop.time()
    writer.write(b"late")
    assert await reader.readexactly(4) == b"late"
    assert loop.time() - before >= 0.02
    writer.close()


async def test_half_close_ends_one_direction_only(proxy: Proxy) -> None:
    """After `half_close("up")` the server sees the end, and its last words still come down."""
    reader, writer = await connect(proxy)
    proxy.half_close("up")
    assert await reader.read() == b"bye"
    writer.close()


async def test_a_reset_passes_through(proxy: Proxy) -> None:
    """A client that resets is reset towards the server as well, and the connection is forgotten."""
    client = await RawClient.connect(proxy.url)
    await client.send(b"hello")
    await until(lambda: proxy.forwarded["down"] == 5, "the echo")
    client.reset()
    await until(lambda: proxy.connections == 0, "the connection to end")


async def test_nobody_behind_it_is_a_reset(proxy: Proxy) -> None:
    """If the upstream refuses, the client's connection is reset."""
    async with proxying(proxy.port) as second:
        await proxy.cut()
        reader, writer = await asyncio.open_connection("127.0.0.1", second.port)
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()


async def test_new_connections_may_lead_elsewhere(proxy: Proxy) -> None:
    """To a server that took the place of the first; those that are open stay where they are."""

    async def other(reader: StreamReader, writer: StreamWriter) -> None:
        writer.write(b"other")
        await writer.drain()
        writer.close()

    reader, writer = await connect(proxy)
    listener = await asyncio.start_server(other, "127.0.0.1", 0)
    async with listener:
        proxy.forward_to(listener.sockets[0].getsockname()[1])
        elsewhere, closing = await asyncio.open_connection("127.0.0.1", proxy.port)
        assert await elsewhere.read() == b"other"
        closing.close()
    writer.write(b"again")
    assert await reader.readexactly(5) == b"again"
    writer.close()
