"""Opening the file, and what is said when that fails: each cause is a real one, made to happen."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from headwater.brokers.base import Retention
from headwater.brokers.sqlite import Options, SqliteBroker, file
from headwater.brokers.sqlite.file import Link, explain
from headwater.brokers.sqlite.sql import SCHEMA
from headwater.errors import BrokerUnavailable, ConfigurationError
from headwater.event import Draft
from tests.brokers.nodes import QUICK, RELAXED, contents, sqlite_node, write


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where this test's log is."""
    return tmp_path / "events.db"


async def refused(path: Path) -> ConfigurationError:
    """The error with which a broker does not open; nothing is left running or open."""
    broker = SqliteBroker(path, QUICK)
    with pytest.raises(ConfigurationError) as caught:
        await broker.open()
    return caught.value


async def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    """It is not made: a slip in a path should not grow a tree."""
    error = await refused(tmp_path / "no" / "where" / "events.db")
    assert f"mkdir -p {tmp_path}/no/where" in str(error)


async def test_a_file_of_something_else_is_left_alone(path: Path) -> None:
    """What is no database is not overwritten."""
    write(path, "This is my diary. " * 100)
    assert "not a SQLite database" in str(await refused(path))
    assert contents(path).startswith(b"This is my diary")


async def test_another_applications_database_is_left_alone(path: Path) -> None:
    """Not a table, not its journal mode, not its version is changed."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE diary (day)")
    before = contents(path)
    assert "another application's database" in str(await refused(path))
    assert contents(path) == before


async def test_a_newer_schema_is_refused(path: Path) -> None:
    """An older process must not write what it does not understand."""
    async with sqlite_node(path):
        pass
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 2")
    error = await refused(path)
    assert "schema 2, by a later Headwater" in str(error)
    assert "upgrade" in str(error)


async def test_a_directory_is_no_log(tmp_path: Path) -> None:
    """Nor is anything else that cannot be opened."""
    assert "cannot be opened" in str(await refused(tmp_path))


async def test_a_file_that_may_not_be_written_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At once, and not at the first append."""
    write(path, "")
    connecting_with(monkeypatch, "mode=rwc", "mode=ro")
    error = await refused(path)
    assert "read-only" in str(error)
    assert "let this user write the file and its directory" in str(error)


async def test_a_file_system_without_shared_memory_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite would quietly use another journal, with which readers and writers lock each other out."""
    connecting_with(monkeypatch, "mode=rwc", "mode=rwc&vfs=unix-none")
    assert "cannot hold a write-ahead log" in str(await refused(path))


def connecting_with(monkeypatch: pytest.MonkeyPatch, old: str, new: str) -> None:
    """Have SQLite open files in another way."""
    connect: Callable[..., sqlite3.Connection] = sqlite3.connect

    def connect_otherwise(address: str, **options: Any) -> sqlite3.Connection:
        return connect(address.replace(old, new), **options)

    monkeypatch.setattr(sqlite3, "connect", connect_otherwise)


async def test_a_locked_file_is_waited_for(path: Path) -> None:
    """For as long as `busy_timeout`; the broker works when the lock is gone."""
    async with sqlite_node(path) as (node, _):
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            append = asyncio.create_task(node.append(Draft(channel="a")))
            await node.seqs("a")  # reading goes on meanwhile
            assert not append.done()
            other.execute("ROLLBACK")
            (position,) = await append
        assert await node.seqs("a") == [position.seq]


async def test_a_file_that_stays_locked_is_reported(path: Path) -> None:
    """As something that may pass; nothing was appended, and the next append works."""
    async with sqlite_node(path, QUICK) as (node, _):
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(BrokerUnavailable, match="another process keeps it locked") as caught:
                await node.append(Draft(channel="a"))
            assert caught.value.retry_after == 1
            other.execute("ROLLBACK")
        (position,) = await node.append(Draft(channel="a"))
        assert await node.seqs("a") == [position.seq]


async def test_a_file_that_is_locked_at_the_start_may_be_free_later(path: Path) -> None:
    """So that is no error of configuration."""
    async with sqlite_node(path):
        pass
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(BrokerUnavailable, match="locked"):
            await SqliteBroker(path, QUICK).open()
    async with sqlite_node(path, QUICK):
        pass


async def test_a_full_disk_is_reported_and_passes(path: Path) -> None:
    """The append that did not fit has left nothing; when there is room again, the next one lands."""
    async with sqlite_node(path, follow=["a"]) as (node, broker):

        def fill_the_disk() -> bool:
            link = broker._writer._link
            link.use().execute("PRAGMA max_page_count = 1")
            return True

        await broker._do(fill_the_disk)
        with pytest.raises(BrokerUnavailable, match=r"disk is full.*free some space"):
            await node.append(Draft(channel="a"), Draft(channel="a", data='"' + "x" * 100_000 + '"'))
        assert await node.seqs("a") == []
        (position,) = await node.append(Draft(channel="a"))
        assert node.feed.seqs() == await node.seqs("a") == [position.seq]


async def test_many_may_create_the_log_at_once(path: Path) -> None:
    """They agree on its epoch."""
    brokers = [SqliteBroker(path, RELAXED) for _ in range(12)]
    heads = await asyncio.gather(*(broker.open() for broker in brokers))
    await asyncio.gather(*(broker.append([Draft(channel="a")]) for broker in brokers))
    assert len(set(heads)) == 1
    assert (await brokers[0].head()).seq == 12
    await asyncio.gather(*(broker.aclose() for broker in brokers))


def test_whoever_comes_second_finds_the_tables_made(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that saw an empty file looks again once it has the lock."""
    use_wal = file._use_wal

    def be_overtaken(connection: sqlite3.Connection, at: Path) -> None:
        monkeypatch.setattr(file, "_use_wal", use_wal)
        with closing(Link(path, Options(), create=True)) as quicker:
            quicker.use().execute("UPDATE log SET epoch = 'quick'")
        use_wal(connection, at)

    monkeypatch.setattr(file, "_use_wal", be_overtaken)
    with closing(Link(path, Options(), create=True)) as link:
        assert link.use().execute("SELECT epoch FROM log").fetchall() == [("quick",)]


def test_a_log_is_made_whole_or_not_at_all(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If making it fails in the middle, the next attempt finds an empty file."""
    monkeypatch.setattr(file, "SCHEMA", (*SCHEMA, "CREATE NONSENSE"))
    link = Link(path, Options(), create=True)
    with pytest.raises(sqlite3.OperationalError, match="NONSENSE"):
        link.use()
    monkeypatch.setattr(file, "SCHEMA", SCHEMA)
    with closing(link):
        assert link.use().execute("SELECT count(*) FROM event").fetchall() == [(0,)]


def test_a_file_that_is_replaced_while_it_is_opened_is_not_used(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection would be to a file that nobody else sees."""
    with closing(Link(path, Options(), create=True)) as link:
        link.use()
        link.close()
        prepare = Link._prepare

        def be_replaced(self: Link, connection: sqlite3.Connection) -> None:
            prepare(self, connection)
            (path.parent / "other").touch()
            (path.parent / "other").replace(path)

        monkeypatch.setattr(Link, "_prepare", be_replaced)
        with pytest.raises(sqlite3.OperationalError, match="replaced while it was being opened"):
            link.use()


def test_a_link_that_may_not_create_finds_nothing(path: Path) -> None:
    """Readers do not make logs; and they wait for locks in SQLite's own way."""
    with closing(Link(path, Options())) as link:
        with pytest.raises(sqlite3.OperationalError):
            link.use()
        assert not path.exists()
        path.touch()  # as it is for a moment while another process makes it
        assert link.use().execute("PRAGMA busy_timeout").fetchall() == [(5000,)]


def test_a_transaction_is_all_or_nothing(path: Path) -> None:
    """What fails in the middle is undone, and the connection can be used again."""
    with closing(Link(path, Options(), create=True)) as link:
        transaction = link.transaction()
        transaction.__enter__().execute("UPDATE log SET head = 5")
        assert not transaction.__exit__(ZeroDivisionError, ZeroDivisionError(), None)
        with link.transaction() as connection:
            assert connection.execute("SELECT head FROM log").fetchall() == [(0,)]


def error_of(code: int) -> sqlite3.OperationalError:
    """SQLite's error with a certain code."""
    error = sqlite3.OperationalError("as SQLite puts it")
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (sqlite3.SQLITE_CORRUPT, "it is damaged. restore a copy"),
        (sqlite3.SQLITE_PERM, "this user may not write it"),
        (sqlite3.SQLITE_IOERR | 10 << 8, "as SQLite puts it. look at the disk"),
    ],
)
def test_every_error_says_what_to_do(path: Path, code: int, text: str) -> None:
    """The cause in our words if we know it, in SQLite's if not."""
    assert text in str(explain(error_of(code), path))


def test_what_waiting_may_cure_is_told_apart(path: Path) -> None:
    """At the start what only the operator can mend is an error of configuration; later everything may pass."""
    outcomes: list[tuple[Callable[[], Exception], type[Exception], type[Exception]]] = [
        (lambda: error_of(sqlite3.SQLITE_NOTADB), ConfigurationError, BrokerUnavailable),
        (lambda: error_of(sqlite3.SQLITE_FULL), BrokerUnavailable, BrokerUnavailable),
        (lambda: PermissionError("denied"), BrokerUnavailable, BrokerUnavailable),
        (lambda: ConfigurationError("x"), ConfigurationError, BrokerUnavailable),
        (lambda: BrokerUnavailable("x"), BrokerUnavailable, BrokerUnavailable),
    ]
    for make, at_start, later in outcomes:
        assert type(explain(make(), path, opening=True)) is at_start
        assert type(explain(make(), path)) is later


def test_a_lost_race_for_the_index_is_tried_again(path: Path) -> None:
    """Like a lock; any other error is not."""
    link = Link(path, Options(busy_timeout=10_000))
    errors = [error_of(sqlite3.SQLITE_PROTOCOL), error_of(sqlite3.SQLITE_BUSY | 1 << 8)]

    def operation() -> str:
        if errors:
            raise errors.pop()
        return "done"

    assert link.patiently(operation) == "done"
    errors.append(error_of(sqlite3.SQLITE_FULL))
    with pytest.raises(sqlite3.OperationalError):
        link.patiently(operation)


async def test_a_broker_that_did_not_open_can_be_closed(path: Path) -> None:
    """It is closed already."""
    write(path, "no log" * 100)
    broker = SqliteBroker(path, retention=Retention())
    with pytest.raises(ConfigurationError):
        await broker.open()
    await broker.aclose()
    with pytest.raises(BrokerUnavailable, match="not open"):
        await broker.head()
