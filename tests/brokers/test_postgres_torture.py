"""Everything at once: writers of every sort, and nodes, connections and the server dying around them.

Each writer counts a row up and publishes the new count in the same transaction. The row's lock puts its transactions in
order, so what was published of a row must arrive as 1, 2, 3... up to what the row says in the end: a count that is
missing was lost, one that comes twice was doubled, one that comes early was reordered.
"""

from __future__ import annotations

import asyncio
import random
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Literal

import psycopg
from psycopg import AsyncConnection

from headwater.brokers.postgres import PostgresBroker
from headwater.errors import BrokerUnavailable
from headwater.event import Draft, Event
from headwater.testing.contract import Node
from tests.brokers.postgres_nodes import postgres_node
from tests.support.postgres import PostgresServer
from tests.support.proxy import proxying
from tests.support.waiting import until

ROWS = 4
CHANNELS = [f"row:{row}" for row in range(ROWS)]
MODES: tuple[Literal["fast", "immediate"], ...] = ("fast", "immediate")
SETTINGS = {"deadlock_timeout": "20ms"}  # writers take two rows in any order, and end up in some deadlocks

Connection = AsyncConnection[tuple[object, ...]]


class Writers:
    """Applications that write and publish, and go on whatever happens to their connections.

    Attributes:
        committed: transactions that were committed for sure.
    """

    def __init__(self, url: str, seed: int) -> None:
        self.committed = 0
        self._url = url
        self._dice = random.Random(seed)
        self._is_over = False

    async def prepare(self) -> None:
        """Make the table."""
        async with await AsyncConnection.connect(self._url, autocommit=True) as connection:
            await connection.execute("CREATE TABLE counter (id int PRIMARY KEY, n int NOT NULL)")
            await connection.execute(f"INSERT INTO counter SELECT i, 0 FROM generate_series(0, {ROWS - 1}) AS i")

    async def run(self, count: int) -> None:
        """Write until stopped, over `count` connections."""
        await asyncio.gather(*(self._write() for _ in range(count)))

    def stop(self) -> None:
        """Let each finish its transaction."""
        self._is_over = True

    async def _write(self) -> None:
        while not self._is_over:
            with suppress(psycopg.Error, OSError):
                async with await AsyncConnection.connect(self._url, connect_timeout=2) as connection:
                    while not self._is_over:
                        await self._transact(connection)
            await asyncio.sleep(self._dice.random() / 50)

    async def _transact(self, connection: Connection) -> None:
        dice = self._dice
        if dice.random() < 0.5:
            await connection.execute("SELECT pg_current_xact_id()")  # early: it says nothing about the order
        if dice.random() < 0.3:
            await connection.execute("SELECT headwater.publish('noise')")  # so is its number in the outbox
        if dice.random() < 0.3:
            await asyncio.sleep(dice.random() / 100)
        await self._count(connection)
        if dice.random() < 0.3:
            await connection.execute("SAVEPOINT here")
            await self._count(connection)
            await connection.execute("ROLLBACK TO here")
        if dice.random() < 0.2:
            await self._count(connection)
        if dice.random() < 0.1:
            await connection.rollback()
        else:
            await connection.commit()
            self.committed += 1

    async def _count(self, connection: Connection) -> None:
        row = self._dice.randrange(ROWS)
        await connection.execute(
            "WITH counted AS (UPDATE counter SET n = n + 1 WHERE id = %s RETURNING id, n)"
            " SELECT headwater.publish('row:' || id, 'count', to_jsonb(n)) FROM counted",
            (row,),
        )

    async def counts(self) -> dict[str, list[str]]:
        """What each channel must have brought in the end."""
        async with await AsyncConnection.connect(self._url, autocommit=True) as connection:
            found = await (await connection.execute("SELECT id, n FROM counter")).fetchall()
        return {f"row:{row}": [str(n) for n in range(1, int(str(last)) + 1)] for row, last in found}


def by_channel(events: list[Event]) -> dict[str, list[str]]:
    """The data of the events of each row's channel, in order."""
    return {name: [event.data for event in events if event.channel == name] for name in CHANNELS}


@asynccontextmanager
async def a_long_transaction(url: str) -> AsyncIterator[Connection]:
    """One that has nothing to do with anything, holds a transaction id and a snapshot, and stays open."""
    connection = await AsyncConnection.connect(url)
    await connection.set_isolation_level(psycopg.IsolationLevel.REPEATABLE_READ)
    await connection.execute("SELECT pg_current_xact_id()")
    try:
        yield connection
    finally:
        await connection.close()


async def worker(url: str) -> Process:
    """Another node, in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.brokers.postgres_worker", url, stdout=PIPE
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"ready\n"
    return process


class Publisher:
    """Appends to the node's log, one event after the other and without keys, whatever becomes of each.

    Attributes:
        accepted: what was appended for sure.
    """

    def __init__(self, broker: PostgresBroker) -> None:
        self.accepted: list[int] = []
        self._broker = broker
        self._is_over = False

    async def run(self) -> None:
        """Append until stopped."""
        number = 0
        while not self._is_over:
            number += 1
            with suppress(BrokerUnavailable):
                await self._broker.append([Draft(channel="own", data=str(number))])
                self.accepted.append(number)
            await asyncio.sleep(0)

    def stop(self) -> None:
        """Let the last append finish."""
        self._is_over = True

    def check(self, events: list[Event]) -> None:
        """Nothing is there twice or out of order, and everything that was accepted is there."""
        numbers = [int(event.data) for event in events if event.channel == "own"]
        assert numbers == sorted(set(numbers))
        assert set(self.accepted) <= set(numbers)
        assert len(self.accepted) > 20


async def complete(writers: Writers, node: Node, broker: PostgresBroker) -> None:
    """Wait until the node has all that was written, and compare: its feed and the log, event by event."""
    expected = await writers.counts()
    total = sum(map(len, expected.values()))

    def wanted() -> list[Event]:
        return [event for event in node.feed.events if event.channel in CHANNELS]

    await node.feed.until(lambda: len(wanted()) >= total)
    assert by_channel(wanted()) == expected
    head = await broker.head()
    page = await broker.read(CHANNELS, 0, head.seq, 1_000_000)
    assert by_channel(list(page.events)) == expected
    assert node.feed.restarts == []
    assert writers.committed > 50


async def torture(
    server: PostgresServer,
    seed: int,
    trouble: Callable[[random.Random, Writers], Awaitable[None]],
    port: int | None = None,
) -> None:
    """Write, make trouble, and see that nothing is lost, doubled or reordered."""
    url = server.url()
    dice = random.Random(seed)
    async with postgres_node(server.url(port=port), follow=[*CHANNELS, "own"]) as (node, broker):
        writers, publisher = Writers(url, seed), Publisher(broker)
        await writers.prepare()
        writing = [asyncio.create_task(writers.run(8)), asyncio.create_task(publisher.run())]
        try:
            await trouble(dice, writers)
            await progress(writers)
        finally:
            writers.stop()
            publisher.stop()
            await asyncio.gather(*writing)
        await complete(writers, node, broker)
        publisher.check(node.feed.events)


async def progress(writers: Writers, count: int = 40) -> None:
    """Let the writers do something."""
    before = writers.committed
    await until(lambda: writers.committed >= before + count, "the writers")


async def test_nothing_is_lost_doubled_or_reordered_while_leaders_die() -> None:
    """Nodes are killed with SIGKILL, the leading one among them, and sessions are terminated, leaders' and writers' alike,
    while an unrelated transaction stays open throughout."""
    with PostgresServer(16, **SETTINGS) as server:

        async def trouble(dice: random.Random, writers: Writers) -> None:
            async with a_long_transaction(server.url()) as long:
                for _ in range(3):
                    process = await worker(server.url())
                    await progress(writers)
                    server.terminate("application_name = 'headwater' AND random() < 0.5")
                    await progress(writers)
                    process.kill()
                    await process.wait()
                    await progress(writers)
                    server.terminate("application_name = '' AND random() < 0.3 AND pid <> %s", long.info.backend_pid)
                assert await (await long.execute("SELECT 1")).fetchone() == (1,)

        await torture(server, 1, trouble)


async def test_nothing_is_lost_doubled_or_reordered_while_the_server_restarts() -> None:
    """In order, in a hurry, and killed."""
    with PostgresServer(18, **SETTINGS) as server:

        async def trouble(dice: random.Random, writers: Writers) -> None:
            for mode in MODES:
                await progress(writers)
                server.restart(mode)
            await progress(writers)
            server.kill()
            server.start()

        await torture(server, 2, trouble)


async def test_nothing_is_lost_doubled_or_reordered_while_the_network_is_cut() -> None:
    """Between a node and the server: connections are reset, refused, swallowed for a while, and trickle."""
    with PostgresServer(18, **SETTINGS) as server:
        async with proxying(server.port) as proxy:

            async def trouble(dice: random.Random, writers: Writers) -> None:
                for _ in range(3):
                    await progress(writers)
                    await proxy.drop()
                    await progress(writers)
                    await proxy.cut()
                    await progress(writers)
                    await proxy.restore()
                    await progress(writers)
                    proxy.stall(dice.choice(["up", "down", None]))
                    await progress(writers)
                    proxy.resume()

            await torture(server, 3, trouble, proxy.port)
