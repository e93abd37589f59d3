"""Retention: which rules hold, and a sweep over the whole log, in steps that keep nobody waiting.

Every append makes room in its own channels, in its script. What that does not reach is the sweep's: events that grow old in
channels where nothing happens, and idempotency keys. Of all nodes one sweeps at a time. Knows rules and scripts, and not the
feed.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import lru_cache, partial
from itertools import islice
from typing import Any

import msgspec

from headwater.brokers.base import Retention
from headwater.brokers.redis.calls import Calls
from headwater.brokers.redis.keys import Keys
from headwater.brokers.redis.line import Line
from headwater.brokers.redis.reading import Ask
from headwater.brokers.shared import rule_for
from headwater.errors import BrokerUnavailable, HeadwaterError

INTERVAL = 20.0  # seconds between sweeps, and more if they are long
SHARE = 20  # a sweep is at most one part in this many of the time
SPARED = 5000  # milliseconds: younger events stay, so that a node that lost its connection for a moment finds them
STEP = 200  # events that go in one script call: a millisecond or two, in which Redis does nothing else
SURVEYED = 200  # channels looked at in one script call
EVICTED = 20  # channels with the oldest events, of which some may have to go
PATIENCE = 1.0  # seconds without another attempt when the log is too large, and what should go too young

log = logging.getLogger("headwater.brokers.redis")

_decoder = msgspec.json.Decoder(Retention)


class Keeper:
    """Applies retention.

    Args:
        ask: runs a script.
        command: runs any other command.
        keys: of the log.
        retention: what to keep.

    Attributes:
        retention: what to keep: as given, or, for a process that only publishes, as a node has left it.
        rule: the rule for a channel, as `rule_for_script` has it.
    """

    def __init__(self, ask: Ask, command: Callable[..., Awaitable[Any]], keys: Keys, retention: Retention) -> None:
        self._adopt(retention)
        self._ask = ask
        self._command = command
        self._keys = keys
        self._task: asyncio.Task[None] | None = None
        self._resting_until = 0.0

    def _adopt(self, retention: Retention) -> None:
        self.retention = retention
        self.rule = lru_cache(maxsize=1000)(partial(rule_for_script, retention))

    @property
    def described(self) -> bytes:
        """What to keep, as it is left for publishers."""
        return msgspec.json.encode(self.retention)

    async def refresh(self, calls: Calls, line: Line, *, keeps: bool) -> None:
        """Take what a node has left for publishers, if it has changed and this is one.

        Raises:
            Refused, BrokerUnavailable: see `Line.ask`.
        """
        if keeps:
            return
        if calls.version != calls.newest_version:
            calls.version, calls.left = calls.newest_version, await line.ask("HGET", self._keys.log, "retention")
        if calls.left is not None:
            left, calls.left = calls.left, None
            try:
                self._adopt(_decoder.decode(left))
            except msgspec.MsgspecError:
                log.warning("The retention that a node has left cannot be read. Publishing with the default.")

    async def make_room(self, size: int) -> None:
        """Remove some of the log's oldest events if its `size` in bytes is over the total. Never raises: the append that has
        made it too large is done, and the sweep goes on with what is left."""
        total = self.retention.total_bytes
        now = asyncio.get_running_loop().time()
        if total is None or size <= total or now < self._resting_until:
            return
        with suppress(HeadwaterError):
            _, outcome = await self._evict(total, 0)
            if outcome == b"young":
                self._resting_until = now + PATIENCE

    # -- sweeping --------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Sweep now and then, in the background."""
        self._task = asyncio.create_task(self._run())

    async def aclose(self) -> None:
        """End the background. Idempotent."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        pause = INTERVAL
        while True:
            await asyncio.sleep(random.uniform(0.5, 1) * pause)
            begun = loop.time()
            try:
                _, (is_ours,) = await self._ask("take_turn", {"interval": int(pause * 500)})
                if is_ours:
                    await self.sweep(0)
            except BrokerUnavailable:
                pass  # nobody waits for this; appends tell what is wrong
            except HeadwaterError as error:
                log.warning("Retention could not be applied: %s", error)
            pause = max(INTERVAL, SHARE * (loop.time() - begun))

    async def sweep(self, now: int) -> int:
        """Remove everything that is not to be kept.

        Args:
            now: milliseconds of Unix time; 0 for Redis' own clock.

        Returns:
            How many events went.
        """
        removed = 0
        cursor = b"0"
        while True:
            cursor, found = await self._command("HSCAN", self._keys.channels, cursor, "COUNT", SURVEYED)
            names = [name.decode() for name in islice(found, 0, None, 2) if name]
            for first in range(0, len(names), SURVEYED):
                removed += await self._retain(names[first : first + SURVEYED], now)
            if cursor == b"0":
                break
        removed += await self._shrink(now)
        while (await self._ask("tidy", self._key_bounds(now)))[1] == [1]:
            pass
        return removed

    async def _retain(self, names: Sequence[str], now: int) -> int:
        removed = 0
        while names:
            rules = [self.rule(name) for name in names]
            asked = {"channels": rules, "now": now, "limit": STEP, "spared": SPARED}
            _, (went, done) = await self._ask("retain", asked, map(self._keys.stream, names))
            removed += went
            names = names[done:]
        return removed

    async def _shrink(self, now: int) -> int:
        """Remove the log's oldest events while it is too large."""
        removed = 0
        total = self.retention.total_bytes
        outcome = b"more"
        while total is not None and outcome == b"more":
            went, outcome = await self._evict(total, now)
            removed += went
        return removed

    async def _evict(self, total: int, now: int) -> tuple[int, bytes]:
        oldest = await self._command("ZRANGE", self._keys.oldest, 0, EVICTED - 1)
        names = [name.decode() for name in oldest]
        asked = {"channels": names, "total": total, "now": now, "limit": STEP, "spared": SPARED}
        _, (went, outcome) = await self._ask("evict", asked, map(self._keys.stream, names))
        return went, outcome

    def _key_bounds(self, now: int) -> dict[str, object]:
        most = self.retention.keys
        return {
            "now": now,
            "key_age": int(self.retention.key_age * 1000),
            "keys": -1 if most is None else most,
            "limit": STEP,
        }


def rule_for_script(retention: Retention, channel: str) -> dict[str, object]:
    """The rule for a channel as scripts take it: -1 for bounds that do not apply, the age in milliseconds."""
    rule = rule_for(retention, channel)
    return {
        "name": channel,
        "count": -1 if rule.count is None else rule.count,
        "bytes": -1 if rule.bytes is None else rule.bytes,
        "age": -1 if rule.age is None else int(rule.age * 1000),
    }
