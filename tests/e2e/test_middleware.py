"""Streams under other people's middlewares."""

from __future__ import annotations

import pytest

from tests.e2e.calls import app_on, numbers, publish, settled, stream_of
from tests.support.raw import streaming
from tests.support.server import Kind


@pytest.mark.parametrize("layers", ["base", "base,base,base", "gzip", "base,gzip,base", "holding", "base,holding"])
@pytest.mark.parametrize("kind", ["headwater", "uvicorn"])
async def test_t11_t17_t18_first_bytes_and_order_under_middlewares(kind: Kind, layers: str) -> None:
    """T11, T17, T18: under middlewares that wrap, compress or hold back, the first frame comes at once, frames come in order
    and none overtakes another, and the end of the client is noticed."""
    async with app_on(kind, MIDDLEWARE=layers) as server:
        async with streaming(f"{server.url}/stream/a", {"Accept-Encoding": "gzip"}) as client:
            assert client.head is not None
            assert "content-encoding" not in client.head.headers
            assert (await client.message()).type == "connected"
            await publish(server, "a", "hello", times=50)
            ids = [int(message.id.rpartition("-")[2]) for message in await client.messages(50)]
            assert ids == list(range(1, 51))
        await settled(server, lambda found: found["ended"] == {"client": 1}, "the stream to end")


async def test_t18_a_middleware_that_holds_the_head_back_gets_the_stream_through_send() -> None:
    """A head that does not come out in time is not waited for: the stream goes through the middleware, and works."""
    async with app_on(MIDDLEWARE="holding") as server:
        before = (await numbers(server))["tasks"]
        async with stream_of(server):
            assert (await numbers(server))["tasks"] > before, "it has a task, so it was not detached"


async def test_a_body_that_a_middleware_encodes_goes_through_it() -> None:
    """With a Content-Encoding on the response nothing may be written past the middleware that encodes."""
    async with app_on(MIDDLEWARE="encoding") as server, streaming(f"{server.url}/stream/a") as client:
        await client.body_contains(b"EVENT: CONNECTED")
        await publish(server, "a", "hello")
        await client.body_contains(b'DATA: "HELLO"')
        assert b"hello" not in client.body
