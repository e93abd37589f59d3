"""The rooms as docs/examples/rooms.md has them on several nodes: Redis, two nodes which serve, nginx, and processes beside
them which publish.

Knows how each is started; must not know what a test expects of them.
"""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.installation import Nodes, nodes_of
from tests.examples.reading import SECRET
from tests.support.gateway import Gateway, gateway
from tests.support.redis import RedisServer, running_redis
from tests.support.source import ROOT

APP = "examples.rooms.app:app"
BUILDER = ("-m", "examples.rooms.work")


@dataclass
class Cluster:
    """Everything that runs.

    Attributes:
        env: of nodes and builder.
    """

    redis: RedisServer
    nodes: Nodes
    front: Gateway
    env: dict[str, str]

    @asynccontextmanager
    async def process(self, *words: str) -> AsyncIterator[Process]:
        """A Python process of the installation, killed at the end if it still runs."""
        env = {**os.environ, **self.env, "PYTHONPATH": str(ROOT)}
        process = await asyncio.create_subprocess_exec(
            sys.executable, *words, env=env, cwd=ROOT, stdin=PIPE, stdout=PIPE, stderr=DEVNULL
        )
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            await process.communicate()

    async def agents(
        self, stack: AsyncExitStack, room: str, count: int, *, begin: int = 0, pause: int = -1
    ) -> list[Process]:
        """An agent of each kind, at work: both say `begin` to `count`, and before they say `pause` they wait for a line of
        input."""
        ways = ("sync", "async")
        words = ("-m", "tests.e2e.room_agent", self.redis.url(), room)
        numbers = (str(begin), str(count), str(pause))
        return [await stack.enter_async_context(self.process(*words, way, *numbers)) for way in ways]


@asynccontextmanager
async def cluster(folder: Path, secret: str = SECRET) -> AsyncIterator[Cluster]:
    """Redis, two nodes which do not build, and nginx. Without a secret for tokens it is all in development."""
    front = folder / "nginx"
    front.mkdir()
    async with running_redis(appendonly=True) as redis:
        env = {"REDIS_URL": redis.url(), "HEADWATER_JWT_SECRET": secret, "ROOMS_DATA": str(folder / "rooms")}
        env |= {"ROOMS_BUILDS": "false", "ROOMS_HEARTBEAT": "1", "ROOMS_PACE": "0.01"}
        async with nodes_of(env, ["run", APP]) as nodes, gateway("nginx", front, nodes.ports) as found:
            yield Cluster(redis, nodes, found, env)
