"""Names and values in Redis, and what is known of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.brokers.redis.calls import Calls
from headwater.brokers.redis.delivery import Entry
from headwater.brokers.redis.keys import Keys
from headwater.brokers.redis.known import Known, State
from headwater.brokers.redis.records import Marker, Message, read_entry, read_marker, read_message, write_meta
from headwater.event import Draft, Event, Position

_texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"))


@given(data=_texts, permissions=st.frozensets(st.sampled_from(["a", "b:c", "d"])), number=st.integers(1, 2**53))
def test_an_event_is_the_same_in_a_stream_and_in_a_message(data: str, permissions: frozenset[str], number: int) -> None:
    """As it was drafted, whatever its data holds: line ends, NULs, any script of the world."""
    draft = Draft(channel="a:b", type="ty pe", data=data, text=True, permissions=permissions)
    event = Event.of(draft, Position("e1", number), 77)
    meta, body = write_meta(draft), data.encode()
    fields = [b"v", b"5", b"m", meta, b"d", body]
    assert read_entry("e1", "a:b", b"%d-77" % number, fields) == Entry(event, 5)
    payload = b"e1 9 %d 5 77 %d\n" % (number, len(meta)) + meta + body
    assert read_message("a:b", payload) == Message(Entry(event, 5), 9)


@pytest.mark.parametrize(
    "payload", [b"", b"\n", b"hello", b"e 1 2 3\n", b"e 1 2 3 4 x\n", b"e 1 2 3 4 1\n[", b"E! 1 2 3 4 2\n[]"]
)
def test_a_message_of_somebody_else_is_a_value_error(payload: bytes) -> None:
    """Anybody may publish anything on a pub/sub channel."""
    with pytest.raises(ValueError):  # noqa: PT011 (any)
        read_message("a", payload)


def test_a_marker_is_read() -> None:
    """And what is none is a value error."""
    assert read_marker(b"t1 e2 33") == Marker("t1", "e2", 33)
    for payload in (b"", b"t e", b"t e x"):
        with pytest.raises(ValueError):  # noqa: PT011 (any)
            read_marker(payload)


def test_all_names_share_the_prefix_and_its_hash_tag() -> None:
    """So that a cluster keeps them together; a prefix with a tag of its own keeps that."""
    for prefix, base in (("app", "{app}"), ("a:{b}:c", "a:{b}:c")):
        keys = Keys(prefix)
        names = [keys.log, keys.lives, keys.channels, keys.oldest, keys.names, keys.empty, keys.times]
        names += [keys.keys, keys.key_order, keys.stream("x"), keys.operation("1"), keys.inbox("n"), keys.control]
        names += [keys.events]
        assert all(name.startswith(f"{base}:") for name in names)
        assert len(set(names)) == len(names)


def _state(epoch: str, begun: int, life: int, head: int) -> State:
    return State(epoch=epoch, begun=begun, born=0, head=head, life=life, version=0)


def test_what_is_known_grows() -> None:
    """With answers, and with messages of the life that an answer has confirmed."""
    known = Known()
    assert not known.confirm(_state("a", 1, 10, 5))
    known.saw("a", 10, 7)
    known.saw("a", 10, 6)
    known.saw("a", 11, 9)
    known.saw("b", 10, 9)
    assert (known.life, known.seq) == (10, 7)
    assert not known.confirm(_state("a", 1, 10, 6))
    assert known.seq == 7


def test_a_later_life_or_epoch_replaces_what_is_known() -> None:
    """An answer that comes after one of a later life or epoch says nothing new."""
    known = Known("a", 1, 10, 7)
    assert not known.confirm(_state("a", 1, 12, 3))
    assert not known.confirm(_state("a", 1, 11, 30))
    assert known == Known("a", 1, 12, 3)
    assert known.confirm(_state("b", 2, 5, 1))
    assert not known.confirm(_state("a", 1, 13, 40))
    assert known == Known("b", 2, 5, 1)


def test_a_new_epoch_is_told_once() -> None:
    """With the answer that shows it first; the very first epoch is none."""
    told: list[State] = []
    calls = Calls(Keys("p"), told.append)
    for epoch, begun in (("a", 1), ("a", 1), ("b", 2), ("b", 2), ("a", 1)):
        calls.answer([[epoch.encode(), begun, 0, 0, 1, 0]])
    assert [state.epoch for state in told] == ["b"]
