"""An installation as docs/howto/deploy.md describes it: two nodes of one log, tokens required, a gateway in front of them.

Knows how a node is set up; must not know what a test does to it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from headwater.auth import mint
from tests.support.gateway import Gateway, GatewayKind, gateway, held_ports
from tests.support.raw import Head, RawClient
from tests.support.server import Server, running
from tests.support.tokens import SECRET

TOKEN = mint(SECRET, sub="ada", subscribe=["**"], publish=["**"], permissions=["headwater.admin"])
BEARER = {"Authorization": f"Bearer {TOKEN}"}


class Nodes:
    """Two nodes, each of which can be ended and started again at its port.

    Args:
        ports: theirs.
        env: variables of both.
        words: the command that runs one, without its port.

    Attributes:
        servers: the ones that run.
    """

    def __init__(self, ports: list[int], env: Mapping[str, str], words: list[str]) -> None:
        self.ports = ports
        self.servers: dict[int, Server] = {}
        self._env = env
        self._words = words
        self._stacks: dict[int, AsyncExitStack] = {}

    async def start(self, number: int) -> Server:
        """Start one."""
        self._stacks[number] = AsyncExitStack()
        words = [*self._words, "--port", str(self.ports[number])]
        server = await self._stacks[number].enter_async_context(running(words, env=self._env))
        self.servers[number] = server
        return server

    async def end(self, number: int) -> None:
        """Kill one, if it still runs."""
        self.servers.pop(number, None)
        if (stack := self._stacks.pop(number, None)) is not None:
            await stack.aclose()


@asynccontextmanager
async def nodes_of(env: Mapping[str, str], words: list[str] | None = None) -> AsyncIterator[Nodes]:
    """Two nodes, `headwater serve` unless `words` say otherwise."""
    with held_ports(2) as ports:
        nodes = Nodes(ports, env, words or ["serve"])
        try:
            await asyncio.gather(nodes.start(0), nodes.start(1))
            yield nodes
        finally:
            for number in (0, 1):
                await nodes.end(number)


@asynccontextmanager
async def hub_behind(kind: GatewayKind, folder: Path, **env: str) -> AsyncIterator[tuple[Gateway, Nodes]]:
    """A gateway before two hubs on one SQLite log."""
    front = folder / kind
    front.mkdir()
    async with nodes_of(hub_env(folder, **env)) as nodes, gateway(kind, front, nodes.ports) as found:
        yield found, nodes


def hub_env(folder: Path, **env: str) -> dict[str, str]:
    """The environment of a node."""
    settings = {"BROKER": f"sqlite:///{folder}/log.db", "JWT_SECRET": SECRET, "HEARTBEAT": "1", **env}
    return {f"HEADWATER_{name}": value for name, value in settings.items()}


async def call(url: str, method: str, path: str, body: Any = None, **headers: str) -> tuple[Head, Any]:
    """A request with a token, on a connection of its own, and its answer, read as JSON."""
    data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    async with await RawClient.connect(url) as client:
        fields = {**BEARER, "Content-Type": "application/json", "Connection": "close", **headers}
        head = await client.request(path, fields, method=method, body=data)
        answer = await client.read_body()
    return head, json.loads(answer) if "json" in head.headers.get("content-type", "") else answer


async def publish(url: str, data: Any, channel: str = "a", **headers: str) -> str:
    """Publish one event; its id."""
    head, answer = await call(url, "POST", "/events", {"channel": channel, "data": data}, **headers)
    assert head.status == 201, answer
    return str(answer["ids"][0])
