"""Appending: whatever waits goes to Redis together, each append as a script call of its own.

Knows tickets, connections and how long to try. One pipeline is under way at a time, so that appends land in the order in
which they were made. An append whose answer was lost is asked again, under the same operation name: Redis then tells what
became of it, and does not do it twice.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from collections import deque
from collections.abc import Sequence
from itertools import count
from typing import Any

import msgspec

from headwater.brokers.redis import retention
from headwater.brokers.redis.address import Options
from headwater.brokers.redis.calls import Calls
from headwater.brokers.redis.lane import Lane
from headwater.brokers.redis.line import Line, Refused
from headwater.brokers.redis.records import write_meta
from headwater.brokers.redis.refusals import PASSING, explain
from headwater.brokers.shared import fingerprint
from headwater.errors import BrokerUnavailable, HeadwaterError, IdempotencyConflict
from headwater.event import Draft, Position

MAX_WAITING = 10_000  # drafts that may wait to be sent
MAX_WAITING_SIZE = 64 << 20  # characters of data in them
MAX_BATCH = 500  # drafts in one pipeline, unless the first append alone has more
MAX_BATCH_SIZE = 4 << 20  # characters of data in them, likewise
REMEMBERED = 10  # times `wait` for which Redis remembers an append's answer
BASE_PAUSE = 0.02  # seconds between attempts, at first
MAX_PAUSE = 0.5  # and later, unless that is much of `wait`


class _Ticket(msgspec.Struct, eq=False):
    """An append on its way."""

    drafts: tuple[Draft, ...]
    size: int
    future: asyncio.Future[tuple[Position, ...]]
    operation: str
    was_sent: bool = False
    problem: HeadwaterError | None = None  # why it has not gone through yet


class Appends:
    """The queue of appends, and the task that sends them.

    Args:
        lane: the connection they go over.
        calls: makes the script calls.
        options: how long to try.
        keeper: knows which rules to apply, and makes room.

    Attributes:
        overflows: appends refused because too many were waiting.
    """

    def __init__(self, lane: Lane, calls: Calls, options: Options, keeper: retention.Keeper) -> None:
        self.overflows = 0
        self._lane = lane
        self._calls = calls
        self._wait = options.wait
        self._keeper = keeper
        self._operations = map(f"{secrets.token_hex(8)}-{{}}".format, count(1))
        self._queue: deque[_Ticket] = deque()
        self._waiting = 0
        self._waiting_size = 0
        self._answers: set[asyncio.Future[tuple[Position, ...]]] = set()  # that somebody waits for
        self._news = asyncio.Event()
        self._worker: asyncio.Task[None] | None = None
        self._is_open = False
        self._keeps = False

    def start(self, *, keeps: bool) -> None:
        """Begin to send. `keeps`: the rules are this process's own, and not those that a node has left."""
        self._keeps = keeps
        self._is_open = True
        self._worker = asyncio.create_task(self._work())

    async def aclose(self) -> None:
        """Let what waits go through, as long as it may wait; then end. Idempotent."""
        self._is_open = False
        if self._answers:
            await asyncio.wait(self._answers)
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.wait([self._worker])
        await self._lane.aclose()

    async def append(self, drafts: Sequence[Draft]) -> tuple[Position, ...]:
        """See `Store.append`."""
        if not self._is_open:
            raise BrokerUnavailable("the broker is not open", fix="call open() first, and nothing after aclose()")
        if not drafts:
            return ()
        size = sum(len(draft.data) for draft in drafts)
        self._make_room(len(drafts), size)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[tuple[Position, ...]] = loop.create_future()
        ticket = _Ticket(tuple(drafts), size, future, next(self._operations))
        self._queue.append(ticket)
        self._answers.add(future)
        self._news.set()
        timer = loop.call_later(self._wait, self._give_up, ticket)
        try:
            return await future
        finally:
            timer.cancel()
            self._answers.discard(future)
            self._waiting -= len(drafts)
            self._waiting_size -= size

    def _make_room(self, drafts: int, size: int) -> None:
        if self._waiting and (self._waiting + drafts > MAX_WAITING or self._waiting_size + size > MAX_WAITING_SIZE):
            self.overflows += 1
            raise BrokerUnavailable(
                f"{self._waiting} events are already waiting to be sent to Redis",
                expected=f"at most {MAX_WAITING}, with {MAX_WAITING_SIZE} characters of data",
                fix="publish more slowly, or more events in one call",
                retry_after=1,
            )
        self._waiting += drafts
        self._waiting_size += size

    def _give_up(self, ticket: _Ticket) -> None:
        error = self._gave_up(ticket)
        error.__cause__ = ticket.problem
        _fail(ticket, error)

    def _gave_up(self, ticket: _Ticket) -> BrokerUnavailable:
        why = f": {ticket.problem.what}" if ticket.problem else ""
        if ticket.was_sent:
            return BrokerUnavailable(
                f"Redis gave no answer for {self._wait:g} s, so it is not known whether the events were appended{why}",
                fix="publish again with the same idempotency keys, which never makes two events",
                retry_after=1,
            )
        return BrokerUnavailable(
            f"Redis could not be reached for {self._wait:g} s; nothing was appended{why}",
            fix="check that Redis runs, and publish again",
            retry_after=1,
        )

    # -- the task --------------------------------------------------------------------------------------------------------

    async def _work(self) -> None:
        while True:
            if batch := self._take():
                await self._send(batch)
            else:
                self._news.clear()
                await self._news.wait()

    def _take(self) -> list[_Ticket]:
        batch: list[_Ticket] = []
        drafts = size = 0
        while self._queue and (not batch or (drafts < MAX_BATCH and size < MAX_BATCH_SIZE)):
            ticket = self._queue.popleft()
            if not ticket.future.done():  # else given up or cancelled
                batch.append(ticket)
                drafts += len(ticket.drafts)
                size += ticket.size
        return batch

    async def _send(self, batch: list[_Ticket]) -> None:
        """Send until every ticket is done with: answered, or given up by whoever waits for it."""
        pause = BASE_PAUSE
        while batch:
            try:
                line = await self._lane.line()
                await self._keeper.refresh(self._calls, line, keeps=self._keeps)
                # Whoever gave up while we were connecting was told that nothing was appended.
                await self._send_once(line, _open(batch))
            except (HeadwaterError, Refused) as error:
                _trouble(batch, error)
            if batch := _open(batch):
                await asyncio.sleep(random.uniform(0, pause))
                pause = min(2 * pause, MAX_PAUSE, self._wait / 10)

    async def _send_once(self, line: Line, batch: Sequence[_Ticket]) -> None:
        """One pipeline; tickets that are not done afterwards should be sent again."""
        replies = line.request_all([self._words(ticket) for ticket in batch], publishing=True)
        for ticket in batch:
            ticket.was_sent = True
        refusal: Refused | None = None
        most_bytes = 0
        answers = []
        for ticket, future in zip(batch, replies, strict=True):
            try:
                reply = await future
            except BrokerUnavailable as error:
                ticket.problem = error
                continue
            if not isinstance(reply, Refused):
                positions, size = self._read(ticket, reply)
                most_bytes = max(most_bytes, size)
                answers.append((ticket, positions))
            elif reply.code in PASSING:
                ticket.problem, refusal = explain(reply), reply
            else:
                _fail(ticket, explain(reply))
        await self._keeper.make_room(most_bytes)
        for ticket, positions in answers:
            if not ticket.future.done():
                ticket.future.set_result(positions)
        if refusal is not None:
            await self._lane.recover(line, refusal)

    def _words(self, ticket: _Ticket) -> tuple[Any, ...]:
        numbers = {name: n for n, name in enumerate(dict.fromkeys(draft.channel for draft in ticket.drafts), 1)}
        keys = self._calls.keys
        kept = self._keeper.retention
        asked = {
            "remembered": int(REMEMBERED * self._wait * 1000) + 60_000,
            "events": keys.events,
            "drafts": [_pack_draft(draft, numbers[draft.channel]) for draft in ticket.drafts],
            "channels": [self._keeper.rule(name) for name in numbers],
            "spared": retention.SPARED,
            "key_age": int(kept.key_age * 1000),
            "keys": -1 if kept.keys is None else kept.keys,
        }
        more_keys = (keys.operation(ticket.operation), *(keys.stream(name) for name in numbers))
        return self._calls.words("append", asked, more_keys)

    def _read(self, ticket: _Ticket, reply: list[Any]) -> tuple[tuple[Position, ...], int]:
        """An answer: positions, and how many bytes the log has then (0 if that did not change)."""
        state, (outcome, told, *size) = self._calls.answer(reply)
        if outcome == b"conflict":
            _fail(ticket, _conflict(ticket.drafts[told - 1]))
            return (), 0
        return tuple(Position(state.epoch, seq) for seq in told), size[0] if size else 0


def _open(batch: Sequence[_Ticket]) -> list[_Ticket]:
    """The tickets whose answer somebody still waits for."""
    return [ticket for ticket in batch if not ticket.future.done()]


def _pack_draft(draft: Draft, channel: int) -> tuple[int, str, str, str, str]:
    key = draft.idempotency_key
    print_ = "" if key is None else fingerprint(draft).hex()
    return channel, write_meta(draft).decode(), draft.data, key or "", print_


def _conflict(draft: Draft) -> IdempotencyConflict:
    return IdempotencyConflict(
        f"idempotency key {draft.idempotency_key!r} was used before for a different event",
        fix="use a new key for each event; repeat a key only with the very same event",
    )


def _trouble(batch: Sequence[_Ticket], error: HeadwaterError | Refused) -> None:
    """The batch could not be sent: tickets wait for better times, unless there will be none."""
    problem = explain(error) if isinstance(error, Refused) else error
    for ticket in batch:
        if isinstance(problem, BrokerUnavailable):
            ticket.problem = problem
        else:
            _fail(ticket, problem)


def _fail(ticket: _Ticket, error: HeadwaterError) -> None:
    if not ticket.future.done():
        ticket.future.set_exception(error)
