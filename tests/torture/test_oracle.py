"""The oracle finds every way in which a record can differ from the log, and nothing wrong with one that does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.torture.made import LISTENER, connection, cursor, log, record, seen, visible
from torture.oracle import judge_streams
from torture.plan import Listener
from torture.records import Beat, Closing, Ended, Hello, Opening, Reset, Seen, StreamLine

NUMBER = LISTENER.number
SEEN = [at for at, line in enumerate(record()) if isinstance(line, Seen)]


def kinds(lines: list[StreamLine], listener: Listener = LISTENER, head: int = 40) -> set[str]:
    """What is wrong with a record."""
    return {violation.kind for violation in judge_streams([listener], log(head), lines).violations}


def test_a_right_record_is_right() -> None:
    """Every visible event counts as delivered, over all connections."""
    verdict = judge_streams([LISTENER], log(), record())
    assert verdict.violations == []
    assert verdict.delivered == len(visible(5, 40))


@given(at=st.sampled_from(SEEN))
def test_an_event_that_never_came_is_lost(at: int) -> None:
    """Whichever event it is, it is named."""
    lines = record()
    gone = lines.pop(at)
    (violation,) = judge_streams([LISTENER], log(), lines).violations
    assert violation.kind == "lost"
    assert isinstance(gone, Seen)
    assert f"event {gone.id.partition('-')[2]} (" in violation.what


@given(at=st.sampled_from(SEEN), to=st.sampled_from(SEEN))
def test_an_event_that_came_twice_is_doubled(at: int, to: int) -> None:
    """At once, or much later on another connection."""
    lines = record()
    lines.insert(max(at, to) + 1, lines[at])
    assert kinds(lines) == {"doubled"}


@given(at=st.sampled_from(SEEN), to=st.sampled_from(SEEN))
def test_an_event_that_came_late_is_reordered(at: int, to: int) -> None:
    """However late, and not lost, for it did come."""
    if at < to:
        lines = record()
        lines.insert(to, lines.pop(at))
        assert kinds(lines) == {"reordered"}


@pytest.mark.parametrize("hidden", [seq for seq in range(5, 41) if seq not in visible(5, 40)])
def test_an_event_for_others_is_foreign(hidden: int) -> None:
    """Of a channel that was not asked for, or for permissions that the token lacks; at its place in the order or not."""
    lines = record()
    lines.insert(SEEN[-1], seen(hidden))
    assert "foreign" in kinds(lines)


@pytest.mark.parametrize("id", [cursor(41), "e2-7", "nonsense", ""])
def test_an_event_of_no_log_is_foreign(id: str) -> None:
    """Beyond the head, of another epoch, or without a place."""
    assert kinds([*record(), Seen(NUMBER, id, "a", "said", 1)]) == {"foreign"}


def test_an_event_that_is_not_in_the_log_is_foreign() -> None:
    """A position between those of the log."""
    lines = connection(4, 40, first=True)
    gone = visible(20, 40)[0]
    verdict = judge_streams([LISTENER], log(without=[gone]), lines)
    assert [violation.kind for violation in verdict.violations] == ["foreign"]


@pytest.mark.parametrize("change", [{"crc": 1}, {"channel": None}, {"channel": "c"}, {"name": "message"}])
def test_an_event_that_came_different_is_altered(change: dict[str, object]) -> None:
    """Its data, its type, or the channel that its frame names."""
    lines = record()
    lines[SEEN[3]] = msgspec.structs.replace(lines[SEEN[3]], **change)
    assert kinds(lines) == {"altered"}


def test_frames_of_a_single_channel_name_none() -> None:
    """A stream of one channel is not told which."""
    listener = Listener(number=NUMBER, channels=("a",), permissions=frozenset({"read"}))
    lines = [line for line in record() if not (isinstance(line, Seen) and line.channel != "a")]
    assert kinds(lines, listener) == {"altered"}
    bare = [msgspec.structs.replace(line, channel=None) if isinstance(line, Seen) else line for line in lines]
    assert kinds(bare, listener) == set()


@pytest.mark.parametrize("make", [Beat, lambda stream, at, id: Closing(stream, at, "drain", id, 500)])
def test_a_cursor_that_overtakes_an_event_is_a_fault(make: Callable[[int, float, str], StreamLine]) -> None:
    """Even if the event comes after all: a client that left in between would never have got it."""
    lines = record()
    seq = visible(5, 40)[2]
    at = lines.index(seen(seq))
    lines.insert(at, make(NUMBER, 1.0, cursor(seq)))
    assert kinds(lines) == {"reordered"}
    del lines[at + 1]
    assert kinds(lines) == {"lost"}


def test_a_cursor_that_goes_back_is_a_fault() -> None:
    """A heartbeat may say what is known already, and nothing older."""
    last = Beat(NUMBER, 1.0, cursor(39))
    assert kinds([*record(), last]) == {"reordered"}


def test_a_reset_is_a_fault() -> None:
    """Retention does not pass in a run. What lies between is told, and so not also lost."""
    lines = [*connection(4, 15, first=True), Reset(NUMBER, 1.0, "overflow", cursor(25)), *connection(25, 40)]
    assert kinds(lines) == {"reset"}
    told = [
        *connection(4, 15, first=True),
        Opening(NUMBER, 1.0, 0, cursor(15)),
        Hello(NUMBER, 1.0, cursor(25), "e1-15"),
    ]
    assert kinds([*told, Reset(NUMBER, 1.0, "expired", cursor(25)), *connection(25, 40)]) == {"reset"}


def test_a_reset_is_right_where_data_was_lost_on_purpose() -> None:
    """To another epoch, and for that reason; what comes before it is judged by its order only."""
    later = msgspec.structs.replace(log(), is_later=True)
    old: list[StreamLine] = [
        Opening(NUMBER, 1.0, 0, ""),
        Hello(NUMBER, 1.0, "e0-7", "e0-7"),
        Seen(NUMBER, "e0-9", "a", "said", 1),
    ]
    new = connection(25, 40)[1:]
    new[0] = Hello(NUMBER, 1.0, cursor(25), "e0-9")
    new.insert(1, Reset(NUMBER, 1.0, "epoch_changed", cursor(25)))

    def found(lines: list[StreamLine]) -> set[str]:
        return {violation.kind for violation in judge_streams([LISTENER], later, lines).violations}

    assert found([*old, *new]) == set()
    assert found([*old, Beat(NUMBER, 1.0, "e0-9"), new[1], *new[2:]]) == set()
    assert found([*old, old[-1], *new]) == {"doubled"}
    assert found([*old, Beat(NUMBER, 1.0, "e0-8"), *new]) == {"reordered"}
    assert found([*old, *new[2:]]) == {"reset"}
    assert found([*old, Beat(NUMBER, 1.0, cursor(25)), *new[2:]]) == {"reset"}
    assert found([*old, Reset(NUMBER, 1.0, "overflow", cursor(25)), *new[2:]]) == {"reset"}
    assert found([*connection(4, 15, first=True), Reset(NUMBER, 1.0, "epoch_changed", cursor(25)), *new[2:]]) == {
        "reset"
    }
    assert found(old) == {"late"}
    assert "lost" in found([*old, *new[:3], *new[4:]])


def test_a_connection_begins_where_the_last_one_ended() -> None:
    """Further on, what lies between is lost; further back, it is only wrong."""
    assert kinds([*connection(4, 15, first=True), *connection(20, 40)]) == {"moved", "lost"}
    assert kinds([*connection(4, 15, first=True), *connection(10, 40)]) == {"moved", "doubled"}


def test_a_stream_that_stopped_early_is_late() -> None:
    """And what it never got is lost."""
    assert kinds([*connection(4, 15, first=True), *connection(15, 30)]) == {"late", "lost"}
    assert kinds([]) == {"lost"}


@pytest.mark.parametrize(
    ("why", "kind"), [("silent", "silent"), ("refused 403", "refused"), ("refused 400", "refused")]
)
def test_some_ends_are_faults(why: str, kind: str) -> None:
    """A stream without any sign of life, and a good request that is refused for good."""
    assert kinds([*record(), Ended(NUMBER, 1.0, why)]) == {kind}


@pytest.mark.parametrize("why", ["left", "lost", "whole", "unreachable", "unanswered", "refused 503", "refused 429"])
def test_other_ends_happen(why: str) -> None:
    """Nodes go, networks break, and clients leave."""
    assert kinds([*record(), Ended(NUMBER, 1.0, why)]) == set()


def test_streams_are_judged_each_by_itself() -> None:
    """Lines of several streams may be mixed; what one was not sent is not excused by another's having it."""
    other = msgspec.structs.replace(LISTENER, number=8)
    theirs = [msgspec.structs.replace(line, stream=8) for line in record()]

    def mixed() -> Iterator[StreamLine]:
        for mine, other_line in zip(record(), theirs, strict=True):
            yield from (mine, other_line)

    assert judge_streams([LISTENER, other], log(), mixed()).violations == []
    lines = [line for line in mixed() if line != theirs[SEEN[0]]]
    (violation,) = judge_streams([LISTENER, other], log(), lines).violations
    assert violation.what.startswith("stream 8")
