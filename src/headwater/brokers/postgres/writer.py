"""The one task that appends: it takes all appends that wait and commits them together, whatever the network does.

While one call is under way the next appends gather, so the more publishers there are, the more appends share a commit. A
call whose outcome is unknown, because the connection broke before the answer, is made again under the same id, and the
database answers what it answered or would have. It knows the link and the functions, and reports to callbacks; it must
not know the feed.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable, Sequence
from uuid import UUID, uuid4

import psycopg

from headwater.brokers.postgres.address import Address
from headwater.brokers.postgres.appends import Answer, Group, Outcome
from headwater.brokers.postgres.link import Failure, Link, explain, is_missing
from headwater.brokers.postgres.migrate import migrate
from headwater.brokers.postgres.session import end
from headwater.errors import BrokerUnavailable
from headwater.event import Draft, byte_length

MAX_GROUP = 1000  # drafts in one call, unless a single append has more
MAX_GROUP_BYTES = 4 << 20  # of data in one call, likewise
FIRST_PAUSE = 0.05  # seconds at most before an append is tried again; doubled each time
LONGEST_PAUSE = 1.0
_NEVER = (1 << 63) - 1  # a position that no log reaches

_log = logging.getLogger("headwater.brokers.postgres")


class Append:
    """Drafts that wait to be written.

    Args:
        drafts: at least one.
        deadline: on the loop's clock; then the append fails, unless it was made and the feed is yet to hear of it.

    Attributes:
        ticket: gets the epoch and the outcome, or the error.
        is_sent: it has been sent, so whether it was made is not known before the answer.
        is_made: it was made.
        trouble: why it could not be made the last time.
    """

    __slots__ = ("deadline", "drafts", "is_made", "is_sent", "size", "ticket", "trouble")

    def __init__(self, drafts: Sequence[Draft], deadline: float, ticket: asyncio.Future[tuple[str, Outcome]]) -> None:
        self.drafts = drafts
        self.deadline = deadline
        self.ticket = ticket
        self.size = sum(byte_length(draft.data) for draft in drafts)
        self.is_sent = False
        self.is_made = False
        self.trouble: Exception | None = None


class Made:
    """A group that was committed, and what became of it."""

    __slots__ = ("answer", "appends", "epoch", "group")

    def __init__(self, appends: list[Append], group: Group, answer: Answer) -> None:
        assert answer.epoch is not None  # only a leader can come too late
        self.epoch = answer.epoch
        self.appends = appends
        self.group = group
        self.answer = answer


class Writer:
    """The writer's task.

    Args:
        link: used here only; whoever ends what is under way may cut it.
        address: of the database.
        key_age: seconds for which idempotency keys count.
        seen: tells the epoch and seq that this node knows to have existed.
        adopt: is told what the log is, whenever that was looked at.
        made: gets each group that was committed.
        left: is told of each append that is dealt with, one way or the other.

    Attributes:
        retries: how many calls have been made again.
    """

    def __init__(
        self,
        link: Link,
        address: Address,
        key_age: float,
        *,
        seen: Callable[[], tuple[str, int]],
        adopt: Callable[[str, int], None],
        made: Callable[[Made], None],
        left: Callable[[Append], None],
    ) -> None:
        self.retries = 0
        self.link = link
        self._address = address
        self._key_age = int(key_age * 1000)
        self._seen = seen
        self._adopt = adopt
        self._made = made
        self._left = left
        self._queue: deque[Append] = deque()  # bounded by the broker
        self._using = asyncio.Lock()
        self._news = asyncio.Event()
        self._is_stopping = False
        self._has_entered = False  # with this connection
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to append."""
        self._task = asyncio.create_task(self._run(), name="headwater-postgres-writer")

    def submit(self, append: Append) -> None:
        """Have it made. Appends are made in the order of submission."""
        self._queue.append(append)
        self._news.set()
        loop = asyncio.get_running_loop()
        timer = loop.call_at(append.deadline, self._expire, append)
        append.ticket.add_done_callback(lambda _: timer.cancel())

    async def stop(self) -> None:
        """Return when everything that was submitted is dealt with, or its time is over. Nothing may be submitted any more."""
        self._is_stopping = True
        self._news.set()
        if self._task is not None:
            await end([self._task], self.link, patience=self._address.options.wait)

    async def close(self) -> None:
        """Close the connection."""
        async with self._using:
            await self.link.close()

    async def check(self) -> tuple[str, int]:
        """Look at what the log is, make it if it is missing, and tell; its epoch and newest position.

        Raises:
            psycopg.Error, OSError, HeadwaterError: that is not possible.
        """
        async with self._using:
            try:
                return await self._enter()
            except (psycopg.OperationalError, OSError):
                await self._forsake()  # a connection may have died unnoticed while it was idle; a new one tells
            try:
                return await self._enter()
            except BaseException:
                await self._forsake()
                raise

    async def begin_epoch(self) -> None:
        """Have a new epoch begun. Whoever knows of a position that the log does not have makes it begin one.

        Raises:
            psycopg.Error, OSError, HeadwaterError: that is not possible.
        """
        epoch, _ = await self.check()
        async with self._using:
            await self._ask_to_enter((epoch, _NEVER))
        await self.check()

    async def _forsake(self) -> None:
        """Never trust a connection again that has failed."""
        self._has_entered = False
        await self.link.close()

    async def _enter(self) -> tuple[str, int]:
        known = self._seen()
        try:
            found = await self._ask_to_enter(known)
        except psycopg.Error as error:
            if not is_missing(error):
                raise
            names = await migrate(await self.link.use(), self._address.options.schema)
            _log.info("installed %s in %s", ", ".join(names), self._address)
            found = await self._ask_to_enter(known)
        self._has_entered = True
        self._adopt(*found)
        return found

    async def _ask_to_enter(self, known: tuple[str, int]) -> tuple[str, int]:
        epoch, pos = await self.link.row("enter", epoch=known[0], pos=known[1])
        return epoch, pos

    async def _run(self) -> None:
        while not (self._is_stopping and not self._queue):
            await self._news.wait()
            self._news.clear()
            while self._queue:
                await self._make(*self._take())

    def _take(self) -> tuple[list[Append], Group]:
        """Everything that waits, up to a full group."""
        group, appends, size = Group(), [], 0
        while self._queue:
            append = self._queue[0]
            is_full = len(group.drafts) + len(append.drafts) > MAX_GROUP or size + append.size > MAX_GROUP_BYTES
            if append.ticket.done():
                self._left(self._queue.popleft())
                continue
            if (len(group) and is_full) or not group.add(append.drafts):
                break
            appends.append(self._queue.popleft())
            size += append.size
        return appends, group

    async def _make(self, appends: list[Append], group: Group) -> None:
        """Try until it is made, or until nobody waits for it any more."""
        operation = uuid4()
        attempt = 0
        while not all(append.ticket.done() for append in appends):
            try:
                async with self._using:
                    answer = await self._try(appends, group, operation)
            except Exception as error:  # of any kind: the publishers must hear of it, and the task must go on
                if not isinstance(error, Failure):
                    _log.exception("an append failed in a way that nobody expected")
                self._fail_overdue(appends, error)
                attempt += 1
                self.retries += 1
                await self._pause(attempt)
            else:
                for append in appends:
                    append.is_made = True
                self._made(Made(appends, group, answer))
                break
        for append in appends:
            self._left(append)

    async def _try(self, appends: list[Append], group: Group, operation: UUID) -> Answer:
        try:
            await self.link.use()
            if not self._has_entered:
                await self._enter()
            for append in appends:
                append.is_sent = True
            return await self._call(group, operation)
        except BaseException:
            await self._forsake()
            raise

    async def _call(self, group: Group, operation: UUID) -> Answer:
        epoch, seq = self._seen()
        if not group.drafts:  # each append in it contradicts itself
            return Answer(epoch, None, 0, ())
        keyless = any(draft.idempotency_key is None for draft in group.drafts)
        found = await self.link.row(
            "append",
            known_epoch=epoch,
            known_pos=seq,
            key_age=self._key_age,
            operation=operation if keyless else None,  # keys themselves make it safe to repeat
            leader=None,
            done=None,
            source=[None] * len(group.drafts),
            **group.arguments(),
        )
        answer = Answer(*found)
        assert answer.epoch is not None
        self._adopt(answer.epoch, seq if answer.base is None else answer.base)
        return answer

    def _fail_overdue(self, appends: list[Append], error: Exception) -> None:
        """Tell those whose time is over, and everybody if waiting will not help."""
        now = asyncio.get_running_loop().time()
        for append in appends:
            append.trouble = error
            if now >= append.deadline or not isinstance(error, Failure):
                self._expire(append)

    def _expire(self, append: Append) -> None:
        if append.ticket.done() or append.is_made:
            return
        problem = explain(append.trouble or BrokerUnavailable("the database did not answer in time"), self._address)
        outcome = "whether the events were appended is not known" if append.is_sent else "nothing was appended"
        fix = "publish again with the same idempotency keys" if append.is_sent else problem.fix
        failure = BrokerUnavailable(f"{problem.what}; {outcome}", expected=problem.expected, fix=fix, retry_after=1)
        failure.__cause__ = append.trouble
        append.ticket.set_exception(failure)

    async def _pause(self, attempt: int) -> None:
        longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(attempt, 10))
        await asyncio.sleep(random.uniform(0, longest))
