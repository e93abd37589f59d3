"""A log in PostgreSQL under torture: what can befall the server, and how it is undone.

Must not know who suffers from it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.support.postgres import PostgresServer
from torture.links import Links, linking
from torture.schedule import LINK, POSTGRES, WAIT, Fault, Kind

_LEADERS = "pid IN (SELECT pid FROM pg_locks WHERE locktype = 'advisory')"


class PostgresStore:
    """A PostgreSQL server.

    Args:
        server: running.
        links: one for each user.
    """

    kinds: tuple[Kind, ...] = (*LINK, *POSTGRES)
    lossy: tuple[Kind, ...] = ()
    has_links = True
    outages: tuple[str, ...] = ("killed", "frozen")
    wait = WAIT

    def __init__(self, server: PostgresServer, links: Links) -> None:
        self._server = server
        self._links = links

    def url(self, link: int | None = None) -> str:
        """See `Store`."""
        url = self._server.url(port=None if link is None else self._links.port(link))
        return f"{url}?wait={WAIT:g}&timeout={WAIT:g}&sslmode=disable&gssencmode=disable"

    async def inflict(self, fault: Fault) -> None:
        """See `Store`."""
        server = self._server
        match fault.kind:
            case "sessions ended":
                await asyncio.to_thread(server.terminate)
            case "leader ended":
                await asyncio.to_thread(server.terminate, _LEADERS)
            case "postgres frozen":
                await self.go_away("frozen")
                await asyncio.sleep(fault.length)
                await self.come_back("frozen")
            case "postgres restarted":
                await asyncio.to_thread(server.restart)
            case "postgres killed":
                await self.go_away("killed")
                await asyncio.sleep(fault.length)
                await self.come_back("killed")
            case _:
                await self._links.inflict(fault)

    async def heal(self) -> None:
        """See `Store`."""
        await self._links.heal()
        self._server.resume()

    async def go_away(self, how: str) -> None:
        """See `Store`."""
        await asyncio.to_thread(self._server.pause if how == "frozen" else self._server.kill)

    async def come_back(self, how: str) -> None:
        """See `Store`."""
        await asyncio.to_thread(self._server.resume if how == "frozen" else self._server.start)


@asynccontextmanager
async def postgres_store(version: int, links: int) -> AsyncIterator[PostgresStore]:
    """A server of its own."""
    server = await asyncio.to_thread(PostgresServer, version)
    try:
        await asyncio.to_thread(server.start)
        async with linking(server.port, links) as ways:
            yield PostgresStore(server, ways)
    finally:
        await asyncio.to_thread(server.remove)
