"""What the leader makes of the outbox: order, keys, mappings, what cannot become an event, and other brokers."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager

import msgspec
import psycopg
import pytest

from headwater.brokers.base import Broker
from headwater.brokers.memory import MemoryBroker
from headwater.brokers.postgres import Address, Mapping, PostgresBroker, Row, parse
from headwater.brokers.postgres.leader import Leader
from headwater.brokers.postgres.link import Link
from headwater.brokers.postgres.outbox import REFUSED
from headwater.brokers.postgres.sequencer import OtherBroker
from headwater.brokers.postgres.session import Session
from headwater.errors import BrokerUnavailable, ConfigurationError
from headwater.event import Draft, Position
from headwater.testing.contract import Recorder
from tests.brokers.postgres_nodes import ask, fresh, plain, postgres_node, schema_of
from tests.support.waiting import until


@pytest.fixture
def url() -> Iterator[str]:
    """A log that does not exist yet."""
    with fresh() as url:
        yield url


@pytest.fixture
async def installed(url: str) -> str:
    """A log without a hub."""
    async with postgres_node(url):
        return url


def changed(url: str, *values: str) -> None:
    """What triggers leave: rows of changes."""
    for value in values:
        ask(url, "INSERT INTO headwater.outbox (kind, source, op, new) VALUES ('c', 'rule', 'I', %s::jsonb)", value)


async def test_what_is_committed_first_comes_first(installed: str) -> None:
    """And a transaction that stays open holds up nobody; what it published comes when it is over."""
    publish = f"SELECT {schema_of(installed)}.publish('a', data => to_jsonb(%s::text))"
    async with postgres_node(installed, follow=["a"]) as (node, _):
        with psycopg.connect(plain(installed)) as early, psycopg.connect(plain(installed)) as late:
            early.execute(publish.encode(), ("early",))
            late.execute(publish.encode(), ("late",))
            late.commit()
            await node.feed.until(lambda: len(node.feed.events) == 1)
            early.commit()
            await node.feed.until(lambda: len(node.feed.events) == 2)
    assert [event.data for event in node.feed.events] == ['"late"', '"early"']
    assert ask(installed, "SELECT count(*) FROM headwater.outbox") == [(0,)]


async def test_every_node_gets_what_the_leader_took(installed: str) -> None:
    """At the same positions, though one of them leads only."""
    async with postgres_node(installed, follow=["a"]) as one, postgres_node(installed, follow=["a"]) as two:
        ask(installed, "SELECT headwater.publish('a') FROM generate_series(1, 700)")
        for node, _ in (one, two):
            await node.feed.until(lambda node=node: len(node.feed.events) == 700)  # type: ignore[misc]
        assert one[0].feed.events == two[0].feed.events
        assert {one[1].is_leader, two[1].is_leader} == {True, False}
        taken = [broker.taken for _, broker in (one, two)]
        assert sorted(taken) == [0, 700]


async def test_keys_hold_for_what_transactions_publish(installed: str, caplog: pytest.LogCaptureFixture) -> None:
    """Among themselves, within a batch or not, and with what is appended. A conflict is found too late for its publisher: it
    is dropped, counted and logged, and holds up nobody."""
    async with postgres_node(installed, follow=["a"]) as (node, broker):
        await node.append(Draft(channel="a", data="1", idempotency_key="appended"))
        ask(
            installed,
            "SELECT headwater.publish('a', data => data::jsonb, idempotency_key => key) FROM (VALUES"
            " ('1', 'appended'), ('2', 'appended'), ('3', 'new'), ('3', 'new'), ('4', 'new'), ('5', NULL)"
            ") AS v (data, key)",
        )
        await node.feed.until(lambda: node.feed.events[-1].data == "5")
        ask(installed, "SELECT headwater.publish('a', data => '9', idempotency_key => 'new')")
        await until(lambda: broker.counters()["conflicts"] == 3, "the conflict")
        ask(installed, "SELECT headwater.publish('a', data => '3', idempotency_key => 'new')")
        ask(installed, "SELECT headwater.publish('a', data => '6')")
        await node.feed.until(lambda: node.feed.events[-1].data == "6")
        assert [event.data for event in node.feed.events] == ["1", "3", "5", "6"]
        assert broker.counters()["conflicts"] == 3
    assert len([record for record in caplog.records if "repeats the idempotency key" in record.message]) == 3


async def test_a_row_that_is_no_event_is_told_and_holds_up_nobody(installed: str) -> None:
    """What somebody has put there by other ways than the functions becomes an event on a channel of its own."""
    async with postgres_node(installed, follow=["a", REFUSED]) as (node, _):
        ask(installed, "INSERT INTO headwater.outbox (kind, channel, data) VALUES ('p', '$secret', '1')")
        ask(installed, "INSERT INTO headwater.outbox (kind, channel, type, data) VALUES ('p', 'a', 'x', '{')")
        ask(installed, "INSERT INTO headwater.outbox (kind) VALUES ('p')")
        ask(installed, "SELECT headwater.publish('a')")
        await node.feed.until(lambda: len(node.feed.events) == 4)
        *refused, event = node.feed.events
        assert event.channel == "a"
        told = [msgspec.json.decode(each.data) for each in refused]
        assert [each["outbox"] for each in told] == [1, 2, 3]
        assert told[0]["channel"] == "$secret"
        assert "begins with $" in told[0]["error"]
        assert "cannot be written as JSON" in told[1]["error"]


def doubled(row: Row) -> Sequence[Draft]:
    """A mapping: two events for a number, none for null, and an error for a text."""
    value = msgspec.json.decode(row.new or "null")
    if isinstance(value, str):
        raise ValueError(f"{value} cannot be doubled")
    return [] if value is None else [Draft.json("a", "doubled", each) for each in (value, 2 * value)]


async def test_changes_become_what_the_mapping_says(installed: str) -> None:
    """In order with what was published; none, one or several events each. One that it fails on is told and holds up
    nobody."""
    changed(installed, "1")
    ask(installed, "SELECT headwater.publish('a', data => '\"published\"')")
    changed(installed, "null", '"text"', "2")
    async with postgres_node(installed, follow=["a", REFUSED], mapping=doubled) as (node, broker):
        head = await broker.head()
        await node.feed.until(lambda: (bool(node.feed.events) and node.feed.events[-1].data == "4") or head.seq == 6)
        page = await broker.read(["a", REFUSED], 0, 100)
        data = [event.data for event in page.events]
        assert data[:3] + data[4:] == ["1", "2", '"published"', "2", "4"]
        assert msgspec.json.decode(data[3])["error"] == "ValueError: text cannot be doubled"


async def test_changes_wait_for_somebody_who_can_map_them(installed: str) -> None:
    """A hub without rules leaves them alone, takes what is published, and promises triggers nothing."""
    changed(installed, "1")
    ask(installed, "UPDATE headwater.state SET capture_until = '-infinity'")
    async with postgres_node(installed, follow=["a"]) as (node, _):
        ask(installed, "SELECT headwater.publish('a')")
        await node.feed.until(lambda: len(node.feed.events) == 1)
    assert ask(installed, "SELECT count(*) FROM headwater.outbox") == [(1,)]
    assert ask(installed, "SELECT capture_until FROM headwater.state WHERE capture_until > now()") == []


async def test_changes_that_went_unnoticed_end_the_epoch(installed: str, caplog: pytest.LogCaptureFixture) -> None:
    """Triggers are quiet when no hub has taken changes for too long. On its return every client loads its state anew, and
    triggers note changes again."""
    ask(installed, "UPDATE headwater.state SET capture_until = now() - interval '1 second'")
    async with postgres_node(installed, follow=["a"], mapping=doubled) as (node, broker):
        await node.feed.until(lambda: len(node.feed.restarts) >= 1)  # and again, if a transaction was under way
        assert node.head.epoch not in {restart.epoch for restart in node.feed.restarts}
        changed(installed, "3")
        await node.feed.until(lambda: len(node.feed.events) == 2)
        assert node.feed.events[-1].position.epoch in {restart.epoch for restart in node.feed.restarts}
        assert broker.is_leader
    ((is_promised,),) = ask(installed, "SELECT capture_until > now() FROM headwater.state")
    assert is_promised
    assert "triggers stopped noting them" in caplog.text


async def test_what_changes_become_is_said_before_the_log_is_opened(installed: str) -> None:
    """Afterwards it would take none, and nobody would notice."""
    changed(installed, "1")
    broker = PostgresBroker(parse(installed))
    broker.map_changes(doubled)
    await broker.open(Recorder())
    try:
        await until(lambda: broker.taken == 1, "the change to be taken")
        with pytest.raises(ConfigurationError, match="the log is open"):
            broker.map_changes(doubled)
    finally:
        await broker.aclose()


class Unsteady(MemoryBroker):
    """A broker that fails when told to, before or after it has appended."""

    def __init__(self) -> None:
        super().__init__()
        self.failures: list[str] = []
        self.appends = 0

    async def append(self, drafts: Sequence[Draft]) -> tuple[Position, ...]:
        """Append, or fail, or both."""
        self.appends += 1
        failure = self.failures.pop(0) if self.failures else ""
        positions = () if failure == "before" else await super().append(drafts)
        if failure:
            raise BrokerUnavailable("told to", retry_after=0.001)
        return positions


@asynccontextmanager
async def relaying(url: str, broker: Broker, mapping: Mapping | None = None) -> AsyncIterator[Leader]:
    """A session that takes from the outbox into another broker."""
    address: Address = parse(url)
    link = Link(address)
    leader = Leader(link, address.options, OtherBroker(link, broker), mapping=mapping)
    session = Session(link, address, [leader], lost=lambda: None)
    session.start()
    try:
        yield leader
    finally:
        await session.stop()


async def test_another_broker_gets_each_event_once(installed: str) -> None:
    """Also when it fails, before or after it has appended; its events have keys made of the row's number, or their own."""
    broker, feed = Unsteady(), Recorder()
    await broker.open(feed)
    await broker.follow(["a"])
    broker.failures = ["before", "after", "after"]
    ask(installed, "SELECT headwater.publish('a', data => '0', idempotency_key => 'own')")
    changed(installed, "1", "null", "10")
    async with relaying(installed, broker, doubled) as leader:
        await until(lambda: leader.taken == 4, "the rows to be taken")
        await broker.append([Draft(channel="a", data="0", idempotency_key="own")])
        assert [event.data for event in feed.events] == ["0", "1", "2", "10", "20"]
        assert leader.is_leading
        assert broker.appends == 5
    changed(installed, "5")
    broker.failures = ["after"]
    async with relaying(installed, broker, doubled):
        await feed.until(lambda: len(feed.events) == 7)  # and it dies before it has deleted the row
    async with relaying(installed, broker, doubled):
        changed(installed, "7")
        await feed.until(lambda: len(feed.events) == 9)
        await until(lambda: ask(installed, "SELECT count(*) FROM headwater.outbox") == [(0,)], "the rows to be deleted")
    assert [event.data for event in feed.events[5:]] == ["5", "10", "7", "14"]


async def test_a_conflict_in_another_broker_harms_nobody_else(installed: str) -> None:
    """The event is dropped, and those around it arrive."""
    broker, feed = MemoryBroker(), Recorder()
    await broker.open(feed)
    await broker.follow(["a"])
    await broker.append([Draft(channel="a", data="0", idempotency_key="k")])
    for data, key in (("1", "NULL"), ("2", "'k'"), ("3", "NULL")):
        ask(installed, f"SELECT headwater.publish('a', data => '{data}', idempotency_key => {key})")
    async with relaying(installed, broker) as leader:
        await feed.until(lambda: feed.events[-1].data == "3")
        assert [event.data for event in feed.events] == ["0", "1", "3"]
        assert isinstance(leader._target, OtherBroker)
        assert leader._target.conflicts == 1


async def test_changes_that_went_unnoticed_end_the_epoch_of_another_broker(installed: str) -> None:
    """So its clients are told, too. Rows that become no event are deleted all the same."""
    broker = MemoryBroker()
    feed = Recorder()
    head = await broker.open(feed)
    ask(installed, "UPDATE headwater.state SET capture_until = now() - interval '1 second'")
    changed(installed, "null")
    async with relaying(installed, broker, doubled) as leader:
        await until(lambda: leader.taken == 1, "the row to be taken")
    assert [each.epoch for each in feed.restarts] == [(await broker.head()).epoch] != [head.epoch]


async def test_changes_that_went_unnoticed_are_told_to_the_operator_of_a_broker_that_cannot(
    installed: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Its clients cannot be told."""

    class Unable(MemoryBroker):
        begin_epoch = None  # type: ignore[assignment]

    broker = Unable()
    await broker.open()
    ask(installed, "UPDATE headwater.state SET capture_until = now() - interval '1 second'")
    changed(installed, "null")
    with caplog.at_level(logging.WARNING):
        async with relaying(installed, broker, doubled) as leader:
            await until(lambda: leader.taken == 1, "the row to be taken")
    assert "clients are not told" in caplog.text
    assert (await broker.head()).seq == 0
