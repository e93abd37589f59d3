"""The hub's own frames, as a client reads them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.errors import ConfigurationError
from headwater.event import RESERVED_TYPES, ResetReason
from headwater.hub import frames
from headwater.stream import CloseReason
from headwater.wire import Decoder, Message

NOW = 1_700_000_000.25
NOW_TEXT = "2023-11-14T22:13:20.250Z"
DEFAULT = {"cursor": "e1-7", "channels": ["a", "b"], "time": NOW_TEXT}


def read(data: bytes, last_event_id: str = "before") -> Message:
    """The one message that a frame is."""
    (message,) = Decoder(last_event_id=last_event_id).feed(data)
    return message


def connected(hello: frames.Hello = None, **options: Any) -> Message:
    """A first frame."""
    return read(frames.connected("e1-7", ("a", "b"), NOW, **{"id": "e1-7", "retry": 2000, **options}, hello=hello))


# Times


@given(st.floats(0, 4e9))
def test_a_time_reads_as_javascript_writes_it(unix: float) -> None:
    """A time is ISO 8601 in UTC with a Z and exactly milliseconds, and is less than one off."""
    text = frames.timestamp(unix)
    assert len(text) == len(NOW_TEXT)
    assert text.endswith("Z")
    assert abs(datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC).timestamp() - unix) < 0.0011


@pytest.mark.parametrize(("unix", "text"), [(0, "1970-01-01T00:00:00.000Z"), (NOW, NOW_TEXT)])
def test_whole_seconds_have_milliseconds_too(unix: float, text: str) -> None:
    """Nothing is left out when it is zero."""
    assert frames.timestamp(unix) == text


# connected


def test_the_first_frame_says_where_and_when_a_stream_begins() -> None:
    """The first frame has the cursor, the channels as asked for and the time; its id is the cursor, and it says when to
    come back."""
    message = connected()
    assert json.loads(message.data) == DEFAULT
    assert (message.type, message.id, message.retry, message.channel) == ("connected", "e1-7", 2000, None)


def test_a_first_frame_before_a_reset_leaves_the_cursor_alone() -> None:
    """Without an id the client keeps the cursor that it came with."""
    assert connected(id=None).id == "before"


@pytest.mark.parametrize(("name", "type"), [("hello", "hello"), ("", "message")])
def test_an_application_may_name_the_first_frame(name: str, type: str) -> None:
    """The first frame's type is the application's choice; without one it is a plain message."""
    assert connected(name=name).type == type


@pytest.mark.parametrize("hello", [{}, {"roomId": 1}, {"cursor": "mine", "x": None}])
def test_a_mapping_adds_fields(hello: dict[str, Any]) -> None:
    """An application's fields are added to the default ones, and win over them."""
    assert json.loads(connected(hello).data) == {**DEFAULT, **hello}


def test_a_function_makes_its_own_data() -> None:
    """A function gets the default fields and answers with whatever the frame shall say."""

    def hello(data: dict[str, Any]) -> list[object]:
        return [data["cursor"], datetime(2024, 1, 1, tzinfo=UTC)]

    assert json.loads(connected(hello).data) == ["e1-7", "2024-01-01T00:00:00Z"]


ENDLESS: dict[str, Any] = {}
ENDLESS["itself"] = ENDLESS


@pytest.mark.parametrize(
    "hello",
    [{"x": object()}, {"x": "\ud800"}, lambda _: 1j, ENDLESS],
    ids=["object", "surrogate", "complex", "endless"],
)
def test_a_hello_that_is_no_json_is_the_applications_fault(hello: frames.Hello) -> None:
    """What JSON cannot hold is refused with the reason."""
    with pytest.raises(ConfigurationError, match="hello of a stream is no JSON"):
        connected(hello)


# The others


def test_a_heartbeat_moves_the_cursor() -> None:
    """A heartbeat's id is the position, and its data the time."""
    message = read(frames.heartbeat("e1-9", NOW))
    assert (message.type, message.id) == ("heartbeat", "e1-9")
    assert json.loads(message.data) == {"timestamp": NOW_TEXT}


@pytest.mark.parametrize("reason", ResetReason)
def test_a_reset_says_why_and_where_it_goes_on(reason: ResetReason) -> None:
    """A reset has its reason in its data and the new cursor in its data and as its id."""
    message = read(frames.reset("e2-1", reason))
    assert (message.type, message.id) == ("reset", "e2-1")
    assert json.loads(message.data) == {"reason": reason.value, "cursor": "e2-1"}


def test_a_warning_says_when_the_stream_ends_and_leaves_the_cursor_alone() -> None:
    """`token_expiring` has the time, and no id."""
    message = read(frames.token_expiring(NOW))
    assert (message.type, message.id) == ("token_expiring", "before")
    assert json.loads(message.data) == {"expires_at": NOW_TEXT}


@pytest.mark.parametrize("reason", CloseReason)
@pytest.mark.parametrize("retry", [None, 0, 1500])
@pytest.mark.parametrize("id", [None, "e1-9"])
def test_the_last_frame_says_why_and_when_to_come_back(reason: CloseReason, retry: int | None, id: str | None) -> None:
    """`closing` has its reason; an id if the client was given everything up to it, else the cursor stays; and a time to come
    back if there is one."""
    message = read(frames.closing(id, reason, retry))
    assert (message.type, message.id, message.retry) == ("closing", id or "before", retry)
    assert json.loads(message.data) == {"reason": reason.value}


def test_only_the_hub_sends_frames_of_these_types() -> None:
    """Every type of the hub's own frames is one that nobody may publish."""
    sent = [
        frames.connected("e1-7", (), NOW, id=None, retry=0),
        frames.heartbeat("e1-7", NOW),
        frames.reset("e1-7", ResetReason.EXPIRED),
        frames.token_expiring(NOW),
        frames.closing(None, CloseReason.DRAIN, None),
    ]
    assert {read(data).type for data in sent} == RESERVED_TYPES
