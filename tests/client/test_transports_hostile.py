"""What a server may send that is no hub, or means harm: it ends in an error of ours, and costs no memory."""

from __future__ import annotations

import gzip
from typing import Literal

import pytest

from headwater.client import subscribe
from headwater.errors import ProtocolError
from tests.client.scripted import answer, serving

DEEP = b"[" * 100_000


@pytest.mark.parametrize(("transport", "kind"), [("stream", "text/event-stream"), ("poll", "application/json")])
async def test_a_compressed_answer_is_not_unfolded(transport: Literal["stream", "poll"], kind: str) -> None:
    """Neither way of receiving asks for one."""
    bomb = gzip.compress(gzip.compress(b"x" * 1_000_000))
    script = answer(200, bomb, Content_Type=kind, Content_Encoding="gzip, gzip")
    async with serving(script) as server, subscribe(server.url, "a", transport=transport) as events:
        with pytest.raises(ProtocolError, match="compressed"):
            await anext(events)


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
