"""Who waits for the feed to get somewhere: publishers, whose node is to show an event when `append` returns.

Stands between the delivery and the feed, and sees every step. Knows positions and futures, and nothing of Redis.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from heapq import heapify, heappop, heappush
from itertools import count

from headwater.brokers.base import Feed
from headwater.event import Event, Position


class Watched:
    """A feed whose progress can be awaited.

    Args:
        feed: gets everything that this gets.

    Attributes:
        at: the position through which the feed is complete.
    """

    def __init__(self, feed: Feed) -> None:
        self.at = Position("0", 0)
        self._feed = feed
        self._numbers = count()
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []  # a heap: by seq of the present epoch
        self._ahead: list[tuple[Position, asyncio.Future[None]]] = []  # of epochs that the feed has not heard of yet
        self._abandoned = 0  # how many of those have given up since they were last looked through

    def begin(self, head: Position) -> None:
        """The feed starts here."""
        self.at = head

    def receive(self, events: Sequence[Event], upto: Position) -> None:
        """See `Feed.receive`."""
        self._feed.receive(events, upto)
        self.at = upto
        self._release()

    def restart(self, head: Position, lost: bool = False) -> None:
        """See `Feed.restart`."""
        self._feed.restart(head, lost)
        if head.epoch != self.at.epoch:
            self._release_all()  # the epoch they wait in is over
            ahead, self._ahead = self._ahead, []
            for position, future in ahead:
                self._add(position, future, head.epoch)
        self.at = head
        self._release()

    async def reached(self, position: Position) -> None:
        """Return once the feed is complete through `position`, or the epoch it is of is over, or nothing comes any more."""
        if position.epoch == self.at.epoch and position.seq <= self.at.seq:
            return
        future = asyncio.get_running_loop().create_future()
        self._add(position, future, self.at.epoch)
        try:
            await future
        finally:
            if future.cancelled():
                self._forget_abandoned()

    def _forget_abandoned(self) -> None:
        """While a node hears nothing, everyone gives up waiting in the end: they go when half of all have."""
        self._abandoned += 1
        if 2 * self._abandoned >= len(self._waiting) + len(self._ahead):
            self._abandoned = 0
            self._waiting = [waiter for waiter in self._waiting if not waiter[2].done()]
            heapify(self._waiting)
            self._ahead = [waiter for waiter in self._ahead if not waiter[1].done()]

    def close(self) -> None:
        """Let everyone go: nothing comes any more."""
        self._release_all()
        ahead, self._ahead = self._ahead, []
        for _, future in ahead:
            _finish(future)

    def _release_all(self) -> None:
        waiting, self._waiting = self._waiting, []
        for _, _, future in waiting:
            _finish(future)

    def _add(self, position: Position, future: asyncio.Future[None], epoch: str) -> None:
        if position.epoch == epoch:
            heappush(self._waiting, (position.seq, next(self._numbers), future))
        else:
            self._ahead.append((position, future))

    def _release(self) -> None:
        while self._waiting and self._waiting[0][0] <= self.at.seq:
            _finish(heappop(self._waiting)[2])


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
