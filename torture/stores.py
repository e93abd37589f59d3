"""The log under torture: a real server or file, the links through which it is reached, and what can befall both.

Knows how each fault of a link or a store is done and undone. Must not know who suffers from it.
"""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final, Protocol

from tests.support.proxy import Proxy, proxying
from tests.support.redis import RedisServer, running_redis
from torture.schedule import LINK, LOSSY, REDIS, SQLITE, Fault, Kind

WAIT: Final = 2.0
"""Seconds that a publish waits out an outage of the store here; short, so that refusals happen, too."""


class Store(Protocol):
    """A log that can be broken and mended.

    Attributes:
        kinds: the faults it knows, its links' included, but for those that lose data.
        lossy: those.
        has_links: there is a network to break between it and its users.
        outages: ways in which it can be away altogether.
        wait: seconds that publishing waits for it.
    """

    kinds: tuple[Kind, ...]
    lossy: tuple[Kind, ...]
    has_links: bool
    outages: tuple[str, ...]
    wait: float

    def url(self, link: int | None = None) -> str:
        """Where the log is, through a link that faults break, or straight."""

    async def inflict(self, fault: Fault) -> None:
        """Let a fault begin and end; returns when it is over."""

    async def heal(self) -> None:
        """Undo whatever may be left of faults that were interrupted."""

    async def go_away(self, how: str) -> None:
        """Be away, in one of the ways of `outages`."""

    async def come_back(self, how: str) -> None:
        """Be there again; returns when it is."""


class SqliteStore:
    """A file, which can be locked by somebody else."""

    kinds: tuple[Kind, ...] = SQLITE
    lossy: tuple[Kind, ...] = ()
    has_links = False
    outages: tuple[str, ...] = ("locked",)
    wait = WAIT

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock: sqlite3.Connection | None = None

    def url(self, link: int | None = None) -> str:
        """See `Store`. A file has no links."""
        return f"sqlite:///{self._path}?busy_timeout={1000 * WAIT:.0f}"

    async def inflict(self, fault: Fault) -> None:
        """See `Store`."""
        await self.go_away("locked")
        await asyncio.sleep(fault.length)
        await self.heal()

    async def go_away(self, how: str) -> None:
        """See `Store`."""
        self._lock = sqlite3.connect(self._path, check_same_thread=False, isolation_level=None, timeout=30)
        await asyncio.to_thread(self._lock.execute, "BEGIN IMMEDIATE")

    async def come_back(self, how: str) -> None:
        """See `Store`."""
        await self.heal()

    async def heal(self) -> None:
        """See `Store`."""
        if self._lock is not None:
            self._lock.close()


class RedisStore:
    """A Redis server that keeps what it acknowledged, and a proxy for each of its users.

    Args:
        server: running.
        links: one for each user.
    """

    kinds: tuple[Kind, ...] = (*LINK, *REDIS)
    lossy: tuple[Kind, ...] = LOSSY
    has_links = True
    outages: tuple[str, ...] = ("killed", "frozen")
    wait = WAIT

    def __init__(self, server: RedisServer, links: list[Proxy]) -> None:
        self.server = server
        self.links = links

    def url(self, link: int | None = None) -> str:
        """See `Store`."""
        port = self.server.port if link is None else self.links[link].port
        return f"redis://127.0.0.1:{port}/0?wait={WAIT:g}"

    async def inflict(self, fault: Fault) -> None:
        """See `Store`."""
        if fault.target == "link":
            await _break(self.links[fault.index], fault)
        else:
            await self._inflict(fault)

    async def heal(self) -> None:
        """See `Store`."""
        for link in self.links:
            link.resume()
            link.slow()
            await link.restore()
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


_LIMIT: Final = "pubsub 32mb 8mb 60"  # Redis' own default


async def _break(link: Proxy, fault: Fault) -> None:
    """A fault of a link, from its beginning to its end."""
    match fault.kind:
        case "cut":
            await link.cut()
            await asyncio.sleep(fault.length)
            await link.restore()
        case "drop":
            await link.drop()
        case "stall" | "stall up" | "stall down":
            link.stall({"stall up": "up", "stall down": "down"}.get(fault.kind))  # type: ignore[arg-type] # mypy widens literals in a dict
            await asyncio.sleep(fault.length)
            link.resume()
        case "answers lost":  # what is asked arrives and is done, and whoever asked cannot know
            link.stall("down")
            await asyncio.sleep(fault.length)
            await link.drop()
            link.resume()
        case "delay":
            link.slow(delay=0.01 + 0.2 * fault.dice)
            await asyncio.sleep(fault.length)
            link.slow()
        case "trickle":
            link.slow(delay=0.001, piece=1 + int(200 * fault.dice))
            await asyncio.sleep(fault.length)
            link.slow()
        case "half close up":
            link.half_close("up")
        case "half close down":
            link.half_close("down")
        case _:
            raise AssertionError(f"no such fault: {fault.kind}")


@asynccontextmanager
async def running_store(kind: str, folder: Path, links: int) -> AsyncIterator[Store]:
    """A store of its own, in `folder`, with so many links.

    Args:
        kind: `redis`, `redis-6.2` or `sqlite`.
    """
    if kind == "sqlite":
        yield SqliteStore(folder / "log.db")
        return
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(
            running_redis(
                *("appendfsync always", "maxclients 1000"),
                version="6.2" if kind == "redis-6.2" else "7.0",
                data=folder / "redis",
                appendonly=True,
            )
        )
        proxies = [await stack.enter_async_context(proxying(server.port)) for _ in range(links)]
        yield RedisStore(server, proxies)
