"""`RedisBroker`: the log in Redis, shared by the processes of many machines.

Puts together who asks Redis (`store`) and who listens to it (`subscriber`), and knows what each promises: an append has
happened when the store says so, and returns when this node's feed has it, too. It knows no commands.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress

from headwater.brokers.base import ChannelInfo, Feed, Finding, Page, Retention
from headwater.brokers.redis.address import Options, Target
from headwater.brokers.redis.examine import examine
from headwater.brokers.redis.known import State
from headwater.brokers.redis.store import Store
from headwater.brokers.redis.subscriber import Pace, Subscriber
from headwater.errors import BrokerUnavailable
from headwater.event import Draft, Position

FEED_PATIENCE = 5.0
"""Seconds that an append waits for this node's own feed, which may be busy with a repair. The event is in the log."""


class RedisBroker:
    """A log in Redis. See `headwater.brokers.base.Broker` for what it promises. "Durable" is what Redis makes of it: in
    its memory, on its disk and on its replicas as it is configured. When it loses what it had confirmed, the log begins a
    new epoch, and every client is told.

    Args:
        target: where it is.
        options: how it is used.
        retention: what the log keeps.
        pace: how often a node looks after its connection.
    """

    def __init__(
        self,
        target: Target,
        options: Options = Options(),  # noqa: B008 (frozen, so safe to share)
        *,
        retention: Retention = Retention(),  # noqa: B008 (frozen, so safe to share)
        pace: Pace = Pace(),  # noqa: B008 (frozen, so safe to share)
    ) -> None:
        self._options = options
        self._retention = retention
        self._pace = pace
        self._store = Store(target, options, retention, renewed=self._renewed)
        self._subscriber: Subscriber | None = None
        self._is_open = False
        self._appending = 0
        self._idle = asyncio.Event()  # no append is under way
        self._closing: asyncio.Task[None] | None = None

    async def open(self, feed: Feed | None = None) -> Position:
        self._is_open = True
        self._idle.set()
        try:
            head = await self._store.open(keeps=feed is not None)
            if feed is not None:
                self._subscriber = Subscriber(feed, self._store, wait=self._options.wait, pace=self._pace)
                head = await self._subscriber.start()
        except BaseException:
            await self.aclose()
            raise
        return head

    async def aclose(self) -> None:
        if self._is_open:
            self._is_open = False
            self._closing = asyncio.create_task(self._close())
        if self._closing is not None:
            await asyncio.shield(self._closing)

    async def _close(self) -> None:
        await self._idle.wait()
        if self._subscriber is not None:
            await self._subscriber.aclose()
        await self._store.aclose()

    def _check_open(self) -> None:
        if not self._is_open:
            raise BrokerUnavailable("the broker is not open", fix="call open() first, and nothing after aclose()")

    @property
    def overflows(self) -> int:
        """Appends refused because too many were waiting."""
        return self._store.overflows

    def counters(self) -> Mapping[str, int]:
        """What has gone wrong, and right again, since this was opened: see docs/reference/metrics.md."""
        counts = {"overflows": self._store.overflows}
        if self._subscriber is not None:
            delivery = self._subscriber.delivery
            counts |= {
                "reconnects": self._subscriber.reconnects,
                "repairs": delivery.repairs,
                "gaps": delivery.gaps,
                "lost": delivery.lost,
                "buffer_overflows": delivery.overflows,
            }
        return counts

    def _renewed(self, state: State) -> None:
        if self._subscriber is not None:
            self._subscriber.doubt()

    async def append(self, drafts: Sequence[Draft]) -> tuple[Position, ...]:
        self._check_open()
        if not drafts:
            return ()
        self._appending += 1
        self._idle.clear()
        try:
            positions = await self._store.append(drafts)
            if self._subscriber is not None:
                await self._shown(self._subscriber, drafts, positions)
            return positions
        finally:
            self._appending -= 1
            if not self._appending:
                self._idle.set()

    async def _shown(self, subscriber: Subscriber, drafts: Sequence[Draft], positions: Sequence[Position]) -> None:
        """Wait until this node shows what it has appended, if anybody here follows it."""
        followed = subscriber.delivery.followed
        pairs = zip(drafts, positions, strict=True)
        newest = max((position for draft, position in pairs if draft.channel in followed), default=None)
        if newest is not None:
            if newest.epoch != subscriber.delivery.at.epoch:
                subscriber.doubt()
            with suppress(TimeoutError):
                async with asyncio.timeout(FEED_PATIENCE):
                    await subscriber.feed.reached(newest)

    async def follow(self, channels: Collection[str]) -> Position:
        self._check_open()
        if self._subscriber is None:
            return await self._store.head()
        return await self._subscriber.follow(channels)

    async def unfollow(self, channels: Collection[str]) -> None:
        if self._subscriber is not None:
            self._subscriber.unfollow(channels)

    async def read(self, channels: Collection[str], after: int, until: int, limit: int = 500) -> Page:
        self._check_open()
        return await self._store.read(channels, after, until, limit)

    async def read_back(self, channels: Collection[str], before: int, limit: int = 500) -> Page:
        self._check_open()
        return await self._store.read_back(channels, before, limit)

    async def position_at(self, time: int) -> Position:
        self._check_open()
        return await self._store.position_at(time)

    async def horizon(self, channels: Collection[str]) -> Position:
        self._check_open()
        return await self._store.horizon(channels)

    async def head(self) -> Position:
        self._check_open()
        return await self._store.head()

    async def channels(self, prefix: str = "", limit: int = 1000) -> tuple[ChannelInfo, ...]:
        self._check_open()
        return await self._store.channels(prefix, limit)

    async def begin_epoch(self) -> None:
        """See `headwater.brokers.base.Renewable`."""
        self._check_open()
        await self._store.begin_epoch()

    async def prune(self, now: int) -> int:
        self._check_open()
        return await self._store.prune(now)

    async def examine(self) -> Sequence[Finding]:
        """See `headwater.brokers.base.Examinable`."""
        self._check_open()
        line = await self._store.link.connect()
        try:
            return await examine(line.ask, self._retention.total_bytes)
        finally:
            line.close()
