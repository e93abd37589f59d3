"""One SQLite file with a thread of its own, so that a commit never holds up the event loop.

Knows connections and transactions; must not know what any application keeps in its tables.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Database:
    """A small application's database.

    Args:
        path: of the file; it and its folder are made when missing.
        schema: statements that may run at every start: `CREATE TABLE IF NOT EXISTS ...`.
    """

    def __init__(self, path: Path, schema: str) -> None:
        self._path = path
        self._schema = schema
        self._thread: ThreadPoolExecutor | None = None
        self._connection: sqlite3.Connection | None = None

    async def open(self) -> None:
        """Connect, in the thread that alone will use the connection. May be called again after `aclose`."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=self._path.stem)
        self._connection = await asyncio.get_running_loop().run_in_executor(self._thread, self._connect)

    def _connect(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA journal_mode = wal")
        connection.execute("PRAGMA synchronous = full")  # what was committed outlives a power cut, too
        connection.executescript(self._schema)
        return connection

    async def run(self, work: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `work(connection, ...)` as one transaction: all of it is durable when this returns, or none of it ever is.
        Calls take effect one after the other, so what one of them reads no other changes meanwhile."""

        def transaction() -> T:
            assert self._connection is not None, "the database is not open"
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                outcome = work(self._connection, *args, **kwargs)
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")
            return outcome

        return await asyncio.get_running_loop().run_in_executor(self._thread, transaction)

    async def aclose(self) -> None:
        """Finish what was begun, and close. Idempotent."""
        thread, self._thread = self._thread, None
        if thread is not None:
            assert self._connection is not None
            await asyncio.get_running_loop().run_in_executor(thread, self._connection.close)
            thread.shutdown()
