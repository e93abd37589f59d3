"""A process with nodes that have no streams: brokers whose feeds count. What a node works for Redis, without HTTP."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence

import uvloop

from bench.worker import Answer, obey
from headwater.brokers import open_broker
from headwater.brokers.base import Broker
from headwater.event import Event, Position


class Counter:
    """A feed that counts."""

    def __init__(self) -> None:
        self.events = 0
        self.restarts = 0
        self.grown = asyncio.Event()

    def receive(self, events: Sequence[Event], upto: Position) -> None:
        self.events += len(events)
        self.grown.set()

    def restart(self, head: Position, lost: bool = False) -> None:
        self.restarts += 1
        self.grown.set()


class Nodes:
    """Several nodes, each with a broker of its own."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._nodes: list[tuple[Broker, Counter]] = []

    async def open(self, nodes: int) -> Answer:
        """Open so many more. They are never closed: the suite ends the process."""
        for _ in range(nodes):
            counter = Counter()
            broker = open_broker(self._url)
            await broker.open(counter)
            self._nodes.append((broker, counter))
        return {}

    async def follow(self, channels: list[str], at_once: bool = False) -> Answer:
        """Have each node follow these channels, one after the other or all at once."""
        return await self._each("follow", channels, at_once)

    async def unfollow(self, channels: list[str], at_once: bool = False) -> Answer:
        """And no longer."""
        return await self._each("unfollow", channels, at_once)

    async def _each(self, method: str, channels: list[str], at_once: bool) -> Answer:
        began = time.monotonic()
        for broker, _counter in self._nodes:
            calls = [getattr(broker, method)([channel]) for channel in channels]
            if at_once:
                await asyncio.gather(*calls)
            else:
                for call in calls:
                    await call
        return {"seconds": time.monotonic() - began}

    async def reset(self) -> Answer:
        """Count from 0."""
        for _broker, counter in self._nodes:
            counter.events = 0
        return {}

    async def receive(self, events: int) -> Answer:
        """Wait until each node has so many events since `reset`."""
        async with asyncio.timeout(30):
            for _broker, counter in self._nodes:
                while counter.events < events:
                    if counter.restarts:
                        raise RuntimeError("the log began anew in the middle of a benchmark")
                    counter.grown.clear()
                    await counter.grown.wait()
        return {"events": [counter.events for _broker, counter in self._nodes]}


async def main(url: str) -> None:
    """Do what is asked."""
    nodes = Nodes(url)
    await obey({name: getattr(nodes, name) for name in ("open", "follow", "unfollow", "reset", "receive")})


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
