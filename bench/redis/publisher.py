"""A process that publishes, in one of three ways: to Redis' own pub/sub, to the log in Redis, to a node over HTTP.

A Python program with redis-py or with Headwater, as an application is one. The third way is a bare socket, because it is
the node that is measured there and not an HTTP client.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Protocol

import redis.asyncio
import uvloop

import headwater
from bench.redis.payload import Times, payload
from bench.worker import Answer, obey
from headwater import Draft

CHANNEL = "bench"


class Way(Protocol):
    """How events are published."""

    async def open(self) -> None:
        """Connect."""

    async def publish(self, payloads: Sequence[str]) -> None:
        """Publish; returns when they are."""


class Pubsub:
    """PUBLISH, and nothing that is kept."""

    def __init__(self, url: str) -> None:
        self._client = redis.asyncio.Redis.from_url(url)

    async def open(self) -> None:
        await self._client.ping()

    async def publish(self, payloads: Sequence[str]) -> None:
        for data in payloads:
            await self._client.publish(CHANNEL, data)


class Log:
    """Headwater's publisher, straight to the log in Redis."""

    def __init__(self, url: str) -> None:
        self._publisher = headwater.publisher(url)

    async def open(self) -> None:
        await self._publisher.__aenter__()  # from now on in this event loop, and without a thread of its own

    async def publish(self, payloads: Sequence[str]) -> None:
        await self._publisher.publish_all([Draft(channel=CHANNEL, data=data) for data in payloads])


class Post:
    """POST to a node, on a connection that is kept."""

    def __init__(self, url: str) -> None:
        self._port = int(url.rpartition(":")[2])

    async def open(self) -> None:
        self._socket = socket.create_connection(("127.0.0.1", self._port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    async def publish(self, payloads: Sequence[str]) -> None:
        events = ",".join(f'{{"channel":"{CHANNEL}","data":{data}}}' for data in payloads)
        head = f"POST /events HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(events) + 2}\r\n"
        self._socket.sendall(f"{head}Content-Type: application/json\r\n\r\n[{events}]".encode())
        answer = b""
        while not answer.endswith(b"]}"):  # of {"ids":[...]}; a refusal ends otherwise, and at once
            answer += self._socket.recv(65536)
            if not answer.startswith(b"HTTP/1.1 201 "):
                raise RuntimeError(f"the node refused: {answer[:200]!r}")


WAYS: dict[str, type[Pubsub] | type[Log] | type[Post]] = {"pubsub": Pubsub, "log": Log, "post": Post}


class Publisher:
    """Publishes on demand. Numbers go on from one command to the next."""

    def __init__(self, way: Callable[[], Way]) -> None:
        self._way = way
        self._open: list[Way] = []

    async def connections(self, count: int) -> list[Way]:
        """So many, each a connection of its own."""
        while len(self._open) < count:
            way = self._way()
            await way.open()
            self._open.append(way)
        return self._open[:count]

    async def paced(self, first: int, events: int, interval: float, batch: int = 1, hurry: bool = False) -> Answer:
        """Publish `events` numbered from `first`, `batch` of them every `interval` seconds, one call at a time. Time that is
        lost is made up for only in a `hurry`: otherwise each call comes after a rest."""
        [way] = await self.connections(1)
        taken, due = [], time.monotonic()
        for number in range(first, first + events, batch):
            due = (due if hurry else time.monotonic()) + interval
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            began = time.monotonic_ns()
            await way.publish([payload(n) for n in range(number, number + batch)])
            taken.append(time.monotonic_ns() - began)
        return {**asdict(Times.of(taken)), "events": events}

    async def closed(self, in_flight: int, seconds: float, batch: int = 1, connections: int = 1) -> Answer:
        """Publish without a pause, with `in_flight` calls under way at any time, in turn on so many connections."""
        numbers, taken = itertools.count(), list[int]()
        ways = await self.connections(connections)
        began = time.monotonic()

        async def keep_publishing(way: Way) -> None:
            while time.monotonic() - began < seconds:
                before = time.monotonic_ns()
                await way.publish([payload(next(numbers)) for _ in range(batch)])
                taken.append(time.monotonic_ns() - before)

        await asyncio.gather(*(keep_publishing(ways[i % connections]) for i in range(in_flight)))
        return {**asdict(Times.of(taken)), "events": len(taken) * batch, "seconds": time.monotonic() - began}


async def main(way: str, url: str) -> None:
    """Publish on demand."""
    publisher = Publisher(lambda: WAYS[way](url))
    await obey({"paced": publisher.paced, "closed": publisher.closed})


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
