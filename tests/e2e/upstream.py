"""A node that does as it is told, for tests of what stands in front of nodes: it answers, refuses, hangs up, and remembers
what it was asked."""

from __future__ import annotations

import asyncio
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from tests.support.raw import Head

Answer = Callable[[StreamWriter], Awaitable[None]]


class Upstream:
    """A server that gives every request the same answer.

    Attributes:
        answer: writes it; what comes after it is the end of the connection.
        asked: the requests so far, as `POST /path`.
        heads: their heads.
    """

    def __init__(self) -> None:
        self.answer: Answer = answering(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi")
        self.asked: list[str] = []
        self.heads: list[Head] = []

    async def serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        """Read a request whole, answer it, and close."""
        try:
            raw = await reader.readuntil(b"\r\n\r\n")
            first, _, _ = raw.decode("latin-1").partition(" HTTP/")
            head = Head.parse(b"HTTP/1.1 200 " + raw)
            await reader.readexactly(int(head.headers.get("content-length", "0")))
            self.asked.append(first)
            self.heads.append(head)
            await self.answer(writer)
        finally:
            writer.close()


def answering(data: bytes) -> Answer:
    """Writes `data`; nothing hangs up without an answer."""

    async def answer(writer: StreamWriter) -> None:
        writer.write(data)
        await writer.drain()

    return answer


@asynccontextmanager
async def upstream(port: int) -> AsyncIterator[Upstream]:
    """One at a port that is held (see `held_ports`)."""
    made = Upstream()
    server = await asyncio.start_server(made.serve, "127.0.0.1", port)
    try:
        yield made
    finally:
        server.close()
