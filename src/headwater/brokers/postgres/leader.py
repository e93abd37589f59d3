"""The duty of leading: in one node at a time, to take from the outbox and to apply retention.

Who leads says so every few seconds, and has a number that each change is checked against. It also holds the advisory
lock of leaders, if it can: a session that breaks gives the lock back by itself, and another takes over at once. One that
holds on to the lock and does nothing is replaced when its lease is over, and so is one behind a pooler, where a session
cannot hold anything.

While there is something to do it looks every few milliseconds, and says in the table `state` until when it will, so that
nobody needs to tell it. When it has had nothing to do for a while it lets that time pass, waits for the transactions
that may have found it awake, looks once more, and only then waits to be told.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import socket

from headwater.brokers.base import Retention
from headwater.brokers.postgres.address import Options
from headwater.brokers.postgres.lapse import Lapse
from headwater.brokers.postgres.link import Link
from headwater.brokers.postgres.migrate import lock_key
from headwater.brokers.postgres.outbox import CHANGED, PUBLISHED, Mapping, Row, events
from headwater.brokers.postgres.retention import Upkeep
from headwater.brokers.postgres.sequencer import Target
from headwater.errors import BrokerUnavailable

INTERVAL = 0.010  # seconds between looks while there is something to do
MANY = 20  # rows taken at once from which on looks are half as frequent
BUSY_FOR = 0.5  # seconds after the last row for which that is assumed
LINGERING = 0.025  # seconds between looks until the time is over for which nobody needs to tell
AWAKE = 10.0  # seconds of that time; said again when half of them are over, which costs a dead row each time
WARY = 0.1  # seconds between looks while transactions are under way that may have found it awake
FALLBACK = 1.0  # seconds between looks while it sleeps
POLL = 0.05  # the same where nobody can tell
TRY = 0.5  # seconds between attempts to lead
LEASE = 6.0  # seconds for which one leads without saying so again
RENEWAL = 60.0  # seconds between renewals of the leases of publishers and triggers, at most
TOLD = 2.5 * RENEWAL  # seconds for which those tell a leader who says nothing
ROWS = 500  # taken at once
BYTES = 4 << 20  # of data in them
TIDY = 1000  # rows taken before it is worth asking up to where everything is gone

_log = logging.getLogger("headwater.brokers.postgres")


class Leader:
    """Leads, if it can.

    Args:
        link: the session's.
        options: of the database.
        target: where events go.
        mapping: what changes of rows become; without it they stay in the outbox.
        retention: what the log keeps; None if the log is not used.

    Attributes:
        is_leading: whether it does.
        taken: rows taken from the outbox so far.
    """

    def __init__(
        self,
        link: Link,
        options: Options,
        target: Target,
        *,
        mapping: Mapping | None = None,
        retention: Retention | None = None,
    ) -> None:
        self.taken = 0
        self._link = link
        self._options = options
        self._target = target
        self._mapping = mapping
        self._kinds = [PUBLISHED] if mapping is None else [PUBLISHED, CHANGED]
        self._retention = retention
        self._renewal = min(RENEWAL, options.capture_for / 3, options.publish_for / 3)
        self._lock = lock_key(options.schema, "lead")
        self._name = f"{socket.gethostname()}:{os.getpid()}"
        self._is_told = True
        self._has_lock = False
        self._number: int | None = None
        self._next_try = 0.0

    @property
    def is_leading(self) -> bool:
        return self._number is not None

    async def begin(self, is_told: bool) -> None:
        """See `session.Duty`."""
        self._is_told = is_told
        self._has_lock = False
        self._number = None
        self._next_try = 0.0

    async def step(self) -> float:
        """See `session.Duty`."""
        now = self._now()
        if self._number is None:
            if now < self._next_try:
                return self._next_try - now
            self._next_try = now + TRY
            if not await self._try():
                return TRY
        if not await self._renew(now):
            return await self._step_down()
        return min(await self._lapse.step(now), await self._take(now), await self._upkeep.step(self._link, now))

    async def _try(self) -> bool:
        """Lead, if nobody does."""
        if self._is_told and not self._has_lock:
            (self._has_lock,) = await self._link.row("try_lock", key=self._lock)
        (number,) = await self._link.row("lead", name=self._name, has_lock=self._has_lock, seconds=LEASE)
        if number is None:
            await self._unlock()
            return False
        _log.info("%s leads, with number %d", self._name, number)
        self._number = number
        self._low = LowWater()
        self._upkeep = Upkeep(self._retention)
        self._busy_until = self._now() + BUSY_FOR
        self._awake_until = self._renewed = self._promised = -math.inf
        self._wary: set[str] | None = None
        self._is_asleep = False
        await self._link.row("enter", epoch="", pos=0)  # a copied database must not pass for the original
        self._lapse = Lapse(self._link, self._target, number)
        return True

    async def _unlock(self) -> None:
        if self._has_lock:
            self._has_lock = False
            await self._link.row("unlock", key=self._lock)

    async def _step_down(self) -> float:
        _log.warning("%s leads no more: somebody else does", self._name)
        self._number = None
        await self._unlock()
        return TRY

    async def _renew(self, now: float) -> bool:
        """Say that the outbox is taken care of, if it is time; whether this still leads."""
        is_busy = now < self._busy_until or not self._is_told  # nobody can tell one who is not told
        awake = AWAKE if is_busy and self._awake_until - now < AWAKE / 2 else None
        promises = now - self._promised > self._renewal
        if awake is None and not promises and now - self._renewed < LEASE / 3:
            return True
        (leads,) = await self._link.row(
            "renew",
            leader=self._number,
            seconds=LEASE,
            publish=self._options.publish_for if promises else None,
            capture=self._options.capture_for if promises and CHANGED in self._kinds else None,
            awake=awake,
            told=TOLD if promises else None,
        )
        self._renewed = now
        if awake is not None:
            self._awake_until = self._now() + awake
        if promises:
            self._promised = now
            if leads and CHANGED in self._kinds:
                await self._lapse.begin()
        return bool(leads)

    async def _take(self, now: float) -> float:
        assert self._number is not None
        found = await self._link.rows("outbox", low=self._low.low, kinds=self._kinds, limit=ROWS, bytes=BYTES)
        if not found:
            self._low.drained()
            return await self._rest(now)
        rows = [Row(*row) for row in found]
        self._busy_until, self._is_asleep, self._wary = self._now() + BUSY_FOR, False, None
        try:
            leads = await self._target.deliver(self._number, [row.seq for row in rows], events(rows, self._mapping))
        except BrokerUnavailable as error:
            _log.warning("the outbox waits: %s", error)
            return error.retry_after or 1.0
        if not leads:
            return await self._step_down()
        self.taken += len(rows)
        await self._low.took(self._link, len(rows), now)
        return _until_worth_it(len(rows))

    async def _rest(self, now: float) -> float:
        """There is nothing to do."""
        if not self._is_told:
            return INTERVAL if now < self._busy_until else POLL
        if self._is_asleep:
            return FALLBACK
        if now < self._busy_until:
            return INTERVAL
        if self._now() < self._awake_until:
            return LINGERING
        (names,) = await self._link.row("writers")
        self._wary = set(names) if self._wary is None else self._wary & set(names)
        if self._wary:
            return WARY
        self._is_asleep = True
        return 0.0

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


def _until_worth_it(taken: int) -> float:
    """Seconds until there will be something to take again. When much comes, less often is cheaper for everyone."""
    if taken == ROWS:
        return 0.0
    return INTERVAL if taken < MANY else 2 * INTERVAL


class LowWater:
    """The number up to which all rows of the outbox are gone for good, so that a search need not begin before it.

    Rows that were deleted are walked past until they are cleared away, which any open transaction prevents. Numbers are
    given before their rows are committed, so `low` can only be one that was given before the oldest of the transactions
    began that may still commit a row; these are known by their lock.

    Attributes:
        low: that number.
    """

    def __init__(self) -> None:
        self.low = 0
        self._taken = 0
        self._next: int | None = None  # what `low` will be
        self._writers: set[str] = set()  # transactions that must end before
        self._is_over = False  # they have ended
        self._asked = 0.0

    def drained(self) -> None:
        """Everything that can be seen after `low` was taken."""
        if self._is_over and self._next is not None:
            self.low, self._next, self._is_over = self._next, None, False

    async def took(self, link: Link, count: int, now: float) -> None:
        """Some rows were taken; find out, now and then, how far `low` can be moved."""
        self._taken += count
        if self._taken < TIDY or self._is_over or now - self._asked < FALLBACK:
            return
        self._asked = now
        if self._next is None:
            (self._next,) = await link.row("last_given")  # before the question who is writing
            (names,) = await link.row("writers")
            self._writers = set(names)
        else:
            (names,) = await link.row("writers")
            self._writers &= set(names)
        if not self._writers:
            self._is_over, self._taken = True, 0
