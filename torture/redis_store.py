"""A log in Redis under torture: what can befall the server, and how it is undone.

Must not know who suffers from it.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from tests.support.redis import RedisServer, Version, running_redis
from torture.links import Links, linking
from torture.schedule import LINK, LOSSY, REDIS, WAIT, Fault, Kind

_LIMIT: Final = "pubsub 32mb 8mb 60"  # of output buffers: Redis' own default


class RedisStore:
    """A Redis server that keeps what it acknowledged.

    Args:
        server: running.
        links: one for each user.
    """

    kinds: tuple[Kind, ...] = (*LINK, *REDIS)
    lossy: tuple[Kind, ...] = LOSSY
    has_links = True
    outages: tuple[str, ...] = ("killed", "frozen")
    wait = WAIT

    def __init__(self, server: RedisServer, links: Links) -> None:
        self.server = server
        self.links = links

    def url(self, link: int | None = None) -> str:
        """See `Store`."""
        port = self.server.port if link is None else self.links.port(link)
        return f"redis://127.0.0.1:{port}/0?wait={WAIT:g}"

    async def inflict(self, fault: Fault) -> None:
        """See `Store`."""
        if fault.target == "link":
            await self.links.inflict(fault)
        else:
            await self._inflict(fault)

    async def heal(self) -> None:
        """See `Store`."""
        await self.links.heal()
        self.server.resume()
        await self._command("CONFIG", "SET", "client-output-buffer-limit", _LIMIT)

    async def go_away(self, how: str) -> None:
        """See `Store`."""
        if how == "frozen":
            self.server.pause()
        else:
            await self.server.kill()

    async def come_back(self, how: str) -> None:
        """See `Store`."""
        if how == "frozen":
            self.server.resume()
        else:
            await self.server.start()

    async def _inflict(self, fault: Fault) -> None:
        match fault.kind:
            case "clients killed (normal)":
                await self._command("CLIENT", "KILL", "TYPE", "normal")
            case "clients killed (pubsub)":
                await self._command("CLIENT", "KILL", "TYPE", "pubsub")
            case "redis asleep":
                await self._command("DEBUG", "SLEEP", f"{fault.length:.3f}")
            case "redis frozen":
                self.server.pause()
                await asyncio.sleep(fault.length)
                self.server.resume()
            case "output buffers overflow":
                await self._command("CONFIG", "SET", "client-output-buffer-limit", "pubsub 1 1 1")
                await asyncio.sleep(fault.length)
                await self._command("CONFIG", "SET", "client-output-buffer-limit", _LIMIT)
            case "redis restarted":
                await self.server.stop()
                await self.server.start()
            case "redis killed":
                await self.server.kill()
                await asyncio.sleep(fault.length)
                await self.server.start()
            case "redis emptied" if fault.dice < 0.5:
                await self._command("FLUSHALL")
            case "redis emptied":
                await self.server.restart(keep_data=False)
            case "redis restored":
                await self._restore(fault.length)
            case _:
                raise AssertionError(f"no such fault: {fault.kind}")

    async def _restore(self, age: float) -> None:
        """Put a copy of the data that is so many seconds old in its place."""
        copy = self.server.data.with_name("copy")
        await self._command("BGREWRITEAOF")  # or the copy could be half of a rewrite that happens to be under way
        await asyncio.sleep(0.5)
        shutil.copytree(self.server.data, copy)
        await asyncio.sleep(age)
        await self.server.kill()
        self.server.wipe_files()
        shutil.copytree(copy, self.server.data, dirs_exist_ok=True)
        shutil.rmtree(copy)
        await self.server.start()

    async def _command(self, *words: str) -> None:
        async with self.server.client() as client:
            await client.execute_command(*words)  # type: ignore[no-untyped-call] # redis-py leaves it untyped


@asynccontextmanager
async def redis_store(version: Version, folder: Path, links: int) -> AsyncIterator[RedisStore]:
    """A server of its own, which writes to its disk before it answers."""
    always = ("appendfsync always", "maxclients 1000")
    async with (
        running_redis(*always, version=version, data=folder / "redis", appendonly=True) as server,
        linking(server.port, links) as ways,
    ):
        yield RedisStore(server, ways)
