"""Pitfalls of other libraries that need a server of a particular kind, and are not covered beside their subject."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.e2e.calls import APP, app_on, publish, settled
from tests.support.http2 import http2
from tests.support.raw import RawClient, streaming
from tests.support.server import Kind, running


@pytest.mark.parametrize("kind", ["uvicorn", "headwater"])
async def test_t16_a_client_that_goes_while_its_socket_is_full_is_noticed(kind: Kind) -> None:
    """T16: a `send` that waits for a full socket must not wait for ever when the connection is reset."""
    async with app_on(kind) as server:
        async with await RawClient.connect(server.url, receive_buffer=4096) as client:
            await client.request("/stream/a")
            client.stall()
            await publish(server, "a", "x" * 100_000, times=100)
            await settled(server, lambda found: found["lagging"] == 1, "the stream to lag")
            client.reset()
        await settled(server, lambda found: found["streams"] == 0, "the stream to end")


@pytest.mark.parametrize(("kind", "args"), [("granian", []), ("hypercorn", [])])
async def test_t14_a_stream_over_http_2_lives_and_its_end_is_noticed(kind: Kind, args: list[str]) -> None:
    """T14: over HTTP/2 a client ends one stream and not the connection. Some servers tell the application only when it
    writes next, which a heartbeat sees to."""
    async with running(APP, server=kind, args=args, env={"HEARTBEAT": "1"}) as server:
        async with http2(server.url) as client:
            number = client.get("/stream/a")
            assert (await client.message()).type == "connected"
            assert client.headers[":status"] == "200"
            assert "connection" not in client.headers
            await publish(server, "a", "hello")
            assert (await client.message()).data == '"hello"'
            client.reset(number)
            await settled(server, lambda found: found["streams"] == 0, "the stream to end")


async def test_t19_one_stream_carries_many_channels(tmp_path: Path) -> None:
    """T19: browsers open six connections to a host over HTTP/1.1, so a page has one stream for everything; each event says
    which channel it is of."""
    async with running(["serve", "--dev", "--port", "0"], cwd=tmp_path) as server:
        names = [f"room:{number}" for number in range(50)]
        query = "&".join(f"channel={name}" for name in names)
        async with streaming(f"{server.url}/events?{query}") as stream, await RawClient.connect(server.url) as client:
            await stream.message()
            for name in names:
                assert (await client.request(f"/channels/{name}", method="POST", body=b"hi")).status == 201
                await client.read_body()
            assert [message.channel for message in await stream.messages(50)] == names


async def test_t41_streams_are_capped(tmp_path: Path) -> None:
    """T41: beyond max_streams a stream is refused with 503 and a time to come back, and one that ends makes room."""
    async with running(["serve", "--dev", "--port", "0"], cwd=tmp_path, env={"HEADWATER_MAX_STREAMS": "2"}) as server:
        async with streaming(f"{server.url}/events?channel=a"):
            async with streaming(f"{server.url}/events?channel=a"):
                async with await RawClient.connect(server.url) as third:
                    head = await third.request("/events?channel=a")
                    assert head.status == 503
                    assert int(head.headers["retry-after"]) >= 1
        async with asyncio.timeout(10):
            while True:
                async with await RawClient.connect(server.url) as client:
                    if (await client.request("/events?channel=a")).status == 200:
                        return
