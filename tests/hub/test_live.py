"""The live set."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from headwater.hub.live import Live
from headwater.stream import Stream
from tests.hub.made import Nowhere


class Pen(Nowhere):
    """A writer that does something with what it is given."""

    def __init__(self, act: Callable[[bytes], object]) -> None:
        super().__init__()
        self._act = act

    def write(self, data: bytes) -> None:
        """Do it."""
        self._act(data)


def fail(data: bytes) -> None:
    """A connection that is broken."""
    raise ConnectionError(data)


def test_everybody_is_written_to_in_the_order_of_joining() -> None:
    """Who joins is in from the next write on, who leaves is out."""
    live, got = Live(), list[Any]()

    def writing(number: int) -> Pen:
        return Pen(lambda data: got.append((number, data)))

    streams = [Stream(number, writing(number)) for number in range(3)]
    assert live.write(b"0") == []
    for stream in streams[:2]:
        live.add(stream)
    live.write(b"1")
    live.write(b"1")
    live.add(streams[2])
    live.discard(streams[0])
    live.write(b"2")
    assert got == [(0, b"1"), (1, b"1"), (0, b"1"), (1, b"1"), (1, b"2"), (2, b"2")]
    assert (len(live), list(live)) == (2, streams[1:])


def test_leaving_twice_and_never_having_been_there_are_nothing() -> None:
    """And cost the others nothing: what was looked up for them stays."""
    live = Live()
    stream = Stream(1, Nowhere())
    live.add(stream)
    live.write(b"")
    before = live._writes
    live.discard(Stream(2, Nowhere()))
    assert live._writes is before
    live.discard(stream)
    live.discard(stream)
    assert len(live) == 0


def test_a_stream_may_leave_within_its_own_write() -> None:
    """Its socket was full; the others get theirs all the same."""
    live, got = Live(), list[Any]()
    leaving = Stream(1, Pen(lambda data: live.discard(leaving)))
    for stream in (leaving, Stream(2, Pen(got.append))):
        live.add(stream)
    live.write(b"1")
    live.write(b"2")
    assert got == [b"1", b"2"]
    assert leaving not in live


def test_broken_writers_are_told_and_harm_nobody() -> None:
    """First, last or in the middle, one or all of them."""
    live, got = Live(), list[Any]()
    broken = [Stream(number, Pen(fail)) for number in range(3)]
    for stream in (broken[0], Stream(7, Pen(got.append)), broken[1], Stream(8, Pen(got.append)), broken[2]):
        live.add(stream)
    faults = live.write(b"x")
    assert [stream for stream, _ in faults] == broken
    assert all(isinstance(error, ConnectionError) for _, error in faults)
    assert got == [b"x", b"x"]


def test_a_writer_that_leaves_and_then_breaks_is_no_fault_of_the_set() -> None:
    """Whoever took it out knows about it."""
    live = Live()

    def leave_and_fail(data: bytes) -> None:
        live.discard(stream)
        raise ConnectionError

    stream = Stream(1, Pen(leave_and_fail))
    live.add(stream)
    assert live.write(b"x") == []
