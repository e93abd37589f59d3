"""What a request asks for."""

from __future__ import annotations

from typing import Any

import pytest

from headwater.asgi.request import address_of, channels_of, header_of, query_of, start_of, wants_poll
from headwater.errors import InvalidChannel, InvalidCursor, InvalidInput, NotAcceptable, TooLarge
from headwater.hub import After, Ago, All, Last, Now, Start


def scope(query: str = "", **headers: str) -> dict[str, Any]:
    """An ASGI scope with a query and headers."""
    names = {name.replace("_", "-").encode(): value.encode("latin-1") for name, value in headers.items()}
    return {"query_string": query.encode(), "headers": list(names.items()), "client": ("192.0.2.1", 5)}


def start(query: str = "", **headers: str) -> Start:
    """Where a request wants to begin."""
    made = scope(query, **headers)
    return start_of(made, query_of(made))


def test_fields_keep_their_order_and_empty_values() -> None:
    """Repeated fields stay apart; percent encoding is undone."""
    assert query_of(scope("a=1&b=&a=%C3%A9+x")) == [("a", "1"), ("b", ""), ("a", "é x")]
    assert query_of({"headers": []}) == []


@pytest.mark.parametrize("query", ["a=%ff", "&".join(["a=1"] * 1001)])
def test_a_query_that_cannot_be_read_is_refused(query: str) -> None:
    """Bytes that are not UTF-8, and floods of fields."""
    with pytest.raises(InvalidInput, match="the query cannot be read"):
        query_of(scope(query))


def test_headers_and_address() -> None:
    """The first value counts; a client without an address has an empty one, as over a Unix socket."""
    assert header_of({"headers": [(b"a", b"1"), (b"a", b"2")]}, b"a") == "1"
    assert header_of({"headers": []}, b"a") is None
    assert address_of(scope()) == "192.0.2.1"
    assert address_of({"client": None}) == ""


def test_channels_are_named_once_each_in_order() -> None:
    """Repeating one changes nothing; Headwater's own may be asked for, and are granted or not like any other."""
    assert channels_of([("channel", "b"), ("x", "y"), ("channel", "a"), ("channel", "b")], 2) == ("b", "a")
    assert channels_of([("channel", "$stats")], 0) == ("$stats",)


def test_channels_that_cannot_be_streamed() -> None:
    """None, too many, malformed: each has its own error."""
    with pytest.raises(InvalidInput, match="no channel is named"):
        channels_of([], 5)
    with pytest.raises(TooLarge, match="3 channels for one stream"):
        channels_of([("channel", name) for name in "abc"], 2)
    with pytest.raises(InvalidChannel):
        channels_of([("channel", "a\nb")], 5)


@pytest.mark.parametrize(
    ("query", "headers", "expected"),
    [
        ("", {}, Now()),
        ("since=now", {}, Now()),
        ("since=all", {}, All()),
        ("since=10m", {}, Ago(600)),
        ("since=90s", {}, Ago(90)),
        ("since=2h", {}, Ago(7200)),
        ("since=1d", {}, Ago(86400)),
        ("since=abc-5", {}, After("abc-5")),
        ("last=5", {}, Last(5)),
        ("lastEventId=abc-5&since=all", {}, After("abc-5")),
        ("lastEventId=&since=all", {}, All()),
        ("lastEventId=abc-5", {"last_event_id": "abc-6"}, After("abc-6")),
        ("", {"last_event_id": "rubbish \xff"}, After("rubbish \xff")),
        ("since=all", {"last_event_id": ""}, All()),
        ("since=all&last=5", {}, All()),
        ("since=all&since=now", {}, All()),
    ],
)
def test_the_cursor_comes_from_the_first_place_that_has_one(
    query: str, headers: dict[str, str], expected: Start
) -> None:
    """Header, then lastEventId, then since, then last. Rubbish in the header becomes a reset, not an error: a browser that
    got an error would never come back."""
    assert start(query, **headers) == expected


@pytest.mark.parametrize(
    "query",
    ["since=yesterday", "since=-5m", "since=1w", "since=99999999999d", "last=-1", "last=1e9", "last=x", "last=%D9%A3"],
)
def test_a_malformed_start_is_refused(query: str) -> None:
    """What a person typed wrong is said."""
    with pytest.raises(InvalidCursor, match="cannot be read"):
        start(query)


@pytest.mark.parametrize("number", ["0", "1001", "999999999"])
def test_last_is_bounded(number: str) -> None:
    """As many events as one can be expected to want."""
    with pytest.raises(InvalidCursor, match="1 to 1000"):
        start(f"last={number}")


@pytest.mark.parametrize(
    ("accept", "poll"),
    [
        ("", False),
        ("*/*", False),
        ("text/event-stream", False),
        ("text/*", False),
        ("text/html,application/xhtml+xml,*/*;q=0.8", False),
        ("application/json", True),
        ("application/*", True),
        ("Application/JSON; charset=utf-8", True),
        ("application/json, text/event-stream", False),
        ("application/json, text/event-stream;q=0.5", True),
        ("application/json;q=0.5, */*", False),
        ("text/event-stream;q=0, */*", True),
        ("application/json;q=2, text/event-stream;q=0.9", True),
    ],
)
def test_accept_chooses_between_stream_and_poll(accept: str, poll: bool) -> None:
    """The more specific range says how much a type is wanted; in doubt it is the stream."""
    assert wants_poll(scope(accept=accept)) is poll


@pytest.mark.parametrize("accept", ["text/html", "text/event-stream;q=0", "application/json;q=x", "*/*;q=-1"])
def test_a_client_that_accepts_neither_is_told(accept: str) -> None:
    """406 rather than something it cannot read."""
    with pytest.raises(NotAcceptable, match="text/event-stream or application/json"):
        wants_poll(scope(accept=accept))


def test_without_an_accept_header_it_is_the_stream() -> None:
    """As with curl's and EventSource's."""
    assert wants_poll(scope()) is False
