"""What the torture's clients make of what they are sent, and that they write all of it down."""

from __future__ import annotations

import asyncio
import zlib
from pathlib import Path

import msgspec
import pytest

from headwater import wire
from tests.support.connection import Transport
from tests.support.waiting import until
from torture.listening import Client, Connection, Manners
from torture.plan import Listener
from torture.polling import Answer, lines_of
from torture.records import (
    Beat,
    Closing,
    Ended,
    Hello,
    Journal,
    Opening,
    Reset,
    Seen,
    StreamLine,
    publisher_lines,
    stream_lines,
)

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
FRAMES = [
    wire.encode("connected", '{"cursor":"e-1"}', id="e-1", retry=2000),
    wire.encode("said", '"first\u00e9"', id="e-2", channel="a"),
    wire.encode("heartbeat", "{}", id="e-3"),
    wire.encode("reset", '{"reason":"overflow","cursor":"e-5"}', id="e-5"),
    wire.encode("closing", '{"reason":"drain"}', id="e-5", retry=700),
]
BODY = b"".join(map(wire.chunk, FRAMES)) + wire.LAST_CHUNK


def client(folder: Path, **changes: object) -> Client:
    """A client that writes into a folder."""
    listener = msgspec.structs.replace(Listener(number=3, channels=("a",), permissions=frozenset()), **changes)
    return Client(listener, {}, Journal(folder / "records"), Manners(), 1)


def written(folder: Path) -> list[StreamLine]:
    """What it has written."""
    return list(stream_lines(folder / "records"))


@pytest.mark.parametrize("size", [1, 2, 7, 64, 10_000])
async def test_every_frame_is_written_down(size: int, tmp_path: Path) -> None:
    """However the bytes are cut; and the end of the body is noticed."""
    reader = client(tmp_path)
    connection = Connection(reader)
    connection.connection_made(Transport())
    for start in range(0, len(HEAD + BODY), size):
        connection.data_received((HEAD + BODY)[start : start + size])
    reader._journal.flush()
    hello, seen, beat, reset, closing = written(tmp_path)
    assert isinstance(hello, Hello)
    assert (hello.cursor, hello.id) == ("e-1", "e-1")
    assert seen == Seen(3, "e-2", "a", "said", zlib.crc32('"first\u00e9"'.encode()))
    assert isinstance(beat, Beat)
    assert beat.id == "e-3"
    assert isinstance(reset, Reset)
    assert (reset.reason, reset.id) == ("overflow", "e-5")
    assert isinstance(closing, Closing)
    assert (closing.reason, closing.retry) == ("drain", 700)
    assert connection.ended.result() == "whole"
    assert reader.decoder.last_event_id == "e-5"
    assert (reader.events, reader.is_open) == (1, True)


async def test_a_comment_is_a_heartbeat(tmp_path: Path) -> None:
    """A stream that is behind hears nothing else, and stands where it stood."""
    reader = client(tmp_path)
    reader.take(wire.COMMENT)
    reader.take(FRAMES[0])
    reader.take(wire.COMMENT)
    reader._journal.flush()
    _, beat = written(tmp_path)
    assert isinstance(beat, Beat)
    assert beat.id == "e-1"


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"HTTP/1.1 503 No\r\n\r\n", "refused 503"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", "broken: the body is not chunked"),
        (HEAD + b"no chunk\r\n", "broken: invalid literal for int() with base 16: b'no chunk'"),
    ],
)
async def test_other_answers_end_a_connection(answer: bytes, why: str, tmp_path: Path) -> None:
    """With what was wrong with them; the first reason stays."""
    connection = Connection(client(tmp_path))
    connection.connection_made(Transport())
    connection.data_received(answer)
    connection.connection_lost(None)
    assert connection.ended.result() == why


async def test_nothing_is_taken_after_the_end(tmp_path: Path) -> None:
    """A client that has left has not seen what was still on its way."""
    reader = client(tmp_path)
    connection = Connection(reader)
    connection.connection_made(Transport())
    connection.over("left")
    connection.data_received(HEAD + BODY)
    assert reader.events == 0
    assert reader.decoder.last_event_id == ""


async def test_a_client_keeps_trying(tmp_path: Path) -> None:
    """Where nobody answers it comes again, and says so."""
    reader = client(tmp_path)
    reader._ports = {0: 1}  # a port that only root may listen on, and nobody does
    living = asyncio.create_task(reader.live())
    await until(lambda: reader.connections > 2, "three connections")
    living.cancel()
    await asyncio.gather(living, return_exceptions=True)
    reader._journal.close()
    kinds = [type(line) for line in written(tmp_path)]
    assert kinds[:4] == [Opening, Ended, Opening, Ended]


def test_a_poll_is_written_down_like_a_stream() -> None:
    """Its events, its cursor as a heartbeat's, and a reset before what comes after it."""
    body = b'{"events":[{"id":"e-7","channel":"a","type":"said","data":{"x":1},"time":""}],"cursor":"e-9","reset":null}'
    answer = msgspec.json.decode(body, type=Answer)
    several = Listener(number=3, channels=("a", "b"), permissions=frozenset())
    seen, beat = lines_of(several, answer)
    assert seen == Seen(3, "e-7", "a", "said", zlib.crc32(b'{"x":1}'))
    assert isinstance(beat, Beat)
    assert beat.id == "e-9"
    one = Listener(number=3, channels=("a",), permissions=frozenset())
    assert next(iter(lines_of(one, answer))) == Seen(3, "e-7", None, "said", zlib.crc32(b'{"x":1}'))
    reset = msgspec.json.decode(
        body.replace(b'"reset":null', b'"reset":{"reason":"expired","cursor":"e-9"}'), type=Answer
    )
    first = next(iter(lines_of(one, reset)))
    assert isinstance(first, Reset)
    assert first.reason == "expired"


def test_a_line_that_death_cut_short_is_none(tmp_path: Path) -> None:
    """What was written before it is whole."""
    path = tmp_path / "records"
    journal = Journal(path)
    journal.write(Ended(1, 2.0, "left"))
    journal.close()
    with path.open("ab") as file:
        file.write(b'["ended",1,2.0')
    assert list(stream_lines(path)) == [Ended(1, 2.0, "left")]
    path.write_bytes(b'["refused","p",1,2.0,"no",false]\n["mea')
    assert [line.lane for line in publisher_lines(path)] == ["p"]
