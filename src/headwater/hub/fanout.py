"""The hot path: an event comes in, its bytes go out to every live stream that may see it.

Per event: encode once, look the channel up, check the permission once per view. Per delivery: one `write`. There is no
task, queue, dict or coroutine per delivery, and nothing here awaits. Knows views and writers; must not know brokers, HTTP
or why a stream was opened.

Coalescing: the first event after a quiet moment is written at once. Events that come while a flush is still settling (its
bytes on their way into the sockets) wait for about as long as that took, MAX_LINGER at most, and then go out joined, one
write per stream. Ten streams never wait; ten thousand get fewer, larger writes instead of a growing backlog.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from headwater.event import Event, Position
from headwater.hub.live import Fault
from headwater.hub.registry import Registry, View
from headwater.hub.ring import Frame, joined
from headwater.stream import Stream

MAX_LINGER = 0.010
"""Seconds that an event waits at most to be joined with the next ones. Ten milliseconds is below what a person notices
and far below a network's jitter, and joins 20 events in flight into one write at 1,000 streams (docs/benchmarks.md)."""

SLICE = 256 * 1024
"""Bytes of data that one flush joins at most. A burst is written in slices, so that a stream whose socket is full leaves
the live set after one of them and does not have all of the burst in its buffer."""


class Fanout:
    """Events of followed channels to live streams.

    Args:
        registry: who listens.
        broken: told of a stream whose writer raised; it must end the stream.
        loop: calls back; the running loop's methods.
        clock: monotonic seconds. Not the loop's clock: uvloop's stands still within a turn, and the length of a turn is
            what is measured here.
        wall: Unix time in seconds.

    Attributes:
        epoch: of the log that all positions here are in; "0", which no log has, before `restart` has told it.
    """

    def __init__(
        self,
        registry: Registry,
        broken: Callable[[Stream, Exception], None],
        *,
        loop: asyncio.AbstractEventLoop,
        clock: Callable[[], float] = time.perf_counter,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.epoch = "0"
        self.received = 0  # seq through which the feed is complete
        self.position = 0  # seq through which every live stream has been written to
        self.events = 0  # received on followed channels
        self.deliveries = 0  # events times the live streams that they were written to
        self.bytes_out = 0
        self.flushes = 0
        self.latency = Latency()
        self._registry = registry
        self._broken = broken
        self._loop = loop
        self._clock = clock
        self._wall = wall
        self._dirty: list[View] = []  # views with pending frames
        self._pending = 0  # bytes of data received since the last flush
        self._timer: asyncio.Handle | None = None  # the next flush, or the settling of the last one
        self._progress: asyncio.Future[None] | None = None  # done at the next batch, for those who wait for one
        self._started = 0.0  # when the last flush began
        self._ready_at = 0.0  # when the next one may begin

    def cursor(self, seq: int) -> str:
        """The cursor text of a seq of the present epoch."""
        return f"{self.epoch}-{seq}"

    def take(self, events: Sequence[Event], upto: int) -> None:
        """Receive the next events of followed channels and see that they are written now or within MAX_LINGER."""
        channels = self._registry.channels
        for event in events:
            channel = channels.get(event.channel)
            if channel is None:
                continue
            frame = Frame(event)
            channel.ring.append(frame)
            required = frame.permissions
            for view in channel.views:
                if required <= view.audience.permissions:
                    if not view.pending:
                        self._dirty.append(view)
                    view.pending.append(frame)
            channel.arrived()
            self.events += 1
            self._pending += len(event.data)
            if self._pending >= SLICE:
                self.received = frame.seq
                self.flush()
        self.received = upto
        self._announce()
        if not self._dirty:
            self.position = upto
        elif self._timer is None:
            self._flush_or_wait()

    def _announce(self) -> None:
        if self._progress is not None:
            self._progress.set_result(None)
            self._progress = None

    async def reached(self, seq: int) -> None:
        """Return once the feed is complete through `seq`, or when the log has begun anew: then there is no such seq, and
        whoever waited must look at the epoch."""
        epoch = self.epoch
        while self.received < seq and self.epoch == epoch:
            if self._progress is None:
                self._progress = self._loop.create_future()
            await asyncio.shield(self._progress)

    def _flush_or_wait(self) -> None:
        wait = self._ready_at - self._clock()
        if wait > 0:
            self._timer = self._loop.call_later(wait, self._flush_now)
        else:
            self._flush_now()

    def _flush_now(self) -> None:
        self._started = self._clock()
        # Not over yet when flush() returns: uvloop hands the bytes to the kernel at the end of this turn.
        self._timer = self._loop.call_soon(self._settled)
        self.flush()

    def _settled(self) -> None:
        now = self._clock()
        self._timer = None
        self._ready_at = now + min(now - self._started, MAX_LINGER)
        if self._dirty:
            self._flush_or_wait()

    def flush(self) -> None:
        """Write everything received to every live stream that may see it."""
        # First of all, because a stream that reports a full socket from within its write has been given all of it.
        self.position = self.received
        self._pending = 0
        dirty, self._dirty = self._dirty, []
        oldest = dirty[0].pending[0].event.time if dirty else 0
        broken: list[Fault] = []
        for view in dirty:
            frames, view.pending = view.pending, []
            view.forget()
            if not view.live:
                continue
            data = frames[0].written(view.audience) if len(frames) == 1 else _joined(frames, view)
            view.bytes_out += len(data)
            view.events_out += len(frames)
            self.deliveries += len(frames) * len(view.live)
            self.bytes_out += len(data) * len(view.live)
            broken += view.live.write(data)
        if dirty:
            self.flushes += 1
            self.latency.observe(self._wall() * 1000 - oldest)
        for stream, fault in broken:
            self._broken(stream, fault)

    def restart(self, head: Position) -> None:
        """The feed begins anew, after `head`: what was pending is not written from here any more."""
        for view in self._dirty:
            view.pending = []
        self._dirty = []
        self._pending = 0
        self.epoch = head.epoch
        self.received = self.position = head.seq
        self._announce()

    def stop(self) -> None:
        """Write what is pending and set no more timers."""
        self.flush()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _joined(frames: Sequence[Frame], view: View) -> bytes:
    labelled = view.audience.labelled
    return joined([frame.encoded(labelled) for frame in frames], view.audience.chunked)


class Latency:
    """How long events took from the broker's acceptance to the write, as a histogram (one observation per flush: its
    first event)."""

    BOUNDS_MS = (1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000)

    __slots__ = ("counts", "sum_ms", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(self.BOUNDS_MS) + 1)
        self.sum_ms = 0.0
        self.total = 0

    def observe(self, milliseconds: float) -> None:
        """Count one observation; clocks of two machines may disagree, so a negative one counts as 0."""
        value = max(0.0, milliseconds)
        self.total += 1
        self.sum_ms += value
        for index, bound in enumerate(self.BOUNDS_MS):
            if value <= bound:
                self.counts[index] += 1
                return
        self.counts[-1] += 1

    def quantile(self, q: float) -> float:
        """The upper bound in milliseconds below which a share `q` of the observations lies; 0 without any, infinity past
        the last bound."""
        if not self.total:
            return 0.0
        wanted = q * self.total
        seen = 0
        for count, bound in zip(self.counts, (*self.BOUNDS_MS, float("inf")), strict=True):
            seen += count
            if seen >= wanted:
                return float(bound)
        return float("inf")
