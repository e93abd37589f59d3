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
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any

from headwater.brokers.base import Broker
from headwater.channels import Principal, check_channel
from headwater.errors import Draining, Unavailable
from headwater.event import Draft, Event, Position
from headwater.hub.fanout import Fanout, Latency
from headwater.hub.following import Following
from headwater.hub.handoff import Handoff
from headwater.hub.observers import Hook, Observers
from headwater.hub.poll import Polled, Poller
from headwater.hub.publishing import Publishing
from headwater.hub.registry import Channel, Registry
from headwater.hub.start import Beginning, Locator
from headwater.hub.statistics import Statistics, StreamInfo, stream_info
from headwater.hub.streams import Streams, Subscription, Timing
from headwater.hub.wheel import RESOLUTION
from headwater.stream import CloseReason, State, Stream, Writer

log = logging.getLogger("headwater")

SWEEP = 5.0
"""Seconds between looks at channels that nobody uses."""

SPREAD = 0.002
"""Seconds of reconnect spreading per stream when the hub drains: 500 clients a second come back, at least over MIN_SPREAD."""

MIN_SPREAD = 2.0


class Opening:
    """A subscription whose channels are followed and whose start is known; `attach` makes it a stream."""

    def __init__(self, hub: Hub, subscription: Subscription, channels: Sequence[Channel], beginning: Beginning) -> None:
        self.beginning = beginning
        self.channels = channels
        self.subscription = subscription
        self.is_attached = False
        self._hub = hub

    def attach(self, writer: Writer) -> Stream:
        """Begin the stream. What reports on the writer's socket must call the hub's `full`, `drained` and `lost` with it."""
        self.is_attached = True
        return self._hub.attach(self, writer)


class Hub(Publishing):
    """Who listens here, and everything that is done for them.

    Args:
        broker: the log.
        timing: heartbeats, warnings and bounds of slowness.
        max_event_bytes: of an event's data; 0 for no bound.
        ring_events: recent events kept encoded, per channel.
        ring_bytes: memory for all of them together.
        max_replay: events one stream may catch up with before it is reset (`overflow`); 0 for no bound.
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
    ) -> None:
        super().__init__(broker, max_event_bytes)
        self.timing = timing
        self.rejections: Counter[str] = Counter()  # refused requests, by error title; counted by whoever refuses
        self.is_draining = False
        self._bounds = (ring_events, ring_bytes, max_replay)
        self._tasks: set[asyncio.Task[None]] = set()
        self._observers = Observers(self.spawn)
        self._opened = 0
        self._swept_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    # -- life ------------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Connect to the broker and begin to listen.

        Raises:
            BrokerUnavailable: the broker cannot be opened; the hub is as before.
        """
        loop = asyncio.get_running_loop()
        ring_events, ring_bytes, max_replay = self._bounds
        self.registry = Registry(ring_events=ring_events, ring_bytes=ring_bytes)
        self.fanout = Fanout(self.registry, 0, self._broken, loop=loop)
        self.following = Following(self.registry, self.fanout, self.broker, loop=loop, spawn=self.spawn)
        self.streams = Streams(
            self.registry,
            self.fanout,
            self.following,
            self.timing,
            cursor=self.cursor,
            opened=self._stream_opened,
            closed=self._stream_closed,
            loop=loop,
        )
        self.handoff = self.streams.handoff = Handoff(
            self.fanout,
            self.broker,
            loop=loop,
            tell_reset=self.streams.tell_reset,
            broken=self._broken,
            max_replay=max_replay,
        )
        self._locator = Locator(self.broker, self.fanout, "0")
        head = await self.broker.open(self)
        self._locator.epoch = head.epoch
        self.fanout.restart(max(head.seq, self.fanout.received))
        self._drained: asyncio.Future[None] = loop.create_future()
        self.is_draining = False
        self._loop = loop
        self._timer = loop.call_later(RESOLUTION, self._tick)

    async def stop(self) -> None:
        """End what is still open, abruptly where `drain` was not called before, and close the broker. Idempotent."""
        if self._loop is None:
            return
        if not self.is_draining:
            await self.drain(0)
        if self._timer is not None:
            self._timer.cancel()
        self.fanout.stop()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._loop = None
        await self.broker.aclose()

    async def drain(self, grace: float = 10.0) -> bool:
        """Take no new streams, end every open one with its own time to come back, and wait for their last bytes.

        Args:
            grace: seconds; clients that have not read to the end by then are cut off.

        Returns:
            Whether every client took everything.
        """
        assert self.loop
        self.is_draining = True
        if not self._drained.done():
            self._drained.set_result(None)
        spread = max(MIN_SPREAD, len(self.streams.open) * SPREAD)
        for count, stream in enumerate(tuple(self.streams.open.values()), 1):
            self.streams.close(stream, CloseReason.DRAIN, retry=int(1000 * random.uniform(0.5, 0.5 + spread)))
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
            self.spawn(self._sweep(now))

    async def _sweep(self, now: float) -> None:
        await self.following.sweep(now)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something in the background until the hub stops; what it raises is logged."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("background work failed: %s", error, exc_info=error)

    # -- the broker's feed -----------------------------------------------------------------------------------------------

    def receive(self, events: Sequence[Event], upto: Position) -> None:
        """See `Feed.receive`."""
        self.fanout.take(events, upto.seq)

    def restart(self, head: Position) -> None:
        """See `Feed.restart`."""
        log.warning("the log has a new epoch", extra={"epoch": head.epoch, "position": head.seq})
        self._locator.epoch = head.epoch
        self.fanout.restart(head.seq)
        for channel in self.registry.channels.values():
            channel.ring.clear()
            channel.ring.start_at(head.seq)
            channel.arrived()
        self.streams.restart()

    # -- subscribing -----------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def prepare(self, subscription: Subscription) -> AsyncIterator[Opening]:
        """Follow a subscription's channels and find where it begins. Within the block it can be made a stream, which then
        owns the channels; otherwise they are given back.

        Raises:
            Draining: no new streams now. BrokerUnavailable: the log cannot be reached.
        """
        assert self.loop
        if self.is_draining:
            raise Draining("the hub is shutting down", fix="connect again; another process takes over", retry_after=1)
        channels = await self.following.acquire(subscription.channels)
        opening: Opening | None = None
        try:
            opening = Opening(self, subscription, channels, await self._locate(subscription, channels))
            yield opening
        finally:
            if opening is None or not opening.is_attached:
                self.following.release(channels)

    async def _locate(self, subscription: Subscription, channels: Sequence[Channel]) -> Beginning:
        names = [channel.name for channel in channels]
        now = int(time.time() * 1000)
        return await self._locator.locate(subscription.start, names, subscription.principal.permissions, now)

    def attach(self, opening: Opening, writer: Writer) -> Stream:
        """See `Opening.attach`."""
        if self.is_draining:
            opening.is_attached = False
            raise Draining("the hub is shutting down", fix="connect again", retry_after=1)
        self.fanout.flush()  # what is pending must not come after a cursor that includes it
        return self.streams.attach(opening.subscription, opening.channels, opening.beginning, writer)

    async def poll(self, subscription: Subscription, wait: float = 0.0) -> Polled:
        """Events after the subscription's start; waits up to `wait` seconds for the first one. Raises as `prepare`."""
        async with self.prepare(subscription) as opening:
            poller = Poller(self.fanout, self.broker, opening.channels, subscription.principal.permissions)
            return await poller.poll(opening.beginning, wait, self._drained)

    def cursor(self, seq: int) -> str:
        """The cursor text of a seq of the present epoch."""
        return f"{self._locator.epoch}-{seq}"

    # -- writers report --------------------------------------------------------------------------------------------------

    def full(self, stream: Stream) -> None:
        """The stream's socket takes no more for now."""
        self.streams.full(stream)

    def drained(self, stream: Stream) -> None:
        """The stream's socket takes bytes again."""
        self.streams.drained(stream)

    def lost(self, stream: Stream, reason: CloseReason = CloseReason.CLIENT) -> None:
        """The stream's connection is gone, or ends for the reason given."""
        self.streams.lost(stream, reason)

    def end(self, stream: Stream, reason: CloseReason) -> bool:
        """End a stream for a reason that its writer saw; whether it was open."""
        retry = int(1000 * random.uniform(0.5, 0.5 + MIN_SPREAD)) if reason is CloseReason.DRAIN else None
        return self.streams.close(stream, reason, retry=retry)

    def _broken(self, stream: Stream, error: Exception) -> None:
        log.warning("writing to stream %d failed: %s", stream.id, error)
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
        assert self.loop
        wanted = principal.id if isinstance(principal, Principal) else principal
        ended = 0
        for stream in [s for s in self.streams.open.values() if s.principal_id == wanted]:
            if isinstance(principal, Principal) and all(map(principal.may_subscribe, stream.view.names)):
                self.streams.move(stream, principal.permissions)
            else:
                ended += self.streams.close(stream, CloseReason.REVOKED)
        return ended

    async def close(self, stream_id: int) -> bool:
        """End one stream by hand (`admin`); whether it was open."""
        assert self.loop
        stream = self.streams.open.get(stream_id)
        return stream is not None and self.streams.close(stream, CloseReason.ADMIN)

    # -- numbers ---------------------------------------------------------------------------------------------------------

    def count(self, channel: str | None = None) -> int:
        """Open streams, of one channel or in all."""
        assert self.loop
        if channel is None:
            return len(self.streams.open)
        followed = self.registry.channels.get(channel)
        return 0 if followed is None else sum(view.members for view in followed.views)

    def info(self, stream: Stream) -> StreamInfo:
        """A snapshot of one stream."""
        return stream_info(stream, position=self.fanout.received, now=asyncio.get_running_loop().time())

    def infos(self, limit: int = 1000) -> list[StreamInfo]:
        """Snapshots of the oldest `limit` open streams."""
        assert self.loop
        return [self.info(stream) for _, stream in zip(range(limit), self.streams.open.values(), strict=False)]

    @property
    def latency(self) -> Latency:
        """How long events take from acceptance to the write."""
        return self.fanout.latency

    def statistics(self) -> Statistics:
        """This hub at this moment."""
        assert self.loop
        fanout, streams = self.fanout, self.streams
        states = Counter(stream.state for stream in streams.open.values())
        return Statistics(
            epoch=self._locator.epoch,
            position=fanout.position,
            draining=self.is_draining,
            streams=len(streams.open),
            live=states[State.LIVE],
            replaying=states[State.REPLAYING],
            lagging=states[State.LAGGING],
            channels=len(self.registry.channels),
            views=sum(1 for _ in self.registry.views),
            opened=self._opened,
            ended={reason.value: count for reason, count in streams.ended.items()},
            events=fanout.events,
            published=self.published,
            deliveries=fanout.deliveries,
            replayed=self.handoff.replayed,
            bytes=fanout.bytes_out,
            flushes=fanout.flushes,
            lagged=streams.lagged,
            resets={reason.value: count for reason, count in streams.resets.items()},
            rejections=dict(self.rejections),
            ring_bytes=self.registry.budget.used,
            latency_p50_ms=fanout.latency.quantile(0.5),
            latency_p99_ms=fanout.latency.quantile(0.99),
        )

    async def probe(self, channel: str, within: float = 5.0) -> float:
        """Prove that what is published arrives here: append an event to one of the hub's own channels and wait until the
        feed has brought it. Returns the seconds that took.

        Raises:
            BrokerUnavailable: it could not be published, or did not arrive within `within` seconds.
        """
        assert self.loop
        begun = time.perf_counter()
        channels = await self.following.acquire([check_channel(channel, own=True)])
        try:
            async with asyncio.timeout(within):
                (position,) = await self.broker.append([Draft.json(channel, "probe")])
                await self.fanout.reached(position.seq)
        except TimeoutError:
            raise Unavailable(f"a probe did not come back within {within:g} s", retry_after=1) from None
        finally:
            self.following.release(channels)
        return time.perf_counter() - begun
