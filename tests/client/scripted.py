"""A hub that misbehaves as written: a real HTTP server that gives each request the next answer of a list.

Bytes, pauses and ends are exactly those of the script. When the script is over it answers 204, which ends a subscription.
Also a world in which waiting takes no time.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from headwater import wire
from headwater.client import Runtime, Subscription
from headwater.event import Draft, Event, Position


@dataclass
class Asked:
    """A request as it came.

    Attributes:
        target: the path.
        query: its fields, in order.
        headers: by lower-case name.
        body: all of it.
    """

    method: str
    target: str
    query: list[tuple[str, str]]
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The body read as JSON."""
        return json.loads(self.body)


Answer = Callable[[StreamReader, StreamWriter], Awaitable[bool]]
"""Writes one answer. Returns whether the connection may be used for another."""


def head(status: int, headers: Mapping[str, str]) -> bytes:
    """A response's head."""
    lines = [f"HTTP/1.1 {status} Whatever", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode()


def answer(status: int, body: bytes = b"", **headers: str) -> Answer:
    """A whole answer. Underscores in header names stand for dashes."""

    async def give(reader: StreamReader, writer: StreamWriter) -> bool:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        length = {} if status == 204 else {"Content-Length": str(len(body))}
        writer.write(head(status, {**length, **named}) + body)
        return True

    return give


def answer_json(data: Any, status: int = 200) -> Answer:
    """A whole answer in JSON."""
    return answer(status, json.dumps(data).encode(), content_type="application/json")


def stream(
    *pieces: bytes | Callable[[], object] | asyncio.Event, end: str = "whole", kind: str = "text/event-stream"
) -> Answer:
    """An event stream.

    Args:
        pieces: bytes are sent, each on its own; functions are called; events are waited for.
        end: "whole" (the last chunk comes), "cut" (the connection closes without it), "reset" (it breaks) or "hold"
            (nothing comes any more, until the client leaves).
        kind: the Content-Type.
    """

    async def give(reader: StreamReader, writer: StreamWriter) -> bool:
        writer.write(head(200, {"Content-Type": kind, "Transfer-Encoding": "chunked"}))
        for piece in pieces:
            if isinstance(piece, bytes):
                writer.write(wire.chunk(piece))
                await writer.drain()
            elif isinstance(piece, asyncio.Event):
                await piece.wait()
            else:
                piece()
        if end == "hold":
            await reader.read()
        if end == "whole":
            writer.write(wire.LAST_CHUNK)
        if end == "reset":
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        return end == "whole"

    return give


async def silence(reader: StreamReader, writer: StreamWriter) -> bool:
    """No answer at all, until the client leaves."""
    await reader.read()
    return False


async def hang_up(reader: StreamReader, writer: StreamWriter) -> bool:
    """The connection closes without an answer."""
    return False


@dataclass
class Scripted:
    """A running server.

    Attributes:
        url: its address, without a path.
        asked: the requests so far.
        connections: how many there have been.
    """

    script: list[Answer]
    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def ids(self) -> list[str | None]:
        """The Last-Event-ID of each request."""
        return [each.headers.get("last-event-id") for each in self.asked]

    @property
    def tokens(self) -> list[str | None]:
        """The Authorization of each request."""
        return [each.headers.get("authorization") for each in self.asked]

    def accept(self, reader: StreamReader, writer: StreamWriter) -> None:
        """Serve a connection."""
        self.connections += 1
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        try:
            while True:
                self.asked.append(await _read_request(reader))
                give = self.script.pop(0) if self.script else answer(204)
                if not await give(reader, writer):
                    break
            writer.close()
            await writer.wait_closed()
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client has left
        finally:
            writer.transport.abort()

    async def aclose(self) -> None:
        """Leave every client."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _read_request(reader: StreamReader) -> Asked:
    raw = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = raw.rstrip("\r\n").split("\r\n")
    method, target, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    parts = urlsplit(target)
    return Asked(method, parts.path, parse_qsl(parts.query, keep_blank_values=True), headers, body)


@asynccontextmanager
async def serving(*script: Answer) -> AsyncIterator[Scripted]:
    """A server that follows `script`, until the block ends."""
    scripted = Scripted(list(script))
    server = await asyncio.start_server(scripted.accept, "127.0.0.1", 0)
    scripted.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield scripted
    finally:
        server.close()
        await scripted.aclose()


class World:
    """Time that passes only when a test says so, or when somebody waits.

    Attributes:
        now: seconds.
        waits: how long the client wanted to wait, each time.
    """

    def __init__(self, random: float = 1.0) -> None:
        self.now = 1000.0
        self.waits: list[float] = []
        self.runtime = Runtime(clock=lambda: self.now, wall=lambda: self.now, sleep=self._sleep, random=lambda: random)

    async def _sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)

    def passes(self, seconds: float) -> Callable[[], None]:
        """A piece of a script: so much time passes."""

        def advance() -> None:
            self.now += seconds

        return advance


def sent(seq: int, data: Any = None, type: str = "message") -> bytes:
    """The frame of an event as a hub sends it; its data is its number, unless it is given."""
    draft = Draft.json("room:1", type, seq if data is None else data)
    return wire.encode_event(Event.of(draft, Position("e", seq), 0))


CONNECTED = wire.encode("connected", '{"cursor":"e-0"}', id="e-0", retry=2000)


def heartbeat(seq: int, time: str = "00:00") -> bytes:
    """A heartbeat at a position, sent at a minute and second."""
    return wire.encode("heartbeat", f'{{"timestamp":"2026-01-01T00:{time}Z"}}', id=f"e-{seq}")


async def numbers(subscription: Subscription) -> list[str]:
    """The data of all events, until the hub has no more."""
    async with subscription, asyncio.timeout(10):
        return [event.data async for event in subscription]
