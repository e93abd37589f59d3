"""Nodes on a SQLite log, and what operators do to its file."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, closing
from pathlib import Path

from headwater.brokers.base import Retention
from headwater.brokers.sqlite import Options, SqliteBroker
from headwater.testing.contract import Node, Recorder

RELAXED = Options(synchronous="normal", busy_timeout=60_000)
"""For tests: a machine that is busy with many of them may take seconds for one fsync."""

QUICK = Options(synchronous="normal", busy_timeout=50)
"""For tests in which waiting for a lock is in vain."""


@asynccontextmanager
async def sqlite_node(
    path: Path,
    options: Options = RELAXED,
    *,
    retention: Retention = Retention(),  # noqa: B008 (frozen)
    follow: Collection[str] = (),
) -> AsyncIterator[tuple[Node, SqliteBroker]]:
    """An open broker with a feed, closed at the end."""
    broker, feed = SqliteBroker(path, options, retention=retention), Recorder()
    try:
        node = Node(broker, feed, await broker.open(feed))
        if follow:
            await broker.follow(follow)
        yield node, broker
    finally:
        await broker.aclose()
    assert not feed.complaints


def copy(path: Path, to: Path) -> None:
    """A copy of the log, as a backup makes it."""
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(to)) as target:
        source.backup(target)


def delete(path: Path) -> None:
    """Delete the log. The file goes last: a hub that misses it makes a new one at once, with a new WAL."""
    for suffix in ("-shm", "-wal", ""):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def put(source: Path, path: Path) -> None:
    """Put another file in the log's place, in one step."""
    for suffix in ("-shm", "-wal"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    source.replace(path)


def write(path: Path, text: str) -> Path:
    """A file that is no log."""
    path.write_text(text)
    return path


def contents(path: Path) -> bytes:
    """What is in a file."""
    return path.read_bytes()
