"""From a row of a table to an event in a log: through the whole of it, into this log and into another one."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from headwater.brokers import open_broker
from headwater.brokers.postgres.address import parse
from headwater.changes import Rule
from headwater.changes.install import connect, install
from headwater.changes.mapping import DEAD
from headwater.changes.relay import Relay
from headwater.errors import ConfigurationError
from headwater.event import Event, Position
from tests.changes.database import NEWEST, Database
from tests.support.waiting import until

RULES = [
    Rule(table="jobs", channel="project:{project_id}", type="progress", data=["id", "total"], event="INSERT,UPDATE"),
    Rule(table="jobs", channel="broken", data=lambda change: 1 / 0, event="DELETE", name="broken"),
]


class Feed:
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def receive(self, events: Sequence[Event], upto: Position) -> None:
        """See `headwater.brokers.base.Feed`."""
        self.events += events

    def restart(self, head: Position, lost: bool = False) -> None:
        """See `headwater.brokers.base.Feed`."""

    def said(self, *types: str) -> list[Any]:
        """The data of events of these types."""
        return [json.loads(event.data) for event in self.events if event.type in types]


@asynccontextmanager
async def relaying(url: str, database: str | None, rules: Sequence[Rule] = RULES) -> AsyncIterator[tuple[Relay, Feed]]:
    """A relay that runs, and a feed of the log that follows what it brings."""
    broker, feed = open_broker(url), Feed()
    relay = Relay(broker, database, rules)
    await broker.open(feed)
    try:
        await broker.follow(["project:1", "project:2", DEAD, "told"])
        await relay.start()
        yield relay, feed
    finally:
        await relay.stop()
        await relay.stop()
        await broker.aclose()


async def installed(database: Database) -> None:
    """Make the table and its triggers."""
    database.run("CREATE TABLE jobs (id int PRIMARY KEY, project_id int, total numeric)")
    connection = await connect(parse(database.url))
    await install(connection, RULES, say=lambda line: None)
    await connection.close()


@pytest.mark.parametrize("log", ["own", "sqlite", "memory"])
async def test_changes_become_events(own_database: Database, log: str, tmp_path: Path) -> None:
    """In the order in which they were committed, together with what transactions publish; a rule that fails has its row
    told of in the channel of the dead, and holds nothing up."""
    await installed(own_database)
    url = {"own": own_database.url, "sqlite": f"sqlite:///{tmp_path}/log.db", "memory": "memory://"}[log]
    async with relaying(url, None if log == "own" else own_database.url) as (relay, feed):
        own_database.run(
            "BEGIN; INSERT INTO jobs VALUES (1, 1, 1.50); SELECT headwater.publish('told', 'told', '1');"
            " UPDATE jobs SET total = 2, project_id = 2; DELETE FROM jobs; INSERT INTO jobs VALUES (2, 2, NULL); COMMIT"
        )
        await until(lambda: len(feed.events) == 6, "six events")
        assert relay.is_leader
    assert [(event.channel, event.type) for event in feed.events] == [
        ("project:1", "progress"),
        ("told", "told"),
        ("project:1", "leave"),
        ("project:2", "progress"),
        (DEAD, "dead"),
        ("project:2", "progress"),
    ]
    assert [event.data for event in feed.events[:3:2]] == ['{"id":1,"total":1.50}'] * 2
    assert "ZeroDivisionError" in feed.said("dead")[0]["error"]
    assert relay.mapper.events == 4
    assert relay.counters() == {"changes_dead": 1, "changes_unknown": 0, "changes_unaddressed": 0}
    assert own_database.run("SELECT count(*) FROM headwater.outbox") == [0]


@NEWEST
async def test_without_rules_only_what_is_published_is_taken(own_database: Database) -> None:
    """What triggers have left waits for somebody who knows what to make of it."""
    await installed(own_database)
    async with relaying("memory://", own_database.url, []) as (_, feed):
        own_database.run("INSERT INTO jobs VALUES (1, 1, 1); SELECT headwater.publish('told', 'told', '1')")
        await until(lambda: feed.said("told") == [1], "what was published")
    assert len(own_database.captured()) == 1


@NEWEST
async def test_what_is_wrong_with_triggers_is_said_at_the_start(
    own_database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """And the rest works."""
    await installed(own_database)
    own_database.run('ALTER TABLE jobs DISABLE TRIGGER "headwater_jobs.progress_insert"')
    with caplog.at_level(logging.WARNING, "headwater.changes"):
        async with relaying("memory://", own_database.url) as (relay, _):
            await until(lambda: relay.is_leader, "the leader")
    assert "headwater_jobs.progress_insert on public.jobs is disabled" in caplog.text


@NEWEST
async def test_a_database_without_the_schema_gets_it(own_database: Database) -> None:
    """If the role may do that; the triggers are for somebody to install on purpose."""
    own_database.run("DROP SCHEMA headwater CASCADE")
    async with relaying("memory://", own_database.url, []) as (_, feed):
        own_database.run("SELECT headwater.publish('told', 'told', '2')")
        await until(lambda: feed.said("told") == [2], "what was published")


async def test_a_database_that_is_away_is_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    """The hub works without it, and says so."""
    async with relaying("memory://", "postgresql://nobody@127.0.0.1:1/none?timeout=1") as (relay, _):
        assert not relay.is_leader
    assert "cannot be used" in caplog.text


async def test_rules_need_a_database() -> None:
    """Without one nothing could ever come of them."""
    broker = open_broker("memory://")
    with pytest.raises(ConfigurationError, match="no database"):
        Relay(broker, None, RULES)


async def test_rules_come_before_their_log_is_opened(own_database: Database) -> None:
    """Afterwards it would take no change, and nobody would notice."""
    broker = open_broker(own_database.url)
    await broker.open()
    try:
        with pytest.raises(ConfigurationError, match="the log is open"):
            Relay(broker, None, RULES)
    finally:
        await broker.aclose()
