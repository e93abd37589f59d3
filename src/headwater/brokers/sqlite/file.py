"""The file: opening it, noticing that another has taken its place, and saying what is wrong with it.

Knows SQLite and the schema's version, and nothing of events. A `Link` is one thread's connection; no two threads share
one.
"""

from __future__ import annotations

import os
import random
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import msgspec

from headwater.brokers.shared import new_epoch
from headwater.brokers.sqlite.sql import SCHEMA
from headwater.errors import BrokerUnavailable, ConfigurationError

APPLICATION_ID = 0x48647772  # "Hdwr", in the file's header
SCHEMA_VERSION = 1
WAL_LEFT_BEHIND = 64 << 20  # bytes to which a WAL that a burst has blown up is cut back

_T = TypeVar("_T")
_Identity = tuple[int, int]


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the file is used.

    Attributes:
        synchronous: `full` survives power loss; `normal` only the death of every process, and commits faster.
        busy_timeout: milliseconds to wait for other processes before giving up.
    """

    synchronous: Literal["full", "normal"] = "full"
    busy_timeout: Annotated[int, msgspec.Meta(ge=0, le=3_600_000)] = 5000


class Link:
    """One thread's connection to the file, which reopens itself when the path has come to mean another file.

    Args:
        path: absolute.
        options: as above.
        create: make the file and its tables if they are missing; otherwise that is an error.
    """

    def __init__(self, path: Path, options: Options, *, create: bool = False) -> None:
        self.path = path
        self._options = options
        self._create = create
        self._connection: sqlite3.Connection | None = None
        self._identity: _Identity | None = None

    def use(self) -> sqlite3.Connection:
        """The connection, to the file that is at the path now.

        Raises:
            ConfigurationError: that file is no log of ours, or of a later version.
            sqlite3.Error, OSError: it cannot be opened.
        """
        if self._connection is not None and self.has_moved():
            self.close()
        if self._connection is None:
            self._open()
        assert self._connection is not None
        return self._connection

    def has_moved(self) -> bool:
        """Whether the path no longer means the file that was opened: it was deleted, or another was put there."""
        return _identity(self.path) != self._identity

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _open(self) -> None:
        mode = "rwc" if self._create else "rw"
        before = _identity(self.path)
        connection = sqlite3.connect(f"{self.path.as_uri()}?mode={mode}", uri=True, isolation_level=None)
        try:
            self.patiently(lambda: self._prepare(connection))
            self._identity = _identity(self.path)
            if self._identity is None or before not in (None, self._identity):
                raise sqlite3.OperationalError("the file was replaced while it was being opened")
        except BaseException:
            connection.close()
            raise
        self._connection = connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        # A writer waits in `patiently`, because SQLite's own waiting backs off to 100 ms and starves whoever is late.
        connection.execute(f"PRAGMA busy_timeout = {0 if self._create else self._options.busy_timeout}")
        fresh = _is_fresh(connection)
        if self._create:
            _use_wal(connection, self.path)
        connection.execute(f"PRAGMA synchronous = {self._options.synchronous}")
        connection.execute(f"PRAGMA journal_size_limit = {WAL_LEFT_BEHIND}")
        connection.execute("PRAGMA temp_store = memory")
        if fresh and self._create:
            _create_tables(connection)

    def patiently(self, operation: Callable[[], _T]) -> _T:
        """Do `operation`, again and again while other processes have the file locked, for as long as `busy_timeout`."""
        give_up = time.monotonic() + self._options.busy_timeout / 1000
        while True:
            try:
                return operation()
            except sqlite3.OperationalError as error:
                if _code(error) not in _PASSING or time.monotonic() >= give_up:
                    raise
            time.sleep(random.uniform(0.0003, 0.0015))

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """A transaction that writes: all of it or nothing. It takes the write lock at once, so it never has to upgrade
        from reading to writing, which is what fails with "database is locked" however long one waits."""
        connection = self.use()
        self.patiently(lambda: connection.execute("BEGIN IMMEDIATE"))
        try:
            yield connection
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")


def _identity(path: Path) -> _Identity | None:
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def _is_fresh(connection: sqlite3.Connection) -> bool:
    """Whether the file is empty.

    Raises:
        ConfigurationError: it holds something that is not ours to touch.
    """
    # One statement sees one state of the file; between two of them another process may make the tables.
    application, version, objects = connection.execute(
        "SELECT application_id, user_version, (SELECT count(*) FROM sqlite_master)"
        " FROM pragma_application_id, pragma_user_version"
    ).fetchone()
    if application == APPLICATION_ID and version == SCHEMA_VERSION:
        return False
    if application == APPLICATION_ID:
        raise ConfigurationError(
            f"the log was written with schema {version}, by a later Headwater",
            expected=f"schema {SCHEMA_VERSION}",
            fix="upgrade this process too, or give it a file of its own",
        )
    if objects or application or version:
        raise ConfigurationError("the file is another application's database", fix="give Headwater a file of its own")
    return True


def _use_wal(connection: sqlite3.Connection, path: Path) -> None:
    (mode,) = connection.execute("PRAGMA journal_mode = wal").fetchone()
    if mode != "wal":
        raise ConfigurationError(
            f"the file system of {path} cannot hold a write-ahead log (SQLite stays in mode {mode!r})",
            fix="put the file on a local disk",
        )


def _create_tables(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        if _is_fresh(connection):  # another process may have been quicker
            for statement in SCHEMA:
                connection.execute(statement)
            connection.execute("INSERT INTO log VALUES (1, ?, 0, 0, 0, 0)", (new_epoch(),))
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _code(error: BaseException) -> int:
    """SQLite's primary result code; 0 where the error has none (it is the operating system's, or Python's own)."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


_PASSING = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_PROTOCOL})  # the latter is a lost race for the WAL's index
_CANNOT_START = frozenset(
    {
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_READONLY,
    }
)
_FIXES = {
    sqlite3.SQLITE_BUSY: ("another process keeps it locked", "end the process that holds a transaction open on it"),
    sqlite3.SQLITE_FULL: ("the disk is full", "free some space; appends then work again"),
    sqlite3.SQLITE_READONLY: ("it is read-only", "let this user write the file and its directory"),
    sqlite3.SQLITE_PERM: ("this user may not write it", "let this user write the file and its directory"),
    sqlite3.SQLITE_CANTOPEN: ("it cannot be opened", "check that this user may write the file and its directory"),
    sqlite3.SQLITE_NOTADB: ("it is not a SQLite database", "give Headwater a file of its own"),
    sqlite3.SQLITE_CORRUPT: ("it is damaged", "restore a copy, or delete it to begin a new log"),
}


def explain(error: Exception, path: Path, *, opening: bool = False) -> ConfigurationError | BrokerUnavailable:
    """What went wrong with the file, in our words.

    Args:
        error: what SQLite or the operating system raised.
        path: the file.
        opening: nothing has worked yet, so waiting will not help where the operator must.
    """
    if isinstance(error, BrokerUnavailable):
        return error
    if isinstance(error, ConfigurationError):
        return error if opening else BrokerUnavailable(error.what, expected=error.expected, fix=error.fix)
    code = _code(error)
    problem, fix = _FIXES.get(code, (str(error), "look at the disk and the file"))
    what = f"the log {path} cannot be used: {problem}"
    if opening and not path.parent.is_dir():
        return ConfigurationError(f"the directory of {path} does not exist", fix=f"create it: mkdir -p {path.parent}")
    if opening and code in _CANNOT_START:
        return ConfigurationError(what, fix=fix)
    return BrokerUnavailable(what, fix=fix, retry_after=1)
