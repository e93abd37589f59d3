"""The jobs that automations run: built in, small and safe. There is no job that runs what somebody typed.

Each does real work in the application's own folder and says what it does. Knows the database file, servers and folders;
must not know events: a job speaks through `Desk.say`.
"""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from examples.operations.servers import Servers
from examples.operations.store import ServerStatus

BACKUPS: Final = 3
"""Backups that are kept."""

LEAST_FREE: Final = 0.02
"""Part of a disk that must be free."""


class JobFailed(Exception):
    """The job did its work, and what it found is not good."""


class Desk(msgspec.Struct, frozen=True, kw_only=True):
    """What a job works with.

    Attributes:
        servers: to be tested.
        database: the file to be saved.
        backups: the folder for copies of it.
        say: adds a line to the run's output.
    """

    servers: Servers
    database: Path
    backups: Path
    say: Callable[[str], Awaitable[None]]


Work = Callable[[Desk], Awaitable[str]]
"""Does a job; returns its result in a few words. Raises JobFailed."""


class Job(msgspec.Struct, frozen=True):
    """A job: what people call it, what it does, and its work."""

    title: str
    description: str
    work: Work


async def check_servers(desk: Desk) -> str:
    """Test every server."""
    servers = await desk.servers.all()
    failed = 0
    for each in servers:
        server = await desk.servers.test_connection(each.id)
        failed += server.status is ServerStatus.FAILED
        await desk.say(f"{server.name}: {server.message}")
    if failed:
        raise JobFailed(f"{failed} of {len(servers)} did not answer")
    return f"{len(servers)} of {len(servers)} answered"


async def back_up(desk: Desk) -> str:
    """Copy the database while it is in use, then remove copies that are too many."""
    name = f"operations-{datetime.now(UTC):%Y%m%d-%H%M%S-%f}.db"
    await desk.say(f"Copying {desk.database.name} to {name}")
    seconds = await asyncio.to_thread(_copy, desk.database, desk.backups / name)
    size = (desk.backups / name).stat().st_size
    await desk.say(f"Wrote {size:,} bytes in {1000 * seconds:.0f} ms")
    for old in backups(desk.backups)[:-BACKUPS]:
        old.unlink()
        await desk.say(f"Removed {old.name}")
    count = len(backups(desk.backups))
    return f"{count} backup{'s are' if count > 1 else ' is'} kept"


def _copy(source: Path, target: Path) -> float:
    begun = time.perf_counter()
    target.parent.mkdir(exist_ok=True)
    with closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True)) as read:
        with closing(sqlite3.connect(target)) as written:
            read.backup(written)
    return time.perf_counter() - begun


def backups(folder: Path) -> list[Path]:
    """The copies there are, oldest first."""
    return sorted(folder.glob("operations-*.db"))


async def verify_backup(desk: Desk) -> str:
    """Open the newest copy and have SQLite read all of it."""
    copies = backups(desk.backups)
    if not copies:
        raise JobFailed("there is no backup")
    await desk.say(f"Reading {copies[-1].name}")
    verdict, rows = await asyncio.to_thread(_verify, copies[-1])
    await desk.say(f"Integrity check: {verdict}")
    if verdict != "ok":
        raise JobFailed(f"{copies[-1].name} is damaged")
    return f"{rows:,} rows can be restored"


def _verify(copy: Path) -> tuple[str, int]:
    try:
        with closing(sqlite3.connect(f"file:{copy}?mode=ro", uri=True)) as connection:
            (verdict,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
            tables = ("servers", "incidents", "runs")
            rows = sum(connection.execute(f"SELECT count(*) FROM {each}").fetchone()[0] for each in tables)
    except sqlite3.DatabaseError as error:
        return str(error), 0
    return str(verdict), rows


async def measure_disk(desk: Desk) -> str:
    """Look how full the disk with our data is."""
    usage = await asyncio.to_thread(shutil.disk_usage, desk.database.parent)
    free = usage.free / usage.total
    await desk.say(f"{usage.free / 2**30:,.1f} of {usage.total / 2**30:,.1f} GiB are free")
    if free < LEAST_FREE:
        raise JobFailed(f"only {free:.1%} of the disk is free")
    return f"{free:.0%} of the disk is free"


JOBS: Final = {
    "check-servers": Job("Check servers", "Connects to every server", check_servers),
    "back-up": Job("Back up", "Copies the database while it is in use", back_up),
    "verify-backup": Job("Verify backup", "Reads the newest backup to its last byte", verify_backup),
    "measure-disk": Job("Measure disk", "Looks how full the disk is", measure_disk),
}
"""By the name that is part of URLs."""
