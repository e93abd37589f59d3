"""A node's ear: the supervisor of its pub/sub connection, which keeps it, or gets it back, whatever Redis and the network do.

Two tasks for each connection: one reads, and tells the delivery what comes; one drives: it subscribes and unsubscribes,
surveys the log, and reads from it what the delivery needs. When either fails, the supervisor connects again. What happens
to events is decided by `delivery`; which commands that takes is the store's.

redis-py's own pub/sub object is not used: it ends when its connection drops, times out where a socket is merely quiet, and
resubscribes without telling that something may be missing. Here a connection is good while markers come back: every
`interval` a script is asked to publish one to this node. A marker goes the way that events go, so its absence shows what
no socket shows: a server that hangs, a network that swallows, a subscription that is gone.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from itertools import count

import msgspec

from headwater.brokers.base import Feed
from headwater.brokers.redis.delivery import Delivery, Survey
from headwater.brokers.redis.pubsub import PubSub
from headwater.brokers.redis.records import read_marker, read_message
from headwater.brokers.redis.store import Store
from headwater.brokers.redis.waiting import Watched
from headwater.errors import BrokerUnavailable, ConfigurationError, PositionLost
from headwater.event import Position

CHUNK = 1000  # channels per survey
PAGE = 500  # events per read

_log = logging.getLogger("headwater.brokers.redis")


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """How often a node looks after its connection. Seconds.

    Attributes:
        interval: between surveys: how long a node may be deaf, or behind, without knowing.
        patience: for a survey's marker to come back, and for a subscription to be confirmed; then the connection is given
            up, whatever its socket says.
        pause: before the second attempt to connect, at most; twice that before the next one, and so on.
        max_pause: at most.
    """

    interval: float = 2.0
    patience: float = 3.0
    pause: float = 0.05
    max_pause: float = 2.0


class _Waiter(msgspec.Struct, eq=False):
    """A call of `follow`: the channels it still waits for."""

    missing: set[str]
    done: asyncio.Future[Position]


class _Marker(msgspec.Struct, eq=False):
    """A marker that is to come. `is_seam`: it is of a survey's first part, at whose head the buffer begins anew."""

    token: str
    came: asyncio.Future[None]
    is_seam: bool = True


class Subscriber:
    """Feeds a node.

    Args:
        feed: gets the events.
        store: where they come from. Its `renewed` should call `doubt`.
        wait: seconds that `start` and `follow` wait at most for a Redis that does not answer.
        pace: see there. The pauses are cut at random, so that the nodes of an installation do not all come at once.

    Attributes:
        delivery: what the feed has been given.
        feed: the feed, as something that can be waited for.
        reconnects: times that a connection that worked was lost.
    """

    def __init__(self, feed: Feed, store: Store, *, wait: float, pace: Pace = Pace()) -> None:  # noqa: B008 (frozen)
        self.feed = Watched(feed)
        self.delivery = Delivery(self.feed)
        self.reconnects = 0
        self._store = store
        self._wait = wait
        self._pace = pace
        self._node = secrets.token_hex(8)
        self._inbox = store.keys.inbox(self._node).encode()
        self._events = store.keys.events.encode()
        self._wanted: dict[str, None] = {}  # channels, in the order in which they were asked for
        self._waiters: dict[str, dict[_Waiter, None]] = {}  # by what they miss, in the order in which they came
        self._changed: dict[str, None] = {}  # channels that have come or gone since the last round
        self._is_in_doubt = False  # somebody has said so since the last survey began
        self._news = asyncio.Event()  # there is something to do before the next survey
        self._tokens = map(str, count(1))
        self._marker = _Marker("", asyncio.Future())
        self._failures = 0  # in a row
        self._noted = ""
        self._opened: asyncio.Future[None] = asyncio.Future()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> Position:
        """Connect, and begin at the head of the log, which is returned.

        Raises:
            BrokerUnavailable: that did not work within `wait`. ConfigurationError: it never will.
        """
        self._task = asyncio.create_task(self._supervise())
        try:
            async with asyncio.timeout(self._wait):
                await self._opened
        except TimeoutError:
            raise _not_listening("Redis takes no subscription") from None
        return self.delivery.at

    async def aclose(self) -> None:
        """End the connection, and let everyone go who waits. The feed is not called afterwards."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        for waiter in {waiter: None for waiters in self._waiters.values() for waiter in waiters}:
            with suppress(asyncio.InvalidStateError):  # it has an answer, or gave up, in this very moment
                waiter.done.set_exception(BrokerUnavailable("the broker is not open"))
        self.feed.close()

    # -- channels --------------------------------------------------------------------------------------------------------

    async def follow(self, channels: Collection[str]) -> Position:
        """See `Broker.follow`. Calls that wait at the same time are served together."""
        missing = {channel for channel in channels if channel not in self.delivery.followed}
        if not missing:
            return self.delivery.at
        waiter = _Waiter(missing, asyncio.get_running_loop().create_future())
        for channel in missing:
            self._waiters.setdefault(channel, {})[waiter] = None
        self._wanted |= dict.fromkeys(missing)
        self._change(missing)
        try:
            async with asyncio.timeout(self._wait):
                return await waiter.done
        except TimeoutError:
            raise _not_listening("the channels cannot be followed now") from None
        finally:
            self._withdraw(waiter)

    def _withdraw(self, waiter: _Waiter) -> None:
        """It waits no more; what nobody else waits for is not wanted."""
        for channel in waiter.missing:
            del self._waiters[channel][waiter]
        if unwanted := [channel for channel in waiter.missing if not self._waiters[channel]]:
            self.unfollow(unwanted)

    def unfollow(self, channels: Collection[str]) -> None:
        """See `Broker.unfollow`. The feed gets nothing more of them from now on; Redis is told when there is time."""
        for channel in channels:
            self._wanted.pop(channel, None)
        self.delivery.unfollow(channels)
        self._answer(channels)
        self._change(channels)

    def _change(self, channels: Iterable[str]) -> None:
        self._changed |= dict.fromkeys(channels)
        self._news.set()

    def _answer(self, channels: Iterable[str]) -> None:
        """These are followed, or not wanted any more: who misses nothing else has waited long enough."""
        for channel in channels:
            for waiter in self._waiters.pop(channel, ()):
                waiter.missing.discard(channel)
                if not waiter.missing and not waiter.done.done():
                    waiter.done.set_result(self.delivery.at)

    def doubt(self) -> None:
        """The log may have begun a new epoch: look, at once."""
        self._is_in_doubt = True
        self.delivery.doubt()
        self._news.set()

    # -- the supervisor --------------------------------------------------------------------------------------------------

    async def _supervise(self) -> None:
        while True:
            try:
                await self._listen()
            except Exception as error:
                self._note(error)
            self.delivery.disconnected()
            pause = min(self._pace.max_pause, self._pace.pause * 2 ** min(self._failures, 20))
            self._failures += 1
            await asyncio.sleep(random.uniform(0, pause))

    def _note(self, error: Exception) -> None:
        """Say once that there is trouble, and again if it turns out to be one that will not pass by itself."""
        if isinstance(error, ConfigurationError) and not self._opened.done():
            self._opened.set_exception(error)
            return
        is_first = self._failures == 0
        self.reconnects += is_first and self._opened.done()
        is_expected = isinstance(error, BrokerUnavailable)
        is_news = is_first or (not is_expected and str(error) != self._noted)
        self._noted = str(error)
        _log.log(
            logging.WARNING if is_news else logging.DEBUG,
            "no connection to Redis, and another attempt soon: %s",
            error,
            exc_info=None if is_expected or isinstance(error, ConfigurationError) else error,
        )

    async def _listen(self) -> None:
        pubsub = PubSub(self._take)
        try:
            await pubsub.connect(self._store.link)
            driving = asyncio.create_task(self._drive(pubsub))
            try:
                done, _ = await asyncio.wait([driving, pubsub.end], return_when=asyncio.FIRST_COMPLETED)
                done.pop().result()  # neither ends but by failing
            finally:
                driving.cancel()
                await asyncio.gather(driving, return_exceptions=True)
        finally:
            pubsub.close()

    async def _drive(self, pubsub: PubSub) -> None:
        self._changed |= self._wanted  # there may be some that could not be followed
        await self._subscribe(pubsub, self._wanted)
        while True:
            self._news.clear()
            if self._is_in_doubt or not self.delivery.is_live:
                await self._repair()
            elif self._changed:
                await self._join(pubsub)
            else:
                await self._rest()

    async def _subscribe(self, pubsub: PubSub, channels: Iterable[str]) -> None:
        """To those of the channels that are wanted, and no more to the others."""
        wanted = [self._inbox, self._store.keys.control.encode()]
        unwanted: list[bytes] = []
        for channel in channels:
            (wanted if channel in self._wanted else unwanted).append(self._name(channel))
        pubsub.unsubscribe(pubsub.names.intersection(unwanted))
        try:
            async with asyncio.timeout(self._pace.patience):
                await pubsub.subscribe(wanted)
        except TimeoutError:
            raise BrokerUnavailable(f"Redis confirms no subscription within {self._pace.patience:g} s") from None

    def _name(self, channel: str) -> bytes:
        return self._events + channel.encode()

    async def _rest(self) -> None:
        """Until there is something to do; if there is nothing for long enough, see whether that is so."""
        try:
            async with asyncio.timeout(self._pace.interval):
                await self._news.wait()
        except TimeoutError:
            self.delivery.survey(await self._survey(self.delivery.followed))

    # -- the log ---------------------------------------------------------------------------------------------------------

    async def _repair(self) -> None:
        """Survey, and read what is missing. Afterwards the feed is live, or another round is needed."""
        self._is_in_doubt = False
        survey = await self._survey(self.delivery.followed)
        if not self._opened.done():
            head = Position(survey.epoch, survey.head)
            self.delivery.begin(head)
            self.feed.begin(head)
        self.delivery.survey(survey)
        while (need := self.delivery.need) is not None:
            try:
                page = await self._store.read_entries(need.channels, need.after, need.until, PAGE)
            except PositionLost:
                self.delivery.expired()
            else:
                self.delivery.entries(*page)
        if self.delivery.is_live:
            self._recovered()

    def _recovered(self) -> None:
        if self._failures and self._opened.done():
            _log.info("connected to Redis again; the feed has missed nothing, or says so")
        self._failures = 0
        if not self._opened.done():
            self._opened.set_result(None)

    async def _join(self, pubsub: PubSub) -> None:
        """Subscribe to what is wanted and to nothing else; then follow it from a known position on. A round costs what has
        changed, however much is followed already."""
        changed, self._changed = self._changed, {}
        await self._subscribe(pubsub, changed)
        # What came or went meanwhile is also a matter of the next round.
        joining = [
            channel
            for channel in changed
            if channel in self._wanted and channel not in self.delivery.followed and self._name(channel) in pubsub.names
        ]
        if not joining:
            return
        self.delivery.expect(joining)
        if self.delivery.join(await self._survey(joining)):
            self._answer([channel for channel in joining if channel in self.delivery.followed])
        else:
            self._changed |= dict.fromkeys(joining)

    async def _survey(self, channels: Iterable[str]) -> Survey:
        """Ask where the log is, and wait until the marker of that moment has come the way that events come.

        With many channels it takes several parts. The first one's head is the survey's, and its marker the seam: what of the
        others is later than that has come by the time of the last one's marker, and waits behind the seam.

        Raises:
            BrokerUnavailable: it has not.
        """
        names = list(channels)
        chunks = [names[start : start + CHUNK] for start in range(0, len(names), CHUNK)] or [[]]
        try:
            async with asyncio.timeout(self._pace.patience):
                while True:
                    parts = [await self._ask(chunks[0], is_seam=True)]
                    await self._marker.came
                    parts += [await self._ask(chunk, is_seam=False) for chunk in chunks[1:]]
                    await self._marker.came
                    if len({part.epoch for part in parts}) == 1:
                        return _joined(parts)
        except TimeoutError:
            raise BrokerUnavailable(
                f"Redis was asked to publish, and nothing came within {self._pace.patience:g} s"
            ) from None

    async def _ask(self, channels: Sequence[str], *, is_seam: bool) -> Survey:
        """One survey. It goes over another connection than the one that listens: if that turns out to be broken, it is no
        reason to give up both."""
        try:
            return await self._ask_once(channels, is_seam)
        except BrokerUnavailable:
            return await self._ask_once(channels, is_seam)

    async def _ask_once(self, channels: Sequence[str], is_seam: bool) -> Survey:
        self._marker = _Marker(next(self._tokens), asyncio.get_running_loop().create_future(), is_seam)
        return await self._store.survey(channels, self._node, self._marker.token)

    # -- what comes ------------------------------------------------------------------------------------------------------

    def _take(self, messages: Sequence[tuple[bytes, bytes]]) -> None:
        """What one read of the socket brought: one batch for the feed."""
        for name, payload in messages:
            try:
                if name.startswith(self._events):
                    self._take_event(name[len(self._events) :].decode(), payload)
                elif name == self._inbox:
                    self._take_marker(payload)
                else:  # there is a new epoch
                    self.doubt()
            except ValueError:
                _log.warning("somebody else publishes to %r, which is Headwater's", name)
        self.delivery.flush()
        if not self.delivery.is_live:
            self._news.set()

    def _take_event(self, channel: str, payload: bytes) -> None:
        message = read_message(channel, payload)
        position = message.entry.event.position
        self._store.known.saw(position.epoch, message.life, position.seq)
        self.delivery.arrived(message.entry)

    def _take_marker(self, payload: bytes) -> None:
        marker = self._marker
        if read_marker(payload).token == marker.token and not marker.came.done():
            if marker.is_seam:
                self.delivery.marked()
            marker.came.set_result(None)


def _joined(parts: Sequence[Survey]) -> Survey:
    """Surveys of several sets of channels as one, at the first one's head; what the others say of theirs may be later."""
    last = {channel: seq for part in parts for channel, seq in part.last.items()}
    return msgspec.structs.replace(parts[0], last=last, floor=parts[-1].floor)


def _not_listening(what: str) -> BrokerUnavailable:
    return BrokerUnavailable(what, fix="this process has logged why it has no connection to Redis", retry_after=1)
