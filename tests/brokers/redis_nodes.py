"""Nodes on a log in Redis, and brokers that are asked again until the network lets an answer through."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeVar

from headwater.brokers.base import Broker, Feed, Page, Retention
from headwater.brokers.redis.address import parse
from headwater.brokers.redis.broker import RedisBroker
from headwater.brokers.redis.subscriber import Pace
from headwater.errors import BrokerUnavailable
from headwater.event import Draft, Position
from headwater.testing.contract import Node, Recorder

QUICK = Pace(interval=0.1, patience=1.0, max_pause=0.1)
"""For tests: what a node notices only by looking now and then is noticed soon."""

_T = TypeVar("_T")


def redis_broker(url: str, retention: Retention = Retention(), pace: Pace = QUICK) -> RedisBroker:  # noqa: B008 (frozen)
    """A broker, not yet open."""
    return RedisBroker(*parse(url), retention=retention, pace=pace)


@asynccontextmanager
async def redis_node(
    url: str,
    *,
    follow: Collection[str] = (),
    pace: Pace = QUICK,
    prepare: Callable[[RedisBroker], object] = lambda _: None,
) -> AsyncIterator[tuple[Node, RedisBroker]]:
    """An open broker with a feed, closed at the end."""
    broker, feed = redis_broker(url, pace=pace), Recorder()
    prepare(broker)
    try:
        node = Node(broker, feed, await broker.open(feed))
        if follow:
            await broker.follow(follow)
        yield node, broker
    finally:
        await broker.aclose()
        feed.is_over = True
    await asyncio.sleep(0)
    assert not feed.complaints, feed.complaints


class Patient:
    """A broker behind a network with faults. Whoever asks it gets an answer, however often that takes asking; only a broker
    that is closed says so.

    Args:
        calm: holds the faults off.
    """

    def __init__(self, broker: RedisBroker, calm: Callable[[], AbstractAsyncContextManager[None]]) -> None:
        self.broker = broker
        self._calm = calm
        self._is_open = False

    async def _persist(self, ask: Callable[[], Awaitable[_T]]) -> _T:
        while True:
            try:
                return await ask()
            except BrokerUnavailable:
                if not self._is_open:
                    raise
            await asyncio.sleep(0)

    async def open(self, feed: Feed | None = None) -> Position:
        """See `Broker`."""
        self._is_open = True
        return await self.broker.open(feed)

    async def aclose(self) -> None:
        """See `Broker`."""
        self._is_open = False
        await self.broker.aclose()

    async def append(self, drafts: Sequence[Draft]) -> tuple[Position, ...]:
        """See `Broker`. Asked once: it waits by itself, and a second time could be a second event."""
        return await self.broker.append(drafts)

    async def follow(self, channels: Collection[str]) -> Position:
        """See `Broker`."""
        return await self._persist(lambda: self.broker.follow(channels))

    async def unfollow(self, channels: Collection[str]) -> None:
        """See `Broker`."""
        await self.broker.unfollow(channels)

    async def read(self, channels: Collection[str], after: int, until: int, limit: int = 500) -> Page:
        """See `Broker`."""
        return await self._persist(lambda: self.broker.read(channels, after, until, limit))

    async def read_back(self, channels: Collection[str], before: int, limit: int = 500) -> Page:
        """See `Broker`."""
        return await self._persist(lambda: self.broker.read_back(channels, before, limit))

    async def position_at(self, time: int) -> Position:
        """See `Broker`."""
        return await self._persist(lambda: self.broker.position_at(time))

    async def horizon(self, channels: Collection[str]) -> Position:
        """See `Broker`."""
        return await self._persist(lambda: self.broker.horizon(channels))

    async def head(self) -> Position:
        """See `Broker`."""
        return await self._persist(self.broker.head)

    async def channels(self, prefix: str = "", limit: int = 1000) -> tuple[Any, ...]:
        """See `Broker`."""
        return await self._persist(lambda: self.broker.channels(prefix, limit))

    async def prune(self, now: int) -> int:
        """See `Broker`. In a calm moment: asked again because an answer was lost, it could not say how many went the first
        time."""
        async with self._calm():
            await self.head()  # over a connection that works, then
            return await self.broker.prune(now)


def patient(broker: RedisBroker, calm: Callable[[], AbstractAsyncContextManager[None]]) -> Broker:
    """A broker that is asked again."""
    return Patient(broker, calm)
