"""The live set of a view: the streams that the fan-out writes to.

The innermost loop of Headwater is `Live.write`: one call per delivery, of a method that was looked up when the stream joined.
Knows streams' `write` and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from headwater.stream import Stream

Fault = tuple[Stream, Exception]


class Live:
    """Streams in the order in which they joined.

    Their write methods are kept in one tuple, made anew when somebody has joined or left, so that a steady audience costs
    neither a copy nor an attribute per delivery.
    """

    __slots__ = ("_streams", "_writes")

    def __init__(self) -> None:
        self._streams: dict[Stream, None] = {}
        self._writes: tuple[Callable[[bytes], Any], ...] | None = None

    def __len__(self) -> int:
        return len(self._streams)

    def __iter__(self) -> Iterator[Stream]:
        return iter(self._streams)

    def add(self, stream: Stream) -> None:
        """From now on it is written to."""
        self._streams[stream] = None
        self._writes = None

    def discard(self, stream: Stream) -> None:
        """From the next write on it is not; nothing if it was not before."""
        if stream in self._streams:
            del self._streams[stream]
            self._writes = None

    def write(self, data: bytes) -> list[Fault]:
        """Write to every stream; those whose writer raised, with what it raised. A stream may leave from within its own
        write, because its socket is full: what is gone through is the tuple, which stays as it was."""
        writes = self._writes
        if writes is None:
            writes = self._writes = tuple(stream.write for stream in self._streams)
        faults: list[Fault] = []
        remaining = iter(writes)
        done = False
        while not done:
            try:
                for write in remaining:
                    write(data)
                done = True
            except Exception as error:  # of one stream; the iterator goes on with the next one
                faults += [(stream, error) for stream in tuple(self._streams) if stream.write is write]
        return faults
