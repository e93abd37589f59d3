"""The log under torture: a real server or file, the links through which it is reached, and what can befall both.

Says what every store can, and has the one that is only a file. Must not know who suffers from what is done to it.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, Protocol

from torture.postgres_store import postgres_store
from torture.redis_store import redis_store
from torture.schedule import SQLITE, WAIT, Fault, Kind

STORES: Final = ("redis", "redis-6.2", "sqlite", "postgres", "postgres-16")
"""What can be tortured. Without a version it is Redis 7.0 and PostgreSQL 18."""


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


@asynccontextmanager
async def running_store(kind: str, folder: Path, links: int) -> AsyncIterator[Store]:
    """A store of its own, with so many links.

    Args:
        kind: one of `STORES`.
        folder: for its files, where it can choose.
    """
    match kind.split("-"):
        case ["sqlite"]:
            yield SqliteStore(folder / "log.db")
        case ["redis", *version]:
            async with redis_store("6.2" if version == ["6.2"] else "7.0", folder, links) as redis:
                yield redis
        case [_, *version]:
            async with postgres_store(16 if version == ["16"] else 18, links) as postgres:
                yield postgres
