"""What a server may send that is no hub, or means harm: it ends in an error of ours, and costs no memory."""

from __future__ import annotations

import gzip
import tracemalloc

import pytest

from headwater.client import subscribe
from headwater.errors import ProtocolError
from tests.client.scripted import answer, serving

DEEP = b"[" * 100_000


async def test_a_compressed_answer_is_unfolded_no_further_than_needed() -> None:
    """A kilobyte of gzip in gzip can mean gigabytes. It is unfolded piece by piece, and the bound of a line ends that."""
    bomb = gzip.compress(gzip.compress(b"x" * 50_000_000, 1))
    script = answer(200, bomb, Content_Type="text/event-stream", Content_Encoding="gzip, gzip")
    async with serving(script) as server, subscribe(server.url, "a") as events:
        tracemalloc.start()
        try:
            with pytest.raises(ProtocolError, match="a line of over"):
                await anext(events)
            assert tracemalloc.get_traced_memory()[1] < 20_000_000
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b'{"events":[{"id":"1","channel":"a","type":"b","data":%b}],"cursor":"c"}' % DEEP, id="data"),
        pytest.param(b'{"events":[],"cursor":"c","reset":%b}' % DEEP, id="reset"),
        pytest.param(b'{"events":[],"cursor":"c","more":%b}' % DEEP, id="more"),
        pytest.param(b'{"events":[],"cursor":"c","reset":"\xff"}', id="no text"),
    ],
)
async def test_a_poll_that_is_nested_too_deeply_is_none(body: bytes) -> None:
    """Nor is one that is not Unicode."""
    async with serving(answer(200, body)) as server, subscribe(server.url, "a", transport="poll") as events:
        with pytest.raises(ProtocolError, match="no poll's"):
            await anext(events)
