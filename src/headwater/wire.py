"""The text/event-stream format: events to bytes, and bytes to messages, incrementally.

Follows the WHATWG text (https://html.spec.whatwg.org/multipage/server-sent-events.html, section 9.2.6). Pure: no I/O, no
clock, no JSON. Knows events and the format, plus one field of our own, `channel:`, which a standard parser ignores. Must
not know who sends or receives: connections, retries and cursors are the business of the hub and the client.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from headwater.errors import InvalidEvent, ProtocolError
from headwater.event import Event

COMMENT: Final = b":\n"
"""The smallest heartbeat. One line and no blank one, because some clients take a blank line for an (empty) event."""

LAST_CHUNK: Final = b"0\r\n\r\n"
"""What ends a chunked HTTP/1.1 body."""

MAX_RETRY: Final = 2**53 - 1  # JavaScript's largest safe integer: what the browser client can hold, too

_BOM = b"\xef\xbb\xbf"
_LINE_ENDS = re.compile(r"\r\n|\r|\n")  # not str.splitlines, which also splits at U+2028, form feeds and more
_BREAKS_LINE = re.compile(r"[\r\n\x00]")


def encode_event(event: Event, *, channel: bool = False) -> bytes:
    """The frame of an event from the log.

    Args:
        event: valid, as brokers build them; nothing is checked again here.
        channel: say which channel it came from, for streams that have several.
    """
    head = f"id: {event.position.epoch}-{event.position.seq}\n"
    if channel:
        head += f"channel: {event.channel}\n"
    if event.type != "message":
        head += f"event: {event.type}\n"
    data = event.data.replace("\n", "\ndata: ") if event.text else event.data
    return f"{head}data: {data}\n\n".encode()


def encode(
    type: str | None = None,
    data: str | None = None,
    *,
    id: str | None = None,
    channel: str | None = None,
    retry: int | None = None,
) -> bytes:
    """A frame of the hub's own.

    Args:
        type: the event's name; None and "message" leave it out.
        data: any text; None for a frame that sets `id` or `retry` and is no event.
        id: the cursor the client shall carry from now on.
        channel: see `encode_event`.
        retry: milliseconds the client shall wait before it reconnects, 0 to 2**53 - 1.

    Raises:
        InvalidEvent: a field has a line break or NUL (which would let it forge other fields), the text is not Unicode,
            `retry` is out of range, or there is a type without data, which no client would ever see.
    """
    lines = [_line(name, value) for name, value in (("id", id), ("channel", channel)) if value is not None]
    if retry is not None:
        lines.append(f"retry: {_check_retry(retry)}\n")
    if type is not None and type != "message":
        lines.append(_line("event", type))
    if data is not None:
        lines.extend(f"data: {line}\n" for line in _LINE_ENDS.split(data))
    elif type is not None or not lines:
        raise InvalidEvent("a frame without data is no event", expected="data, or only an id or retry")
    try:
        return "".join([*lines, "\n"]).encode()
    except UnicodeEncodeError:
        raise InvalidEvent(
            "the frame has a lone surrogate, which UTF-8 cannot carry", expected="Unicode text"
        ) from None


def comment(text: str = "") -> bytes:
    """A comment line, which no client shows to anybody.

    Raises:
        InvalidEvent: the text has a line break or NUL.
    """
    if _BREAKS_LINE.search(text):
        raise InvalidEvent(f"comment {text[:80]!r} is malformed", expected="no CR, LF or NUL")
    return f":{text}\n".encode()


def chunk(data: bytes) -> bytes:
    """`data` as one chunk of an HTTP/1.1 body; nothing for no data, because an empty chunk would end the body."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


def _line(name: str, value: str) -> str:
    if _BREAKS_LINE.search(value):
        raise InvalidEvent(f"{name} {value[:80]!r} is malformed", expected="no CR, LF or NUL")
    return f"{name}: {value}\n"


def _check_retry(retry: int) -> int:
    if not 0 <= retry <= MAX_RETRY:
        raise InvalidEvent(f"retry {retry} is out of range", expected=f"0 to {MAX_RETRY} milliseconds")
    return retry


class Message(msgspec.Struct, frozen=True):
    """An event as a client receives it.

    Attributes:
        type: the event's name, `message` if the frame has none.
        data: its data lines joined by LF.
        id: the last event id at this point of the stream; an event without an id of its own repeats the one before.
        channel: what our `channel:` field says; None without one.
        retry: the reconnection time in milliseconds, if this very frame sets it; for all others see `Decoder.retry`.
    """

    type: str
    data: str
    id: str = ""
    channel: str | None = None
    retry: int | None = None


class Decoder:
    """Bytes of an event stream in, whole messages out, however the bytes are cut.

    Args:
        max_line: bytes of the longest line, and of all data of one event together, that are held.
        last_event_id: where an earlier connection left off.

    Attributes:
        last_event_id: the id to resume from, as the stream last set it; survives `close`.
        retry: the reconnection time in milliseconds the stream last set, None before; survives `close`.
    """

    def __init__(self, max_line: int = 1 << 20, *, last_event_id: str = "") -> None:
        self.last_event_id = last_event_id
        self.retry: int | None = None
        self._max_line = max_line
        self.close()

    def close(self) -> None:
        """The stream has ended: drop the incomplete block. The decoder then takes the next connection's bytes, and still
        knows `last_event_id` and `retry`."""
        self._pending = bytearray()  # the line that has begun; holds no line end
        self._at_start = True  # a byte order mark may still come
        self._after_cr = False  # a LF that comes next belongs to the CR before it
        self._fault: ProtocolError | None = None
        self._next_id = (
            self.last_event_id
        )  # what it becomes when the block ends; a block that is cut must not change it
        self._clear_block()

    def _clear_block(self) -> None:
        self._data: list[str] = []
        self._size = 0  # bytes of self._data
        self._type = ""
        self._channel: str | None = None
        self._retry: int | None = None

    def feed(self, data: bytes) -> list[Message]:
        """Take the next bytes; return the messages they complete.

        Raises:
            ProtocolError: a line, or the data of one event, is over the cap. Messages completed by the same bytes are not
                lost: they are returned first, and the error is raised by the next call. Only `close` ends that state.
        """
        messages: list[Message] = []
        try:
            if self._fault is not None:
                raise self._fault
            for line in self._lines(data):
                self._take(line, messages)
            self._check_size(len(self._pending), "a line")
        except ProtocolError as fault:
            self._fault = fault
            self._pending.clear()
            self._clear_block()
            if not messages:
                raise
        return messages

    def _lines(self, data: bytes) -> list[bytes]:
        """The lines that `data` completes, without their ends. A CR ends its line at once: waiting to see whether a LF
        follows would hold back the last event of every stream written with CRs."""
        if self._at_start:
            data = self._without_bom(data)
        if self._after_cr and data:
            self._after_cr = False
            data = data.removeprefix(b"\n")
        if not data:
            return []
        lines = data.splitlines()  # of bytes, so it splits at CR, LF and CRLF only
        if self._pending:
            self._pending += lines[0]
            lines[0] = bytes(self._pending)
            self._pending.clear()
        self._after_cr = data[-1:] == b"\r"
        if data[-1:] not in (b"\r", b"\n"):
            self._pending += lines.pop()
        return lines

    def _without_bom(self, data: bytes) -> bytes:
        """`data`, with what was held back of the stream's first bytes and without one byte order mark; empty while too few
        bytes have come to tell."""
        data = bytes(self._pending) + data
        self._pending.clear()
        if len(data) < len(_BOM) and _BOM.startswith(data):
            self._pending += data
            return b""
        self._at_start = False
        return data.removeprefix(_BOM)

    def _take(self, line: bytes, messages: list[Message]) -> None:
        self._check_size(len(line), "a line")
        if not line:
            self._end_block(messages)
        elif line[0] != 0x3A:  # a line that begins with a colon is a comment
            name, _, value = line.partition(b":")
            self._field(name, value.removeprefix(b" "))

    def _end_block(self, messages: list[Message]) -> None:
        self.last_event_id = self._next_id
        if self._data:
            data = "\n".join(self._data)
            message = Message(self._type or "message", data, self.last_event_id, self._channel, self._retry)
            messages.append(message)
        self._clear_block()

    def _field(self, name: bytes, value: bytes) -> None:
        """Take one field; names we do not know are ignored. Decoding value by value equals decoding the whole stream,
        because line ends and colons are ASCII and so never within a character."""
        match name:
            case b"data":
                self._size += len(value) + 1
                self._check_size(self._size, "an event")
                self._data.append(value.decode(errors="replace"))
            case b"event":
                self._type = value.decode(errors="replace")
            case b"id" if b"\0" not in value:
                self._next_id = value.decode(errors="replace")
            case b"channel":
                self._channel = value.decode(errors="replace") or None
            case b"retry" if value.isdigit():  # of bytes, so ASCII digits only
                digits = value.lstrip(b"0")
                self.retry = self._retry = int(digits or b"0") if len(digits) < 16 else MAX_RETRY

    def _check_size(self, size: int, what: str) -> None:
        if size > self._max_line:
            raise ProtocolError(
                f"{what} of over {self._max_line} bytes in the stream",
                expected="what a hub with the same limit sends",
                fix="raise the client's limit, or lower the hub's",
            )
