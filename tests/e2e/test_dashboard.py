"""The dashboard's side of a real server: who is let in, what closing a stream does to its client, and how it ends."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from headwater.auth import mint
from headwater.client import Policy, Publisher, Status, subscribe
from tests.support.raw import RawClient, streaming
from tests.support.server import Server, running
from tests.support.tokens import SECRET

QUICK = Policy(base=0.01, cap=0.05, stable=0.0)


def token(sub: str, permissions: Iterable[str] = ()) -> str:
    """Of somebody who may read and publish everything."""
    return mint(SECRET, sub=sub, subscribe=["**"], publish=["**"], permissions=permissions, ttl=86_400)


BOSS = token("boss", ["headwater.admin"])


@asynccontextmanager
async def hub(*args: str) -> AsyncIterator[Server]:
    """A hub that asks for tokens."""
    env = {"HEADWATER_JWT_SECRET": SECRET}
    async with running(["serve", "--port", "0", "--broker", "memory://", *args], env=env) as server:
        yield server


async def call(server: Server, method: str, path: str, bearer: str, body: Any = None) -> tuple[int, Any]:
    """Status and JSON of an answer."""
    headers = {"Authorization": f"Bearer {bearer}", "Connection": "close"}
    data = b"" if body is None else json.dumps(body).encode()
    async with await RawClient.connect(server.url) as client:
        head = await client.request(path, headers, method=method, body=data)
        text = await client.read_body()
        return head.status, json.loads(text) if text else None


async def test_a_stream_that_is_closed_by_hand_comes_back_and_misses_nothing() -> None:
    """Its client is told `admin` and reconnects by itself, after its id; what was published meanwhile arrives. The dashboard
    finds it, says how it is connected, and needs the permission for all of it."""
    async with hub() as server:
        ada = token("ada")
        seen: list[Status] = []
        async with (
            subscribe(server.url, "a", token=ada, policy=QUICK, on_status=seen.append) as events,
            Publisher(server.url, token=ada) as publisher,
        ):
            reading = asyncio.create_task(anext(events))
            found: list[Any] = []
            while not found:
                status, listed = await call(server, "GET", "/dashboard/streams?search=ada", BOSS)
                assert status == 200
                found = listed["streams"]
            path = f"/streams/{found[0]['id']}"
            for method, target in (("DELETE", path), ("GET", f"/dashboard{path}"), ("POST", "/dashboard/explain")):
                assert (await call(server, method, target, ada))[0] == 403
            status, facts = await call(server, "GET", f"/dashboard{path}", BOSS)
            assert (facts["transport"], facts["info"]["channels"], facts["info"]["state"]) == ("direct", ["a"], "live")
            assert await call(server, "DELETE", path, BOSS) == (204, None)
            id = await publisher.publish("a", data=7)
            event = await asyncio.wait_for(reading, 20)
            assert (event.id, event.json()) == (id, 7)
            assert (await call(server, "GET", f"/dashboard{path}", BOSS))[0] == 404
            question = {"channel": "a", "id": id}
            assert (await call(server, "POST", "/dashboard/explain", BOSS, {**question, "stream": 2}))[1][
                "answer"
            ] == "yes"
            assert (await call(server, "POST", "/dashboard/explain", BOSS, {**question, "token": ada}))[1][
                "answer"
            ] == "no"
        assert len(seen) > 2


async def test_a_server_with_a_dashboard_open_stops_as_quickly() -> None:
    """The dashboard's stream is told, ends cleanly, and does not keep the process."""
    async with hub() as server:
        headers = {"Authorization": f"Bearer {BOSS}"}
        async with streaming(f"{server.url}/dashboard/events", headers) as client:
            assert (await client.message()).type == "connected"
            snapshot = json.loads((await client.message_of("sample")).data)
            assert snapshot["node"]["pid"] == server.process.pid
            begun = time.monotonic()
            server.process.send_signal(signal.SIGTERM)
            assert (await client.message_of("closing")).data == '{"reason":"drain"}'
            await client.read_body()
            assert client.ended == "whole"
            await server.exited()
            assert time.monotonic() - begun < 2
