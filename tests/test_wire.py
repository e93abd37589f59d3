"""The stream format: every case of the shared table however it is cut, round trips, and what injection comes to."""

from __future__ import annotations

import json
import random
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater import wire
from headwater.errors import InvalidEvent, ProtocolError
from headwater.event import Draft, Event, Position
from headwater.wire import COMMENT, Decoder, Message, chunk, comment, encode, encode_event

TABLE = Path(__file__).parent / "data" / "wire_cases.json"
CASES: dict[str, dict[str, Any]] = {case["name"]: case for case in json.loads(TABLE.read_text())["cases"]}
PLAIN: dict[str, Any] = {"type": "message", "data": "", "id": "", "channel": None}

unicode_text = st.text(st.characters(exclude_categories=["Cs"]))
one_line = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\0"), min_size=1, max_size=30)


def event(draft: Draft, seq: int = 1) -> Event:
    """The event that a log would make of `draft`."""
    return Event.of(draft, Position("e1", seq), 0)


def cut(data: bytes, points: list[int]) -> list[bytes]:
    """`data` in pieces, cut at `points`."""
    edges = [0, *sorted(point % (len(data) + 1) for point in points), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


def each_byte(data: bytes) -> list[bytes]:
    """`data` byte by byte."""
    return [data[i : i + 1] for i in range(len(data))]


def feed_all(decoder: Decoder, pieces: list[bytes]) -> list[Message]:
    """What comes out of `pieces`."""
    return [message for piece in pieces for message in decoder.feed(piece)]


def run(case: dict[str, Any], pieces_of: Any) -> dict[str, Any]:
    """What becomes of a case of the table when each stream is cut by `pieces_of`, in the table's own words."""
    decoder = Decoder(**{key: case[key] for key in ("max_line",) if key in case})
    messages: list[Message] = []
    error = False
    for stream in case["streams"]:
        try:
            for piece in [*pieces_of(stream.encode("latin-1")), b""]:
                messages += decoder.feed(piece)
        except ProtocolError:
            error = True
        decoder.close()
    return {
        "events": [{key: getattr(message, key) for key in PLAIN} for message in messages],
        "last_event_id": decoder.last_event_id,
        "retry": decoder.retry,
        "error": error,
    }


def expected(case: dict[str, Any]) -> dict[str, Any]:
    """What the table says must become of a case, with its defaults filled in."""
    return {
        "events": [PLAIN | fields for fields in case["events"]],
        "last_event_id": case["last_event_id"],
        "retry": case["retry"],
        "error": case.get("error", False),
    }


# The table


@pytest.mark.parametrize("name", CASES)
def test_a_case_fed_whole(name: str) -> None:
    """Each case of the table comes out as it says when a stream arrives in one piece."""
    assert run(CASES[name], lambda data: [data]) == expected(CASES[name])


@pytest.mark.parametrize("name", CASES)
def test_a_case_fed_byte_by_byte(name: str) -> None:
    """Each case comes out the same when every byte arrives alone, empty reads between them."""
    assert run(CASES[name], lambda data: [p for byte in each_byte(data) for p in (byte, b"")]) == expected(CASES[name])


@pytest.mark.parametrize("name", CASES)
def test_a_case_fed_in_random_pieces(name: str) -> None:
    """Each case comes out the same under fifty random cuttings."""
    source = random.Random(name)
    for _ in range(50):
        points = [source.randrange(1 << 16) for _ in range(source.randrange(12))]
        assert run(CASES[name], lambda data, points=points: cut(data, points)) == expected(CASES[name])


# Decoding


def reference(data: bytes) -> list[Message]:
    """The algorithm of the WHATWG text, done in one go on a whole stream."""
    messages: list[Message] = []
    values: list[str] = []
    last, buffer, type_, channel, retry = "", "", "", None, None
    lines = re.split(r"\r\n|\r|\n", data.decode(errors="replace").removeprefix("\ufeff"))
    for line in lines[:-1]:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if line == "":
            last = buffer
            if values:
                messages.append(Message(type_ or "message", "\n".join(values), last, channel, retry))
            type_, values, channel, retry = "", [], None, None
        elif name == "data":
            values.append(value)
        elif name == "event":
            type_ = value
        elif name == "id" and "\0" not in value:
            buffer = value
        elif name == "channel":
            channel = value or None
        elif name == "retry" and re.fullmatch("[0-9]+", value):
            retry = int(value)
    return messages


SHREDS = (
    b"data|event|id|channel|:| |x|\n|\r|\r\n|\n\n|\0|\xef\xbb\xbf|\xe2\x80|\xa8|\xf0\x9f|\f|data: y\n\n|id: 3\n|retry"
)
shreds = st.sampled_from(SHREDS.split(b"|"))


@given(st.lists(shreds | st.binary(max_size=3), max_size=30).map(b"".join), st.lists(st.integers(0, 999)))
def test_any_bytes_come_out_as_the_standard_says(data: bytes, points: list[int]) -> None:
    """Whatever the bytes, and however they are cut, the messages are those of the standard's own algorithm."""
    assert feed_all(Decoder(), cut(data, points)) == reference(data)


def test_a_line_ends_at_its_carriage_return() -> None:
    """An event written with CRs is complete at the last CR, and the LF that may follow ends nothing more."""
    decoder = Decoder()
    assert feed_all(decoder, [b"data: x\r", b"\r"]) == [Message("message", "x")]
    assert feed_all(decoder, [b"\n", b"data: y\n", b"\n"]) == [Message("message", "y")]


def test_a_message_tells_its_own_reconnection_time() -> None:
    """A message says the reconnection time that its own frame sets, so that a closing frame's can be told from the one that
    holds for the stream."""
    decoder = Decoder()
    stream = (
        encode("connected", "1", retry=2000) + encode("t", "2") + encode(retry=7) + encode("closing", "3", retry=15)
    )
    assert [message.retry for message in decoder.feed(stream)] == [2000, None, 15]
    assert decoder.retry == 15


def test_a_decoder_may_begin_with_an_id() -> None:
    """A decoder that takes over from another knows the last id from the start."""
    decoder = Decoder(last_event_id="e1-4")
    assert decoder.feed(b"data: x\n\nid: e1-5\n") == [Message("message", "x", "e1-4")]
    decoder.close()
    assert decoder.last_event_id == "e1-4"


def test_messages_before_a_fault_are_not_lost() -> None:
    """Messages that came in the same bytes as an over-long line are returned, and only then does the decoder fail; it
    fails until it is closed."""
    decoder = Decoder(max_line=20)
    assert decoder.feed(b"id: 1\ndata: a\n\ndata: " + b"x" * 30) == [Message("message", "a", "1")]
    for _ in range(2):
        with pytest.raises(ProtocolError, match="a line of over 20 bytes"):
            decoder.feed(b"\n\n")
    decoder.close()
    assert decoder.feed(b"data: b\n\n") == [Message("message", "b", "1")]


def test_a_line_that_never_ends_is_not_kept() -> None:
    """A peer that sends no line end is stopped at the cap, whatever it sends."""
    decoder = Decoder(max_line=1000)
    with pytest.raises(ProtocolError, match="raise the client's limit"):
        feed_all(decoder, [b"x"] * 2000)


# Encoding


def test_the_bytes_of_an_event() -> None:
    """An event is framed as id, event and data lines and a blank line; `message` needs no event line."""
    log = Draft.json("room:42", "log", {"message": "Starting"})
    assert encode_event(event(log, 7)) == b'id: e1-7\nevent: log\ndata: {"message":"Starting"}\n\n'
    assert encode_event(event(Draft.json("room:42"), 8)) == b"id: e1-8\ndata: null\n\n"


def test_the_channel_is_said_when_asked_for() -> None:
    """A stream of several channels says which one an event came from."""
    frame = encode_event(event(Draft.json("room:42", "log", 1)), channel=True)
    assert frame == b"id: e1-1\nchannel: room:42\nevent: log\ndata: 1\n\n"


def test_the_bytes_of_a_frame() -> None:
    """A frame of the hub's own has the fields it was given and no others."""
    frame = encode("connected", '{"cursor":"e1-0"}', id="e1-0", channel="a", retry=1500)
    assert frame == b'id: e1-0\nchannel: a\nretry: 1500\nevent: connected\ndata: {"cursor":"e1-0"}\n\n'
    assert encode(data="") == b"data: \n\n"
    assert encode("message", "x") == b"data: x\n\n"
    assert encode(retry=0) == b"retry: 0\n\n"
    assert encode(id="e1-9") == b"id: e1-9\n\n"


@pytest.mark.parametrize("kwargs", [{}, {"type": "closing"}, {"type": "closing", "retry": 5}, {"type": "message"}])
def test_a_type_without_data_is_refused(kwargs: dict[str, Any]) -> None:
    """A frame that no client would ever dispatch, or that says nothing at all, is a mistake and not bytes."""
    with pytest.raises(InvalidEvent, match="without data"):
        encode(**kwargs)


@pytest.mark.parametrize("retry", [-1, wire.MAX_RETRY + 1])
def test_a_retry_out_of_range_is_refused(retry: int) -> None:
    """A reconnection time is a number of milliseconds that every client can hold."""
    with pytest.raises(InvalidEvent, match="out of range"):
        encode(data="x", retry=retry)


def test_a_lone_surrogate_is_refused() -> None:
    """Text that UTF-8 cannot carry is refused with our error and not with the codec's."""
    with pytest.raises(InvalidEvent, match="surrogate"):
        encode("t", "\ud800")


def test_chunks() -> None:
    """A chunk is its size in hexadecimal and the bytes; no bytes are no chunk, for an empty one would end the body."""
    assert chunk(b"x" * 26) == b"1a\r\n" + b"x" * 26 + b"\r\n"
    assert chunk(b"") == b""
    assert wire.LAST_CHUNK == b"0\r\n\r\n"


def test_a_comment_is_one_line() -> None:
    """With a text or bare; a text that would break out of it is refused."""
    assert (comment(), comment("heartbeat")) == (COMMENT, b":heartbeat\n")
    for text in ("a\nb", "a\rb", "a\0b"):
        with pytest.raises(InvalidEvent, match="comment"):
            comment(text)


def test_t27_heartbeat_comment_moves_nothing() -> None:
    """The comment heartbeat dispatches nothing and leaves the id where it is, even inside a frame."""
    decoder = Decoder()
    frame = encode("log", "a", id="e1-1")
    noisy = b"".join(wire.COMMENT + line for line in frame.splitlines(keepends=True)) + wire.COMMENT
    assert feed_all(decoder, [frame, wire.COMMENT, noisy]) == [Message("log", "a", "e1-1")] * 2
    assert decoder.last_event_id == "e1-1"


# Round trips


@given(st.lists(st.tuples(st.none() | one_line, unicode_text, st.none() | one_line, st.none() | one_line)), st.data())
def test_what_is_encoded_is_decoded(frames: list[tuple[str | None, str, str | None, str | None]], data: Any) -> None:
    """Any frames, with heartbeats between them and cut anywhere, come back field by field; line ends become LF."""
    stream, messages, last = b"", [], ""
    for type_, text, id_, channel in frames:
        stream += encode(type_, text, id=id_, channel=channel) + wire.COMMENT
        last = last if id_ is None else id_
        messages.append(Message(type_ or "message", re.sub("\r\n?", "\n", text), last, channel))
    pieces = cut(stream, data.draw(st.lists(st.integers(0, len(stream)))))
    assert feed_all(Decoder(), pieces) == messages


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | unicode_text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(unicode_text, inner, max_size=3),
    max_leaves=8,
)


@given(json_values, st.booleans())
def test_json_events_round_trip(value: Any, with_channel: bool) -> None:
    """The JSON of an event is one data line, and reads back as the value that was published."""
    (message,) = Decoder().feed(encode_event(event(Draft.json("a:b", "t", value), 5), channel=with_channel))
    assert msgspec.json.decode(message.data) == value
    assert (message.type, message.id, message.channel) == ("t", "e1-5", "a:b" if with_channel else None)


@given(unicode_text)
def test_text_events_round_trip(text: str) -> None:
    """The text of an event comes back whole, blank lines, leading spaces and all; CR and CRLF became LF."""
    draft = Draft(channel="a", data=text, text=True)
    (message,) = Decoder().feed(encode_event(event(draft)))
    assert message.data == re.sub("\r\n?", "\n", text) == draft.data


# Injection


@pytest.mark.parametrize("field", ["type", "id", "channel"])
@pytest.mark.parametrize("evil", ["a\nid: 9", "a\rid: 9", "a\r\n\r\ndata: x", "\n", "a\0"])
def test_t29_a_field_cannot_forge_another(field: str, evil: str) -> None:
    """A line break or NUL in a field is refused: it would begin a field or an event that nobody published (CWE-93)."""
    with pytest.raises(InvalidEvent, match="no CR, LF or NUL"):
        encode(**{"data": "x", field: evil})  # type: ignore[arg-type]


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n", "\n\n", "\r\r", "\r\n\r\n"])
def test_t29_data_cannot_forge_an_event(end: str) -> None:
    """Whatever line ends stand in a text, it stays the data of the one event it was published as."""
    evil = f"x{end}id: evil-1{end}event: reset{end}data: {{}}{end}{end}"
    by_hub = Decoder().feed(encode("t", evil, id="e1-1"))
    by_log = Decoder().feed(encode_event(event(Draft(channel="a", type="t", data=evil, text=True))))
    assert by_hub == by_log == [Message("t", re.sub("\r\n?", "\n", evil), "e1-1")]


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e"])
def test_t29_only_cr_and_lf_end_lines(separator: str) -> None:
    """What Python's `str.splitlines` would also split at is ordinary text, in every field."""
    frame = encode(f"t{separator}u", f"a{separator}data: b", id=f"1{separator}2", channel=f"c{separator}d")
    assert Decoder().feed(frame) == [
        Message(f"t{separator}u", f"a{separator}data: b", f"1{separator}2", f"c{separator}d")
    ]
