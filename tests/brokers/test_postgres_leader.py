"""Who leads, for how long, and how a leader goes to sleep without missing anything."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from headwater.brokers.base import Retention, Rule
from headwater.brokers.postgres import PostgresBroker, leader, parse, retention, watcher
from headwater.brokers.postgres.leader import LowWater
from headwater.brokers.postgres.link import Link
from headwater.brokers.postgres.migrate import lock_key
from headwater.event import Draft
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


def key(url: str) -> int:
    """Of the advisory lock of leaders."""
    return lock_key(parse(url).options.schema, "lead")


async def test_the_next_one_leads_when_a_leader_goes(installed: str) -> None:
    """Long before the lease is over: its session gives the lock back."""
    async with postgres_node(installed, follow=["a"]) as (node, second):
        await until(lambda: second.is_leader, "the only node to lead")
        async with postgres_node(installed) as (_, third):
            ask(installed, "SELECT headwater.publish('a')")
            await node.feed.until(lambda: len(node.feed.events) == 1)
            assert not third.is_leader
            await second.aclose()
            node.feed.is_over = True
            assert not second.is_leader
            await until(lambda: third.is_leader, "the other node to lead", patience=leader.LEASE / 2)


async def test_one_who_holds_the_lock_and_does_nothing_is_replaced(installed: str) -> None:
    """When its lease is over. Until then it may be at work."""
    with psycopg.connect(plain(installed), autocommit=True) as stuck:
        stuck.execute("SELECT pg_advisory_lock(%s)", (key(installed),))
        ask(installed, "UPDATE headwater.lease SET until = now() + interval '1 hour'")
        async with postgres_node(installed, follow=["a"]) as (node, broker):
            ask(installed, "SELECT headwater.publish('a')")
            await node.append(Draft(channel="a"))
            assert not broker.is_leader
            ask(installed, "UPDATE headwater.lease SET until = now()")
            await until(lambda: broker.is_leader, "the node to lead")
            await node.feed.until(lambda: len(node.feed.events) == 2)
            assert ask(installed, "SELECT has_lock FROM headwater.lease") == [(False,)]
        with_lock = stuck.execute("SELECT pg_advisory_unlock(%s)", (key(installed),)).fetchone()
        assert with_lock == (True,)


async def test_one_who_is_replaced_changes_nothing_any_more(
    installed: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It finds that its number is not the newest when it is about to take something, and steps down."""
    monkeypatch.setattr(leader, "LEASE", 3600.0)
    monkeypatch.setattr(leader, "AWAKE", 3600.0)
    async with postgres_node(installed, follow=["a"]) as (node, broker):
        await until(lambda: is_settled(broker), "the node to lead")
        ask(installed, "UPDATE headwater.lease SET until = now() + interval '1 hour', has_lock = false")
        ask(installed, "UPDATE headwater.head SET fence = fence + 1")
        ask(installed, "SELECT headwater.publish('a')")
        await until(lambda: not broker.is_leader, "the node to step down")
        assert ask(installed, "SELECT count(*) FROM headwater.outbox") == [(1,)]
        assert ask(installed, "SELECT pg_try_advisory_lock(%s)", key(installed)) == [(True,)]
        ask(installed, "UPDATE headwater.lease SET until = now()")
        await node.feed.until(lambda: len(node.feed.events) == 1)
    assert "leads no more" in caplog.text


def is_settled(broker: PostgresBroker) -> bool:
    """Whether a node leads, and has said for how long."""
    duty = broker._leader
    return duty is not None and duty.is_leading and getattr(duty, "_awake_until", 0.0) > 0


async def test_one_who_is_replaced_while_nothing_happens_steps_down(
    installed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When it says that it goes on."""
    monkeypatch.setattr(leader, "LEASE", 0.05)
    async with postgres_node(installed) as (_, broker):
        await until(lambda: broker.is_leader, "the node to lead")
        ask(installed, "UPDATE headwater.lease SET until = now() + interval '1 hour', has_lock = false")
        ask(installed, "UPDATE headwater.head SET fence = fence + 1")
        await until(lambda: not broker.is_leader, "the node to step down")


async def test_the_leader_promises_publishers_and_triggers_that_somebody_takes(installed: str) -> None:
    """For as long as the options say, counted from now."""
    ask(installed, "UPDATE headwater.state SET publish_until = now(), capture_until = now() + interval '1 hour'")
    url = f"{installed}&publish_for=7200&capture_for=10800"
    async with postgres_node(url, mapping=lambda row: ()) as (_, broker):
        await until(lambda: broker.is_leader, "the node to lead")
        promised = (
            "SELECT publish_until > now() + '1:59', capture_until > now() + '2:59', told_until > now() + '0:02'"
            " FROM headwater.state"
        )
        await until(lambda: ask(installed, promised) == [(True, True, True)], "the promise")


@pytest.fixture
def drowsy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nodes that fall asleep soon, and do not wake up by themselves."""
    monkeypatch.setattr(leader, "BUSY_FOR", 0.02)
    monkeypatch.setattr(leader, "AWAKE", 0.1)
    monkeypatch.setattr(leader, "FALLBACK", 60.0)
    monkeypatch.setattr(watcher, "FALLBACK", 60.0)
    monkeypatch.setattr(watcher, "AWAKE_FOR", 0.45)
    monkeypatch.setattr(retention, "SWEEP_INTERVAL", 60.0)


def sleeps(broker: PostgresBroker) -> bool:
    """Whether a node waits to be told, of what is published and of what is appended."""
    assert broker._session is not None
    leads, watches = broker._session._duties[1], broker._session._duties[0]
    assert isinstance(leads, leader.Leader)
    assert isinstance(watches, watcher.Watcher)
    return leads.is_leading and leads._is_asleep and watches.is_asleep


@pytest.mark.usefixtures("drowsy")
async def test_a_leader_that_sleeps_is_told(installed: str) -> None:
    """Of what a transaction publishes; and a node of what another appends."""
    async with postgres_node(installed, follow=["a"]) as (node, broker):
        await node.append(Draft(channel="a"))
        for count in (2, 3):
            await until(lambda: sleeps(broker), "the node to sleep")
            ask(installed, "SELECT headwater.publish('a')")
            await node.feed.until(lambda count=count: len(node.feed.events) == count)  # type: ignore[misc]
        await until(lambda: sleeps(broker), "the node to sleep")
        async with postgres_node(installed) as (other, _):
            await other.append(Draft(channel="a"))
            await node.feed.until(lambda: len(node.feed.events) == 4)


@pytest.mark.usefixtures("drowsy")
async def test_a_leader_does_not_sleep_while_somebody_may_have_found_it_awake(installed: str) -> None:
    """A transaction that published while it was awake tells nobody, however late it is committed."""
    async with postgres_node(installed, follow=["a"]) as (node, broker):
        await until(lambda: broker.is_leader, "the node to lead")
        with psycopg.connect(plain(installed)) as connection:
            ask(installed, "UPDATE headwater.state SET awake_until = now() + interval '1 minute'")
            connection.execute(f"SELECT {schema_of(installed)}.publish('a')".encode())
            ask(installed, "UPDATE headwater.state SET awake_until = '-infinity'")
            duty = broker._leader
            assert duty is not None
            await until(lambda: bool(getattr(duty, "_wary", None)), "the node to become wary")
            connection.commit()
        await node.feed.until(lambda: len(node.feed.events) == 1)


async def test_a_search_begins_where_nothing_can_come_any_more(installed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not at the beginning, where rows that are deleted lie as long as any transaction is open; nor behind the number of a
    row that may still be committed."""
    monkeypatch.setattr(leader, "TIDY", 1)
    link, low = Link(parse(installed)), LowWater()
    try:
        with psycopg.connect(plain(installed)) as late:
            ask(installed, "SELECT headwater.publish('a') FROM generate_series(1, 3)")
            late.execute(f"SELECT {schema_of(installed)}.publish('late')".encode())
            ask(installed, "SELECT headwater.publish('a')")
            for now in (0, 10, 20):
                await low.took(link, 5, now)
                low.drained()
                assert low.low == 0
            late.commit()
        await low.took(link, 1, 20.5)  # too soon to ask again
        assert low.low == 0
        await low.took(link, 1, 30)
        assert low.low == 0
        low.drained()
        assert low.low == 5
        await low.took(link, 0, 40)
        low.drained()
        assert low.low == 5
    finally:
        await link.close()


async def test_nothing_is_removed_without_a_rule(installed: str) -> None:
    """A log that keeps everything is not swept in vain."""
    retention = Retention(rules=(Rule(pattern="**", count=None, age=None),), total_bytes=None, keys=None)
    async with postgres_node(installed, retention=retention) as (node, broker):
        await node.fill("a", 3)
        await until(lambda: broker.is_leader, "the node to lead")
        assert await node.retained("a") == [1, 2, 3]


async def test_a_leader_that_was_stopped_for_too_long_notices(installed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its session may have lasted, so that nobody took its place: the next promise finds that the last one was broken."""
    monkeypatch.setattr(leader, "RENEWAL", 0.2)
    async with postgres_node(installed, follow=["a"], mapping=lambda row: []) as (node, broker):
        await until(lambda: is_settled(broker), "the node to lead")
        ask(installed, "UPDATE headwater.state SET capture_until = now() - interval '1 second'")
        await node.feed.until(lambda: len(node.feed.restarts) >= 1)


async def test_promises_are_renewed_long_before_they_end(installed: str) -> None:
    """Also the shortest ones that there can be."""
    async with postgres_node(f"{installed}&capture_for=60&publish_for=90") as (_, broker):
        await until(lambda: is_settled(broker), "the node to lead")
        assert getattr(broker._leader, "_renewal", None) == 20
