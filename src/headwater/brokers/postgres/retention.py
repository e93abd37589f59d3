"""Retention, in small steps: what to remove, and never much of it at once.

Knows the rules and the functions that apply them. It must not know whose turn it is: the leader, or whoever was asked to,
calls again while there is more to do, so that whatever else the session does waits for no more than one step.
"""

from __future__ import annotations

import time as clock
from collections import deque

from headwater.brokers.base import Retention, Rule
from headwater.brokers.postgres.link import Link
from headwater.brokers.shared import rule_for

STEP = 1000  # events removed in one step: some milliseconds
SURVEY = 200  # channels looked at in one step
SPARED = 5000  # milliseconds: younger events stay, so that a node that was busy for a moment still sees them
AHEAD = 60_000  # milliseconds: events from later than that are of a clock that was put back since, and not young
COUNTED = 20_000  # idempotency keys counted in one step: a few milliseconds
MAX_EMPTY = 10_000  # channels without events whose marks are kept one by one
OPERATION_AGE = 300_000  # milliseconds for which an append may be repeated: much more than one is ever retried
OPERATIONS = 2000  # answers of operations removed in one step
SWEEP_INTERVAL = 30.0  # seconds between sweeps
STEP_INTERVAL = 0.02  # seconds between the steps of a sweep

_FOREVER = 2**63 - 1


class Sweep:
    """One walk over the whole log that leaves what retention keeps, in as many steps as it takes.

    Args:
        retention: what to keep.
        now: milliseconds of Unix time.

    Attributes:
        removed: events removed so far.
    """

    def __init__(self, retention: Retention, now: int) -> None:
        self.removed = 0
        self._retention = retention
        self._now = now
        self._spared = {"young": now - SPARED, "ahead": now + AHEAD}
        self._after = ""  # the last channel that is done with
        self._over: deque[tuple[str, Rule]] = deque()  # surveyed channels that have too much
        self._counted = 0  # keys from the newest on, down to `_counted_to`
        self._counted_to: int | None = None
        self._surplus = 0  # keys before this seq are more than may be remembered
        self._steps = [self._channels, self._log, self._count_keys, self._keys, self._operations, self._empty]

    async def step(self, link: Link) -> bool:
        """Do a little; whether more is left to do.

        Raises:
            psycopg.Error, OSError: that is not possible.
        """
        if await self._steps[0](link):
            del self._steps[0]
        return bool(self._steps)

    async def _channels(self, link: Link) -> bool:
        """Trim a channel that has too much, or look for such. True after the last."""
        if self._over:
            await self._trim(link, *self._over[0])
            return False
        surveyed = await link.rows("survey", after=self._after, limit=SURVEY)
        for name, events, size, oldest in surveyed:
            rule = rule_for(self._retention, name)
            if events is not None and self._is_over(rule, events, size, oldest):
                self._over.append((name, rule))
        self._after = surveyed[-1][0] if surveyed else self._after
        return len(surveyed) < SURVEY and not self._over

    def _is_over(self, rule: Rule, events: int, size: int, oldest: int) -> bool:
        return (
            (rule.count is not None and events > rule.count)
            or (rule.bytes is not None and size > rule.bytes)
            or (rule.age is not None and oldest < self._now - rule.age * 1000)
        )

    async def _trim(self, link: Link, name: str, rule: Rule) -> None:
        (removed,) = await link.row(
            "trim",
            channel=name,
            keep_events=_FOREVER if rule.count is None else rule.count,
            keep_bytes=_FOREVER if rule.bytes is None else rule.bytes,
            oldest=0 if rule.age is None else int(self._now - rule.age * 1000),
            most=STEP,
            **self._spared,
        )
        self.removed += removed
        if removed < STEP:
            self._over.popleft()

    async def _log(self, link: Link) -> bool:
        most = self._retention.total_bytes
        if most is None or (await link.row("log_bytes"))[0] <= most:
            return True
        (removed,) = await link.row("trim_log", keep_bytes=most, most=STEP, **self._spared)
        self.removed += removed
        return bool(removed < STEP)

    async def _count_keys(self, link: Link) -> bool:
        """Find where the newest keys begin that may be remembered. There are no more keys than positions, so mostly there is
        nothing to count."""
        most = self._retention.keys
        if most is None:
            return True
        if self._counted_to is None:
            newest, oldest = await link.row("span_of_keys")
            if oldest is None or newest - oldest < most:
                return True
            self._counted_to = newest + 1
        limit = min(COUNTED, most - self._counted)
        count, oldest = await link.row("count_keys", before=self._counted_to, limit=limit)
        if count < limit:
            return True
        self._counted, self._counted_to = self._counted + count, oldest
        if self._counted < most:
            return False
        self._surplus = oldest
        return True

    async def _keys(self, link: Link) -> bool:
        oldest = self._now - int(self._retention.key_age * 1000)
        (removed,) = await link.row("remove_keys", oldest=oldest, surplus=self._surplus, limit=STEP)
        return bool(removed < STEP)

    async def _operations(self, link: Link) -> bool:
        (removed,) = await link.row("remove_operations", oldest=self._now - OPERATION_AGE, limit=OPERATIONS)
        return bool(removed < OPERATIONS)

    async def _empty(self, link: Link) -> bool:
        """Forget the channels that have been empty longest."""
        (more,) = await link.row("fold", keep=MAX_EMPTY, most=STEP)
        return not more


class Upkeep:
    """Sweeps, one after the other.

    Args:
        retention: what to keep; None to keep everything.
    """

    def __init__(self, retention: Retention | None) -> None:
        self._retention = retention
        self._sweep: Sweep | None = None
        self._next = 0.0  # on the clock of the caller
        self._swept = 0  # when the last sweep began, in milliseconds of Unix time

    async def step(self, link: Link, now: float) -> float:
        """Do a little, if it is time; seconds after which to go on.

        Raises:
            psycopg.Error, OSError: that is not possible.
        """
        if self._retention is None:
            return SWEEP_INTERVAL
        if now < self._next:
            return self._next - now
        time = int(clock.time() * 1000)
        if self._sweep is None and await self._is_due(link, self._retention, time):
            self._sweep, self._swept = Sweep(self._retention, time), time
        elif self._sweep is not None and not await self._sweep.step(link):
            self._sweep = None
        pause = SWEEP_INTERVAL if self._sweep is None else STEP_INTERVAL
        self._next = now + pause
        return pause

    async def _is_due(self, link: Link, retention: Retention, now: int) -> bool:
        """Whether a sweep could find anything: an event that the last one has not seen or has spared, or one that has come
        of age."""
        oldest, newest = await link.row("oldest")
        if oldest is None:
            return False
        covered = any(rule.pattern == "**" for rule in retention.rules)
        rules = retention.rules if covered else (*retention.rules, Rule())
        ages = [rule.age for rule in rules if rule.age is not None]
        is_old = bool(ages) and oldest < now - min(ages) * 1000
        return is_old or bool(newest >= self._swept - SPARED)
