"""Everything that is asked of Redis: scripts, run over few connections.

Knows keys, scripts and events. It must not know the feed or which channels this node follows: that is `delivery`'s and
`subscriber`'s.

Any answer may tell of a new epoch, because writes were lost or the data was wiped. Whoever passes `renewed` hears of it,
before the answer is returned. Other nodes hear of it on the pub/sub channel `Keys.control`.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from headwater.brokers.base import ChannelInfo, Page, Retention
from headwater.brokers.redis.address import Options, Target
from headwater.brokers.redis.appends import Appends
from headwater.brokers.redis.calls import Calls
from headwater.brokers.redis.delivery import Entry, Survey
from headwater.brokers.redis.keys import Keys
from headwater.brokers.redis.known import Known, State
from headwater.brokers.redis.lane import Lane
from headwater.brokers.redis.link import Link
from headwater.brokers.redis.reading import Reading, entry_seq
from headwater.brokers.redis.retention import Keeper
from headwater.errors import BrokerUnavailable
from headwater.event import Draft, Position

DESCRIBED = 500  # channels described in one look
_NEVER = 1 << 52  # a position that no log reaches

log = logging.getLogger("headwater.brokers.redis")


class Store:
    """One log in Redis, as one process uses it.

    Every method may raise `BrokerUnavailable`, and none leaves anything half-done when it is cancelled.

    Args:
        target: where it is.
        options: how it is used.
        retention: what it keeps.
        renewed: is called, in the event loop's thread, whenever an answer shows another epoch than the one known before.
            It must not block, and not call the store.

    Attributes:
        keys: the log's names in Redis.
        known: what this process knows to have existed. Tell it of what comes over pub/sub (`Known.saw`).
        link: makes connections; for the one that listens.
        overflows: appends refused because too many were waiting.

    Raises:
        ConfigurationError: a file of certificates cannot be read.
    """

    def __init__(
        self,
        target: Target,
        options: Options,
        retention: Retention,
        *,
        renewed: Callable[[State], None] = lambda _: None,
    ) -> None:
        self._options = options
        self._calls = Calls(Keys(options.prefix, target.db), renewed)
        self.link = Link(target, options, self._calls)
        self._lane = Lane(self.link)
        self._keeper = Keeper(self._ask, self._command, self.keys, retention)
        self._appends = Appends(Lane(self.link), self._calls, options, self._keeper)

    @property
    def keys(self) -> Keys:
        return self._calls.keys

    @property
    def known(self) -> Known:
        return self._calls.known

    @property
    def overflows(self) -> int:
        return self._appends.overflows

    # -- life ------------------------------------------------------------------------------------------------------------

    async def open(self, *, keeps: bool) -> Position:
        """Connect, make the log if it is missing, and return its head. To be called once, before anything else.

        Args:
            keeps: this process applies retention, and tells publishers what to apply: it is a node with a feed.

        Raises:
            BrokerUnavailable: Redis could not be reached within `Options.wait` seconds.
            ConfigurationError: a wrong password, a right that is missing, a Redis that is too old.
        """
        if keeps:
            self._calls.retention = self._keeper.described
        head = await self._begin_patiently()
        self._appends.start(keeps=keeps)
        if keeps:
            self._keeper.start()
        return head

    async def _begin_patiently(self) -> Position:
        problem: BrokerUnavailable | None = None
        pause = 0.05
        try:
            async with asyncio.timeout(self._options.wait):
                while True:
                    try:
                        await self._warn_of_eviction()
                        return await self.head()
                    except BrokerUnavailable as error:
                        problem = error
                    await asyncio.sleep(random.uniform(0, pause))
                    pause = min(2 * pause, 1.0)
        except TimeoutError:
            raise problem or BrokerUnavailable(
                f"Redis gave no answer within {self._options.wait:g} s", fix="check that it runs", retry_after=1
            ) from None

    async def _warn_of_eviction(self) -> None:
        memory = await self._command("INFO", "memory")
        policy = memory.decode().partition("maxmemory_policy:")[2].partition("\r\n")[0]
        if policy.startswith("allkeys"):
            log.warning(
                "Redis may evict any key (maxmemory-policy %s), parts of the log, too. Set it to noeviction.", policy
            )

    async def aclose(self) -> None:
        """Let pending appends finish (as long as they may wait), then close every connection that the store made for itself.
        Idempotent, and safe after an `open` that failed or was cancelled."""
        await self._appends.aclose()
        await self._keeper.aclose()
        await self._lane.aclose()

    # -- asking ----------------------------------------------------------------------------------------------------------

    async def _ask(
        self, script: str, asked: Mapping[str, object], more_keys: Iterable[str] = (), *, is_safe: bool = True
    ) -> tuple[State, list[Any]]:
        """Run a script. If it finds no log, make one and run it again."""
        words = partial(self._calls.words, script, asked, tuple(more_keys))
        if not (reply := await self._lane.ask(words, is_safe=is_safe)):
            self._calls.entered(await self._lane.ask(self._calls.enter))
            reply = await self._lane.ask(words, is_safe=is_safe)
        return self._calls.answer(reply)

    async def _command(self, *words: str | int) -> Any:
        return await self._lane.ask(lambda: words)

    def _streams(self, channels: Iterable[str]) -> list[str]:
        return [self.keys.stream(channel) for channel in channels]

    # -- writing ---------------------------------------------------------------------------------------------------------

    async def append(self, drafts: Sequence[Draft]) -> tuple[Position, ...]:
        """Append all or none; return the positions, in order, once Redis has them. Waits up to `Options.wait` seconds for a
        Redis that is away. Does not wait for any feed.

        Raises:
            IdempotencyConflict: a key was used before for a different draft; nothing was appended.
            BrokerUnavailable: the message says whether surely nothing was appended, or that this is not known.
        """
        return await self._appends.append(drafts)

    async def prune(self, now: int) -> int:
        """See `Broker.prune`."""
        return await self._keeper.sweep(now)

    # -- reading ---------------------------------------------------------------------------------------------------------

    async def survey(self, channels: Collection[str], node: str, token: str) -> Survey:
        """Where the log is, and where each of the channels is, in one look, which also publishes the marker `token` to the
        inbox of `node` (`Keys.inbox`, `records.read_marker`): it arrives after all events through the survey's head and
        before all later ones. If the answer is lost, this is not tried again."""
        names = list(dict.fromkeys(channels))
        asked = {"inbox": self.keys.inbox(node), "token": token, "channels": names}
        state, (floor, rows) = await self._ask("survey", asked, is_safe=False)
        seqs = {name: int(row.partition(b"-")[0]) for name, row in zip(names, rows, strict=True) if row is not None}
        return Survey(state.epoch, state.born, state.head, seqs, floor)

    async def read_entries(
        self, channels: Collection[str], after: int, until: int, limit: int
    ) -> tuple[tuple[Entry, ...], Position]:
        """As `read`, with each event's predecessor in its channel: the entries, and the page's end."""
        return await self._reading(channels).read(after, until, limit)

    async def read(self, channels: Collection[str], after: int, until: int, limit: int = 500) -> Page:
        """See `Broker.read`. The page's end names the epoch that was read."""
        entries, end = await self._reading(channels).read(after, until, limit)
        return Page(tuple(entry.event for entry in entries), end)

    async def read_back(self, channels: Collection[str], before: int, limit: int = 500) -> Page:
        """See `Broker.read_back`."""
        entries, epoch = await self._reading(channels).read_back(before, limit)
        return Page(
            tuple(entry.event for entry in entries),
            Position(epoch, entry_seq(entries[-1]) if len(entries) == limit else 0),
        )

    def _reading(self, channels: Collection[str]) -> Reading:
        return Reading(self._ask, self.keys, channels)

    async def position_at(self, time: int) -> Position:
        """See `Broker.position_at`. Where events have gone from the middle of the log, the answer may be the place before
        one of those."""
        state, (seq,) = await self._ask("position_at", {"time": time})
        return Position(state.epoch, seq)

    async def horizon(self, channels: Collection[str]) -> Position:
        """See `Broker.horizon`."""
        names = list(dict.fromkeys(channels))
        state, (gone,) = await self._ask("horizon", {"channels": names}, self._streams(names))
        return Position(state.epoch, max(gone, default=0))

    async def head(self) -> Position:
        """See `Broker.head`."""
        state, _ = await self._ask("horizon", {"channels": []})
        return Position(state.epoch, state.head)

    async def begin_epoch(self) -> None:
        """See `Renewable.begin_epoch`. Whoever knows of an event that the log does not have makes it begin one; so this
        claims to, until it has happened."""
        await self.head()
        self.known.seq = _NEVER
        await self.head()

    async def channels(self, prefix: str = "", limit: int = 1000) -> tuple[ChannelInfo, ...]:
        """See `Broker.channels`."""
        found: list[ChannelInfo] = []
        beginning, end = f"[{prefix}", f"({prefix}\x7f"  # names are ASCII
        while len(found) < limit:
            bounds = (beginning, end, "BYLEX", "LIMIT", 0, DESCRIBED)
            names = [name.decode() for name in await self._command("ZRANGE", self.keys.names, *bounds)]
            state, (rows,) = await self._ask("describe", {"channels": names}, self._streams(names))
            for name, (events, size, seq, time) in zip(names, rows, strict=True):
                if events:
                    found.append(ChannelInfo(name, events, size, Position(state.epoch, seq), time))
            if len(names) < DESCRIBED:
                break
            beginning = f"({names[-1]}"
        return tuple(found[:limit])
