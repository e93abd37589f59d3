"""A process that writes rows as an application does: it updates watched ones, or publishes in its transactions.

It is Python with psycopg, one connection. An event's clock starts before the statement, so that the write is part of its
latency.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict

import psycopg
import uvloop

from bench.redis.payload import Times, payload
from bench.worker import Answer, obey
from headwater.brokers.postgres import publish

Write = Callable[[int], Awaitable[None]]


class Writer:
    """Writes on demand, on a connection of its own."""

    def __init__(self, connection: psycopg.AsyncConnection[tuple[object, ...]]) -> None:
        self._connection = connection

    async def change(self, first: int, events: int, interval: float, hurry: bool = False) -> Answer:
        """Change so many rows, numbered from `first`, one every `interval` seconds. Time that is lost is made up for only
        in a `hurry`."""
        return await _paced(self._change, first, events, interval, hurry)

    async def publish(self, first: int, events: int, interval: float, asleep: bool = False) -> Answer:
        """Publish in as many transactions. The leader is `asleep`: it waits to be told."""
        return await _paced(self._publish_asleep if asleep else self._publish, first, events, interval, False)

    async def _change(self, number: int) -> None:
        event = json.loads(payload(number))
        await self._connection.execute(
            "UPDATE watched SET t = %s, n = %s WHERE id = %s", (event["t"], event["n"], number % 10_000 + 1)
        )

    async def _publish(self, number: int) -> None:
        event = json.loads(payload(number))
        async with self._connection.transaction():
            await self._connection.execute("UPDATE account SET n = n + 1 WHERE id = %s", (number % 10_000 + 1,))
            await publish(self._connection, "bench", "message", event)

    async def _publish_asleep(self, number: int) -> None:
        # A leader that has nothing to do says for some seconds more that it looks by itself. Here nobody believes it, and
        # it is told as one is who has gone to sleep.
        await self._connection.execute("UPDATE headwater.state SET awake_until = '-infinity'")
        await self._connection.execute("RESET ALL")  # and with it what the session remembers of that
        await self._publish(number)


async def _paced(write: Write, first: int, events: int, interval: float, hurry: bool) -> Answer:
    taken, due = [], time.monotonic()
    for number in range(first, first + events):
        due = (due if hurry else time.monotonic()) + interval
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        began = time.monotonic_ns()
        await write(number)
        taken.append(time.monotonic_ns() - began)
    return {**asdict(Times.of(taken)), "events": events}


async def main(url: str) -> None:
    """Write on demand."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        writer = Writer(connection)
        await obey({"change": writer.change, "publish": writer.publish})


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
