"""Nodes that end behind nginx and Caddy, as deploy/ has them: clients go on at the other node, and nobody misses anything."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from tests.e2e.installation import BEARER, Nodes, call, hub_behind
from tests.support.gateway import GatewayKind
from tests.support.raw import RawClient
from tests.support.redis import SharedServers
from tests.support.waiting import until

ROUNDS = int(os.environ.get("HEADWATER_RESTART_ROUNDS", "1"))
"""How often both nodes are ended; the environment may ask for more."""

TARGET = "/events?channel=a&since=all"


class Follower:
    """A client that comes back with its last id, at once.

    Attributes:
        ids: of the events it got.
        farewells: what `closing` frames said.
    """

    def __init__(self, url: str) -> None:
        self.ids: list[str] = []
        self.farewells: list[str] = []
        self._url = url

    async def follow(self) -> None:
        """Until cancelled."""
        while True:
            with suppress(OSError, EOFError):  # the connection, or a head that did not come
                async with await RawClient.connect(self._url) as client:
                    last = {"Last-Event-ID": self.ids[-1]} if self.ids else {}
                    if (await client.request(TARGET, {**BEARER, **last})).status == 200:
                        await self._read(client)

    async def _read(self, client: RawClient) -> None:
        while True:
            message = await client.message()
            assert message.type != "reset", message
            if message.type == "message":
                self.ids.append(message.id)
            elif message.type == "closing":
                self.farewells.append(json.loads(message.data)["reason"])


class Publisher:
    """Publishes one event after the other, each until it is accepted, always under the same key.

    Attributes:
        ids: of what was accepted.
    """

    def __init__(self, url: str) -> None:
        self.ids: list[str] = []
        self._url = url
        self._is_done = False

    async def publish(self) -> None:
        """Until `finish`."""
        while not self._is_done:
            number = len(self.ids)
            key = {"Idempotency-Key": f"event {number}"}
            while len(self.ids) == number:
                with suppress(OSError, EOFError, ValueError):  # an answer that breaks off
                    head, answer = await call(self._url, "POST", "/events", {"channel": "a", "data": number}, **key)
                    if head.status == 201:
                        self.ids += answer["ids"]

    def finish(self) -> None:
        """Publish no more after the event that is on its way."""
        self._is_done = True

    async def more(self, count: int = 20) -> None:
        """Wait until so many more were accepted."""
        enough = len(self.ids) + count
        await until(lambda: len(self.ids) >= enough, f"{count} more events to be accepted")


@asynccontextmanager
async def load(url: str, followers: int) -> AsyncIterator[tuple[Publisher, list[Follower]]]:
    """Clients and a publisher at work; at the end each client has every event once, in order."""
    publisher, clients = Publisher(url), [Follower(url) for _ in range(followers)]
    working = asyncio.create_task(publisher.publish())
    following = [asyncio.create_task(client.follow()) for client in clients]
    try:
        yield publisher, clients
        publisher.finish()
        await working
        for client in clients:
            await until(lambda client=client: client.ids[-1:] == publisher.ids[-1:], "the last event to arrive")  # type: ignore[misc]
            assert client.ids == publisher.ids
    finally:
        for task in (working, *following):
            task.cancel()
        await asyncio.gather(working, *following, return_exceptions=True)


@pytest.mark.parametrize(("kind", "store"), [("nginx", "sqlite"), ("nginx", "redis"), ("caddy", "redis")])
async def test_clients_outlive_the_nodes(
    kind: GatewayKind, store: str, tmp_path: Path, redis_servers: SharedServers
) -> None:
    """On one SQLite file and on Redis: one node is killed and started again, then the other one drained with SIGTERM and
    started again, while events are published all the time. Each of eight clients goes on at the other node after its last
    id: nothing is lost, doubled or out of order. Those on the drained node were told."""
    broker = {"BROKER": redis_servers.url()} if store == "redis" else {}
    async with hub_behind(kind, tmp_path, **broker) as (front, nodes), load(front.url, 8) as (publisher, clients):
        for _ in range(ROUNDS):
            await publisher.more()
            await nodes.servers[0].stop(signal.SIGKILL)
            await publisher.more()
            await restart(nodes, 0)
            await publisher.more()
            told, before = await streams_of(nodes, 1), farewells(clients)
            assert told
            assert await nodes.servers[1].stop() in (0, -signal.SIGTERM)
            await publisher.more()
            assert farewells(clients) - before == told
            await restart(nodes, 1)
        await publisher.more()


def farewells(clients: list[Follower]) -> int:
    """How often clients were told that their node drains."""
    return sum(client.farewells.count("drain") for client in clients)


async def restart(nodes: Nodes, number: int) -> None:
    """Start a node that has ended."""
    await nodes.end(number)
    await nodes.start(number)


async def streams_of(nodes: Nodes, number: int) -> int:
    """How many streams a node has."""
    return len((await call(nodes.servers[number].url, "GET", "/streams"))[1]["streams"])
