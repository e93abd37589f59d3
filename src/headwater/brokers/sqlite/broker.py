"""`SqliteBroker`: the log in one SQLite file, shared by the processes of one machine.

This is the event loop's side: it hands appends to the writer's thread and questions to the reader's, and what the
threads report comes back to the loop in the order in which it happened. It knows no SQL.

The writer alone decides what the log is. Whoever else finds another epoch than expected only asks it to look, and all
of its reports arrive in order, so an old look at the file is never taken for a new one.

A log that is deleted, replaced, or put back to an older copy while a hub uses it begins a new epoch there. A copy put
back while nothing runs cannot be told from the original: positions that clients hold from after it are seen to be ahead
of `head`, until the log has grown past them.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from headwater.brokers.base import ChannelInfo, Feed, Page, Retention
from headwater.brokers.sqlite import reads
from headwater.brokers.sqlite.appends import Group
from headwater.brokers.sqlite.delivery import Commit, Delivery
from headwater.brokers.sqlite.file import Link, Options, explain
from headwater.brokers.sqlite.watcher import Watcher
from headwater.brokers.sqlite.writer import Append, Job, Writer
from headwater.errors import BrokerUnavailable, ConfigurationError, IdempotencyConflict
from headwater.event import Draft, Position

MAX_WAITING = 10_000  # drafts that may wait to be written
MAX_WAITING_SIZE = 64 << 20  # characters of data in them

_T = TypeVar("_T")


class SqliteBroker:
    """A log in a SQLite file. See `headwater.brokers.base.Broker` for what it promises.

    Retention is applied by nodes that have a feed; a process that only publishes removes nothing unless told to.

    Args:
        path: of the file; it is made if it is missing, its directory is not.
        options: how the file is used.
        retention: what the log keeps.

    Attributes:
        overflows: appends refused because too many were waiting.
    """

    def __init__(
        self,
        path: str | Path,
        options: Options = Options(),  # noqa: B008 (frozen, so safe to share)
        *,
        retention: Retention = Retention(),  # noqa: B008 (frozen, so safe to share)
    ) -> None:
        self.overflows = 0
        self._path = Path(path).absolute()
        self._options = options
        self._retention = retention
        self._is_open = False
        self._closing: asyncio.Task[None] | None = None
        self._checking: asyncio.Future[Any] | None = None
        self._waiting = 0
        self._waiting_size = 0

    async def open(self, feed: Feed | None = None) -> Position:
        self._loop = asyncio.get_running_loop()
        self._delivery = Delivery(feed)
        self._writer = Writer(
            self._link(create=True),
            self._retention,
            keeps=feed is not None,
            seen=lambda: self._delivery.at,
            settle=self._post_from(self._settle),
        )
        self._watcher = Watcher(
            self._link(),
            self._delivery,
            self._writer,
            deliver=self._post_from(self._take_batch),
            doubt=self._post_from(self._check_soon),
        )
        self._reading = self._link()
        self._reader = ThreadPoolExecutor(1, "headwater-sqlite-reader")
        self._has_feed = feed is not None
        self._following = asyncio.Lock()  # keeps the order in which channels come and go
        self._is_open = True
        self._writer.start()
        self._watcher.start()
        try:
            self._delivery.begin(*await self._do(self._writer.check, opening=True))
        except BaseException:
            await self.aclose()
            raise
        return Position(*self._delivery.at)

    def _link(self, *, create: bool = False) -> Link:
        return Link(self._path, self._options, create=create)

    async def aclose(self) -> None:
        if self._is_open:
            self._is_open = False
            self._closing = asyncio.create_task(self._close())
        if self._closing is not None:
            await asyncio.shield(self._closing)

    async def _close(self) -> None:
        ended = self._loop.create_future()
        self._writer.stop(self._post_from(partial(self._finish, ended)))
        await ended
        self._watcher.stop()
        await self._loop.run_in_executor(self._reader, self._reading.close)
        await self._loop.run_in_executor(self._reader, self._watcher.join)
        self._writer.join()
        self._reader.shutdown()
        self._delivery.close()

    def _check_open(self) -> None:
        if not self._is_open:
            raise BrokerUnavailable("the broker is not open", fix="call open() first, and nothing after aclose()")

    async def append(self, drafts: Sequence[Draft]) -> tuple[Position, ...]:
        self._check_open()
        if not drafts:
            return ()
        size = sum(len(draft.data) for draft in drafts)
        self._make_room(len(drafts), size)
        ticket = self._loop.create_future()
        self._writer.submit(Append(tuple(drafts), (ticket, size)))
        positions: tuple[Position, ...] = await ticket
        return positions

    def _make_room(self, drafts: int, size: int) -> None:
        if self._waiting and (self._waiting + drafts > MAX_WAITING or self._waiting_size + size > MAX_WAITING_SIZE):
            self.overflows += 1
            raise BrokerUnavailable(
                f"{self._waiting} events are already waiting to be written",
                expected=f"at most {MAX_WAITING}, with {MAX_WAITING_SIZE} characters of data",
                fix="publish more slowly, or more events in one call",
                retry_after=1,
            )
        self._waiting += drafts
        self._waiting_size += size

    def _settle(self, appends: list[Append], result: Group | Exception) -> None:
        """A transaction is over; first the feed is told, then the publishers."""
        for append in appends:
            self._waiting -= len(append.drafts)
            self._waiting_size -= append.ticket[1]
        if isinstance(result, Exception):
            for append in appends:
                self._finish(append.ticket[0], result)
            return
        self._delivery.adopt(result.log.epoch, result.base)
        release = partial(self._release, appends, result)
        self._delivery.committed(Commit(result.base, result.fresh, result.log.time, release))
        if self._delivery.gap > self._delivery.at[1]:
            self._watcher.wake()

    def _release(self, appends: list[Append], group: Group) -> None:
        for append, outcome in zip(appends, group.outcomes, strict=True):
            positions = tuple(Position(group.log.epoch, seq) for seq in outcome.seqs)
            self._finish(append.ticket[0], outcome.conflict or positions)

    def _take_batch(self, batch: reads.Batch) -> None:
        self._delivery.read(batch)
        self._watcher.taken()

    def counters(self) -> Mapping[str, int]:
        return {"overflows": self.overflows}

    async def follow(self, channels: Collection[str]) -> Position:
        self._check_open()
        async with self._following:
            if self._has_feed and not self._delivery.followed:  # the watcher sleeps, so the feed has not kept up
                head = await self.head()
                self._delivery.skip_to(head.epoch, head.seq)
            self._delivery.followed.update(channels)
            self._watcher.wake()
            return Position(*self._delivery.at)

    async def unfollow(self, channels: Collection[str]) -> None:
        async with self._following:
            self._delivery.unfollow(channels)

    async def read(self, channels: Collection[str], after: int, until: int, limit: int = 500) -> Page:
        return await self._ask(reads.page, channels, after, until, limit)

    async def read_back(self, channels: Collection[str], before: int, limit: int = 500) -> Page:
        return await self._ask(reads.page_back, channels, before, limit)

    async def position_at(self, time: int) -> Position:
        return await self._ask(reads.position_at, time)

    async def horizon(self, channels: Collection[str]) -> Position:
        return await self._ask(reads.horizon, channels)

    async def head(self) -> Position:
        known, at = self._delivery.at
        head = await self._ask(reads.head)
        if head.epoch == known and head.seq < at:  # an older copy was put in the file's place
            await self._check()
            head = await self._ask(reads.head)
        return head

    async def channels(self, prefix: str = "", limit: int = 1000) -> tuple[ChannelInfo, ...]:
        return await self._ask(reads.channels, prefix, limit)

    async def begin_epoch(self) -> None:
        """See `headwater.brokers.base.Renewable`."""
        self._check_open()
        await self._do(self._writer.begin_epoch)
        await self._check()

    async def prune(self, now: int) -> int:
        self._check_open()
        removed: int = await self._do(self._writer.pruning(now))
        return removed

    async def _ask(self, question: Callable[..., tuple[str, _T]], *details: Any) -> _T:
        """Ask the file. If it does not answer, or is another log than before, have the writer look, and ask again."""
        self._check_open()
        try:
            epoch, answer = await self._loop.run_in_executor(self._reader, self._answer, question, details)
            if epoch == self._delivery.at[0]:
                return answer
        except (sqlite3.Error, OSError, ConfigurationError):
            pass  # the second attempt tells
        await self._check()
        self._check_open()
        try:
            _, answer = await self._loop.run_in_executor(self._reader, self._answer, question, details)
        except (sqlite3.Error, OSError, ConfigurationError) as error:
            raise explain(error, self._path) from error
        return answer

    def _answer(self, question: Callable[..., tuple[str, _T]], details: Sequence[Any]) -> tuple[str, _T]:
        """In the reader's thread."""
        try:
            return question(self._reading.use(), *details)
        except (sqlite3.Error, OSError):
            self._reading.close()  # a connection that failed is not trusted again
            raise

    async def _check(self) -> None:
        """Have the writer look at what the log is now."""
        self._check_open()
        self._check_soon()
        assert self._checking is not None
        await asyncio.shield(self._checking)

    def _check_soon(self) -> None:
        if self._is_open and (self._checking is None or self._checking.done()):
            self._checking = self._loop.create_future()
            self._writer.submit(Job(self._writer.check, self._post_from(self._checked)))

    def _checked(self, result: tuple[str, int] | Exception) -> None:
        assert self._checking is not None
        if not isinstance(result, Exception):
            self._delivery.adopt(*result)
        self._finish(self._checking, result)
        self._checking.exception()  # so that it counts as seen if nobody is waiting

    async def _do(self, work: Callable[[], Any], *, opening: bool = False) -> Any:
        """Have the writer's thread do something, and wait for it."""
        done = self._loop.create_future()
        self._writer.submit(Job(work, self._post_from(partial(self._finish, done, opening=opening))))
        return await done

    def _finish(self, future: asyncio.Future[Any], result: Any, *, opening: bool = False) -> None:
        if future.done():
            return  # its waiter was cancelled
        if isinstance(result, IdempotencyConflict):
            future.set_exception(result)
        elif isinstance(result, Exception):
            error = explain(result, self._path, opening=opening)
            error.__cause__ = result
            future.set_exception(error)
        else:
            future.set_result(result)

    def _post_from(self, callback: Callable[..., None]) -> Callable[..., None]:
        """`callback` for use in other threads: it runs in the loop's."""

        def post(*details: Any) -> None:
            with suppress(RuntimeError):  # the loop is closed, and nobody is left to be told
                self._loop.call_soon_threadsafe(callback, *details)

        return post
