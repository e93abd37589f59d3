"""Faults happen one after the other, of every kind, and leave a network that works."""

from __future__ import annotations

import asyncio
from asyncio import StreamReader, StreamWriter

from tests.support.faults import faulty
from tests.support.proxy import proxying
from tests.support.waiting import until


async def echo(reader: StreamReader, writer: StreamWriter) -> None:
    """Send back what comes."""
    while data := await reader.read(100):
        writer.write(data)
    writer.close()


async def test_every_kind_of_fault_happens_and_in_the_end_none() -> None:
    """The same ones for the same seed; afterwards a new connection is taken, and carries bytes at once."""
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server, proxying(server.sockets[0].getsockname()[1]) as proxy:
        async with faulty(proxy, 1, pause=0.001, length=0.002) as faults:
            await until(lambda: len(faults.counts) == 6, "every kind of fault")
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"x" * 50)
        assert await reader.readexactly(50) == b"x" * 50
        writer.close()
        await writer.wait_closed()
