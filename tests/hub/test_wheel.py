"""A wheel gives back what is due, once, and keeps nothing of what was removed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from headwater.hub.wheel import RESOLUTION, Wheel
from headwater.stream import INFINITY, Stream
from tests.hub.made import Nowhere


def due_at(at: float) -> Stream:
    """A stream for which something is due then."""
    stream = Stream(1, Nowhere())
    stream.heartbeat_at = at
    return stream


def test_what_is_due_is_given_back_once() -> None:
    """Not before its tick, and never twice."""
    wheel = Wheel(100.0)
    stream = due_at(101.1)
    wheel.schedule(stream)
    assert wheel.advance(100.9) == []
    assert wheel.advance(101.0) == [stream]
    assert wheel.advance(200.0) == []
    assert (len(wheel), stream.due) == (0, -1)


def test_what_is_already_due_comes_with_the_next_tick() -> None:
    """A past time is not lost behind the wheel."""
    wheel = Wheel(100.0)
    stream = due_at(3.0)
    wheel.schedule(stream)
    assert wheel.advance(100.0 + RESOLUTION) == [stream]


def test_a_stream_is_in_the_wheel_once() -> None:
    """Scheduling it again moves it; with nothing due it leaves."""
    wheel = Wheel(100.0)
    stream = due_at(101.0)
    wheel.schedule(stream)
    stream.heartbeat_at = 105.0
    wheel.schedule(stream)
    assert len(wheel) == 1
    assert wheel.advance(104.0) == []
    stream.heartbeat_at = INFINITY
    wheel.schedule(stream)
    assert len(wheel) == 0


def test_a_removed_stream_is_not_kept() -> None:
    """Others of its tick stay, and removing it again does nothing."""
    wheel = Wheel(100.0)
    one, other = due_at(101.0), due_at(101.0)
    wheel.schedule(one)
    wheel.schedule(other)
    wheel.remove(one)
    wheel.remove(one)
    assert wheel.advance(101.0) == [other]
    wheel.remove(other)


def test_time_that_was_slept_through_is_made_up_for_at_once() -> None:
    """After a day of sleep everything comes, the earliest first, without walking through every tick of the day."""
    wheel = Wheel(0.0)
    streams = [due_at(float(at)) for at in (500, 3, 80_000, 90_000)]
    for stream in streams:
        wheel.schedule(stream)
    assert wheel.advance(86_400.0) == [streams[1], streams[0], streams[2]]
    assert wheel.advance(3.0) == []


@given(
    times=st.lists(st.floats(0, 50), max_size=20),
    steps=st.lists(st.floats(0, 5), min_size=1, max_size=40),
)
def test_nothing_comes_late_and_nothing_is_forgotten(times: list[float], steps: list[float]) -> None:
    """Whatever the times and however the wheel is turned, each stream comes in the first turn that reaches its tick."""
    wheel = Wheel(0.0)
    waiting = [due_at(at) for at in times]
    for stream in waiting:
        wheel.schedule(stream)
    now = 0.0
    for step in [*steps, 60.0]:
        before, now = now, now + step
        for stream in wheel.advance(now):
            waiting.remove(stream)
            assert stream.heartbeat_at < max(now, RESOLUTION) + RESOLUTION
        reached = int(now / RESOLUTION) > int(before / RESOLUTION)
        assert not (reached and [stream for stream in waiting if stream.heartbeat_at <= now])
    assert waiting == []
