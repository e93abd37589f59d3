"""Thousands of streams for one test: a protocol of a few slots per connection, so that the clients cost less than the hub."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.support.waiting import PATIENCE, until


class Listener(asyncio.Protocol):
    """One stream: keeps the last bytes of its body, and counts events by their marker."""

    MARKER = b"\nevent: said\n"

    def __init__(self) -> None:
        self.transport: asyncio.Transport
        self.tail = b""
        self.events = 0
        self.is_open = False
        self.is_over = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ours from now on."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Count what has come, also what is cut between two packets."""
        self.tail += data
        self.is_open = self.is_open or b"event: connected" in self.tail
        self.events += self.tail.count(self.MARKER)
        self.tail = self.tail[max(self.tail.rfind(self.MARKER) + len(self.MARKER), len(self.tail) - 4096) :]

    def connection_lost(self, exc: Exception | None) -> None:
        """The server has closed, or we have."""
        self.is_over = True

    @property
    def ended_well(self) -> bool:
        """It was told why, and its body has an end."""
        return self.is_over and b"event: closing" in self.tail and self.tail.endswith(b"0\r\n\r\n")


@asynccontextmanager
async def crowd(
    port: int, target: str, *, reading: int, stalled: int = 0
) -> AsyncIterator[tuple[list[Listener], list[Listener]]]:
    """Open so many streams, some of which never read after their first frame. Small buffers make those felt at once."""
    listeners: list[Listener] = []
    try:
        for number in range(reading + stalled):
            sock = socket.socket()
            sock.setblocking(False)
            if number >= reading:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
            _, listener = await asyncio.get_running_loop().create_connection(Listener, sock=sock)
            listener.transport.write(f"GET {target} HTTP/1.1\r\nHost: crowd\r\n\r\n".encode())
            listeners.append(listener)
        await until(lambda: all(found.is_open for found in listeners), "all streams to open", patience=3 * PATIENCE)
        for listener in listeners[reading:]:
            listener.transport.pause_reading()
        yield listeners[:reading], listeners[reading:]
    finally:
        for listener in listeners:
            listener.transport.abort()
