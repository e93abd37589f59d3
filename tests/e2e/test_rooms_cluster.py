"""The shape that the rooms' team drew, end to end: agents in processes of their own publish to Redis, two nodes stream to
clients, nginx stands in front of them. What is quoted is from their document."""

from __future__ import annotations

import asyncio
import json
import re
import signal
from contextlib import AsyncExitStack, suppress
from pathlib import Path

from headwater.wire import Message
from tests.e2e.rooms_cluster import BUILDER, cluster
from tests.examples.reading import ISO, bearer, posted
from tests.support.raw import RawClient, streaming
from tests.support.waiting import PATIENCE


def said(messages: list[Message], word: str) -> list[str]:
    """What agents of a kind said, in the order of the stream."""
    lines = [json.loads(message.data)["message"] for message in messages if message.type == "log"]
    return [line for line in lines if line.startswith(word)]


def expected(word: str, count: int) -> list[str]:
    """What they should have said."""
    return [f"{word} {number}" for number in range(count)]


async def test_agents_publish_and_both_nodes_stream(tmp_path: Path) -> None:
    """“Agents (Publish) → Redis Pub/Sub → SSE Service → Client”: a room that is made through nginx is built by a process
    that serves nothing; agents of two more processes speak in it meanwhile, one of them without coroutines. A client on
    each node and one behind nginx see every line, the same ones in the same order, and heartbeats."""
    async with cluster(tmp_path) as found, AsyncExitStack() as stack:
        urls = [found.front.url, *(node.url for node in found.nodes.servers.values())]
        room = await posted(found.front.url, "/api/v1/rooms", {"title": "Gull Manor"}, bearer())
        path = f"/api/v1/rooms/{room['id']}/logs"
        clients = [await stack.enter_async_context(streaming(f"{url}{path}?since=all", bearer())) for url in urls]
        assert {json.loads((await client.message()).data)["roomId"] for client in clients} == {room["id"]}
        await stack.enter_async_context(found.process(*BUILDER))
        await found.agents(stack, room["id"], 50)
        seen = [await until_all_is_said(client, 50) for client in clients]
        assert [message.id for message in seen[0]] == [message.id for message in seen[1]] == [m.id for m in seen[2]]
        for word in ("sync", "async"):
            assert said(seen[0], word) == expected(word, 50)
        for client in clients:
            assert re.fullmatch(rf'{{"timestamp":"{ISO}"}}', (await client.message_of("heartbeat")).data)
        for url in urls[1:]:  # what the builder made is served by nodes that built nothing
            async with await RawClient.connect(url) as asking:
                assert (await asking.request(f"/api/v1/rooms/{room['id']}/files/room.zip", bearer())).status == 200


async def until_all_is_said(client: RawClient, count: int) -> list[Message]:
    """The log of a room, up to where it is ready and each agent has said what it had to say."""
    lines: list[Message] = []
    wanted = {"ready", f"sync {count - 1}", f"async {count - 1}"}
    while wanted:
        lines.append(await client.message_of("log"))
        line = json.loads(lines[-1].data)
        wanted -= {line["message"], (line.get("metadata") or {}).get("state")}
    return lines


async def test_clients_outlive_a_node_and_redis(tmp_path: Path) -> None:
    """“Redis reconnection: Automatic reconnection with exponential backoff”, and what the document leaves open: a node is
    killed and Redis is restarted while agents speak. Clients behind nginx come back by their last id and have every line
    once, in order."""
    async with cluster(tmp_path) as found, AsyncExitStack() as stack:
        room = await posted(found.front.url, "/api/v1/rooms", {}, bearer())
        readers = [Reader(found.front.url, room["id"]) for _ in range(4)]
        following = [asyncio.create_task(reader.follow(300)) for reader in readers]
        agents = await found.agents(stack, room["id"], 300, pause=100)
        await readers[0].has(30)
        await found.nodes.servers[0].stop(signal.SIGKILL)
        await readers[0].has(200)
        restarting = asyncio.create_task(found.redis.restart(keep_data=True))
        for agent in agents:
            assert agent.stdin is not None
            agent.stdin.write(b"\n")
        await restarting
        async with asyncio.timeout(PATIENCE):
            for agent in agents:
                assert (await agent.communicate())[0] == b"said\n"
            await asyncio.gather(*following)
        for reader in readers:
            for word in ("sync", "async"):
                assert said(reader.lines, word) == expected(word, 300)


class Reader:
    """A client behind nginx that comes back.

    Attributes:
        lines: it has seen.
    """

    def __init__(self, url: str, room: str) -> None:
        self.lines: list[Message] = []
        self._target = f"/api/v1/rooms/{room}/logs"
        self._url = url
        self._news = asyncio.Condition()

    async def follow(self, count: int) -> None:
        """Until both agents have said so much."""
        while len(self.lines) < 2 * count:
            with suppress(OSError, EOFError):
                async with await RawClient.connect(self._url) as client:
                    last = {"Last-Event-ID": self.lines[-1].id} if self.lines else {}
                    if (await client.request(f"{self._target}?since=all", {**bearer(), **last})).status == 200:
                        while len(self.lines) < 2 * count:
                            await self._take(await client.message())

    async def _take(self, message: Message) -> None:
        assert message.type != "reset", message
        if message.type == "log":
            async with self._news:
                self.lines.append(message)
                self._news.notify_all()

    async def has(self, count: int) -> None:
        """Wait until it has seen so many lines."""
        async with asyncio.timeout(PATIENCE), self._news:
            await self._news.wait_for(lambda: len(self.lines) >= count)
