"""A sample a second, that costs the same however many streams there are."""

from __future__ import annotations

import asyncio

import pytest

from headwater.hub.fanout import Latency
from headwater.hub.sampling import EVERY, KEPT, Sample, quantile
from headwater.stream import Stream
from tests.hub.support import WALL, connect, publish, running


class Untouchable(dict[int, Stream]):
    """Streams that nobody may walk through."""

    def __iter__(self) -> object:  # type: ignore[override] # it never returns
        raise AssertionError("somebody walks through all streams")

    values = items = keys = __iter__  # type: ignore[assignment]


async def test_a_sample_is_taken_each_second() -> None:
    """With the hub's numbers at that time, and the time since the one before; whoever watches is told."""
    async with running() as hub:
        told: list[Sample] = []
        hub.sampler.watchers.append(told.append)
        await connect(hub, "a")
        await asyncio.sleep(1.5)
        await publish(hub, "a", 1, 2)
        await asyncio.sleep(2)  # takes no time in this loop
        assert [sample.statistics.deliveries for sample in hub.sampler.history] == [0, 2, 2]
        assert [sample.seconds for sample in hub.sampler.history] == [EVERY] * 3
        assert hub.sampler.history[0].time == int((WALL + 1) * 1000)
        assert told == list(hub.sampler.history)


async def test_latency_is_that_of_the_span() -> None:
    """What was slow an hour ago says nothing of now; without a write there is no latency."""
    async with running() as hub:
        hub.latency.observe(400)
        await asyncio.sleep(1.5)
        hub.latency.observe(3)
        await asyncio.sleep(1)
        slow, quick = hub.sampler.history
        assert slow.p99_ms == pytest.approx(497.5)
        assert quick.p99_ms == pytest.approx(4.975)
        await asyncio.sleep(1)
        assert (hub.sampler.history[-1].p50_ms, hub.sampler.history[-1].p99_ms) == (None, None)


async def test_ten_minutes_are_kept() -> None:
    """And a hub that is started again begins with none."""
    async with running() as hub:
        await asyncio.sleep(KEPT + 10)
        assert len(hub.sampler.history) == KEPT
        await hub.stop()
        await hub.start()
        assert len(hub.sampler.history) == 0


async def test_a_sample_walks_through_nothing() -> None:
    """Neither streams nor views nor channels: the loop is not held up, whatever there is of them."""
    async with running() as hub:
        for number in range(3):
            await connect(hub, f"a{number}", "b")
        real = hub.streams.open
        hub.streams.open = Untouchable(real)
        hub.sampler.tick(hub.sampler._at + EVERY, hub.latency)
        hub.streams.open = real
        (sample,) = hub.sampler.history
        assert (sample.statistics.streams, sample.statistics.live, sample.statistics.views) == (3, 3, 3)


@pytest.mark.parametrize(
    ("counts", "q", "found"),
    [
        ({}, 0.5, None),
        ({0: 2}, 0.5, 0.5),
        ({0: 1, 3: 1}, 0.99, 9.9),
        ({4: 4}, 1.0, 25.0),
        ({12: 5}, 0.5, 5000.0),
        ({0: 1, 12: 99}, 0.99, 5000.0),
    ],
)
def test_a_quantile_lies_within_its_bucket(counts: dict[int, int], q: float, found: float | None) -> None:
    """As far in as there are observations below it; past the last bound nobody knows how far."""
    buckets = [counts.get(index, 0) for index in range(len(Latency.BOUNDS_MS) + 1)]
    assert quantile(buckets, q) == (None if found is None else pytest.approx(found))
