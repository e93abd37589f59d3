"""Received events go to the live streams that may see them: at once after a quiet moment, joined in a busy one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from headwater.event import Event, Position
from headwater.hub.fanout import MAX_LINGER, SLICE, Fanout, Latency
from headwater.hub.registry import Registry, View
from headwater.stream import Happening, State, Stream
from headwater.wire import Decoder
from tests.hub.made import event
from tests.hub.support import turns

X = frozenset({"x"})
NOBODY = frozenset[str]()


class Pipe:
    """A writer that records, and does as it is told with the first writes."""

    def __init__(self, *, chunked: bool = False) -> None:
        self.chunked = chunked
        self.writes: list[bytes] = []
        self.fault: Exception | None = None

    def write(self, data: bytes, /) -> None:
        if self.fault is not None:
            raise self.fault
        self.writes.append(data)

    def finish(self) -> None:
        """Never called here."""

    def abort(self) -> None:
        """Never called here."""

    @property
    def seqs(self) -> list[list[int]]:
        """The seqs of the events in each write."""
        return [[Position.parse(m.id).seq for m in Decoder().feed(data)] for data in self.writes]


class Bench:
    """A fan-out with a clock of its own, which stands still while code runs unless it is told otherwise."""

    def __init__(self) -> None:
        self.registry = Registry(ring_events=100, ring_bytes=1 << 20)
        for name in "abc":
            self.registry.add_channel(name, 0)
        self.broken: list[Stream] = []
        self.loop = asyncio.get_running_loop()
        self.spent = 0.0
        self.fanout = Fanout(
            self.registry,
            lambda stream, error: self.broken.append(stream),
            loop=self.loop,
            clock=lambda: self.loop.time() + self.spent,
            wall=lambda: 100.0,
        )
        self.fanout.restart(Position("e1", 0))

    def live(self, names: str = "a", permissions: frozenset[str] = NOBODY) -> Pipe:
        """A live stream."""
        return self.listen(names, permissions)[0]

    def listen(self, names: str = "a", permissions: frozenset[str] = NOBODY) -> tuple[Pipe, Stream, View]:
        """The same, with its stream and its view."""
        pipe = Pipe()
        stream = Stream(1, pipe)
        stream.happen(Happening.CAUGHT_UP)
        view = self.registry.join(stream, [self.registry.channels[name] for name in names], permissions)
        view.live.add(stream)
        return pipe, stream, view

    def take(self, *events: Event, upto: int | None = None) -> None:
        """The feed brings these."""
        self.fanout.take(events, upto or (events[-1].position.seq if events else 0))


@pytest.fixture
async def bench() -> Bench:
    """With channels a, b and c."""
    return Bench()


def events(*seqs: int) -> Sequence[Event]:
    """Events of channel a."""
    return [event(seq) for seq in seqs]


async def test_the_first_event_after_a_quiet_moment_goes_out_at_once(bench: Bench) -> None:
    """Within the very call that brings it."""
    pipe = bench.live()
    bench.take(*events(1))
    assert pipe.seqs == [[1]]
    assert (bench.fanout.position, bench.fanout.received) == (1, 1)


async def test_what_comes_while_a_flush_settles_is_joined(bench: Bench) -> None:
    """One write for all of it, as soon as the loop has turned around."""
    pipe = bench.live()
    for seq in range(1, 6):
        bench.take(*events(seq))
    assert (bench.fanout.position, bench.fanout.received) == (1, 5)
    await turns(2)
    assert pipe.seqs == [[1], [2, 3, 4, 5]]
    await turns(2)
    bench.take(*events(6))
    assert pipe.seqs[2:] == [[6]]


@pytest.mark.parametrize(("cost", "waits"), [(0.003, 0.003), (0.5, MAX_LINGER)])
async def test_events_wait_about_as_long_as_a_flush_takes(bench: Bench, cost: float, waits: float) -> None:
    """So a hub with many streams writes less often and more at a time; never is an event held for longer than MAX_LINGER."""
    written = []
    _, stream, _ = bench.listen()

    def write(data: bytes) -> None:
        written.append(bench.loop.time())
        bench.spent += cost

    stream.write = write
    bench.take(*events(1))
    bench.take(*events(2))
    await asyncio.sleep(1)
    assert len(written) == 2
    assert written[1] - written[0] == pytest.approx(waits)


async def test_a_stream_of_several_channels_gets_them_in_log_order(bench: Bench) -> None:
    """Also when they are joined, and each frame says which channel it is of."""
    both, one = bench.live("ab"), bench.live("b")
    bench.take(event(1))
    bench.take(event(2, channel="b"))
    bench.take(event(3), event(4, channel="b"))
    await turns(2)
    assert both.seqs == [[1], [2, 3, 4]]
    assert one.seqs == [[2, 4]]
    assert [m.channel for m in Decoder().feed(both.writes[1])] == ["b", "a", "b"]
    assert [m.channel for m in Decoder().feed(one.writes[0])] == [None, None]


async def test_an_event_reaches_those_who_hold_all_of_its_permissions(bench: Bench) -> None:
    """The others get nothing, not even an empty write."""
    all_, some, none = (bench.live(permissions=each) for each in (X | {"y"}, X, NOBODY))
    bench.take(event(1, permissions=["x", "y"]), event(2, permissions=["x"]))
    await turns(2)
    assert (all_.seqs, some.seqs, none.seqs) == ([[1, 2]], [[2]], [])
    assert bench.fanout.position == 2


async def test_hidden_and_foreign_events_move_the_position(bench: Bench) -> None:
    """With nothing to write, everyone has been given everything."""
    pipe = bench.live()
    bench.take(event(3, permissions=["x"]), event(4, channel="unknown"), upto=9)
    assert (bench.fanout.position, bench.fanout.received, bench.fanout.events) == (9, 9, 1)
    bench.take(upto=12)
    assert (bench.fanout.position, pipe.writes) == (12, [])


async def test_streams_with_the_same_view_get_the_same_bytes(bench: Bench) -> None:
    """Not equal ones: the same object, encoded and joined once."""
    one, other = bench.live(), bench.live()
    bench.take(*events(1))
    bench.take(*events(2, 3))
    await turns(2)
    assert [a is b for a, b in zip(one.writes, other.writes, strict=True)] == [True, True]
    fanout = bench.fanout
    assert (fanout.deliveries, fanout.flushes) == (6, 2)
    assert fanout.bytes_out == sum(map(len, one.writes + other.writes))


async def test_a_chunked_stream_gets_one_chunk_a_write(bench: Bench) -> None:
    """However many events it holds."""
    pipe = Pipe(chunked=True)
    stream = Stream(1, pipe)
    bench.registry.join(stream, [bench.registry.channels["a"]], NOBODY).live.add(stream)
    bench.take(*events(1, 2))
    head, _, body = pipe.writes[0].partition(b"\r\n")
    assert len(body) == int(head, 16) + 2
    assert len(Decoder().feed(body)) == 2


async def test_a_view_without_live_streams_costs_no_write(bench: Bench) -> None:
    """Its streams lag or replay, and come to the event by themselves."""
    pipe, stream, view = bench.listen()
    view.live.discard(stream)
    bench.take(*events(1))
    assert (pipe.writes, view.pending, bench.fanout.position) == ([], [], 1)


async def test_a_burst_is_written_in_slices(bench: Bench) -> None:
    """So a stream that becomes full leaves the live set after one of them, at exactly the place to go on from."""
    pipe, stream, view = bench.listen()
    places = []

    def write(data: bytes) -> None:
        pipe.writes.append(data)
        places.append(bench.fanout.position)
        if len(places) == 2:
            view.live.discard(stream)

    stream.write = write
    burst = [event(seq, '"' + "x" * 10_000 + '"') for seq in range(1, 101)]
    bench.take(*burst)
    a_slice = SLICE // 10_002 + 1
    assert places == [a_slice, 2 * a_slice]
    assert [len(seqs) for seqs in pipe.seqs] == [a_slice, a_slice]
    await turns(2)
    assert (bench.fanout.position, bench.fanout.received) == (100, 100)


async def test_a_broken_writer_harms_nobody_else(bench: Bench) -> None:
    """Everyone else gets the event first; then its stream is reported."""
    pipes = [bench.listen() for _ in range(3)]
    pipes[1][0].fault = OSError("gone")
    bench.take(*events(1))
    assert [pipe.seqs for pipe, _, _ in pipes] == [[[1]], [], [[1]]]
    assert bench.broken == [pipes[1][1]]


async def test_a_stream_that_fills_up_within_its_write_has_been_given_all_of_it(bench: Bench) -> None:
    """The position is that of everything received, from before the first write on."""
    _, stream, view = bench.listen()
    seen = []

    def write(data: bytes) -> None:
        view.live.discard(stream)
        seen.append(bench.fanout.position)

    stream.write = write
    bench.take(*events(1, 2, 3))
    assert seen == [3]


async def test_flushing_by_hand_writes_what_is_pending_once(bench: Bench) -> None:
    """What the timer would have written it then does not write again."""
    pipe = bench.live()
    bench.take(*events(1))
    bench.take(*events(2))
    bench.fanout.flush()
    assert pipe.seqs == [[1], [2]]
    await asyncio.sleep(1)
    bench.fanout.flush()
    assert pipe.seqs == [[1], [2]]
    assert bench.fanout.flushes == 2


async def test_waiting_for_a_position_ends_when_the_feed_is_complete_through_it(bench: Bench) -> None:
    """Whether or not any of the events on the way are ours."""
    await bench.fanout.reached(0)
    waiting = [asyncio.ensure_future(bench.fanout.reached(5)) for _ in range(2)]
    await turns()
    bench.take(upto=4)
    await turns(2)
    assert not any(each.done() for each in waiting)
    waiting[0].cancel()
    await turns()
    bench.take(upto=6)
    await waiting[1]


async def test_waiting_for_a_position_ends_with_a_restart(bench: Bench) -> None:
    """Of the same log, because the feed may have jumped past it; of a new one, because the position means nothing there."""
    past = asyncio.ensure_future(bench.fanout.reached(5))
    await turns()
    bench.fanout.restart(Position(bench.fanout.epoch, 9))
    await past
    gone = asyncio.ensure_future(bench.fanout.reached(50))
    await turns()
    bench.fanout.restart(Position("e2", 1))
    await gone


async def test_a_restart_drops_what_was_pending(bench: Bench) -> None:
    """It belongs to what was before; cursors are of the new epoch from then on."""
    pipe = bench.live()
    bench.take(*events(1))
    bench.take(*events(2))
    assert bench.fanout.cursor(2) == "e1-2"
    bench.fanout.restart(Position("e2", 40))
    await asyncio.sleep(1)
    assert pipe.seqs == [[1]]
    assert (bench.fanout.position, bench.fanout.received, bench.fanout.cursor(40)) == (40, 40, "e2-40")
    bench.take(event(41))
    assert len(pipe.writes) == 2


async def test_a_stopped_fanout_has_written_everything_and_has_no_timer(bench: Bench) -> None:
    """Nothing of it is left in the loop."""
    pipe = bench.live()
    bench.fanout.stop()
    bench.take(*events(1))
    bench.take(*events(2))
    bench.fanout.stop()
    assert pipe.seqs == [[1], [2]]
    assert bench.fanout._timer is None
    await turns(3)


async def test_latency_is_measured_from_acceptance_to_write(bench: Bench) -> None:
    """Of the first event of each flush that wrote something."""
    bench.live()
    slow = Event(
        position=Position("e1", 1),
        time=99_000,
        channel="a",
        type="message",
        data="1",
        text=False,
        permissions=NOBODY,
    )
    bench.take(slow)
    bench.fanout.flush()
    assert (bench.fanout.latency.total, bench.fanout.latency.sum_ms) == (1, 1000)


def test_quantiles_are_upper_bounds_of_buckets() -> None:
    """0 without observations, infinity past the last bucket; clocks that disagree count as no time at all."""
    latency = Latency()
    assert latency.quantile(0.99) == 0
    for value in (-7, 0.5, 3, 3, 40):
        latency.observe(value)
    assert [latency.quantile(q) for q in (0.1, 0.5, 0.8, 0.99, 2)] == [1, 5, 5, 50, float("inf")]
    latency.observe(1e9)
    assert latency.quantile(1) == float("inf")
    assert (latency.total, latency.counts[-1]) == (6, 1)


async def test_a_full_stream_is_not_written_to_and_nobody_waits_for_it(bench: Bench) -> None:
    """Its state decides: what is not in the live set does not exist for the fan-out."""
    full, stream, view = bench.listen()
    view.live.discard(stream)
    stream.happen(Happening.FULL)
    others = [bench.live() for _ in range(3)]
    bench.take(*events(1))
    assert stream.state is State.LAGGING
    assert full.writes == []
    assert all(pipe.seqs == [[1]] for pipe in others)
