"""What is written down while a run lasts: what each stream was sent, what each publisher meant and was answered.

One line of JSON each, appended to a file by whoever saw it happen and written with one call to the kernel, so that a process
that is killed leaves whole lines and memory does not grow with the run. Knows files; judges nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from torture.plan import Said


class Opening(msgspec.Struct, frozen=True, array_like=True, tag="opening"):
    """A stream begins a connection to a node, after `cursor` ("" the first time). `at` is the machine's monotonic clock."""

    stream: int
    at: float
    node: int
    cursor: str


class Hello(msgspec.Struct, frozen=True, array_like=True, tag="hello"):
    """`connected`: the stream begins at `cursor`. `id` is where a client stands that gets no further."""

    stream: int
    at: float
    cursor: str
    id: str


class Seen(msgspec.Struct, frozen=True, array_like=True, tag="seen"):
    """An event arrived. `channel` is what the frame said, None if it said nothing; `name` is its type, `crc` of its data."""

    stream: int
    id: str
    channel: str | None
    name: str
    crc: int


class Beat(msgspec.Struct, frozen=True, array_like=True, tag="beat"):
    """A heartbeat: everything up to `id` has been sent."""

    stream: int
    at: float
    id: str


class Reset(msgspec.Struct, frozen=True, array_like=True, tag="reset"):
    """The hub says that the stream missed events, and goes on from `id`."""

    stream: int
    at: float
    reason: str
    id: str


class Closing(msgspec.Struct, frozen=True, array_like=True, tag="closing"):
    """The hub ends the connection, and asks to come back after `retry` milliseconds."""

    stream: int
    at: float
    reason: str
    id: str
    retry: int | None


class Ended(msgspec.Struct, frozen=True, array_like=True, tag="ended"):
    """The connection is over: `left` by its client, or `lost`, `refused 503`, `unreachable`, `silent`, `whole`; or it was a
    poll that was answered: `polled`."""

    stream: int
    at: float
    why: str


StreamLine = Opening | Hello | Seen | Beat | Reset | Closing | Ended


class Meant(msgspec.Struct, frozen=True, array_like=True, tag="meant"):
    """A batch is about to be published. Its place is the lane it is in and its number there."""

    lane: str
    number: int
    at: float
    keyed: bool
    said: tuple[Said, ...]


class Acknowledged(msgspec.Struct, frozen=True, array_like=True, tag="acknowledged"):
    """A batch was published, its events at these positions."""

    lane: str
    number: int
    at: float
    positions: tuple[str, ...]


class Refused(msgspec.Struct, frozen=True, array_like=True, tag="refused"):
    """An attempt failed. `final`: it is not tried again, so its events are in the log once or not at all."""

    lane: str
    number: int
    at: float
    error: str
    final: bool


PublisherLine = Meant | Acknowledged | Refused


class Journal:
    """A file to which one process appends lines."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._encoder = msgspec.json.Encoder()
        self._pending: list[bytes] = []

    def write(self, line: StreamLine | PublisherLine) -> None:
        """Write a line, at once."""
        self.put(line)
        self.flush()

    def put(self, line: StreamLine | PublisherLine) -> None:
        """Write a line with the next `flush`."""
        self._pending.append(self._encoder.encode(line) + b"\n")

    def flush(self) -> None:
        """Write what was put."""
        if self._pending:
            os.write(self._file, b"".join(self._pending))
            self._pending.clear()

    def close(self) -> None:
        """Write what is left, and close the file."""
        self.flush()
        os.close(self._file)


def stream_lines(path: Path) -> Iterator[StreamLine]:
    """What the streams of one process wrote."""
    decoder = msgspec.json.Decoder(StreamLine)
    for line in _whole_lines(path):
        yield decoder.decode(line)


def publisher_lines(path: Path) -> Iterator[PublisherLine]:
    """What a publisher wrote."""
    decoder = msgspec.json.Decoder(PublisherLine)
    for line in _whole_lines(path):
        yield decoder.decode(line)


def _whole_lines(path: Path) -> Iterator[bytes]:
    """The lines of a file; a last one that death cut short is none."""
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield line
