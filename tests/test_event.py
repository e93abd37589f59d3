"""Events, drafts and positions: what may exist, and what may not."""

from __future__ import annotations

import datetime
import uuid
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.errors import InvalidChannel, InvalidCursor, InvalidEvent, InvalidInput
from headwater.event import (
    MAX_KEY_LENGTH,
    MAX_PERMISSIONS,
    MAX_SEQ,
    MAX_TYPE_LENGTH,
    RESERVED_TYPES,
    Draft,
    Event,
    Position,
    ResetReason,
    byte_length,
)

epochs = st.from_regex(r"[a-z0-9]{1,16}", fullmatch=True)
seqs = st.integers(0, MAX_SEQ)
unicode_text = st.text(st.characters(exclude_categories=["Cs"]))


# Positions


@given(epochs, seqs)
def test_a_cursor_reads_back(epoch: str, seq: int) -> None:
    """The text of any position is a cursor for that position."""
    position = Position(epoch, seq)
    assert Position.parse(str(position)) == position


@given(st.text() | st.from_regex(r"[a-z0-9]{0,18}-[0-9]{0,20}"))
def test_a_cursor_has_one_spelling(text: str) -> None:
    """Whatever is accepted as a cursor is written back as it was read, so two texts are never the same position."""
    try:
        position = Position.parse(text)
    except InvalidCursor:
        return
    assert str(position) == text


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "-",
        "a",
        "a-",
        "-1",
        "a-01",
        "a--1",
        "a-+1",
        "a-1_0",
        " a-1",
        "a-1 ",
        "a-1\n",
        "A-1",
        "a-1.0",
        "é-1",
        "a-\u0661",
        "a-\uff11",
        "a-²",
        f"a-{MAX_SEQ + 1}",
        "a-9999999999999999999",
        "a-" + "9" * 10_000,
        "a" * 17 + "-1",
        "a" * 1_000_000,
    ],
)
def test_what_is_no_cursor_is_refused(cursor: str) -> None:
    """Signs, spaces, leading zeros, digits of other scripts and numbers no database holds: none is a cursor, and none
    makes Python convert a huge number."""
    with pytest.raises(InvalidCursor, match="not a cursor"):
        Position.parse(cursor)


@pytest.mark.parametrize(
    ("epoch", "seq"), [("", 1), ("A", 1), ("a-b", 1), ("a" * 17, 1), ("a\n", 1), ("a", -1), ("a", MAX_SEQ + 1)]
)
def test_a_malformed_position_cannot_exist(epoch: str, seq: int) -> None:
    """A position is checked when it is built."""
    with pytest.raises(InvalidInput):
        Position(epoch, seq)


@given(epochs, seqs, seqs)
def test_positions_of_one_epoch_are_ordered_by_number(epoch: str, one: int, two: int) -> None:
    """Positions compare as their numbers do."""
    assert (Position(epoch, one) < Position(epoch, two)) == (one < two)


def test_reset_reasons_are_the_words_on_the_wire() -> None:
    """A reason is its text; clients switch on it."""
    assert [str(reason) for reason in ResetReason] == ["unknown_id", "expired", "epoch_changed", "overflow"]


# Drafts


def test_the_smallest_draft() -> None:
    """A channel is all a draft needs: it is then a message with null for data, for everyone."""
    draft = Draft(channel="a")
    assert (draft.type, draft.data, draft.text, draft.permissions) == ("message", "null", False, frozenset())
    assert draft == Draft.json("a")


@dataclass
class Point:
    """Something msgspec can encode."""

    x: int
    when: datetime.date


def test_data_is_what_msgspec_encodes() -> None:
    """Dataclasses, dates, UUIDs and the plain values become compact JSON."""
    data = {"p": Point(1, datetime.date(2026, 1, 2)), "id": uuid.UUID(int=1), "n": [1.5, None, True]}
    assert Draft.json("a", "point", data).data == (
        '{"p":{"x":1,"when":"2026-01-02"},"id":"00000000-0000-0000-0000-000000000001","n":[1.5,null,true]}'
    )


def test_t30_the_publishers_data_is_not_shared() -> None:
    """What a publisher does with its data afterwards changes no event, and building one changes nothing of the data."""
    data = {"a": [1]}
    draft = Draft.json("a", data=data)
    assert data == {"a": [1]}
    data["a"].append(2)
    assert draft.data == '{"a":[1]}'


def test_raw_json_is_kept_but_for_its_white_space() -> None:
    """JSON that a publisher sent keeps its numbers, escapes and order, and loses its line breaks."""
    raw = msgspec.Raw(b'{ "z": 1e999,\r\n\t"a": [ 1.0, "\\u00e9 \\/" ] }\n')
    assert Draft.json("a", data=raw).data == '{"z":1e999,"a":[1.0,"\\u00e9 \\/"]}'


@given(st.recursive(st.none() | st.booleans() | st.integers(-(2**63), 2**63) | unicode_text, st.lists, max_leaves=5))
def test_json_data_is_one_line(value: Any) -> None:
    """Any value becomes JSON on a single line that reads back as the value."""
    draft = Draft.json("a", data=value)
    assert not set("\r\n") & set(draft.data)
    assert msgspec.json.decode(draft.data) == value


def endless() -> list[Any]:
    """A list that holds itself."""
    loop: list[Any] = []
    loop.append(loop)
    return loop


@pytest.mark.parametrize(
    "data",
    [
        object(),
        {1j: 2},
        {"a": "\ud800"},
        endless(),
        msgspec.Raw(b""),
        msgspec.Raw(b"{"),
        msgspec.Raw(b"1 2"),
        msgspec.Raw(b"NaN"),
        msgspec.Raw(b'"\xff"'),
        msgspec.Raw(b'"aaaaaaaa\\ud800aaaaaaaa"'),
        msgspec.Raw(b"[" * 100_000 + b"]" * 100_000),
    ],
)
def test_what_is_not_json_is_refused(data: Any) -> None:
    """A value that cannot be written as JSON, or bytes that are none, are the publisher's mistake and named so."""
    with pytest.raises(InvalidEvent, match="JSON"):
        Draft.json("a", data=data)


@pytest.mark.parametrize("data", ["", "hello", "{", "[1,]", "1 2", "[" * 5000 + "]" * 5000])
def test_a_draft_of_bad_json_cannot_exist(data: str) -> None:
    """Data that is not marked as text is JSON, however the draft was built."""
    with pytest.raises(InvalidEvent, match="not JSON"):
        Draft(channel="a", data=data)


@pytest.mark.parametrize("data", ["[1,\n2]", "\r1", "{}\r\n"])
def test_json_with_line_breaks_is_refused(data: str) -> None:
    """A line break between JSON tokens would need a second data line."""
    with pytest.raises(InvalidEvent, match="line breaks"):
        Draft(channel="a", data=data)


@pytest.mark.parametrize("data", [None, b"x", {"a": 1}, 1])
@pytest.mark.parametrize("text", [True, False])
def test_data_is_text(data: Any, text: bool) -> None:
    """Handing over a value where text belongs says which constructor was meant."""
    with pytest.raises(InvalidEvent, match=r"Draft\.json"):
        Draft(channel="a", data=data, text=text)


@pytest.mark.parametrize("text", [True, False])
def test_lone_surrogates_are_refused(text: bool) -> None:
    """What UTF-8 cannot carry is no data."""
    with pytest.raises(InvalidEvent, match="surrogate"):
        Draft(channel="a", data='"\ud800"', text=text)


@given(unicode_text)
def test_text_keeps_everything_but_carriage_returns(text: str) -> None:
    """Line ends become LF, as they will be on the wire; all else stays."""
    draft = Draft(channel="a", data=text, text=True)
    assert draft.data == text.replace("\r\n", "\n").replace("\r", "\n")


@pytest.mark.parametrize("type", sorted(RESERVED_TYPES))
def test_reserved_types_are_refused(type: str) -> None:
    """Nobody can publish what only the hub says."""
    with pytest.raises(InvalidEvent, match="only the hub"):
        Draft.json("a", type)


@pytest.mark.parametrize(
    "type", ["", "a\n", "a\rb", "a\0", "\x1b", "\x7f", "\udc80", "x" * (MAX_TYPE_LENGTH + 1), None, 5, b"t"]
)
def test_malformed_types_are_refused(type: Any) -> None:
    """A type is one line of 1 to 200 characters."""
    with pytest.raises(InvalidEvent, match="type"):
        Draft.json("a", type)


@pytest.mark.parametrize("type", ["log", "room.created", "größe", "Connected", "a b", "日", "x" * MAX_TYPE_LENGTH])
def test_any_other_line_is_a_type(type: str) -> None:
    """Types are the application's own words, in any script."""
    assert Draft.json("a", type).type == type


@pytest.mark.parametrize("key", ["", "a\n", "a\0", "x" * (MAX_KEY_LENGTH + 1), 5])
def test_malformed_keys_are_refused(key: Any) -> None:
    """An idempotency key is one line of 1 to 200 characters."""
    with pytest.raises(InvalidEvent, match="idempotency_key"):
        Draft.json("a", idempotency_key=key)


def test_a_key_is_kept() -> None:
    """A legal key is part of the draft."""
    assert Draft.json("a", idempotency_key="order-7").idempotency_key == "order-7"


@pytest.mark.parametrize("channel", ["", "$", "a b", None])
def test_the_channel_is_checked(channel: Any) -> None:
    """A draft for no channel cannot exist."""
    with pytest.raises(InvalidChannel):
        Draft.json(channel)


def test_headwater_may_draft_for_its_own_channels() -> None:
    """Headwater's own channels are legal here; whoever takes drafts from outside refuses them there."""
    assert Draft.json("$stats").channel == "$stats"


def test_permissions_are_frozen() -> None:
    """Any collection of names is taken, and kept as a set that nobody can change."""
    held = ["a", "b", "a"]
    assert Draft.json("a", permissions=held).permissions == frozenset({"a", "b"})
    assert Draft(channel="a", permissions=held).permissions == frozenset({"a", "b"})  # type: ignore[arg-type]


MANY = [f"p{i}" for i in range(MAX_PERMISSIONS + 1)]


@pytest.mark.parametrize("permissions", ["rooms.read", ["a b"], ["é"], [None], None, 5, MANY])
def test_malformed_permissions_are_refused(permissions: Any) -> None:
    """A text in place of a list, a malformed name or too many of them are an invalid event, however it was built."""
    with pytest.raises(InvalidEvent, match="permission"):
        Draft.json("a", permissions=permissions)
    with pytest.raises(InvalidEvent, match="permission"):
        Draft(channel="a", permissions=permissions)


anything = (
    st.none() | st.integers() | st.text(max_size=5) | st.binary(max_size=5) | st.lists(st.text(max_size=3), max_size=2)
)


@given(anything, anything, anything, st.booleans(), anything, anything)
def test_a_draft_is_legal_or_an_error(
    channel: Any, type: Any, data: Any, text: bool, permissions: Any, key: Any
) -> None:
    """Whatever is thrown at the constructors, only the errors that they document come out of them."""
    with suppress(InvalidChannel, InvalidEvent):
        Draft(channel=channel, type=type, data=data, text=text, permissions=permissions, idempotency_key=key)
    with suppress(InvalidChannel, InvalidEvent):
        Draft.json(channel, type, data, permissions=permissions, idempotency_key=key)


# Events


def test_an_event_is_a_draft_with_a_position() -> None:
    """The event has everything of its draft but the key, which was the publisher's."""
    draft = Draft(channel="a", type="t", data="x", text=True, permissions=frozenset({"p"}), idempotency_key="k")
    event = Event.of(draft, Position("e", 5), 17)
    assert event == Event(
        position=Position("e", 5), time=17, channel="a", type="t", data="x", text=True, permissions=frozenset({"p"})
    )


@given(st.text())
def test_a_length_in_bytes_is_that_of_the_utf_8(text: str) -> None:
    """Whatever the alphabet."""
    assert byte_length(text) == len(text.encode())
