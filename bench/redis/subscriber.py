"""A process that subscribes with redis-py and reads: the far end of the floor, Redis' own pub/sub."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import asdict

import redis.asyncio
import uvloop

from bench.redis.payload import Times, age_ns
from bench.worker import Answer, obey


async def main(url: str, channel: str) -> None:
    """Subscribe, and time messages on demand."""
    async with redis.asyncio.Redis.from_url(url) as client, client.pubsub(ignore_subscribe_messages=True) as pubsub:
        await pubsub.subscribe(channel)
        await pubsub.get_message(timeout=5.0)

        async def receive(events: int) -> Answer:
            taken: list[int] = []
            async with asyncio.timeout(30):
                async for message in pubsub.listen():
                    taken.append(age_ns(message["data"]))
                    if len(taken) == events:
                        break
            return asdict(Times.of(taken))

        async def ready() -> Answer:
            return {}

        await obey({"receive": receive, "ready": ready})


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
