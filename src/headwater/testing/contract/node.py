"""What the contract's tests stand on: a node with a feed that remembers and checks, and the hooks an author fills in."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from threading import get_ident

from headwater.brokers.base import Broker, Retention
from headwater.event import Draft, Event, Position

PATIENCE = 30.0
"""Seconds after which a test gives up waiting for the broker. Only a failing test ever waits that long."""


class Recorder:
    """A feed that keeps what it gets, and complains at once about what a feed must never get.

    Attributes:
        events: all events, in order.
        upto: the position through which the feed is complete.
        restarts: the heads of the epochs that began.
    """

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.upto: Position | None = None
        self.restarts: list[Position] = []
        self.complaints: list[str] = []
        self.is_over = False
        self._thread = get_ident()
        self._news = asyncio.Event()

    def receive(self, events: Sequence[Event], upto: Position) -> None:
        """See `headwater.brokers.base.Feed`."""
        self._check_call("receive")
        for event in events:
            last = self.events[-1].position if self.events else None
            if last is not None and last.epoch == event.position.epoch and event.position <= last:
                self.complaints.append(f"{event.position} came after {last}")
            if event.position > upto:
                self.complaints.append(f"{event.position} came in a batch up to {upto}")
            self.events.append(event)
        if self.upto is not None and self.upto.epoch == upto.epoch and upto < self.upto:
            self.complaints.append(f"upto went back from {self.upto} to {upto}")
        self.upto = upto
        self._news.set()

    def restart(self, head: Position, lost: bool = False) -> None:
        """See `headwater.brokers.base.Feed`."""
        self._check_call("restart")
        self.restarts.append(head)
        self.upto = head
        self._news.set()

    def _check_call(self, name: str) -> None:
        if get_ident() != self._thread:
            self.complaints.append(f"{name} was called in another thread")
        if self.is_over:
            self.complaints.append(f"{name} was called after aclose")

    def seqs(self, *channels: str, after: int = 0) -> list[int]:
        """The positions of the events of some channels (of all, if none is named)."""
        return [
            event.position.seq
            for event in self.events
            if event.position.seq > after and (not channels or event.channel in channels)
        ]

    async def until(self, condition: Callable[[], bool]) -> None:
        """Return once `condition()` is true; it is asked again after every call of the feed.

        Raises:
            TimeoutError: that took longer than `PATIENCE`.
        """
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self._news.clear()
                await self._news.wait()

    async def complete(self, position: Position) -> None:
        """Return once the feed is complete through `position`."""
        await self.until(lambda: self.upto is not None and self.upto >= position)


class Node:
    """An open broker with its feed.

    Attributes:
        broker: the broker.
        feed: what it delivers to.
        head: what `open` returned.
    """

    def __init__(self, broker: Broker, feed: Recorder, head: Position) -> None:
        self.broker = broker
        self.feed = feed
        self.head = head

    async def append(self, *drafts: Draft) -> tuple[Position, ...]:
        """Append one batch.

        Raises:
            TimeoutError: that took longer than `PATIENCE`.
        """
        async with asyncio.timeout(PATIENCE):
            return await self.broker.append(drafts)

    async def fill(self, channel: str, count: int, data: str = "null") -> list[int]:
        """Append `count` events one by one; their positions."""
        return [(await self.append(Draft(channel=channel, data=data)))[0].seq for _ in range(count)]

    async def seqs(self, *channels: str, after: int = 0) -> list[int]:
        """The positions that the log holds of some channels."""
        head = await self.broker.head()
        page = await self.broker.read(channels, after, head.seq, 1_000_000)
        return [event.position.seq for event in page.events]

    async def retained(self, *channels: str) -> list[int]:
        """The same for channels that may have lost some: no error."""
        head = await self.broker.head()
        page = await self.broker.read_back(channels, head.seq, 1_000_000)
        return [event.position.seq for event in reversed(page.events)]


class Contract:
    """The hooks. One instance is one test, with a log of its own."""

    shares_log = True
    """Whether several brokers can be open on one log, in this process or others."""

    can_wipe = False
    """Whether `wipe` is implemented."""

    def connect(self, retention: Retention) -> Broker:
        """A broker on this test's log, not yet open. The first call finds no log; with `shares_log` the next ones find the
        same log again. To be overridden."""
        raise NotImplementedError("say how to connect: override connect()")

    async def wipe(self, broker: Broker) -> None:
        """Replace this test's log by an empty one, while `broker` uses it. To be overridden if `can_wipe`."""
        raise NotImplementedError("say how to wipe the log, or leave can_wipe False")

    @asynccontextmanager
    async def node(self, retention: Retention | None = None, *, follow: Collection[str] = ()) -> AsyncIterator[Node]:
        """A node on this test's log, closed at the end; it must not have seen anything a feed must never get."""
        broker = self.connect(Retention() if retention is None else retention)
        feed = Recorder()
        try:
            node = Node(broker, feed, await broker.open(feed))
            if follow:
                await broker.follow(follow)
            yield node
        finally:
            await broker.aclose()
            feed.is_over = True
        await asyncio.sleep(0)
        assert not feed.complaints, "; ".join(feed.complaints)


async def raises(expected: type[Exception], awaitable: Awaitable[object]) -> Exception:
    """Await something that must fail; the error."""
    try:
        await awaitable
    except expected as error:
        return error
    raise AssertionError(f"{expected.__name__} was not raised")


async def tick() -> int:
    """Wait until the clock shows another millisecond; that time."""
    now = int(time.time() * 1000)
    while (then := int(time.time() * 1000)) <= now:  # noqa: ASYNC110 (nobody announces the clock)
        await asyncio.sleep(0.0005)
    return then


def later(seconds: float) -> int:
    """A time in the future, in milliseconds of Unix time."""
    return int((time.time() + seconds) * 1000)
