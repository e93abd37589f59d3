"""The last ten minutes of a hub: one sample a second, of counters that exist anyway.

What the dashboard draws. Taking a sample costs the same whether there are five streams or five hundred thousand, because
nothing is walked through. Knows snapshots and the latency histogram; must not know streams, channels or who looks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

import msgspec

from headwater.hub.fanout import Latency
from headwater.hub.statistics import Statistics

EVERY = 1.0
"""Seconds between samples."""

KEPT = 600
"""Samples kept: ten minutes, about half a megabyte."""


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """A hub at one moment, and how quick it was since the sample before.

    Attributes:
        time: Unix time in milliseconds.
        seconds: since the sample before, by the loop's clock.
        p50_ms, p99_ms: of the latency of this span, estimated within histogram buckets; None if nothing was written.
        statistics: see there; its counters count since the hub started.
    """

    time: int
    seconds: float
    p50_ms: float | None
    p99_ms: float | None
    statistics: Statistics


Watcher = Callable[[Sample], None]


class Sampler:
    """Takes the samples of one hub.

    Args:
        take: the hub's statistics.
        wall: Unix time in seconds.
        now: loop time at which the first span begins.

    Attributes:
        history: the samples so far, oldest first.
        watchers: called with each new sample, in the loop; they must not block or raise.
    """

    def __init__(self, take: Callable[[], Statistics], wall: Callable[[], float], now: float) -> None:
        self.history: deque[Sample] = deque(maxlen=KEPT)
        self.watchers: list[Watcher] = []
        self._take = take
        self._wall = wall
        self._at = now
        self._counts: Sequence[int] = [0] * (len(Latency.BOUNDS_MS) + 1)

    def tick(self, now: float, latency: Latency) -> None:
        """Take a sample if one is due.

        Args:
            now: loop time.
            latency: the hub's histogram.
        """
        if now - self._at < EVERY:
            return
        before, self._counts = self._counts, tuple(latency.counts)
        span = [count - earlier for count, earlier in zip(self._counts, before, strict=True)]
        sample = Sample(
            time=int(self._wall() * 1000),
            seconds=now - self._at,
            p50_ms=quantile(span, 0.5),
            p99_ms=quantile(span, 0.99),
            statistics=self._take(),
        )
        self._at = now
        self.history.append(sample)
        for watcher in self.watchers:
            watcher(sample)


def quantile(counts: Sequence[int], q: float) -> float | None:
    """The latency in milliseconds below which a share `q` of some observations lies; None without any.

    As if the observations of a bucket were spread evenly over it, like Prometheus' `histogram_quantile`. What is past the
    last bound counts as the last bound.

    Args:
        counts: observations by bucket of `Latency`.
    """
    wanted = q * sum(counts)
    if not wanted:
        return None
    seen, lower = 0, 0.0
    for count, upper in zip(counts, Latency.BOUNDS_MS, strict=False):
        if seen + count >= wanted:
            return lower + (upper - lower) * (wanted - seen) / count
        seen, lower = seen + count, float(upper)
    return lower
