"""The application's state and the log's position at one moment: nothing is lost, and what comes twice is known."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from urllib.parse import quote

import asyncpg  # type: ignore[import-untyped]
import psycopg
import pytest
import sqlalchemy
from psycopg import AsyncConnection, IsolationLevel
from sqlalchemy.ext.asyncio import create_async_engine

from headwater.brokers.postgres import PostgresBroker, Snapshot, parse, position, publish
from headwater.brokers.postgres.leader import Leader
from headwater.errors import BrokerUnavailable, InvalidInput
from headwater.event import Draft, Position
from headwater.testing.contract import Node
from tests.brokers.postgres_nodes import ask, fresh, plain, postgres_node, schema_of
from tests.support.postgres import shared_server
from tests.support.waiting import until


@pytest.fixture
def url() -> Iterator[str]:
    """A log that does not exist yet."""
    with fresh() as url:
        yield url


@pytest.fixture
async def log(url: str) -> AsyncIterator[tuple[Node, PostgresBroker]]:
    """A node."""
    async with postgres_node(url, follow=["a"]) as node:
        yield node


async def test_every_kind_of_connection_can_ask() -> None:
    """Synchronous or not; in whatever schema."""
    schema = 'A "b" %s:x'
    with shared_server().database() as url:
        async with postgres_node(f"{url}?schema={quote(schema)}") as (node, _):
            await node.fill("a", 2)
            expected = Snapshot(Position(node.head.epoch, 2))
            assert expected.cursor == f"{node.head.epoch}-2"
            name = url.removeprefix("postgresql://")
            with psycopg.connect(url) as connection:
                assert position(connection, first=True, schema=schema) == expected
            other = await asyncpg.connect(url)
            async with other.transaction(isolation="repeatable_read"):
                assert await position(other, schema=schema) == expected
            await other.close()
            engine = sqlalchemy.create_engine(f"postgresql+psycopg://{name}", isolation_level="SERIALIZABLE")
            with engine.connect() as connection:
                assert position(connection, schema=schema) == expected
            engine.dispose()
            asynchronous = create_async_engine(f"postgresql+asyncpg://{name}", isolation_level="REPEATABLE READ")
            async with asynchronous.connect() as connection:
                assert await position(connection, schema=schema) == expected
            await asynchronous.dispose()


@pytest.mark.usefixtures("log")
async def test_a_transaction_whose_statements_see_different_states_is_refused(url: str) -> None:
    """Unless it promises to ask first."""
    schema = parse(url).options.schema
    async with await AsyncConnection.connect(plain(url)) as connection:
        with pytest.raises(InvalidInput, match="expected REPEATABLE READ"):
            await position(connection, schema=schema)
        assert (await position(connection, first=True, schema=schema)).pending == ()


async def test_an_event_on_its_way_is_known_to_come_again(
    url: str, log: tuple[Node, PostgresBroker], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is committed, so the state shows it, and the leader has not taken it yet."""
    node, broker = log
    schema = parse(url).options.schema
    await node.fill("a", 1)
    taking = asyncio.Event()
    take = Leader._take

    async def later(self: Leader, now: float) -> float:
        return await take(self, now) if taking.is_set() else 0.01

    monkeypatch.setattr(Leader, "_take", later)
    async with await AsyncConnection.connect(plain(url)) as connection:
        await connection.set_isolation_level(IsolationLevel.REPEATABLE_READ)
        ask(url, "SELECT headwater.publish('a')")
        snapshot = await position(connection, schema=schema)
        ask(url, "SELECT headwater.publish('a')")
        assert await position(connection, schema=schema) == snapshot
    assert snapshot == Snapshot(Position(node.head.epoch, 1), (1,))
    repeating = asyncio.create_task(broker.repeated(snapshot))
    await asyncio.sleep(0)
    taking.set()
    assert await repeating == (Position(node.head.epoch, 2),)
    assert await broker.repeated(Snapshot(snapshot.position)) == ()


async def test_an_event_that_nobody_takes_is_an_error(url: str) -> None:
    """In the end."""
    async with postgres_node(url):
        pass
    ask(url, "SELECT headwater.publish('a')")
    broker = PostgresBroker(parse(f"{url}&wait=1"))
    await broker.open()
    try:
        with pytest.raises(BrokerUnavailable, match="nobody takes"):
            await broker.repeated(Snapshot(await broker.head(), (1,)))
    finally:
        await broker.aclose()


async def test_a_state_and_what_follows_it_are_together_everything_once(
    url: str, log: tuple[Node, PostgresBroker]
) -> None:
    """While writers count up and publish each count, readers take a snapshot of the count, and then follow the log from its
    position, less what the snapshot knows to come again: they see each number once, from the snapshot's on."""
    node, broker = log
    schema, dice = parse(url).options.schema, random.Random(7)
    ask(url, "CREATE TABLE headwater.counter AS SELECT 0 AS n")
    last = 0

    async def write() -> None:
        nonlocal last
        async with await AsyncConnection.connect(plain(url)) as connection:
            for _ in range(40):
                cursor = await connection.execute(f"UPDATE {schema_of(url)}.counter SET n = n + 1 RETURNING n".encode())
                ((count,),) = await cursor.fetchall()
                await publish(connection, "a", "count", count, schema=schema)
                await connection.commit()
                last = max(last, int(str(count)))

    async def read() -> tuple[int, Snapshot]:
        async with await AsyncConnection.connect(plain(url)) as connection:
            await connection.set_isolation_level(IsolationLevel.REPEATABLE_READ)
            first = await position(connection, schema=schema) if dice.random() < 0.5 else None
            cursor = await connection.execute(f"SELECT n FROM {schema_of(url)}.counter".encode())
            ((count,),) = await cursor.fetchall()
            return int(str(count)), first or await position(connection, schema=schema)

    async def read_often() -> list[tuple[int, Snapshot]]:
        return [await read() for _ in range(15)]

    *_, snapshots = await asyncio.gather(write(), write(), write(), read_often())
    await node.feed.until(lambda: len(node.feed.events) == 120)
    head = await broker.head()
    for count, snapshot in snapshots:
        repeated = await broker.repeated(snapshot)
        page = await broker.read(["a"], snapshot.position.seq, head.seq)
        seen = [int(event.data) for event in page.events if event.position not in repeated]
        assert seen == list(range(count + 1, last + 1))
    assert last == 120


async def test_the_state_and_the_log_are_cloned_together() -> None:
    """A copy of the database is another log: who streams from a position of the original loads the state anew."""
    server = shared_server()
    with server.database() as url:
        async with postgres_node(url) as (node, _):
            await node.fill("a", 2)
        name = url.rpartition("/")[2]
        with server.database(template=name) as copy:
            async with postgres_node(copy) as (cloned, _):
                assert cloned.head.seq == 2
                assert cloned.head.epoch != node.head.epoch
                assert await cloned.seqs("a") == [1, 2]
            async with postgres_node(copy) as (again, _):
                assert again.head.epoch == cloned.head.epoch
        async with postgres_node(url) as (original, _):
            assert original.head.epoch == node.head.epoch


async def test_a_copy_that_is_restored_under_a_running_node_is_another_log(url: str) -> None:
    """Even into the same database: the log ends before what the node has seen. Whoever looks first finds out: an append, a
    question, or the watcher."""
    async with postgres_node(url, follow=["a"]) as (node, broker):
        await node.fill("a", 5)
        epochs = [node.head.epoch]

        def restore() -> None:
            ask(url, "DELETE FROM headwater.log WHERE pos > 2")

        restore()
        (position,) = await node.append(Draft(channel="a"))
        assert position.seq == 3
        epochs.append(position.epoch)
        await node.fill("a", 2)
        restore()
        epochs.append((await broker.head()).epoch)
        await node.fill("a", 2)
        restarts = len(node.feed.restarts)
        restore()
        await until(lambda: len(node.feed.restarts) > restarts, "the watcher to notice")
        epochs.append(node.feed.restarts[-1].epoch)
        ask(url, "SELECT headwater.publish('a')")
        await node.feed.until(lambda: node.feed.events[-1].position.seq == 3)
        assert len(set(epochs)) == 4
        assert len(node.feed.restarts) == 3


async def test_a_restored_log_is_noticed_by_a_publisher(url: str) -> None:
    """Which has no feed, and nobody who looks for it: by its next question."""
    async with postgres_node(url):
        broker = PostgresBroker(parse(url))
        before = await broker.open()
        try:
            await broker.append([Draft(channel="a")] * 5)
            assert await broker.follow(["a"]) == await broker.head()  # nothing will come of it
            ask(url, "DELETE FROM headwater.log WHERE pos > 2")
            head = await broker.head()
            assert head.seq == 2
            assert head.epoch != before.epoch
            ask(url, "UPDATE headwater.head SET epoch = 'other'")
            assert (await broker.read_back(["a"], 2)).events[0].position == Position("other", 2)
        finally:
            await broker.aclose()


async def test_a_restored_log_is_noticed_by_the_leader(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """When it is the first to append."""
    async with postgres_node(url) as (node, broker):  # which follows nothing, so nobody looks
        await node.fill("a", 5)
        await until(lambda: broker.is_leader, "the node to lead")
        ask(url, "BEGIN; DELETE FROM headwater.log WHERE pos > 2; SELECT headwater.publish('a'); COMMIT")
        await node.feed.until(lambda: len(node.feed.restarts) == 1)
        assert (await broker.head()).seq == 3
        assert await node.seqs("a") == [1, 2, 3]


async def test_a_dump_is_another_log(url: str) -> None:
    """Restored into a database of its own, with whatever it holds."""
    server = shared_server()
    async with postgres_node(url) as (node, _):
        await node.fill("a", 2)
        ask(url, "SELECT headwater.publish('a')")
        await node.feed.until(lambda: True)
    dump = server.tool("pg_dump", "-n", parse(url).options.schema, database="logs")
    with server.database() as other:
        file = server.folder / "dump.sql"
        file.write_text(dump)
        server.tool("psql", "-q", "-v", "ON_ERROR_STOP=1", "-f", file, database=other.rpartition("/")[2])
        async with postgres_node(f"{other}?schema={parse(url).options.schema}") as (restored, _):
            assert restored.head.epoch != node.head.epoch
            assert (await restored.seqs("a"))[:2] == [1, 2]
            await restored.fill("a", 1)
        file.unlink()
