"""A raw HTTP/1.1 and event-stream client, which can behave as badly as a test needs.

Knows bytes, heads, bodies and frames. It shows exactly what came: it follows no redirect, repairs nothing, reconnects
never. Its misbehaviour: a tiny receive buffer, not reading, closing one direction, resetting the connection.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from headwater.wire import Decoder, Message
from tests.support.waiting import PATIENCE

_READ_SIZE = 1 << 16
_HEAD_LIMIT = 1 << 16


@dataclass(frozen=True)
class Head:
    """A response's head.

    Attributes:
        status: the status code.
        headers: by lower-case name; repeated ones joined with ", ".
        raw: as it came, with the blank line.
    """

    status: int
    headers: Mapping[str, str]
    raw: bytes

    @classmethod
    def parse(cls, raw: bytes) -> Head:
        """Read a head from its bytes."""
        first, *lines = raw.decode("latin-1").rstrip("\r\n").split("\r\n")
        headers: dict[str, str] = {}
        for line in lines:
            name, _, value = line.partition(":")
            name = name.strip().lower()
            headers[name] = f"{headers[name]}, {value.strip()}" if name in headers else value.strip()
        return cls(int(first.split(" ", 2)[1]), headers, raw)


class _Body:
    """The bytes of one body, freed of their framing.

    Args:
        reader: the connection, just after the head.
        chunked: the body comes in chunks.
        length: bytes that will come; None where the end of the connection ends the body.
    """

    def __init__(self, reader: asyncio.StreamReader, *, chunked: bool, length: int | None) -> None:
        self._reader = reader
        self._chunked = chunked
        self._left = 0 if chunked else length  # of this chunk, or of the body
        self._in_chunk = False  # the end of a chunk is still to be read
        self._whole = False

    @classmethod
    def after(cls, reader: asyncio.StreamReader, head: Head, *, exists: bool) -> _Body:
        """The body that `head` announces."""
        chunked = exists and head.headers.get("transfer-encoding", "").lower() == "chunked"
        length = head.headers.get("content-length") if exists else "0"
        return cls(reader, chunked=chunked, length=None if length is None else int(length))

    async def read(self) -> bytes:
        """The next bytes; none at the end of a whole body.

        Raises:
            asyncio.IncompleteReadError: the connection ended instead.
        """
        if self._chunked and not self._left and not self._whole:
            await self._begin_chunk()
        if self._whole or self._left == 0:
            return b""
        piece = await self._reader.read(_READ_SIZE if self._left is None else min(self._left, _READ_SIZE))
        if not piece:
            raise asyncio.IncompleteReadError(b"", self._left)
        if self._left is not None:
            self._left -= len(piece)
        return piece

    async def _begin_chunk(self) -> None:
        """Read up to the next chunk's bytes, or to the end of the body."""
        if self._in_chunk:
            assert await self._reader.readexactly(2) == b"\r\n", "a chunk is longer than it says"
            self._in_chunk = False
        self._left = int((await self._reader.readuntil(b"\r\n")).partition(b";")[0], 16)
        self._in_chunk = self._left > 0
        if not self._in_chunk:
            while await self._reader.readuntil(b"\r\n") != b"\r\n":
                pass  # trailers
            self._whole = True


class RawClient:
    """One connection.

    Attributes:
        head: of the response being read; None before one has come.
        body: all bytes of its body so far, without chunk framing; comments are seen here and not among the messages.
        ended: how its body ended: "whole" (last chunk, or as many bytes as announced), "cut" (the connection closed
            before, which is also how an unframed body ends), "reset", or None while it has not.
        decoder: of the response's event stream.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.head: Head | None = None
        self.body = bytearray()
        self.ended: str | None = None
        self.decoder = Decoder()
        self._reader = reader
        self._writer = writer
        self._messages: deque[Message] = deque()
        self._framed: _Body | None = None

    @classmethod
    async def connect(cls, url: str, *, receive_buffer: int | None = None) -> Self:
        """Connect to the host and port of `url`.

        Args:
            url: `http://host:port`, with any path, which is ignored here.
            receive_buffer: bytes the kernel may hold for us (it doubles the number); also what is read ahead of the
                caller. Small ones let a stalled reader's back-pressure be felt at once.
        """
        parts = urlsplit(url)
        sock = socket.socket()
        sock.setblocking(False)
        if receive_buffer is not None:  # before connecting: later the window has been announced
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        try:
            await asyncio.get_running_loop().sock_connect(sock, (parts.hostname, parts.port or 80))
            return cls(*await asyncio.open_connection(sock=sock, limit=max(receive_buffer or _READ_SIZE, 4096)))
        except BaseException:
            sock.close()
            raise

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def send(self, data: bytes) -> None:
        """Send bytes as they are, and wait until the kernel has most of them."""
        self._writer.write(data)
        await self._writer.drain()

    async def request(
        self,
        target: str,
        headers: Mapping[str, str] | None = None,
        *,
        method: str = "GET",
        body: bytes = b"",
        version: str = "1.1",
    ) -> Head:
        """Send a request and read the head of its response; the body is left to read."""
        await self.send_request(target, headers, method=method, body=body, version=version)
        return await self.read_head(has_body=method != "HEAD")

    async def send_request(
        self,
        target: str,
        headers: Mapping[str, str] | None = None,
        *,
        method: str = "GET",
        body: bytes = b"",
        version: str = "1.1",
    ) -> None:
        """Send a request and read nothing."""
        fields = {"Host": "localhost", **({"Content-Length": str(len(body))} if body else {}), **(headers or {})}
        lines = [f"{method} {target} HTTP/{version}", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
        await self.send("\r\n".join(lines).encode("latin-1") + body)

    async def read_head(self, *, has_body: bool = True) -> Head:
        """Read the next response's head.

        Raises:
            AssertionError: none came in time.
            asyncio.IncompleteReadError: the connection closed before its end.
        """
        async with _patience("a response's head"):
            raw = bytearray()
            while not raw.endswith(b"\r\n\r\n"):
                raw += await self._reader.readuntil(b"\n")
                assert len(raw) < _HEAD_LIMIT, "the head does not end"
        self.head = Head.parse(bytes(raw))
        self.body, self.ended, self.decoder = bytearray(), None, Decoder()
        self._messages.clear()
        self._framed = _Body.after(self._reader, self.head, exists=has_body and self.head.status not in (204, 304))
        return self.head

    async def read_body(self) -> bytes:
        """Read the rest of the body; all of it."""
        async with _patience("the end of the body"):
            while await self._read_piece():
                pass
        return bytes(self.body)

    async def message(self) -> Message:
        """The next message of the event stream.

        Raises:
            EOFError: the body ended.
            AssertionError: none came in time.
        """
        async with _patience(f"a message, after {bytes(self.body[-200:])!r}"):
            while not self._messages:
                if not await self._read_piece():
                    raise EOFError(f"the stream ended: {self.ended}")
        return self._messages.popleft()

    async def messages(self, count: int) -> list[Message]:
        """The next `count` messages; errors as in `message`."""
        return [await self.message() for _ in range(count)]

    async def message_of(self, type: str) -> Message:
        """The next message of a type; those before it are dropped. Errors as in `message`."""
        while (message := await self.message()).type != type:
            pass
        return message

    async def body_contains(self, data: bytes) -> None:
        """Read until `data` stands in the body: for comments and for bytes that make no message.

        Raises:
            EOFError, AssertionError: as in `message`.
        """
        async with _patience(f"{data!r}, after {bytes(self.body[-200:])!r}"):
            while data not in self.body:
                if not await self._read_piece():
                    raise EOFError(f"the stream ended: {self.ended}")

    def stall(self) -> None:
        """Stop reading: what the peer sends stays in the kernel's buffers, until they are full."""
        self._writer.transport.pause_reading()  # type: ignore[attr-defined] # asyncio's sockets have it, typeshed's base class not

    def resume(self) -> None:
        """Read again after `stall`."""
        self._writer.transport.resume_reading()  # type: ignore[attr-defined] # as above

    def half_close(self) -> None:
        """Send FIN and keep reading, as `nc -N` does."""
        self._writer.write_eof()

    def reset(self) -> None:
        """Close with RST and no goodbye, as a crashed or unplugged peer's host does. The client is of no use afterwards."""
        self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    async def aclose(self) -> None:
        """Close the connection. Idempotent; whatever state it is in."""
        self._writer.close()
        with suppress(OSError):  # it may have broken before
            await self._writer.wait_closed()

    async def _read_piece(self) -> bool:
        """Read some of the body, and the messages it completes; whether there was any."""
        assert self._framed is not None, "no response's head has been read"
        try:
            piece = await self._framed.read()
        except ConnectionError:
            self.ended = "reset"
            return False
        except asyncio.IncompleteReadError:
            self.ended = "cut"
            return False
        self.body += piece
        if self.head is not None and self.head.headers.get("content-type", "").startswith("text/event-stream"):
            self._messages.extend(self.decoder.feed(piece))
        if not piece and self.ended is None:
            self.ended = "whole"
        return bool(piece)


@asynccontextmanager
async def streaming(
    url: str, headers: Mapping[str, str] | None = None, *, receive_buffer: int | None = None
) -> AsyncIterator[RawClient]:
    """A client that has asked for the event stream at `url` and got a 200."""
    parts = urlsplit(url)
    async with await RawClient.connect(url, receive_buffer=receive_buffer) as client:
        target = f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"
        head = await client.request(target, {"Accept": "text/event-stream", **(headers or {})})
        assert head.status == 200, head.raw.decode("latin-1") + (await client.read_body()).decode(errors="replace")
        yield client


@asynccontextmanager
async def _patience(what: str) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(PATIENCE):
            yield
    except TimeoutError:
        raise AssertionError(f"waited {PATIENCE:g} s for {what}") from None
