"""What becomes of appends and reads when the server, the network or the schema is not as it should be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from types import SimpleNamespace

import psycopg
import pytest

from headwater.brokers.base import Counting, Retention
from headwater.brokers.postgres import PostgresBroker, broker, from_url, link, parse, session
from headwater.brokers.postgres.link import Link, explain
from headwater.errors import BrokerUnavailable, ConfigurationError
from headwater.event import Draft
from headwater.testing.contract import Node, Recorder
from tests.brokers.postgres_nodes import ask, fresh, plain, postgres_node, schema_of
from tests.support.postgres import PostgresServer, shared_server
from tests.support.proxy import Proxy, proxying
from tests.support.waiting import until


@pytest.fixture
def url() -> Iterator[str]:
    """A log that does not exist yet."""
    with fresh() as url:
        yield url


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A server that may be stopped."""
    with PostgresServer(18) as server:
        yield server


@asynccontextmanager
async def through_proxy(url: str, options: str = "") -> AsyncIterator[tuple[Proxy, Node, PostgresBroker]]:
    """A node behind a proxy."""
    async with proxying(shared_server().port) as proxy:
        behind = url.replace(f":{shared_server().port}/", f":{proxy.port}/")
        async with postgres_node(f"{behind}&{options}", follow=["a"]) as (node, broker):
            await until(lambda: broker.is_leader, "the node to lead")
            yield proxy, node, broker


async def test_an_append_outlasts_a_restart(server: PostgresServer) -> None:
    """It waits, and so does the feed, which misses nothing."""
    async with postgres_node(server.url(), follow=["a"]) as (node, broker):
        await node.fill("a", 1)
        server.stop()
        appending = [asyncio.create_task(node.append(Draft(channel="a", data=str(i)))) for i in range(5)]
        await until(lambda: broker.counters()["retries"] > 0, "an attempt to fail")
        server.start()
        results = await asyncio.gather(*appending)
        assert len({position for (position,) in results}) == 5
        assert await node.seqs("a") == node.feed.seqs()
        assert node.feed.restarts == []


async def test_an_append_fails_when_the_outage_lasts(server: PostgresServer) -> None:
    """After `wait` seconds, and says that nothing was appended. Questions fail at once. Everything works again afterwards."""
    async with postgres_node(f"{server.url()}?wait=1", follow=["a"]) as (node, broker):
        before = await node.seqs("a")
        server.stop()
        try:
            with pytest.raises(BrokerUnavailable, match="nothing was appended") as caught:
                await node.append(Draft(channel="a"))
            assert caught.value.retry_after
            with pytest.raises(BrokerUnavailable, match="cannot be used"):
                await broker.head()
            with pytest.raises(BrokerUnavailable, match="cannot be used"):
                await broker.prune(0)
            other = from_url(f"{server.url()}?wait=1", Retention())
            with pytest.raises(BrokerUnavailable, match="cannot be used"):
                await other.open()
        finally:
            server.start()
        assert await node.seqs("a") == before
        await node.fill("a", 1)
        assert len(node.feed.events) == 1


async def test_a_server_that_stalls_is_noticed() -> None:
    """A frozen server answers nothing and closes nothing. The append fails in time, and says that nobody knows whether it was
    made: the server may make it when it goes on."""
    with PostgresServer(16) as frozen:
        async with postgres_node(f"{frozen.url()}?wait=1&timeout=0.5", follow=["a"]) as (node, broker):
            await node.fill("a", 1)
            frozen.pause()
            draft = Draft(channel="a", idempotency_key="k")
            try:
                results = await asyncio.gather(node.append(draft), broker.head(), return_exceptions=True)
                assert [type(result) for result in results] == [BrokerUnavailable] * 2
                assert "appended is not known" in str(results[0])
                await until(lambda: broker.counters()["reconnects"] > 0, "the session to break")
            finally:
                frozen.resume()
            async with postgres_node(frozen.url()) as (patient, _):  # with time for what has piled up at the server
                (position,) = await patient.append(draft)
                assert await patient.seqs("a") == [1, position.seq]
            await node.feed.complete(position)
            assert node.feed.seqs() == [1, position.seq]


async def test_an_answer_that_is_lost_is_asked_for_again(url: str) -> None:
    """The append was made, and the network swallowed the answer: it is not made twice, and the feed has it in its place,
    between the events of others."""
    async with through_proxy(url) as (proxy, node, broker):
        await node.fill("a", 1)
        proxy.stall("down")
        appending = asyncio.create_task(node.append(Draft(channel="a", data="2"), Draft(channel="b")))
        await until(lambda: ask(url, "SELECT count(*) FROM headwater.log") == [(3,)], "the append to be made")
        ask(url, "SELECT headwater.publish('a', data => '3')")
        await proxy.drop()
        proxy.resume()
        positions = await appending
        assert [position.seq for position in positions] == [2, 3]
        await node.feed.until(lambda: len(node.feed.events) == 3)
        assert [event.data for event in node.feed.events] == ["null", "2", "3"]
        assert broker.counters()["retries"] > 0
        await node.fill("a", 1)
        assert node.feed.seqs() == await node.seqs("a") == [1, 2, 4, 5]


async def test_a_publisher_is_not_kept_waiting_for_a_feed_that_is_behind(url: str) -> None:
    """Its event is in the log; the feed gets it, and what lies before it, when the log can be read again."""
    async with through_proxy(url) as (_, node, broker):
        assert broker._session is not None
        held = asyncio.Event()
        release = broker._session._link.row

        async def row(name: str, /, **parameters: object) -> tuple[object, ...]:
            if held.is_set():
                raise psycopg.OperationalError("cannot be read")
            return await release(name, **parameters)

        broker._session._link.row = row  # type: ignore[method-assign]
        held.set()
        async with postgres_node(url) as (other, _):
            await other.fill("a", 1)
        (position,) = await node.append(Draft(channel="a"))
        assert node.feed.events == []
        held.clear()
        await node.feed.complete(position)
        assert node.feed.seqs() == [1, 2]


async def test_what_waits_is_bounded(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is over the bound is refused, and counted; the rest is appended."""
    monkeypatch.setattr(broker, "MAX_WAITING", 5)
    async with postgres_node(url) as (node, found):
        appends = [asyncio.create_task(node.append(Draft(channel="a"), Draft(channel="a"))) for _ in range(10)]
        results = await asyncio.gather(*appends, return_exceptions=True)
        refused = [result for result in results if isinstance(result, BrokerUnavailable)]
        assert len(refused) == 8
        assert "already waiting" in str(refused[0])
        assert isinstance(found, Counting)
        assert found.counters()["overflows"] == found.overflows == 8
        assert len(await node.seqs("a")) == 4


async def test_a_question_that_fails_twice_fails(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked again once the writer has looked at the log; then it is what it is."""
    async with postgres_node(url) as (_, broker):
        errors: list[Exception] = []

        async def fail(*_: object, **__: object) -> object:
            raise errors[0]

        monkeypatch.setattr(broker._reader, "row", fail)
        for error in (psycopg.OperationalError("gone"), BrokerUnavailable("gone")):
            errors[:] = [error]
            with pytest.raises(BrokerUnavailable, match="gone"):
                await broker.head()


async def test_an_append_whose_publisher_has_gone_is_made_or_not(url: str) -> None:
    """One that is cancelled while it waits is not made."""
    async with postgres_node(url) as (node, broker):
        first = asyncio.create_task(node.append(Draft(channel="a")))
        await asyncio.sleep(0)
        gone = asyncio.create_task(node.append(Draft(channel="a")))
        big = asyncio.create_task(node.append(*[Draft(channel="b")] * 1500))
        last = asyncio.create_task(node.append(Draft(channel="a")))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.gather(first, gone, big, last, return_exceptions=True)
        assert len(await node.seqs("a")) == 2
        assert broker._waiting == broker._waiting_size == 0


async def test_an_error_that_nobody_expected_reaches_the_publishers(
    url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """At once, and the writer goes on."""
    async with postgres_node(url) as (node, broker):
        call = broker._writer._call

        async def fail(*_: object) -> object:
            raise RuntimeError("a defect")

        monkeypatch.setattr(broker._writer, "_call", fail)
        with pytest.raises(BrokerUnavailable, match="a defect"):
            await node.append(Draft(channel="a"))
        monkeypatch.setattr(broker._writer, "_call", call)
        await node.fill("a", 1)
    assert "nobody expected" in caplog.text


async def test_a_duty_that_fails_in_an_unexpected_way_is_taken_up_again(
    url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With a new session."""
    async with postgres_node(url, follow=["a"]) as (node, broker):
        watches = broker._watcher
        assert watches is not None
        step, failures = watches.step, [RuntimeError("a defect")]

        async def fail() -> float:
            if failures:
                raise failures.pop()
            return await step()

        monkeypatch.setattr(watches, "step", fail)
        broker._look()
        await until(lambda: not failures, "the failure")
        async with postgres_node(url) as (other, _):
            await other.fill("a", 1)
        await node.feed.until(lambda: len(node.feed.events) == 1)
    assert "a duty failed in a way that nobody expected" in caplog.text


async def test_a_hole_in_the_log_is_an_alarm(url: str, caplog: pytest.LogCaptureFixture) -> None:
    """Positions have no gaps, so an event that is missing, and that retention has not removed, was lost by somebody: clients
    load their state anew."""
    async with postgres_node(url, follow=["a"]) as (node, broker), postgres_node(url) as (other, _):
        await until(lambda: broker.is_leader, "the node to lead")
        assert broker._session is not None
        broker._session._link.cut()
        await until(lambda: broker.counters()["reconnects"] > 0, "the session to break")
        with psycopg.connect(plain(url)) as connection:  # deleted before anybody can have seen it
            connection.execute(f"SELECT FROM {schema_of(url)}.head FOR UPDATE".encode())
            connection.execute(
                f"INSERT INTO {schema_of(url)}.log (pos, at, channel, nth, size, channel_bytes, log_bytes, kind, data)"
                " VALUES (2, 1, 'b', 1, 4, 4, 4, 'j', 'null')".encode()
            )
        await node.feed.until(lambda: len(node.feed.restarts) == 1)
        assert broker.counters()["lost"] == 1
        await other.fill("a", 1)
        await node.feed.until(lambda: len(node.feed.events) == 1)
        assert node.feed.events[0].position.epoch == node.head.epoch
    assert "are missing" in caplog.text


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ("nobody@127.0.0.1", 'role "nobody" does not exist'),
        ("/nowhere", 'database "nowhere" does not exist'),
        ("limited@127.0.0.1", "may not install the schema"),
    ],
)
async def test_what_only_the_operator_can_mend_is_said_at_once(
    server: PostgresServer, change: str, complaint: str
) -> None:
    """And is no outage, for which one might wait."""
    server.execute("DROP ROLE IF EXISTS limited")
    server.execute("CREATE ROLE limited LOGIN")
    url = server.url("template1")
    url = url.replace("/template1", change) if change[0] == "/" else url.replace("postgres@127.0.0.1", change)
    found = from_url(url, Retention())
    with pytest.raises(ConfigurationError, match=complaint):
        await found.open(Recorder())
    await found.aclose()


async def test_a_schema_that_is_lost_and_may_not_be_made_again(server: PostgresServer) -> None:
    """A running hub says so to whoever asks, and goes on when somebody has installed it again."""
    server.execute("DROP SCHEMA IF EXISTS headwater CASCADE")
    server.execute("DROP ROLE IF EXISTS limited")
    server.execute("CREATE ROLE limited LOGIN")
    async with postgres_node(server.url()):
        grant(server)
    url = server.url(user="limited") + "?wait=1"
    async with postgres_node(url, follow=["a"]) as (node, broker):
        await node.fill("a", 1)
        server.execute("DROP SCHEMA headwater CASCADE")
        for attempt in (broker.head(), node.append(Draft(channel="a"))):
            with pytest.raises(BrokerUnavailable, match="may not install"):
                await attempt
        async with postgres_node(server.url()):
            grant(server)
        await node.fill("a", 1)
        assert len(node.feed.restarts) == 1
        assert await node.seqs("a") == [1]
    server.execute("DROP OWNED BY limited")


def grant(server: PostgresServer) -> None:
    """What the role of a hub needs, and no more."""
    server.execute("GRANT USAGE ON SCHEMA headwater TO limited")
    server.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA headwater TO limited")
    server.execute("GRANT USAGE ON ALL SEQUENCES IN SCHEMA headwater TO limited")
    server.execute("GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA headwater TO limited")


def test_what_went_wrong_is_said_in_our_words() -> None:
    """An error that is one of ours stays one, but for a running hub none is the operator's alone."""
    address = parse("postgresql://me:secret@db/app")
    unavailable, wrong = BrokerUnavailable("gone"), ConfigurationError("wrong", fix="mend it")
    assert explain(unavailable, address) is unavailable
    assert explain(wrong, address, opening=True) is wrong
    assert isinstance(explain(wrong, address), BrokerUnavailable)
    refused = psycopg.errors.InsufficientPrivilege("permission denied")
    assert isinstance(explain(refused, address, opening=True), ConfigurationError)
    assert isinstance(explain(refused, address), BrokerUnavailable)
    password = psycopg.OperationalError("FATAL:  password authentication failed for user")
    assert isinstance(explain(password, address), BrokerUnavailable)
    assert "check the password" in str(explain(password, address, opening=True))
    assert "TimeoutError" in str(explain(TimeoutError(), address))


async def test_a_link_says_when_an_answer_is_none(url: str) -> None:
    """A statement that must answer with one row and does not has failed. A link that was never used has nothing to cut."""
    found = Link(parse(url))
    found.cut()
    try:
        async with postgres_node(url):
            ask(url, "DELETE FROM headwater.head")
            with pytest.raises(psycopg.DataError, match="answered with 0 rows"):
                await found.row("head")
    finally:
        await found.close()
        found.cut()
        assert link.GRACE
        assert session.CLOSING


async def test_a_question_is_not_asked_for_somebody_who_has_left(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """When those before it have had no answer for so long that it has been given up."""
    async with postgres_node(url, follow=["a"]) as (_, broker):
        asked: list[object] = []

        async def question(reader: object) -> tuple[str, None]:
            asked.append(reader)
            return "", None

        async with broker._asking:
            answer = asyncio.create_task(broker._answer(question, ()))
            await asyncio.sleep(0)
            monkeypatch.setattr(broker, "_loop", SimpleNamespace(time=lambda: float("inf")))
        with pytest.raises(BrokerUnavailable, match="does not answer"):
            await answer
        monkeypatch.undo()
        assert asked == []


async def test_work_that_is_cancelled_is_forgotten(url: str) -> None:
    """Whoever waits for it is told."""
    async with postgres_node(url, follow=["a"]) as (_, broker):
        waiting = asyncio.create_task(broker._work(asyncio.Event().wait()))
        await asyncio.sleep(0)
        (work,) = broker._working
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert not broker._working


async def test_what_does_not_end_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    """After it had time to end by itself, and to notice that its connection has gone."""
    monkeypatch.setattr(session, "CLOSING", 0.01)
    stuck = asyncio.create_task(asyncio.Event().wait())
    await session.end([stuck], patience=0.01)
    assert stuck.cancelled()
