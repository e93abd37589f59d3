"""The duty of reading the log for the feed.

It looks only while a channel is followed. For a second after each event, whoever appended it, it looks every few
milliseconds. Then it makes sure that nobody is writing, looks once more, and waits to be told: whoever appends after a
pause of 400 ms tells everybody. Before it sleeps it has seen every event, and the newest is older than that; so the next
one is told.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from headwater.brokers.postgres import reads
from headwater.brokers.postgres.delivery import Delivery
from headwater.brokers.postgres.link import Link

INTERVAL = 0.010  # seconds between looks while there are events
AWAKE_FOR = 1.0  # seconds after an event for which it goes on looking; more than the 400 ms of the function `append`
FALLBACK = 1.0  # seconds between looks while it sleeps, in case that word of an event was lost
POLL = 0.05  # the same where nobody can tell
PAUSE = 0.05  # seconds before looking again at a log that is not as expected


class Watcher:
    """Reads the log for the feed.

    Args:
        link: the session's.
        delivery: of the feed.
        check: has the writer look at what the log is.

    Attributes:
        is_asleep: it waits to be told. Who appends in this node tells, too, because nobody else will be told of what others
            append right after that.
    """

    def __init__(self, link: Link, delivery: Delivery, check: Callable[[], Awaitable[None]]) -> None:
        self._link = link
        self._delivery = delivery
        self._check = check
        self._idle = FALLBACK
        self.is_asleep = False

    async def begin(self, is_told: bool) -> None:
        """A new session; `is_told` says whether it hears of events."""
        self._idle = FALLBACK if is_told else POLL
        self.is_asleep = False

    async def step(self) -> float:
        """Look; seconds after which to look again if nothing is heard.

        Raises:
            psycopg.Error, OSError, HeadwaterError: that is not possible.
        """
        if not self._delivery.followed:
            self.is_asleep = False
            return FALLBACK
        known, at = self._delivery.at  # before the look, which may then only be later
        epoch, newest, age = await self._link.row("look")
        if epoch != known or newest < at:
            await self._check()
            return PAUSE
        if newest > self._delivery.at[1]:
            return await self._read()
        if age < AWAKE_FOR * 1000:
            self.is_asleep = False
            return INTERVAL
        if self.is_asleep:
            return self._idle
        await self._link.row("fence")
        self.is_asleep = True
        return 0.0

    async def _read(self) -> float:
        batch = await reads.since(self._link, self._delivery.at[1])
        self._delivery.read(batch)
        self.is_asleep = False
        return 0.0 if batch.upto < batch.head else INTERVAL
