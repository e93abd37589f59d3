"""The client in Node with a real hub: every way for a token, and a network that breaks while it publishes and listens."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx2

from headwater.auth import mint
from tests.support.node import printed
from tests.support.proxy import Proxy, proxying
from tests.support.server import running
from tests.support.tokens import SECRET
from tests.support.waiting import until

COUNT = 300


async def program(mode: str, **options: Any) -> Any:
    """What js/test/node.mjs finds; it ends by itself."""
    async with asyncio.timeout(60):
        return json.loads(await printed("node", "--no-warnings", "test/node.mjs", mode, json.dumps(options)))


async def test_every_way_for_a_token() -> None:
    """p12: by header, ticket, parameter and cookie, each client hears what is published; the same key publishes once."""
    token = mint(SECRET, sub="ada", subscribe=["*"], publish=["*"], ttl=60)
    origin = "http://page.example"
    env = {"HEADWATER_JWT_SECRET": SECRET, "HEADWATER_COOKIE_NAME": "session", "HEADWATER_CORS_ORIGINS": origin}
    async with running(["serve", "--broker", "memory://", "--port", "0"], env=env) as hub:
        cookie = {"cookie": f"session={token}", "headers": {"origin": origin}}
        found = await program("ways", url=f"{hub.url}/events", token=token, **cookie)
        assert found == {"heard": [[1, {"two": 2}, "drei"]] * 4, "isRepeated": True, "last": [True] * 4}
        assert token not in hub.output


async def test_a_network_that_breaks_while_it_publishes() -> None:
    """Again and again all connections are cut, with answers on their way: what was published is in the log once, in order,
    and the publisher's own stream has all of it, too."""
    async with running(["serve", "--dev", "--port", "0", "--broker", "memory://"]) as hub, proxying(hub.port) as proxy:
        storm = asyncio.create_task(program("storm", url=f"{proxy.url}/events", count=COUNT))
        cuts = await cut_until(storm, proxy)
        found = await storm
        assert found["heard"] == list(range(COUNT))
        assert (found["ids"], found["queued"]) == (COUNT, 0)
        assert cuts > 5
        assert found["reads"] > 1
        async with httpx2.AsyncClient() as client:
            answer = await client.get(
                f"{hub.url}/events?channel=a&since=all&wait=0", headers={"Accept": "application/json"}
            )
        assert [each["data"] for each in answer.json()["events"]] == found["heard"]


async def cut_until(task: asyncio.Task[Any], proxy: Proxy) -> int:
    """Cut all connections each time some kilobytes have come through, until a task is done; how often."""
    cuts = 0
    while not task.done():
        seen = proxy.forwarded["down"]
        await until(lambda: task.done() or proxy.forwarded["down"] > seen + 8000, "something to come through")  # noqa: B023
        await proxy.drop()
        cuts += 1
    return cuts
