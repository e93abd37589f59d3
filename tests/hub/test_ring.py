"""Frames are encoded once, batches are cut where sockets are looked at, and rings know from where on they are complete."""

from __future__ import annotations

import gc
import tracemalloc
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater import wire
from headwater.event import Event, Position
from headwater.hub.ring import PIECE_BYTES, Audience, Batch, Budget, Frame, Ring, joined, merged

EVERYONE = frozenset[str]()
PLAIN = Audience(EVERYONE, labelled=False, chunked=False)


def event(seq: int, data: str = "1", *, channel: str = "a", permissions: tuple[str, ...] = ()) -> Event:
    """An event at a position."""
    return Event(
        position=Position("e", seq),
        time=0,
        channel=channel,
        type="message",
        data=data,
        text=False,
        permissions=frozenset(permissions),
    )


def frame(seq: int, data: str = "1", *, channel: str = "a", permissions: tuple[str, ...] = ()) -> Frame:
    """Its frame."""
    return Frame(event(seq, data, channel=channel, permissions=permissions))


def ring_of(*seqs: int, floor: int = 0, most: int = 100, budget: Budget | None = None) -> Ring:
    """A ring that has been given these."""
    ring = Ring(floor, max_events=most, budget=budget or Budget(1 << 20))
    for seq in seqs:
        ring.append(frame(seq))
    return ring


def seqs_of(ring: Ring, after: int = 0, until: int = 1000) -> list[int]:
    """The seqs it gives."""
    return [each.seq for each in ring.after(after, until)]


def test_a_frame_is_encoded_once_in_each_form() -> None:
    """Plain, with its channel, and each of them as a chunk: every form is made when first needed and then kept."""
    one = frame(3)
    for labelled in (False, True):
        encoded = wire.encode_event(one.event, channel=labelled)
        assert one.encoded(labelled) == encoded
        assert one.encoded(labelled) is one.encoded(labelled)
        bare, chunked = (Audience(EVERYONE, labelled, chunked=each) for each in (False, True))
        assert one.written(bare) is one.encoded(labelled)
        assert one.written(chunked) == wire.chunk(encoded)
        assert one.written(chunked) is one.written(chunked)


def test_a_frame_counts_for_what_it_takes() -> None:
    """What a ring reckons for an event is at least the memory of it and of the encodings a live stream needs."""
    audience = Audience(EVERYONE, labelled=False, chunked=True)
    gc.collect()
    tracemalloc.start()
    frames = [frame(seq, "x" * 1000) for seq in range(200)]
    for each in frames:
        each.written(audience)
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert taken <= sum(each.size for each in frames)


def test_a_batch_is_written_in_pieces() -> None:
    """Each is as large as a socket's buffer or a little more, and says where the stream is after it."""
    frames = [frame(seq, "x" * 10_000) for seq in range(1, 21)]
    pieces = Batch(frames, 25).pieces(PLAIN)
    assert b"".join(piece.data for piece in pieces) == b"".join(each.encoded(False) for each in frames)
    assert all(PIECE_BYTES <= len(piece.data) < PIECE_BYTES + 11_000 for piece in pieces[:-1])
    assert [piece.upto for piece in pieces] == [7, 14, 25]
    assert [piece.events for piece in pieces] == [7, 7, 6]


def test_a_batch_leaves_out_what_its_audience_may_not_see() -> None:
    """Hidden events still move the stream, and a batch of nothing else has no bytes at all, chunked or not."""
    batch = Batch([frame(1, permissions=("x",)), frame(2, permissions=("x",))], 9)
    for chunked in (False, True):
        assert batch.pieces(Audience(EVERYONE, False, chunked)) == [(b"", 9, 0)]
    seen = batch.pieces(Audience(frozenset({"x", "y"}), labelled=True, chunked=True))
    assert seen == [(wire.chunk(b"".join(each.encoded(True) for each in batch.frames)), 9, 2)]


def test_a_batch_is_joined_once_for_an_audience() -> None:
    """In a reconnect storm everyone gets the same bytes object."""
    batch = Batch([frame(1)], 1)
    assert batch.pieces(PLAIN) is batch.pieces(Audience(frozenset(), labelled=False, chunked=False))


def test_a_batch_weighs_what_its_frames_do() -> None:
    """The sum is made once."""
    batch = Batch([frame(1), frame(2, "22")], 2)
    assert batch.size == batch.size == sum(each.size for each in batch.frames)


def test_a_ring_gives_what_lies_between_two_positions() -> None:
    """After the first, through the second."""
    ring = ring_of(2, 4, 6, 8)
    assert seqs_of(ring, 0) == [2, 4, 6, 8]
    assert seqs_of(ring, 2, 6) == [4, 6]
    assert seqs_of(ring, 3, 7) == [4, 6]
    assert seqs_of(ring, 8) == seqs_of(ring_of()) == []
    assert len(ring) == 4


def test_a_ring_drops_its_oldest_beyond_its_number() -> None:
    """And is then complete from the dropped event on."""
    ring = ring_of(2, 4, 6, 8, most=2)
    assert seqs_of(ring) == [6, 8]
    assert ring.floor == 4


def test_rings_share_a_budget() -> None:
    """The ring that grows pays, down to its last event; what is dropped is given back."""
    size = frame(1).size
    budget = Budget(3 * size)
    quiet, busy = ring_of(1, 2, budget=budget), ring_of(3, 4, 5, budget=budget)
    assert (seqs_of(quiet), seqs_of(busy)) == ([1, 2], [5])
    assert (busy.floor, budget.used) == (4, 3 * size)
    budget.most = 2 * size
    busy.append(frame(6))
    assert (seqs_of(busy), busy.floor, budget.used) == ([], 6, 2 * size)
    quiet.restart(0)
    assert budget.used == 0


def test_what_came_early_is_kept_from_where_the_feed_is_complete() -> None:
    """Events delivered while `follow` was still answering count from the position it answers with."""
    ring = ring_of(5, 6, 7, floor=4)
    ring.start_at(6)
    assert (seqs_of(ring), ring.floor) == ([7], 6)


def test_a_floor_does_not_sink_below_what_was_dropped() -> None:
    """If more came early than fits, a ring is complete only from there, whatever position `follow` answers with."""
    ring = ring_of(5, 6, 7, floor=4, most=2)
    ring.start_at(4)
    assert (seqs_of(ring), ring.floor) == ([6, 7], 5)


def test_a_ring_that_begins_anew_is_empty() -> None:
    """Its floor is what it is told, which may be lower in another epoch."""
    ring = ring_of(5, 6)
    ring.restart(2)
    assert (seqs_of(ring), ring.floor) == ([], 2)


def test_a_ring_takes_older_events_as_far_as_they_fit() -> None:
    """By number and by bytes; the floor is then below the oldest that fitted."""
    older = [frame(seq) for seq in (2, 4, 6)]
    whole = ring_of(8, floor=7)
    whole.extend_back(older, 1)
    assert (seqs_of(whole), whole.floor) == ([2, 4, 6, 8], 1)
    short = ring_of(8, floor=7, most=3)
    short.extend_back(older, 1)
    assert (seqs_of(short), short.floor) == ([4, 6, 8], 2)
    poor = ring_of(8, floor=7, budget=Budget(2 * frame(1).size))
    poor.extend_back(older, 1)
    assert (seqs_of(poor), poor.floor) == ([6, 8], 4)
    nothing = ring_of(8, floor=7)
    nothing.extend_back([], 3)
    assert (seqs_of(nothing), nothing.floor) == ([8], 3)


def test_merged_rings_are_in_log_order() -> None:
    """Whatever the number of rings, and within the bounds asked for."""
    assert [each.seq for each in merged([ring_of(1, 4, 9)], 1, 8).frames] == [4]
    batch = merged([ring_of(1, 4, 9), ring_of(2, 3), ring_of()], 1, 8)
    assert ([each.seq for each in batch.frames], batch.upto) == ([2, 3, 4], 8)


def test_joined_frames_are_one_chunk() -> None:
    """One write, one chunk."""
    assert joined([b"ab", b"c"], chunked=False) == b"abc"
    assert joined([b"ab", b"c"], chunked=True) == b"3\r\nabc\r\n"


@given(
    most=st.integers(1, 6),
    steps=st.lists(st.tuples(st.sampled_from(["append", "skip", "start", "extend"]), st.integers(0, 20)), max_size=60),
)
def test_a_ring_is_complete_from_its_floor_on(most: int, steps: list[tuple[str, int]]) -> None:
    """Whatever it was told and given, it holds every event of its channel after its floor, in order."""
    ring = Ring(0, max_events=most, budget=Budget(5000))
    log: list[Frame] = []
    head = 0
    for what, number in steps:
        match what:
            case "append":
                head += 1
                log.append(frame(head, "x" * number * 20))
                ring.append(log[-1])
            case "skip":
                head += 1
            case "start":
                ring.start_at(min(number, head))
            case "extend" if number < ring.floor:
                ring.extend_back([each for each in log if number < each.seq <= ring.floor], number)
        held = ring.after(ring.floor, head)
        assert held == [each for each in log if each.seq > ring.floor]
        assert all(one.seq < other.seq for one, other in pairwise(held))
        assert len(ring) == len(held) <= most


def test_a_frame_weighs_its_bytes_and_not_its_characters() -> None:
    """What people write in other alphabets, or in pictures, counts for as much as it takes."""
    assert frame(1, '"abc"').size == 3 * 5 + 600
    assert frame(1, '"\N{WATER WAVE}"').size == 3 * 6 + 600


def test_a_ring_knows_its_pace() -> None:
    """Events per second between two times; if it does not reach back that far, as far as it does, a second at least."""
    ring = Ring(0, max_events=5, budget=Budget(1 << 20))
    assert (ring.newest, ring.pace(0, 10_000)) == (None, 0.0)
    for time in (1_000, 4_000, 8_000, 9_000):
        ring.append(Frame(msgspec.structs.replace(event(time), time=time)))
    assert ring.newest == 9_000
    assert ring.pace(0, 10_000) == 0.4
    assert ring.pace(5_000, 10_000) == 0.4
    for time in range(9_001, 9_006):
        ring.append(Frame(msgspec.structs.replace(event(time), time=time)))
    assert ring.pace(0, 10_000) == 5.0
    assert ring.pace(9_003, 10_000) == 3.0
    assert ring.pace(9_006, 19_006) == 0.0
    tight = Ring(0, max_events=1000, budget=Budget(ring._frames[0].size * 20))
    for time in range(0, 10_000, 10):
        tight.append(Frame(msgspec.structs.replace(event(time), time=time)))
    assert tight.pace(0, 10_000) == len(tight) < 100, "in the last second, of which it has a part"
    assert ring.pace(0, 12_001) == pytest.approx(5 / 3)
