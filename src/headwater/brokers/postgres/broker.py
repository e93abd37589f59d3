"""`PostgresBroker`: the log in a PostgreSQL database, shared by any number of nodes.

This is what the hub calls: it hands appends to the writer and questions to the reader, and what they and the session find
goes to the feed in order. It knows no SQL. A caller that is cancelled leaves nothing half-done, because whatever talks to
the database does so in a task of its own.

The writer alone decides what the log is. Whoever else finds another epoch than expected only asks it to look.

Four things run: the writer, which appends; the reader, which answers questions; and, in a node with a feed, the session,
which is told when something happens, reads the log for the feed, and in one node leads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from headwater.brokers.base import ChannelInfo, Feed, Finding, Page, Retention
from headwater.brokers.postgres import outbox, reads
from headwater.brokers.postgres.address import Address
from headwater.brokers.postgres.appends import Outcome
from headwater.brokers.postgres.delivery import Commit, Delivery
from headwater.brokers.postgres.examine import examine
from headwater.brokers.postgres.leader import Leader
from headwater.brokers.postgres.link import Failure, Link, explain
from headwater.brokers.postgres.retention import Sweep
from headwater.brokers.postgres.sequencer import OwnLog
from headwater.brokers.postgres.session import Session, end
from headwater.brokers.postgres.snapshot import Snapshot
from headwater.brokers.postgres.watcher import Watcher
from headwater.brokers.postgres.writer import Append, Made, Writer
from headwater.errors import BrokerUnavailable, ConfigurationError, HeadwaterError
from headwater.event import Draft, Position

MAX_WAITING = 10_000  # drafts that may wait to be written
MAX_WAITING_SIZE = 64 << 20  # bytes of data in them
PAUSE = 0.01  # seconds between looks for what is not in the log yet

_T = TypeVar("_T")


class PostgresBroker:
    """A log in a PostgreSQL database. See `headwater.brokers.base.Broker` for what it promises.

    Nodes that have a feed also take turns in leading: one of them moves what is in the outbox into the log, and applies
    retention. A process that only publishes does neither.

    Args:
        address: of the database, and how it is used.
        retention: what the log keeps.
        mapping: what changes of rows become; without it they stay in the outbox.

    Attributes:
        overflows: appends refused because too many were waiting.
    """

    def __init__(
        self,
        address: Address,
        *,
        retention: Retention = Retention(),  # noqa: B008 (frozen, so safe to share)
        mapping: outbox.Mapping | None = None,
    ) -> None:
        self.overflows = 0
        self.address = address
        self.retention = retention
        self._mapping = mapping
        self._is_open = False
        self._closing: asyncio.Task[None] | None = None
        self._working: set[asyncio.Task[Any]] = set()
        self._asking = asyncio.Lock()
        self._following = asyncio.Lock()  # keeps the order in which channels come and go
        self._waiting = 0
        self._waiting_size = 0
        self._has_feed = False
        self._session: Session | None = None
        self._watcher: Watcher | None = None
        self._leader: Leader | None = None
        self._target: OwnLog | None = None
        self._delivery = Delivery(None, self._look)
        self._writer = Writer(
            Link(address),
            address,
            retention.key_age,
            seen=lambda: self._delivery.at,
            adopt=lambda *found: self._delivery.adopt(*found),
            made=self._settle,
            left=self._leave,
        )
        self._reader = Link(address)

    def map_changes(self, mapping: outbox.Mapping) -> None:
        """Say what changes of rows become, before `open`.

        Raises:
            ConfigurationError: it is open, and has promised triggers nothing.
        """
        if self._is_open:
            raise ConfigurationError("the log is open, and leaves changes of rows alone", fix="give the rules before")
        self._mapping = mapping

    @property
    def taken(self) -> int:
        """Rows that this node has taken from the outbox."""
        return 0 if self._leader is None else self._leader.taken

    @property
    def is_leader(self) -> bool:
        """Whether this node takes from the outbox now."""
        return self._is_open and self._leader is not None and self._leader.is_leading

    async def open(self, feed: Feed | None = None) -> Position:
        self._loop = asyncio.get_running_loop()
        self._delivery = Delivery(feed, self._look)
        self._has_feed = feed is not None
        self._is_open = True
        try:
            await self._begin()
        except BaseException:
            await self.aclose()
            raise
        self._writer.start()
        if self._has_feed:
            self._start_session()
        return Position(*self._delivery.at)

    async def _begin(self) -> None:
        """Reach the database, for as long as an append would try."""
        deadline = self._loop.time() + self.address.options.wait
        while True:
            try:
                await self._work(self._writer.check())
                return
            except Failure as error:
                problem = explain(error, self.address, opening=True)
                if not isinstance(problem, BrokerUnavailable) or self._loop.time() >= deadline:
                    raise problem from error
            await asyncio.sleep(min(0.2, self.address.options.wait))

    def _start_session(self) -> None:
        link = Link(self.address)
        self._watcher = Watcher(link, self._delivery, self._check)
        self._target = OwnLog(link, self._delivery, int(self.retention.key_age * 1000), self._check)
        self._leader = Leader(link, self.address.options, self._target, mapping=self._mapping, retention=self.retention)
        self._session = Session(link, self.address, [self._watcher, self._leader], lost=self._delivery.release)
        self._session.start()

    async def aclose(self) -> None:
        if self._is_open:
            self._is_open = False
            self._closing = asyncio.create_task(self._close())
        if self._closing is not None:
            await asyncio.shield(self._closing)

    async def _close(self) -> None:
        await self._writer.stop()
        if self._session is not None:
            await self._session.stop()
        await end(self._working, self._reader, self._writer.link)
        await self._writer.close()
        await self._reader.close()
        self._delivery.close()

    def _check_open(self) -> None:
        if not self._is_open:
            raise BrokerUnavailable("the broker is not open", fix="call open() first, and nothing after aclose()")

    async def append(self, drafts: Sequence[Draft]) -> tuple[Position, ...]:
        self._check_open()
        if not drafts:
            return ()
        ticket: asyncio.Future[tuple[str, Outcome]] = self._loop.create_future()
        append = Append(tuple(drafts), self._loop.time() + self.address.options.wait, ticket)
        self._make_room(append)
        self._writer.submit(append)
        epoch, outcome = await ticket
        if outcome.conflict is not None:
            raise outcome.conflict
        return tuple(Position(epoch, seq) for seq in outcome.seqs)

    def _make_room(self, append: Append) -> None:
        drafts, size = len(append.drafts), append.size
        if self._waiting and (self._waiting + drafts > MAX_WAITING or self._waiting_size + size > MAX_WAITING_SIZE):
            self.overflows += 1
            raise BrokerUnavailable(
                f"{self._waiting} events are already waiting to be written",
                expected=f"at most {MAX_WAITING}, with {MAX_WAITING_SIZE} bytes of data",
                fix="publish more slowly, or more events in one call",
                retry_after=1,
            )
        self._waiting += drafts
        self._waiting_size += size

    def _leave(self, append: Append) -> None:
        self._waiting -= len(append.drafts)
        self._waiting_size -= append.size

    def _settle(self, made: Made) -> None:
        """A group was committed; first the feed is told, then the publishers."""
        answer = made.answer
        release = partial(self._release, made)
        if answer.base is None:  # given before: somebody else's events may lie anywhere around
            newest = max((seq for seq in answer.seqs if seq is not None), default=0)
            self._delivery.committed(Commit(newest, (), answer.time, release))
        else:
            self._delivery.committed(Commit(answer.base, made.group.fresh(answer), answer.time, release))
        if self._watcher is not None and self._watcher.is_asleep:
            self._look()

    def _release(self, made: Made) -> None:
        for append, outcome in zip(made.appends, made.group.outcomes(made.answer), strict=True):
            if not append.ticket.done():
                append.ticket.set_result((made.epoch, outcome))

    def _look(self) -> None:
        if self._session is not None:
            self._session.wake()

    async def follow(self, channels: Collection[str]) -> Position:
        self._check_open()
        async with self._following:
            if self._has_feed and not self._delivery.followed:  # nobody reads the log, so the feed has not kept up
                head = await self.head()
                self._delivery.skip_to(head.epoch, head.seq)
            self._delivery.followed.update(channels)
            self._look()
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
        known, at = self._delivery.at if self._is_open else ("", 0)
        head = await self._ask(reads.head)
        if head.epoch == known and head.seq < at:  # an older copy was put in the database's place
            await self._check()
            head = await self._ask(reads.head)
        return head

    async def channels(self, prefix: str = "", limit: int = 1000) -> tuple[ChannelInfo, ...]:
        return await self._ask(reads.channels, prefix, limit)

    async def repeated(self, snapshot: Snapshot) -> tuple[Position, ...]:
        """The positions after a snapshot's of events that it already shows (see `headwater.brokers.postgres.snapshot`).
        Waits until they have positions, some milliseconds mostly; without any, answers at once.

        Raises:
            BrokerUnavailable: they have none after `wait` seconds, because no node leads.
        """
        deadline = asyncio.get_running_loop().time() + self.address.options.wait
        while snapshot.pending:
            is_waiting, seqs = await self._ask(reads.repeated, snapshot.pending, snapshot.position.seq)
            if not is_waiting:
                return tuple(Position(snapshot.position.epoch, seq) for seq in seqs)
            if asyncio.get_running_loop().time() > deadline:
                raise BrokerUnavailable(
                    "nobody takes from the outbox", fix="start a hub on this database", retry_after=1
                )
            await asyncio.sleep(PAUSE)
        return ()

    def counters(self) -> Mapping[str, int]:
        return {
            "overflows": self.overflows,
            "reconnects": 0 if self._session is None else self._session.losses,
            "lost": self._delivery.holes,
            "retries": self._writer.retries,
            "conflicts": 0 if self._target is None else self._target.conflicts,
        }

    async def examine(self) -> Sequence[Finding]:
        """See `headwater.brokers.base.Examinable`."""
        self._check_open()
        try:
            return await self._work(self._examine())
        except Failure as error:
            raise explain(error, self.address) from error

    async def _examine(self) -> Sequence[Finding]:
        async with self._asking:
            return [finding async for finding in examine(self._reader)]

    async def begin_epoch(self) -> None:
        """See `headwater.brokers.base.Renewable`."""
        self._check_open()
        try:
            await self._work(self._writer.begin_epoch())
        except Failure as error:
            raise explain(error, self.address) from error

    async def prune(self, now: int) -> int:
        self._check_open()
        return await self._work(self._prune(now))

    async def _prune(self, now: int) -> int:
        sweep = Sweep(self.retention, now)
        try:
            more = True
            while more:
                async with self._asking:
                    more = await sweep.step(self._reader)
        except Failure as error:
            raise explain(error, self.address) from error
        return sweep.removed

    async def _ask(self, question: Callable[..., Awaitable[tuple[str, _T]]], *details: Any) -> _T:
        """Ask the log, and wait for the answer as long as for an append."""
        self._check_open()
        wait = self.address.options.wait
        try:
            async with asyncio.timeout(wait):
                return await self._insist(question, details)
        except TimeoutError as error:
            what = f"the log in {self.address} has not answered within {wait:g} s"
            raise BrokerUnavailable(what, fix="look at the server and the way to it", retry_after=1) from error

    async def _insist(self, question: Callable[..., Awaitable[tuple[str, _T]]], details: Sequence[Any]) -> _T:
        """If the log does not answer, or is another log than before, have the writer look, and ask again."""
        try:
            epoch, answer = await self._work(self._answer(question, details))
            if epoch == self._delivery.at[0]:
                return answer
        except Failure as error:
            if isinstance(error, HeadwaterError) and not isinstance(error, BrokerUnavailable):
                raise  # the answer itself
        await self._check()
        self._check_open()
        try:
            _, answer = await self._work(self._answer(question, details))
        except Failure as error:
            if isinstance(error, HeadwaterError):
                raise
            raise explain(error, self.address) from error
        return answer

    async def _answer(
        self, question: Callable[..., Awaitable[tuple[str, _T]]], details: Sequence[Any]
    ) -> tuple[str, _T]:
        late = self._loop.time() + self.address.options.wait
        async with self._asking:
            self._check_open()
            if (
                self._loop.time() > late
            ):  # those before have had no answer either, and nobody waits for this one any more
                raise BrokerUnavailable(f"the log in {self.address} does not answer", retry_after=1)
            try:
                return await question(self._reader, *details)
            except Failure as error:
                if not isinstance(error, HeadwaterError):
                    await self._reader.close()  # a connection that failed is not trusted again
                raise

    async def _check(self) -> None:
        """Have the writer look at what the log is now."""
        self._check_open()
        try:
            await self._work(self._writer.check())
        except Failure as error:
            raise explain(error, self.address) from error

    async def _work(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Do something in a task of its own, which goes on if the caller is cancelled."""
        task = asyncio.create_task(work)
        self._working.add(task)
        task.add_done_callback(self._worked)
        return await asyncio.shield(task)

    def _worked(self, task: asyncio.Task[Any]) -> None:
        self._working.discard(task)
        if not task.cancelled():
            task.exception()  # now somebody has looked at it, even if the caller has gone
