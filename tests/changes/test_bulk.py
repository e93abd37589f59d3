"""Very many changes at once, and an application that goes on for long without a hub."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from headwater.brokers.postgres import PostgresBroker, leader, parse
from headwater.changes import Rule, install_rules
from headwater.changes.relay import Relay
from headwater.event import Event, Position
from tests.changes.database import HOME, NEWEST, Database
from tests.support.waiting import until

RULES = [Rule(table="counters", event="UPDATE", when_changed=["n"], channel="counters", data=["id", "n"])]


class Counter:
    """A feed that keeps of an event only which row it tells of."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.batches: list[int] = []
        self.restarts = 0

    def receive(self, events: Sequence[Event], upto: Position) -> None:
        """See `headwater.brokers.base.Feed`."""
        self.ids += [json.loads(event.data)["id"] for event in events]
        self.batches.append(len(events))

    def restart(self, head: Position, lost: bool = False) -> None:
        """See `headwater.brokers.base.Feed`."""
        self.restarts += 1


@asynccontextmanager
async def hub(database: Database) -> AsyncIterator[Counter]:
    """What a hub does with rows, and what it gives to its streams."""
    broker, feed = PostgresBroker(parse(database.url)), Counter()
    relay = Relay(broker, rules=RULES)
    await broker.open(feed)
    try:
        await broker.follow(["counters"])
        await relay.start()
        await until(lambda: broker.is_leader, "the leader")
        yield feed
    finally:
        await relay.stop()
        await broker.aclose()


async def prepare(database: Database, rows: int) -> None:
    """Make the table and its triggers."""
    database.run("CREATE TABLE counters (id int PRIMARY KEY, n int NOT NULL DEFAULT 0)")
    database.run("INSERT INTO counters SELECT generate_series(1, %s::int)", rows)
    await install_rules(database.url, RULES)


@NEWEST
async def test_ten_thousand_rows_of_one_transaction_come_in_order(own_database: Database) -> None:
    """Each of them once, and never more than a bounded number in memory, however large the transaction is."""
    await prepare(own_database, 10_000)
    async with hub(own_database) as feed:
        own_database.run("UPDATE counters SET n = n + 1")
        await until(lambda: len(feed.ids) >= 10_000, "all of them")
        assert feed.ids == list(range(1, 10_001))
        assert max(feed.batches) <= leader.ROWS
        assert not feed.restarts


@NEWEST
async def test_an_application_goes_on_without_a_hub_and_the_outbox_stays_bounded(own_database: Database) -> None:
    """Changes are noted for as long as was promised, a day unless one says otherwise, and here a moment. From then on the
    outbox grows no more, and no write is kept from anything. A hub that comes back begins a new epoch, so that every
    page loads its state anew, and goes on with what changes then."""
    await prepare(own_database, 100)
    async with hub(own_database) as feed:
        own_database.run("UPDATE counters SET n = n + 1 WHERE id = 1")
        await until(lambda: feed.ids == [1], "the first change")
    own_database.run("RESET ALL")  # what the session remembers of the leader; it would hold for some seconds
    own_database.run(
        f"UPDATE {HOME}.state SET capture_until = now() + interval '0.3 seconds', awake_until = '-infinity'"
    )
    expired = f"SELECT capture_until < now() FROM {HOME}.state"
    written = 0
    while own_database.run(expired) == [False]:
        own_database.run("UPDATE counters SET n = n + 1 WHERE id = %s", written % 100 + 1)
        written += 1
    [noted] = own_database.run(f"SELECT count(*) FROM {HOME}.outbox")
    assert 0 < noted <= written
    for _ in range(50):
        own_database.run("UPDATE counters SET n = n + 1")
    assert own_database.run(f"SELECT count(*) FROM {HOME}.outbox") == [noted]
    assert own_database.run("SELECT sum(n) FROM counters") == [1 + written + 5000]
    async with hub(own_database) as feed:
        await until(lambda: feed.restarts >= 1, "the new epoch")
        own_database.run("UPDATE counters SET n = n + 1 WHERE id = 7")
        await until(lambda: feed.ids[-1:] == [7], "what changed then")
    assert own_database.run(f"SELECT count(*) FROM {HOME}.outbox") == [0]
