"""Connections that end in every way there is, and requests that are not what they seem."""

from __future__ import annotations

import re

import pytest

from tests.e2e.calls import app_on, numbers, publish, settled, stream_of
from tests.support.proxy import proxying
from tests.support.raw import RawClient, streaming
from tests.support.server import Kind

SERVERS: list[Kind] = ["headwater", "uvicorn", "hypercorn", "granian"]


@pytest.mark.parametrize("kind", SERVERS)
async def test_a_stream_lives_and_its_end_is_noticed(kind: Kind) -> None:
    """Under every server: first bytes at once, events as they come, and a client that goes away leaves nothing behind."""
    async with app_on(kind, HEARTBEAT="1") as server:
        before = await numbers(server)
        async with stream_of(server) as client:
            await publish(server, "a", "hello")
            assert (await client.message()).data == '"hello"'
        after = await settled(server, lambda found: found["ended"] == {"client": 1}, "the stream to be noticed as gone")
        assert after["resources"] == 0
        await settled(server, lambda found: found["tasks"] <= before["tasks"], "its tasks to end")


@pytest.mark.parametrize("kind", SERVERS)
async def test_replay_after_a_reconnect_misses_nothing(kind: Kind) -> None:
    """Under every server a client that resumes with its last id gets what came meanwhile, once and in order."""
    async with app_on(kind) as server:
        async with stream_of(server) as client:
            await publish(server, "a", "one")
            cursor = (await client.message()).id
        for word in ("two", "three"):
            await publish(server, "a", word)
        async with stream_of(server, **{"Last-Event-ID": cursor}) as client:
            await publish(server, "a", "four")
            assert [message.data for message in await client.messages(3)] == ['"two"', '"three"', '"four"']


@pytest.mark.parametrize("kind", SERVERS)
async def test_t21_no_connection_header_and_the_headers_proxies_need(kind: Kind) -> None:
    """T20, T21: a stream says not to buffer, cache or transform it, and sends no `Connection` header of its own."""
    async with app_on(kind) as server, streaming(f"{server.url}/stream/a") as client:
        assert client.head is not None
        headers = client.head.headers
        assert headers["content-type"] == "text/event-stream; charset=utf-8"
        assert headers["cache-control"] == "no-cache, no-transform"
        assert headers["x-accel-buffering"] == "no"
        assert "connection" not in headers


@pytest.mark.parametrize("kind", ["headwater", "uvicorn", "hypercorn"])
async def test_t22_head_answers_without_a_stream(kind: Kind) -> None:
    """T22: HEAD gets the stream's headers, no body, and leaves the connection usable for the next request."""
    async with app_on(kind) as server, await RawClient.connect(server.url) as client:
        head = await client.request("/stream/a", method="HEAD")
        assert head.status == 200
        assert head.headers["content-type"].startswith("text/event-stream")
        assert (await client.request("/numbers")).status == 200
        assert b'"streams":0' in await client.read_body()


async def test_t24_http_1_0_gets_a_body_without_chunks() -> None:
    """T24: an HTTP/1.0 client, as nginx is by default, gets plain bytes that end with the connection."""
    async with app_on(HEARTBEAT="1") as server, await RawClient.connect(server.url) as client:
        head = await client.request("/stream/a", version="1.0")
        assert "transfer-encoding" not in head.headers
        assert head.headers["connection"] == "close"
        assert (await client.message()).type == "connected"
        await publish(server, "a", "hello")
        assert (await client.message()).data == '"hello"'
        await server.stop()
        assert b"closing" in await client.read_body()
        assert not re.search(rb"\r\n[0-9a-f]+\r\n", bytes(client.body))


async def test_t10_a_second_request_on_a_stream_ends_it() -> None:
    """T10: a request sent after the stream began could only wait for ever; the stream ends with its reason, cleanly."""
    async with app_on() as server, stream_of(server) as client:
        await client.send_request("/numbers")
        assert (await client.message()).data == '{"reason":"pipelined"}'
        await client.read_body()
        assert client.ended == "whole"
        assert (await numbers(server))["ended"] == {"pipelined": 1}


async def test_t10_pipelined_requests_do_not_hide_the_end() -> None:
    """T10: two requests in one packet; the hub does not keep a stream that nobody reads."""
    async with app_on() as server:
        async with await RawClient.connect(server.url) as client:
            request = b"GET /stream/a HTTP/1.1\r\nHost: x\r\n\r\n"
            await client.send(request + request)
            await client.read_head()
        found = await settled(server, lambda found: found["opened"] == 1 and found["streams"] == 0, "no stream")
        assert sum(found["ended"].values()) == 1


@pytest.mark.parametrize("kind", ["headwater", "uvicorn"])
async def test_t15_a_reset_connection_leaves_nothing(kind: Kind) -> None:
    """T15: after RSTs, on streams and on idle kept-alive connections, no stream, task or file is left."""
    async with app_on(kind) as server:
        before = await numbers(server)
        for target in ("/stream/a", "/numbers") * 10:
            async with await RawClient.connect(server.url) as client:
                await client.request(target)
                client.reset()
        found = await settled(server, lambda found: found["files"] <= before["files"], "files to be closed")
        assert found["streams"] == 0
        assert found["opened"] == 10


async def test_a_half_closed_connection_counts_as_gone() -> None:
    """A client that sends FIN has left: nothing is written into the dark."""
    async with app_on() as server, stream_of(server) as client:
        client.half_close()
        await settled(server, lambda found: found["ended"] == {"client": 1}, "the stream to end")


async def test_t09_a_silent_peer_is_given_up() -> None:
    """T9: a network that swallows everything. The kernel is told how long to wait for an acknowledgement, and the stream of
    a socket that stays full ends as `slow`; its memory was bounded all the time."""
    async with app_on(MAX_LAG="1") as server, proxying(server.port) as proxy:
        async with streaming(f"{proxy.url}/stream/a") as client:
            await client.message()
            proxy.stall("down")
            await publish(server, "a", "x" * 100_000, times=150)
            found = await settled(server, lambda found: found["streams"] == 0, "the silent peer's stream to end")
            assert found["ended"] == {"slow": 1}
            assert found["lagged"] >= 1


@pytest.mark.parametrize("kind", SERVERS)
async def test_a_stalled_reader_gets_everything_when_it_reads_again(kind: Kind) -> None:
    """A subscriber that stops reading slows nobody, and when it reads again gets every event in order."""
    async with app_on(kind) as server, stream_of(server) as other:
        async with await RawClient.connect(server.url, receive_buffer=4096) as client:
            await client.request("/stream/a")
            await client.message()
            client.stall()
            for number in range(60):
                await publish(server, "a", f"{number} " + "x" * 100_000)
                assert (await other.message()).data.startswith(f'"{number} ')
            client.resume()
            got = [(await client.message()).data[1:4].split()[0] for _ in range(60)]
            assert got == [str(number) for number in range(60)]


async def test_t39_dependencies_close_when_the_stream_begins() -> None:
    """T39: what a route's dependencies hold, a database session for example, is given back while the stream goes on."""
    async with app_on() as server, stream_of(server) as client:
        found = await settled(server, lambda found: found["resources"] == 0, "the dependency to close")
        assert found["streams"] == 1
        await publish(server, "a", "still here")
        assert (await client.message()).data == '"still here"'


async def test_an_idle_stream_has_no_task() -> None:
    """Under our server a hundred idle streams are a hundred connections and not one task."""
    async with app_on() as server:
        before = (await numbers(server))["tasks"]
        clients = [await RawClient.connect(server.url) for _ in range(100)]
        try:
            for client in clients:
                await client.request("/stream/a")
                await client.message()
            found = await numbers(server)
            assert found["live"] == 100
            assert found["tasks"] == before
        finally:
            for client in clients:
                await client.aclose()
