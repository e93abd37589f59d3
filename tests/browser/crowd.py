"""A crowd for the pictures of the dashboard: people who listen to shops' channels, and shops that have something to say.

Knows a hub's routes. It is no load test: a few dozen streams, a few dozen events a second, up and down.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import httpx

from tests.support.waiting import PATIENCE

SHOPS = ("orders:eu", "orders:us", "stock:berlin", "stock:lyon", "prices", "support:42", "delivery:7")
TYPES = ("placed", "paid", "packed", "sent", "changed")
READERS = 36
STEP = 0.1
"""Seconds between two batches."""

BEFORE = 40.0
"""Seconds that they have been at it when somebody looks."""


@asynccontextmanager
async def crowd(url: str) -> AsyncIterator[None]:
    """Let them do what they do until the block ends, and for a while before it begins."""
    chance = random.Random(7)
    async with httpx.AsyncClient(base_url=url, timeout=PATIENCE, trust_env=False) as http, AsyncExitStack() as stack:
        limits = httpx.Limits(max_connections=2 * READERS)
        readers = await stack.enter_async_context(
            httpx.AsyncClient(base_url=url, timeout=None, trust_env=False, limits=limits)
        )
        tasks = [asyncio.create_task(read(readers, chance.sample(SHOPS, 3))) for _ in range(READERS)]
        tasks.append(asyncio.create_task(publish(http, chance)))
        try:
            await asyncio.wait(tasks, timeout=BEFORE)
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def read(http: httpx.AsyncClient, channels: list[str]) -> None:
    """Listen to some channels."""
    async with http.stream("GET", "/events", params={"channel": channels}) as response:
        async for _ in response.aiter_bytes():
            pass


async def publish(http: httpx.AsyncClient, chance: random.Random) -> None:
    """Say more and less, in waves."""
    for step in range(1_000_000):
        count = round(4 + 3 * math.sin(step / 45) + chance.random() * 2)
        events = [
            {"channel": chance.choice(SHOPS), "type": chance.choice(TYPES), "data": {"order": chance.randrange(9999)}}
            for _ in range(count)
        ]
        (await http.post("/events", json=events)).raise_for_status()
        with suppress(TimeoutError):
            async with asyncio.timeout(STEP):
                await asyncio.Event().wait()
