"""The hub of one process: it listens to a broker and serves the streams open here.

Wires the parts of this package together and is what the rest of Headwater talks to. Knows the broker protocol, events,
principals and streams; must not know HTTP, tokens or how a broker stores. All of a hub's state is on its instance and
belongs to the loop that `start` ran in; a stopped hub may be started again, in another loop.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any

from headwater.brokers.base import Broker
from headwater.channels import Principal, check_channel
from headwater.errors import HeadwaterError
from headwater.event import Event, Position, ResetReason
from headwater.hub.fanout import Fanout, Latency
from headwater.hub.following import Following
from headwater.hub.handoff import FORGIVEN, Handoff
from headwater.hub.observers import Hook, Observers
from headwater.hub.opening import Opening, check_open
from headwater.hub.poll import Polled, Poller
from headwater.hub.probe import probe
from headwater.hub.publishing import Publishing
from headwater.hub.reading import Reader
from headwater.hub.registry import Channel, Registry
from headwater.hub.sampling import Sampler
from headwater.hub.start import Beginning, Locator, asks_for_what_is_left
from headwater.hub.statistics import Statistics, StreamInfo, statistics_of, stream_info
from headwater.hub.streams import Streams
from headwater.hub.subscription import Subscription, Timing
from headwater.hub.wheel import RESOLUTION
from headwater.stream import CloseReason, Stream

log = logging.getLogger("headwater")

SWEEP = 5.0
"""Seconds between looks at channels that nobody uses."""

SPREAD = 0.002
"""Seconds of reconnect spreading per stream when the hub drains: 500 clients a second come back, at least over MIN_SPREAD."""

MIN_SPREAD = 2.0


CLEAN_UP = 1.0
"""Seconds that hooks and other background work get to end when the hub stops, and again after they were cancelled."""


class Hub(Publishing):
    """Who listens here, and everything that is done for them.

    Args:
        broker: the log.
        timing: heartbeats, warnings and bounds of slowness.
        max_event_bytes: of an event's data; 0 for no bound.
        ring_events: recent events kept encoded, per channel.
        ring_bytes: memory for all of them together.
        max_replay: events one stream may catch up with before it is reset (`overflow`); 0 for no bound.
        wall: Unix time in seconds, for what is said to clients and for the ends of tokens.
        clock: monotonic seconds, for measuring flushes (see `Fanout`).
    """

    def __init__(
        self,
        broker: Broker,
        *,
        timing: Timing = Timing(),  # noqa: B008 (frozen, so safe to share)
        max_event_bytes: int = 256 * 1024,
        ring_events: int = 1000,
        ring_bytes: int = 64 * 1024 * 1024,
        max_replay: int = 100_000,
        wall: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        super().__init__(broker, max_event_bytes)
        self.timing = timing
        self.rejections: Counter[str] = Counter()  # refused requests, by error title; counted by whoever refuses
        self.is_draining = False
        self.kin: set[Hub] = set()  # hubs of the same people: whose streams end here, end there, too
        self._bounds = (ring_events, ring_bytes, max_replay)
        self._tasks: set[asyncio.Task[object]] = set()
        self._observers = Observers(self.spawn)
        self._opened = 0
        self._swept_at = 0.0
        self.wall = wall
        self._clock = clock

    # -- life ------------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Connect to the broker and begin to listen.

        Raises:
            BrokerUnavailable: the broker cannot be opened; the hub is as before. HeadwaterError: it runs already.
        """
        if self._loop is not None:
            raise HeadwaterError("the hub runs already", fix="start it once: with its lifespan, or by hand")
        loop = asyncio.get_running_loop()
        self._wire(loop)
        head = await self.broker.open(self)
        if head.epoch != self.fanout.epoch or head.seq > self.fanout.received:  # the feed may have begun already
            self.fanout.restart(head)
        self.parting: asyncio.Future[None] = loop.create_future()  # done once no more streams may begin
        self.is_draining = False
        self._loop = loop
        self._timer = loop.call_later(RESOLUTION, self._tick)

    def _wire(self, loop: asyncio.AbstractEventLoop) -> None:
        ring_events, ring_bytes, max_replay = self._bounds
        self.registry = Registry(ring_events=ring_events, ring_bytes=ring_bytes)
        self.fanout = Fanout(self.registry, self._broken, loop=loop, clock=self._clock, wall=self.wall)
        self.following = Following(self.registry, self.fanout, self.broker, loop=loop, spawn=self.spawn)
        self.streams = Streams(
            self.registry,
            self.fanout,
            self.following,
            self.timing,
            opened=self._stream_opened,
            closed=self._stream_closed,
            loop=loop,
            wall=self.wall,
        )
        self._reader = Reader(self.broker, self.fanout)
        self.sampler = Sampler(self.statistics, self.wall, loop.time())
        self._locator = Locator(self.broker, self.fanout)
        self.handoff = self.streams.handoff = Handoff(
            self.fanout,
            self._reader,
            loop=loop,
            tell_reset=self.streams.tell_reset,
            broken=self._broken,
            max_replay=max_replay,
        )

    async def stop(self) -> None:
        """End what is still open, abruptly where `drain` was not called before, and close the broker. Idempotent."""
        if self._loop is None:
            return
        await self.drain(0)
        self._timer.cancel()
        await self._end_tasks()
        self._loop = None
        await self.broker.aclose()
        self.fanout.stop()  # only now is the feed silent

    async def _end_tasks(self) -> None:
        """Let hooks and such end by themselves for a moment, then cancel them; what will not be cancelled is left behind."""
        for _ in range(2):
            if self._tasks:
                await asyncio.wait(tuple(self._tasks), timeout=CLEAN_UP)
            for task in self._tasks:
                task.cancel()

    async def drain(self, grace: float = 10.0) -> bool:
        """Take no new streams, end every open one with its own time to come back, and wait for their last bytes.

        Args:
            grace: seconds; clients that have not read to the end by then are cut off.

        Returns:
            Whether every client took everything.
        """
        self.check_running()
        self.is_draining = True
        if not self.parting.done():
            self.parting.set_result(None)
        spread = max(MIN_SPREAD, len(self.streams.open) * SPREAD)
        for count, stream in enumerate(tuple(self.streams.open.values()), 1):
            self.streams.close(stream, CloseReason.DRAIN, retry=_time_to_return(spread))
            if count % 500 == 0:
                await asyncio.sleep(0)  # let the bytes out
        return await self.streams.quiet(grace)

    def _tick(self) -> None:
        now = self.loop.time()
        self._timer = self.loop.call_later(RESOLUTION, self._tick)
        self.streams.tick(now)
        if now - self._swept_at >= SWEEP:
            self._swept_at = now
            for view in self.registry.views:
                view.forget()
            self.spawn(self.following.sweep(now))
        self.sampler.tick(now, self.latency)

    def spawn(self, work: Coroutine[Any, Any, object]) -> None:
        """Run something in the background until the hub stops; what it raises is logged."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[object]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("background work failed: %s", error, exc_info=error)

    # -- the broker's feed -----------------------------------------------------------------------------------------------

    def receive(self, events: Sequence[Event], upto: Position) -> None:
        """See `Feed.receive`."""
        self.fanout.take(events, upto.seq)

    def restart(self, head: Position, lost: bool = False) -> None:
        """See `Feed.restart`. With the epoch that we know, the feed has only lost its place: the streams keep theirs, and
        catch up from the log; unless something was overtaken, which only a reset can tell them."""
        is_new = head.epoch != self.fanout.epoch or head.seq < self.fanout.received
        log.warning("the feed begins anew", extra={"epoch": head.epoch, "position": head.seq, "new": is_new})
        self.streams.rewind()
        self.fanout.restart(head)
        for view in self.registry.views:
            view.forget()
        for channel in self.registry.channels.values():
            channel.ring.restart(head.seq)
            channel.arrived()
        self.streams.resume(ResetReason.EPOCH_CHANGED if is_new else ResetReason.OVERFLOW if lost else None)

    # -- subscribing -----------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def prepare(self, subscription: Subscription) -> AsyncIterator[Opening]:
        """Follow a subscription's channels and find where it begins. Within the block it can be made a stream, which then
        owns the channels; otherwise they are given back.

        Raises:
            Draining: no new streams now. BrokerUnavailable: the log cannot be reached. ConfigurationError: the
            subscription's `hello` makes no JSON.
        """
        channels, beginning = await self._reach(subscription)
        opening: Opening | None = None
        try:
            opening = Opening(self.streams, self.fanout, subscription, channels, beginning, draining=self.parting)
            yield opening
        finally:
            if opening is None or not opening.is_attached:
                self.following.release(channels)

    async def poll(self, subscription: Subscription, wait: float = 0.0) -> Polled:
        """Events after the subscription's start; waits up to `wait` seconds for the first one. Raises as `prepare`."""
        channels, beginning = await self._reach(subscription)
        try:
            poller = Poller(self.fanout, self._reader, channels, subscription.principal.permissions)
            forgiven = FORGIVEN if asks_for_what_is_left(subscription.start) else 0
            return await poller.poll(beginning, wait, self.parting, forgiven=forgiven)
        finally:
            self.following.release(channels)

    async def _reach(self, subscription: Subscription) -> tuple[list[Channel], Beginning]:
        """Follow the channels, for the caller to release, and find the beginning."""
        self.check_running()
        draining = self.parting
        check_open(draining)
        channels = await self.following.acquire(subscription.channels)
        try:
            names = [channel.name for channel in channels]
            now = int(self.wall() * 1000)
            beginning = await self._locator.locate(subscription.start, names, subscription.principal.permissions, now)
            check_open(draining)  # a hub that was stopped meanwhile may even run again, with other channels
        except BaseException:
            self.following.release(channels)
            raise
        return channels, beginning

    def cursor(self, seq: int) -> str:
        """The cursor text of a seq of the present epoch."""
        return self.fanout.cursor(seq)

    # -- writers report --------------------------------------------------------------------------------------------------

    def full(self, stream: Stream) -> None:
        """The stream's socket takes no more for now."""
        self.streams.full(stream)

    def drained(self, stream: Stream) -> None:
        """The stream's socket takes bytes again."""
        self.streams.drained(stream)

    def lost(self, stream: Stream) -> None:
        """The stream's connection is gone."""
        self.streams.lost(stream)

    def end(self, stream: Stream, reason: CloseReason) -> bool:
        """End a stream whose connection is still there; whether it was open. A server that stops may say so connection by
        connection, so each of those clients gets its own time to come back, too."""
        retry = _time_to_return(MIN_SPREAD) if reason is CloseReason.DRAIN else None
        return self.streams.close(stream, reason, retry=retry)

    def _broken(self, stream: Stream, error: Exception) -> None:
        self.streams.broken(stream, error)

    # -- people ----------------------------------------------------------------------------------------------------------

    def on_connect(self, hook: Hook) -> Hook:
        """Call `hook(info: StreamInfo)` for every stream that opens; sync or async. Usable as a decorator."""
        self._observers.on_connect.append(hook)
        return hook

    def on_disconnect(self, hook: Hook) -> Hook:
        """Call `hook(info: StreamInfo, reason: str)` for every stream that ends; sync or async. Usable as a decorator."""
        self._observers.on_disconnect.append(hook)
        return hook

    def _stream_opened(self, stream: Stream) -> None:
        self._opened += 1
        self._observers.opened(lambda: self.info(stream))

    def _stream_closed(self, stream: Stream, reason: CloseReason) -> None:
        self._observers.closed(lambda: self.info(stream), reason)

    async def revoke(self, principal: str | Principal) -> int:
        """Apply a change of someone's rights now.

        Args:
            principal: an id: all its streams end (`revoked`), and come back only with a token that still holds. A
                `Principal`: its streams that it may no longer read end, the others see from now on what its permissions
                allow.

        Returns:
            How many streams were ended.
        """
        self.check_running()
        wanted = principal.id if isinstance(principal, Principal) else principal
        ended = 0
        for stream in [s for s in self.streams.open.values() if s.principal_id == wanted]:
            if isinstance(principal, Principal) and all(map(principal.may_subscribe, stream.view.names)):
                self.streams.move(stream, principal.permissions)
            else:
                ended += self.streams.close(stream, CloseReason.REVOKED)
        for each in tuple(self.kin):
            ended += await each.revoke(wanted or principal)  # if they may come back, they can
        return ended

    async def close(self, stream_id: int) -> bool:
        """End one stream by hand (`admin`); whether it was open."""
        self.check_running()
        stream = self.streams.open.get(stream_id)
        return stream is not None and self.streams.close(stream, CloseReason.ADMIN)

    # -- numbers ---------------------------------------------------------------------------------------------------------

    def count(self, channel: str | None = None) -> int:
        """Open streams, of one channel or in all."""
        self.check_running()
        if channel is None:
            return len(self.streams.open)
        followed = self.registry.channels.get(channel)
        return 0 if followed is None else sum(view.members for view in followed.views)

    def info(self, stream: Stream) -> StreamInfo:
        """A snapshot of one stream."""
        return stream_info(stream, position=self.fanout.received, now=asyncio.get_running_loop().time())

    def infos(self, limit: int = 1000) -> list[StreamInfo]:
        """Snapshots of the oldest `limit` open streams."""
        self.check_running()
        return [self.info(stream) for _, stream in zip(range(limit), self.streams.open.values(), strict=False)]

    @property
    def latency(self) -> Latency:
        """How long events take from acceptance to the write."""
        return self.fanout.latency

    def statistics(self) -> Statistics:
        """This hub at this moment."""
        self.check_running()
        return statistics_of(
            self.registry,
            self.fanout,
            self.streams,
            self.handoff,
            draining=self.is_draining,
            opened=self._opened,
            published=self.published,
            rejections=self.rejections,
            broker=self.broker,
        )

    async def probe(self, channel: str, within: float = 5.0) -> float:
        """Prove that what is published arrives here, by an event on one of the hub's own channels. Returns the seconds that
        took.

        Raises:
            Unavailable: it could not be published, or did not arrive within `within` seconds.
        """
        self.check_running()
        check_channel(channel, own=True)
        return await probe(self.broker, self.following, self.fanout, channel, within)


def _time_to_return(spread: float) -> int:
    """Milliseconds after which one client is to come back, so that together they come over `spread` seconds."""
    return int(1000 * random.uniform(0.5, 0.5 + spread))
