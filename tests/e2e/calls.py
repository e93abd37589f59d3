"""What the end-to-end tests ask of `tests.e2e.apps`, over connections of their own."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from tests.support.raw import RawClient, streaming
from tests.support.server import Kind, Server, running
from tests.support.waiting import PATIENCE

APP = "tests.e2e.apps:app"


async def publish(server: Server, channel: str, text: str, *, times: int = 1) -> None:
    """Publish a text, and see that it was accepted."""
    async with await RawClient.connect(server.url) as client:
        head = await client.request(f"/publish/{channel}?times={times}", method="POST", body=text.encode())
        assert head.status == 200, await client.read_body()


async def numbers(server: Server) -> dict[str, Any]:
    """The hub's statistics and the process's counts."""
    async with await RawClient.connect(server.url) as client:
        assert (await client.request("/numbers", {"Connection": "close"})).status == 200
        found: dict[str, Any] = json.loads(await client.read_body())
        return found


async def settled(server: Server, condition: Callable[[dict[str, Any]], bool], what: str) -> dict[str, Any]:
    """The numbers, once they are as wanted. Each look is a request, so this paces itself."""
    end = time.monotonic() + PATIENCE
    while not condition(found := await numbers(server)):
        assert time.monotonic() < end, f"waited {PATIENCE:g} s for {what}; the last numbers: {found}"
    return found


@asynccontextmanager
async def app_on(kind: Kind = "headwater", *args: str, **env: str) -> AsyncIterator[Server]:
    """The application on a server of a kind."""
    async with running(APP, server=kind, args=args, env=env) as server:
        yield server


@asynccontextmanager
async def stream_of(server: Server, channel: str = "a", **headers: str) -> AsyncIterator[RawClient]:
    """A stream, past its first frame."""
    async with streaming(f"{server.url}/stream/{channel}", headers) as client:
        assert (await client.message()).type == "connected"
        yield client
