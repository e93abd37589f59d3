"""A broker that does to a hub what real ones do on bad days: it is slow, fails, feeds late, forgets and begins anew.

Stands on the memory broker, which keeps the log, and keeps all guarantees of `brokers.base` except being quick.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Sequence

from headwater.brokers.base import Feed, Page, Retention
from headwater.brokers.memory import MemoryBroker
from headwater.errors import BrokerUnavailable
from headwater.event import Draft, Event, Position

Script = Callable[[str], Awaitable[None]]


class ScriptedBroker(MemoryBroker):
    """Every call runs through the script, twice: with the call's name before it takes effect, and with `name done` before
    it returns. The script may wait, and may raise.

    Attributes:
        calls: how often each was made.
        history: everything that was ever appended, by epoch in the order of the epochs.
        script: see above.
    """

    def __init__(self, retention: Retention = Retention(), script: Script | None = None) -> None:  # noqa: B008
        self.history: dict[str, list[Event]] = {}
        super().__init__(retention)
        self.calls: Counter[str] = Counter()
        self.script = script
        self._held: list[Event] = []  # in the log, and not yet given to the feed
        self._given = 0  # the feed is complete through this seq
        self._is_foreign = False
        self._is_secret = False  # the log has begun anew, and the feed does not know yet
        self._order = asyncio.Lock()  # follow and unfollow take effect in the order of the calls

    def _begin(self) -> None:
        super()._begin()
        self.history[self._epoch] = []

    def _add(self, draft: Draft, seq: int, now: int) -> Event:
        event = super()._add(draft, seq, now)
        self.history[self._epoch].append(event)
        return event

    async def _run(self, call: str) -> None:
        self.calls[call] += 1
        if self.script is not None:
            await self.script(call)

    async def fill(self, count: int, channel: str = "a", *, first: int = 1) -> None:
        """Append events whose data is a number, from `first`. A broker that is not open yet had them before."""
        drafts = [Draft(channel=channel, data=str(number)) for number in range(first, first + count)]
        await self.past(*drafts)

    async def past(self, *drafts: Draft) -> None:
        """Append. A broker that is not open yet had them before."""
        was_open, self._is_open = self._is_open, True
        await self.append(drafts)
        self._is_open = was_open

    # -- what others do --------------------------------------------------------------------------------------------------

    async def foreign(self, *drafts: Draft) -> tuple[Position, ...]:
        """Another node appends; the feed hears of it with the next `deliver`."""
        self._is_foreign = True
        try:
            return await super().append(drafts)
        finally:
            self._is_foreign = False

    def deliver(self, count: int | None = None) -> None:
        """Give the feed the next `count` events of the log, or all."""
        if self._is_secret:
            self._is_secret = False
            assert self._feed is not None
            self._feed.restart(self._position(0))
        events = self._held[:count]
        del self._held[:count]
        if events and self._feed is not None:
            self._given = events[-1].position.seq
            followed = [event for event in events if event.channel in self._followed]
            self._feed.receive(followed, events[-1].position)

    def forget(self, channel: str, count: int = 1) -> None:
        """Retention removes the oldest events of a channel."""
        for _ in range(count):
            if channel in self._channels:
                self._remove_first(channel)

    def wipe(self, *, secret: bool = False) -> None:
        """The log begins anew. With `secret` the feed hears of it with the next `deliver`."""
        self._held.clear()
        self._given = 0
        if secret or self._is_secret:
            self._is_secret = True
            self._begin()
        else:
            super().wipe()

    def lose_place(self) -> None:
        """The feed lost its connection and has to begin again, at the head of the same log."""
        if not self._is_secret and self._feed is not None:
            self._held.clear()
            self._given = self._head
            self._feed.restart(self._position(self._head))

    @property
    def end(self) -> Position:
        """The position of the newest event."""
        return self._position(self._head)

    def still_has(self, event: Event) -> bool:
        """Whether an event is retained."""
        return self._log.get(event.position.seq) is event

    def has_all(self, channels: Collection[str], since: Position) -> bool:
        """Whether everything of the channels is retained from a position on."""
        return since.epoch == self._epoch and all(self._mark(name) < since.seq for name in channels)

    # -- the protocol ----------------------------------------------------------------------------------------------------

    async def open(self, feed: Feed | None = None) -> Position:
        self._held.clear()
        self._followed.clear()
        self._given, self._is_secret = self._head, False
        return await super().open(feed)

    def _deliver(self, events: Sequence[Event]) -> None:
        self._held += events
        if not self._is_foreign:
            self.deliver()

    async def append(self, drafts: Sequence[Draft]) -> tuple[Position, ...]:
        await self._run("append")
        positions = await super().append(drafts)
        await self._run("append done")
        return positions

    async def follow(self, channels: Collection[str]) -> Position:
        async with self._order:
            await self._run("follow")
            self._check_open()
            self._followed.update(channels)
            position = self._position(self._given)
        await self._run("follow done")
        return position

    async def unfollow(self, channels: Collection[str]) -> None:
        async with self._order:
            await self._run("unfollow")
            await super().unfollow(channels)
        await self._run("unfollow done")

    async def read(self, channels: Collection[str], after: int, until: int, limit: int = 500) -> Page:
        await self._run("read")
        page = await super().read(channels, after, until, limit)
        await self._run("read done")
        return page

    async def read_back(self, channels: Collection[str], before: int, limit: int = 500) -> Page:
        await self._run("read_back")
        page = await super().read_back(channels, before, limit)
        await self._run("read_back done")
        return page

    async def position_at(self, time: int) -> Position:
        await self._run("position_at")
        position = await super().position_at(time)
        await self._run("position_at done")
        return position

    async def horizon(self, channels: Collection[str]) -> Position:
        await self._run("horizon")
        position = await super().horizon(channels)
        await self._run("horizon done")
        return position

    async def head(self) -> Position:
        await self._run("head")
        position = await super().head()
        await self._run("head done")
        return position


class Gate:
    """A script that holds one call until it is told to let it pass.

    Attributes:
        entered: set when the call has come.
    """

    def __init__(self, call: str) -> None:
        self.entered = asyncio.Event()
        self._call = call
        self._open = asyncio.Event()

    async def __call__(self, call: str) -> None:
        if call == self._call:
            self.entered.set()
            await self._open.wait()

    def open(self) -> None:
        """Let it pass, and every later one."""
        self._open.set()


class Failing:
    """A script in which one call fails, `times` times.

    Args:
        error: what it raises; by default the broker is unavailable.
    """

    def __init__(self, call: str, times: int = 1, error: Exception | None = None) -> None:
        self.left = times
        self._call = call
        self._error = error

    async def __call__(self, call: str) -> None:
        if call == self._call and self.left:
            self.left -= 1
            raise self._error or BrokerUnavailable("the store is away")
