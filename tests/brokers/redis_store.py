"""A stand-in for Redis, as a subscriber sees it: a log, pub/sub, and the ways in which both fail. In memory, and at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

from headwater.brokers.redis.delivery import Entry, Survey
from headwater.brokers.redis.keys import Keys
from headwater.brokers.redis.known import Known
from headwater.brokers.redis.records import write_meta
from headwater.brokers.redis.store import Store
from headwater.brokers.redis.subscriber import Pace, Subscriber
from headwater.errors import BrokerUnavailable, PositionLost
from headwater.event import Draft, Event, Position, ResetReason
from headwater.testing.contract import Recorder

META = write_meta(Draft(channel="a"))


class PlayedLine:
    """A connection that listens.

    Attributes:
        names: what it has subscribed to.
        sent: the commands, in order.
    """

    def __init__(self, redis: PlayedRedis, take: Callable[[Sequence[Any]], None], ended: Callable[[Exception], None]):
        self.names: set[bytes] = set()
        self.sent: list[tuple[bytes, ...]] = []
        self.is_open = True
        self._redis = redis
        self._take = take
        self._ended = ended

    def send(self, *words: bytes) -> None:
        """See `Line.send`."""
        self.sent.append(words)
        if words[0] == b"UNSUBSCRIBE":
            self.names.difference_update(words[1:])
            self.bring(*([b"unsubscribe", name, 1] for name in words[1:]))
        elif self._redis.refusal is not None:
            self.bring(self._redis.refusal)
        elif self._redis.confirms:
            self.names.update(words[1:])
            self.bring(*([b"subscribe", name, 1] for name in words[1:]))

    def bring(self, *answers: Any) -> None:
        """One read of the socket brings all of these."""
        asyncio.get_running_loop().call_soon(self._bring, answers)

    def _bring(self, answers: Sequence[Any]) -> None:
        if self.is_open:
            self._take(answers)

    def end(self) -> None:
        """The connection breaks."""
        self.is_open = False
        self._ended(BrokerUnavailable("the connection was cut"))

    def close(self) -> None:
        """See `Line.close`."""
        self.is_open = False


class PlayedRedis:
    """The log of one epoch after the other, and who listens.

    Attributes:
        keys, known, link: as a `Store` has them.
        lines: all connections there have been.
        trouble: raised by the next attempts to connect, for as long as it is set.
        confirms: whether subscriptions are.
        refusal: the answer to `SUBSCRIBE` instead.
        marks: whether markers are published.
        surveys: what was asked for, each time.
        before_survey: runs before each.
        before_read: runs before each read.
        gone: seq through which retention has removed everything.
    """

    def __init__(self) -> None:
        self.keys = Keys("p")
        self.known = Known()
        self.link = self
        self.lines: list[PlayedLine] = []
        self.trouble: Exception | None = None
        self.confirms = True
        self.refusal: Exception | None = None
        self.marks = True
        self.surveys: list[tuple[str, ...]] = []
        self.before_survey: Callable[[], Awaitable[None]] | None = None
        self.before_read: Callable[[], Awaitable[None]] | None = None
        self.gone = 0
        self._epochs = 0
        self.wipe()

    @property
    def store(self) -> Store:
        """This, as what it stands for."""
        return cast(Store, self)

    @property
    def line(self) -> PlayedLine:
        """The newest connection."""
        return self.lines[-1]

    def wipe(self) -> None:
        """A new epoch."""
        self._epochs += 1
        self.epoch = f"e{self._epochs}"
        self.entries: list[Entry] = []

    def append(self, *channels: str, quietly: bool = False) -> Position:
        """Events; their messages come with one read. `quietly`: without messages."""
        answers = []
        for channel in channels:
            position = Position(self.epoch, len(self.entries) + 1)
            previous = self._last(channel)
            self.entries.append(Entry(Event.of(Draft(channel=channel), position, 0), previous))
            payload = b"%s 1 %d %d 0 %d\n%snull" % (position.epoch.encode(), position.seq, previous, len(META), META)
            answers.append([b"message", (self.keys.events + channel).encode(), payload])
        if not quietly:
            self.publish(*answers)
        return Position(self.epoch, len(self.entries))

    def publish(self, *answers: list[bytes]) -> None:
        """To everyone who has subscribed."""
        for line in self.lines:
            if wanted := [answer for answer in answers if answer[1] in line.names]:
                line.bring(*wanted)

    def _last(self, channel: str) -> int:
        return max((e.event.position.seq for e in self.entries if e.event.channel == channel), default=0)

    async def listen(self, take: Callable[[Sequence[Any]], None], ended: Callable[[Exception], None]) -> PlayedLine:
        """See `Link.listen`."""
        if self.trouble is not None:
            raise self.trouble
        self.lines.append(PlayedLine(self, take, ended))
        return self.line

    async def survey(self, channels: Collection[str], node: str, token: str) -> Survey:
        """See `Store.survey`."""
        if self.before_survey is not None:
            await self.before_survey()
        self.surveys.append(tuple(channels))
        if self.marks:
            marker = f"{token} {self.epoch} {len(self.entries)}".encode()
            self.publish([b"message", self.keys.inbox(node).encode(), marker])
        return Survey(self.epoch, 0, len(self.entries), {channel: self._last(channel) for channel in channels})

    async def read_entries(
        self, channels: Collection[str], after: int, until: int, limit: int
    ) -> tuple[tuple[Entry, ...], Position]:
        """See `Store.read_entries`."""
        if self.before_read is not None:
            await self.before_read()
        if after < self.gone:
            raise PositionLost(ResetReason.EXPIRED, "gone")
        found = [entry for entry in self.entries[after:until] if entry.event.channel in channels][:limit]
        end = found[-1].event.position.seq if len(found) == limit else min(until, len(self.entries))
        return tuple(found), Position(self.epoch, end)


SLOW = Pace(interval=60, patience=60, max_pause=0.005)
"""Nothing happens because time passes."""

QUICK = Pace(interval=0.005, patience=0.05, max_pause=0.005)


class Ear:
    """A subscriber that is open, with what it hears."""

    def __init__(self, redis: PlayedRedis, pace: Pace, wait: float) -> None:
        self.redis = redis
        self.feed = Recorder()
        self.subscriber = Subscriber(self.feed, redis.store, wait=wait, pace=pace)
        self.delivery = self.subscriber.delivery

    async def complete(self) -> None:
        """The feed has got everything."""
        await self.feed.complete(Position(self.redis.epoch, len(self.redis.entries)))


@asynccontextmanager
async def listening(
    *follow: str, redis: PlayedRedis | None = None, pace: Pace = SLOW, wait: float = 30
) -> AsyncIterator[Ear]:
    """A subscriber that follows some channels, closed at the end; nothing it must not do has happened."""
    ear = Ear(redis or PlayedRedis(), pace, wait)
    before = asyncio.all_tasks()
    try:
        await ear.subscriber.start()
        await ear.subscriber.follow(follow)
        yield ear
    finally:
        await ear.subscriber.aclose()
        ear.feed.is_over = True
    assert not ear.feed.complaints
    assert not any(line.is_open for line in ear.redis.lines)
    assert asyncio.all_tasks() <= before


async def turns(count: int = 20) -> None:
    """Let the loop run."""
    for _ in range(count):
        await asyncio.sleep(0)
