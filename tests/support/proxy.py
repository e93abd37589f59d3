"""A TCP proxy that can be cut, stalled, slowed and half closed: a broken network as an object.

Knows bytes and connections and no protocol. It keeps back-pressure: what one side does not read, the other cannot send
for long.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Literal

Direction = Literal["up", "down"]
"""up: from client to server; down: from server to client."""

_READ_SIZE = 1 << 16


class Proxy:
    """Forwards every connection to its port to one upstream address. Use `proxying`.

    Attributes:
        port: where it listens, on 127.0.0.1; the same after `cut` and `restore`.
        connections: how many are open now.
        accepted: how many there have been.
        forwarded: bytes forwarded so far, by direction.
    """

    def __init__(self, host: str, port: int) -> None:
        self.port = 0
        self.accepted = 0
        self.forwarded: dict[Direction, int] = {"up": 0, "down": 0}
        self._upstream = (host, port)
        self._listener: socket.socket | None = None
        self._serving: set[asyncio.Task[None]] = set()  # one for each connection
        self._pumps: set[asyncio.Task[None]] = set()  # two for each, named after their directions
        self._flowing: dict[Direction, asyncio.Event] = {"up": asyncio.Event(), "down": asyncio.Event()}
        self._delay = 0.0  # seconds each piece is held
        self._piece = _READ_SIZE  # bytes forwarded at a time
        self.resume()

    @property
    def url(self) -> str:
        """The base URL of what is behind, seen through the proxy."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def connections(self) -> int:
        """Open connections."""
        return len(self._pumps) // 2

    def forward_to(self, port: int) -> None:
        """Forward new connections to another port: a server that was replaced."""
        self._upstream = (self._upstream[0], port)

    async def cut(self) -> None:
        """Reset every connection and refuse new ones, as an unplugged cable with a router that notices."""
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener)
            self._listener.close()
            self._listener = None
        await self.drop()

    async def drop(self) -> None:
        """Reset every connection; new ones are taken."""
        serving = tuple(self._serving)
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)

    async def restore(self) -> None:
        """Take connections (again), at the same port."""
        if self._listener is None:
            self._listener = socket.create_server(("127.0.0.1", self.port), backlog=100)
            self._listener.setblocking(False)
            self.port = self._listener.getsockname()[1]
            asyncio.get_running_loop().add_reader(self._listener, self._accept)

    def stall(self, direction: Direction | None = None) -> None:
        """Forward nothing (in one direction, or in both) and close nothing: a network that swallows packets."""
        for each in (direction,) if direction else self._flowing:
            self._flowing[each].clear()

    def resume(self) -> None:
        """End `stall`; what was held back flows on."""
        for flowing in self._flowing.values():
            flowing.set()

    def slow(self, *, delay: float = 0.0, piece: int = _READ_SIZE) -> None:
        """Forward at most `piece` bytes at a time, each held for `delay` seconds. One byte at a time makes a trickle, in
        which every frame arrives in as many pieces as it has bytes. `slow()` makes it fast again."""
        self._delay, self._piece = delay, piece

    def half_close(self, direction: Direction) -> None:
        """Tell the receivers of a direction that nothing more will come, and leave the other direction open."""
        for pump in self._pumps:
            if pump.get_name() == direction:
                pump.cancel("half close")

    async def aclose(self) -> None:
        """End everything."""
        await self.cut()

    def _accept(self) -> None:
        # Not by asyncio's server: closed while it takes a connection, it forgets that one (an assertion fails in CPython).
        assert self._listener is not None
        try:
            client, _ = self._listener.accept()
        except OSError:
            return  # it has gone already
        self.accepted += 1
        task = asyncio.create_task(self._serve(client))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        task.add_done_callback(lambda _: client.close())  # it may be cancelled before it has begun

    async def _serve(self, client: socket.socket) -> None:
        """One connection's life. However it ends, nobody is left waiting for its other side."""
        writers: list[StreamWriter] = []
        pumps: set[asyncio.Task[None]] = set()
        try:
            client_reader, client_writer = await asyncio.open_connection(sock=client)
            writers.append(client_writer)
            server_reader, server_writer = await asyncio.open_connection(*self._upstream)
            writers.append(server_writer)
            pumps.add(asyncio.create_task(self._pump("up", client_reader, server_writer), name="up"))
            pumps.add(asyncio.create_task(self._pump("down", server_reader, client_writer), name="down"))
            self._pumps |= pumps
            await asyncio.wait(pumps)
            await asyncio.gather(*(_close(writer) for writer in writers))
        except OSError:
            pass  # nobody is behind us: the client is told with a reset
        finally:
            self._pumps -= pumps
            for pump in pumps:
                pump.cancel()
            for writer in writers:
                _reset(writer)
            await asyncio.gather(*pumps)

    async def _pump(self, direction: Direction, reader: StreamReader, writer: StreamWriter) -> None:
        """Forward one direction until it ends, then pass the manner of its end on."""
        finish = _end
        try:
            try:
                await self._forward(direction, reader, writer)
            except OSError:
                finish = _reset
            await self._flowing[direction].wait()  # a stalled network swallows the end, too
        except asyncio.CancelledError:
            pass  # half closed; or all is over, and the writer has gone already
        finish(writer)

    async def _forward(self, direction: Direction, reader: StreamReader, writer: StreamWriter) -> None:
        while data := await reader.read(self._piece):
            if self._delay:
                await asyncio.sleep(self._delay)
            await self._flowing[direction].wait()
            writer.write(data)
            await writer.drain()
            self.forwarded[direction] += len(data)


def _end(writer: StreamWriter) -> None:
    """Send FIN, unless the connection has gone."""
    if not writer.is_closing():
        with suppress(OSError):  # gone in the kernel, and asyncio has not heard of it yet
            writer.write_eof()


async def _close(writer: StreamWriter) -> None:
    """Send what is left, then close."""
    writer.close()
    await writer.wait_closed()


def _reset(writer: StreamWriter) -> None:
    """Send RST, unless the connection has gone."""
    if not writer.is_closing():
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()


@asynccontextmanager
async def proxying(port: int, host: str = "127.0.0.1") -> AsyncIterator[Proxy]:
    """A proxy in front of `host:port`, open until the block ends."""
    proxy = Proxy(host, port)
    await proxy.restore()
    try:
        yield proxy
    finally:
        await proxy.aclose()
