"""Streams as our hub sends them, read by the parsers that other people use.

A parser may be wrong about the standard, and our users cannot change it. So the hub sends only what the common ones read
alike: no blank line that ends nothing, no frame without data.
"""

from __future__ import annotations

import base64
import json
import random
import subprocess
from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import httpx_sse
import pytest
import sseclient

from headwater import wire
from headwater.event import Draft, Event, Position

JS = Path(__file__).parent / "js"

Read = tuple[str, str, str | None]
"""An event as a parser gives it: type, data and its own or the last id, None if the parser says none."""


def frame(seq: int, draft: Draft, *, channel: bool = False) -> bytes:
    """The bytes of the `seq`-th event of a log."""
    return wire.encode_event(Event.of(draft, Position("e1", seq), 0), channel=channel)


def json_frame(seq: int, data: Any, type: str = "message", *, channel: bool = False) -> bytes:
    """The bytes of a JSON event."""
    return frame(seq, Draft.json("room:42", type, data), channel=channel)


def text_frame(seq: int, data: str) -> bytes:
    """The bytes of a text event."""
    return frame(seq, Draft(channel="room:42", type="text", data=data, text=True))


STREAM: tuple[tuple[bytes, Read | None], ...] = (
    (
        wire.encode("connected", '{"cursor":"e1-0","channels":["room:42"]}', id="e1-0", retry=2500),
        ("connected", '{"cursor":"e1-0","channels":["room:42"]}', "e1-0"),
    ),
    (wire.COMMENT, None),
    (json_frame(1, {"message": "Starting"}, "log"), ("log", '{"message":"Starting"}', "e1-1")),
    (json_frame(2, "plain"), ("message", '"plain"', "e1-2")),
    (wire.COMMENT, None),
    (wire.COMMENT, None),
    (json_frame(3, ["héllo", "🜁", "日本", "\u00a0"]), ("message", '["héllo","🜁","日本","\u00a0"]', "e1-3")),
    (text_frame(4, "one\ntwo\n\n  four: indented\n"), ("text", "one\ntwo\n\n  four: indented\n", "e1-4")),
    (text_frame(5, ""), ("text", "", "e1-5")),
    (text_frame(6, ":no comment\nid: forged\ndata: x"), ("text", ":no comment\nid: forged\ndata: x", "e1-6")),
    (wire.encode("heartbeat", '{"timestamp":1}', id="e1-9"), ("heartbeat", '{"timestamp":1}', "e1-9")),
    (json_frame(10, 10, "log", channel=True), ("log", "10", "e1-10")),
    (wire.COMMENT, None),
    (
        wire.encode("reset", '{"reason":"expired","cursor":"e2-50"}', id="e2-50"),
        ("reset", '{"reason":"expired","cursor":"e2-50"}', "e2-50"),
    ),
    (wire.encode(None, "true", id="e2-51"), ("message", "true", "e2-51")),
    (wire.COMMENT, None),
    (
        wire.encode("closing", '{"reason":"draining"}', id="e2-51", retry=4711),
        ("closing", '{"reason":"draining"}', "e2-51"),
    ),
)
SENT = b"".join(data for data, _ in STREAM)
EXPECTED = [read for _, read in STREAM if read is not None]


def by_httpx_sse(pieces: list[bytes]) -> list[Read]:
    """Read with httpx-sse."""
    response = httpx.Response(200, headers={"content-type": "text/event-stream"}, content=iter(pieces))
    return [(event.event, event.data, event.id) for event in httpx_sse.EventSource(response).iter_sse()]


def by_sseclient_py(pieces: list[bytes]) -> list[Read]:
    """Read with sseclient-py."""
    return [(event.event, event.data, event.id) for event in sseclient.SSEClient(iter(pieces)).events()]


def run_node(pieces: Iterable[bytes]) -> dict[str, Any]:
    """What Node's eventsource-parser makes of `pieces`."""
    if not (JS / "node_modules" / "eventsource-parser").is_dir():
        pytest.fail("tests/js/node_modules is not installed; run `make setup-test`")
    chunks = json.dumps({"chunks": [base64.b64encode(piece).decode() for piece in pieces]})
    done = subprocess.run(
        ["node", "read_stream.mjs"], cwd=JS, input=chunks, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def by_eventsource_parser(pieces: list[bytes]) -> list[Read]:
    """Read with eventsource-parser, which most JavaScript clients stand on."""
    return [(type, data, id) for type, data, id in run_node(pieces)["events"]]


def whole(data: bytes) -> list[bytes]:
    """All in one piece."""
    return [data]


def by_byte(data: bytes) -> list[bytes]:
    """Each byte alone."""
    return [bytes([byte]) for byte in data]


def by_write(data: bytes) -> list[bytes]:
    """As the hub writes it: frame by frame."""
    return [piece for piece, _ in STREAM]


def at_random(data: bytes) -> list[bytes]:
    """In forty pieces of any size."""
    source = random.Random(28)
    edges = sorted([0, len(data), *(source.randrange(len(data)) for _ in range(39))])
    return [data[start:end] for start, end in pairwise(edges)]


@pytest.mark.parametrize("cut", [whole, by_write, by_byte, at_random])
@pytest.mark.parametrize("read", [by_httpx_sse, by_sseclient_py, by_eventsource_parser])
def test_t28_foreign_parsers_read_our_stream(
    read: Callable[[list[bytes]], list[Read]], cut: Callable[[bytes], list[bytes]]
) -> None:
    """Three foreign parsers read every event of a hub's stream, each with its own type, data and id, and none that was
    not sent: heartbeat comments and our channel field are invisible to them."""
    assert read(cut(SENT)) == EXPECTED


def test_node_reads_retry_and_finds_no_fault() -> None:
    """eventsource-parser takes the reconnection times of `connected` and `closing`, and reports no malformed line but
    the field it does not know."""
    answer = run_node([SENT])
    assert answer["retries"] == [2500, 4711]
    assert answer["errors"] == []


def test_our_decoder_agrees() -> None:
    """Our own decoder reads the stream as the foreign ones do, and also sees the channel."""
    decoder = wire.Decoder()
    messages = decoder.feed(SENT)
    assert [(message.type, message.data, message.id) for message in messages] == EXPECTED
    assert [message.channel for message in messages if message.channel] == ["room:42"]
    assert (decoder.last_event_id, decoder.retry) == ("e2-51", 4711)
