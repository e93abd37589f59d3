"""Retention in Redis: who applies which rules when, in what steps, and that the books agree with what is there."""

from __future__ import annotations

import json
import logging
import random

import pytest

from headwater.brokers.base import Retention, Rule
from headwater.errors import BrokerUnavailable, PositionLost
from headwater.event import Draft
from headwater.testing.contract.node import later
from tests.brokers.redis_stores import Place, check_books, left, opened, put, seqs
from tests.support.redis import SharedServers, ask
from tests.support.waiting import until

FOREVER = Rule(count=None, age=None)
HOUR = 3600
DATA = '"' + "x" * 28 + '"'


@pytest.fixture(autouse=True)
def _unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody sweeps unasked, so that the books stand still while they are read."""
    monkeypatch.setattr("headwater.brokers.redis.retention.INTERVAL", 3600.0)


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even the youngest events may go at once."""
    monkeypatch.setattr("headwater.brokers.redis.retention.SPARED", 0)


@pytest.mark.usefixtures("hurried")
async def test_an_append_makes_room_in_its_channels(place: Place) -> None:
    """By count, with a tenth to spare so that not every append removes some, and by bytes; and the books agree."""
    server, url = place
    rules = (Rule(pattern="count", count=20), Rule(pattern="bytes", bytes=300), FOREVER)
    async with opened(url, Retention(rules=rules)) as store, server.client() as client:
        most = 0
        for _ in range(60):
            await store.append([Draft(channel=name, data=DATA) for name in ("count", "bytes", "other")])
            most = max(most, len(await left(store, "count")))
            assert len(await left(store, "bytes")) <= 10
            await check_books(store, client)
        assert most == 22
        assert len(await left(store, "other")) == 60


@pytest.mark.usefixtures("hurried")
async def test_an_append_removes_a_little_more_than_came(place: Place) -> None:
    """A rule that was made stricter is not paid for by the next publisher alone."""
    server, url = place
    async with opened(url, Retention(rules=(FOREVER,))) as store:
        await put(store, count=200)
    async with opened(url, Retention(rules=(Rule(count=10),))) as store, server.client() as client:
        await put(store)
        assert len(await left(store, "a")) == 201 - 22
        for _ in range(10):
            await put(store)
        assert len(await left(store, "a")) <= 11
        await check_books(store, client)


async def test_the_youngest_events_stay(place: Place) -> None:
    """Although there are too many: a node that lost its connection for a moment finds them."""
    _, url = place
    async with opened(url, Retention(rules=(Rule(count=1),), total_bytes=1)) as store:
        await put(store, count=10)
        assert await store.prune(0) == 0
        assert len(await seqs(store, "a")) == 10
        assert await store.prune(later(60)) == 10


@pytest.mark.usefixtures("hurried")
async def test_an_append_beyond_the_total_removes_the_oldest_of_the_log(place: Place) -> None:
    """Before it returns; in whatever channels they are, also those that are emptied by it."""
    server, url = place
    async with opened(url, Retention(rules=(FOREVER,), total_bytes=300)) as store, server.client() as client:
        written = [(await put(store, name, data=DATA)).seq for name in random.Random(1).choices("abcdef", k=60)]
        assert await left(store, *"abcdef") == written[-10:]
        await check_books(store, client)
        with pytest.raises(PositionLost):
            await store.read(list("abcdef"), written[-12], 100)


async def test_a_log_that_is_too_large_and_young_is_not_asked_about_all_the_time(redis_servers: SharedServers) -> None:
    """If nothing could go just now, the next appends do not try."""
    async with opened(redis_servers.url(), Retention(total_bytes=10)) as store:
        scripts: list[str] = []
        ask_ = store._keeper._ask

        def counted(script: str, *args: object, **options: object) -> object:
            scripts.append(script)
            return ask_(script, *args, **options)  # type: ignore[arg-type]

        store._keeper._ask = counted  # type: ignore[assignment]
        for _ in range(5):
            await put(store, data=DATA)
        assert scripts == ["evict"]


async def test_a_failing_eviction_does_not_fail_the_append(redis_servers: SharedServers) -> None:
    """The event is in the log."""
    async with opened(redis_servers.url(), Retention(total_bytes=10)) as store:

        async def fail(*_: object, **__: object) -> object:
            raise BrokerUnavailable("no")

        store._keeper._ask = fail  # type: ignore[assignment]
        assert (await put(store, data=DATA)).seq == 1


async def test_a_sweep_leaves_what_is_to_be_kept(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """In steps of any size; the books agree, and what it says is what it did."""
    server, url = place
    dice = random.Random(7)
    rules = (Rule(pattern="c:*", count=5), Rule(pattern="b:*", bytes=100), Rule(pattern="a:*", age=HOUR), FOREVER)
    for step, surveyed, total in ((3, 2, None), (1000, 1000, 2000), (1, 100, 1500)):
        monkeypatch.setattr("headwater.brokers.redis.retention.STEP", step)
        monkeypatch.setattr("headwater.brokers.redis.retention.SURVEYED", surveyed)
        monkeypatch.setattr("headwater.brokers.redis.retention.EVICTED", 2)
        async with opened(url, Retention(rules=(FOREVER,))) as store:
            names = [f"{kind}:{number}" for kind in "abcd" for number in range(6)]
            await store.append([Draft(channel=dice.choice(names), data=DATA) for _ in range(300)])
        async with opened(url, Retention(rules=rules, total_bytes=total)) as store, server.client() as client:
            before = await left(store, *names)
            removed = await store.prune(later(2 * HOUR))
            kept = await left(store, *names)
            assert removed == len(before) - len(kept)
            assert kept == [seq for seq in before if seq in kept]
            infos = {info.name: info for info in await store.channels()}
            assert not [name for name in infos if name.startswith("a:")]
            assert all(info.events <= 5 for name, info in infos.items() if name.startswith("c:"))
            assert all(info.bytes <= 100 for name, info in infos.items() if name.startswith("b:"))
            assert total is None or sum(info.bytes for info in infos.values()) <= total
            await check_books(store, client)
            assert await store.prune(later(2 * HOUR)) == 0


async def test_channels_that_were_emptied_long_ago_are_forgotten_in_the_end(redis_servers: SharedServers) -> None:
    """How far they had come becomes a bound for all that are not known: too careful, never a hole."""
    async with (
        opened(redis_servers.url(), Retention(rules=(Rule(age=HOUR),))) as store,
        redis_servers.server().client() as client,
    ):
        names = [f"c{number}" for number in range(10_050)]
        for first in range(0, len(names), 2010):
            await store.append([Draft(channel=name) for name in names[first : first + 2010]])
        await store.prune(later(2 * HOUR))
        assert await client.zcard(store.keys.empty) == 10_000
        assert await client.hlen(store.keys.channels) == 10_001
        assert (await store.survey(["c0", "c49", "c50"], "n", "t")).last == {"c50": 51}
        assert (await store.survey([], "n", "t")).floor == 50
        for name, after in (("c0", 49), ("never", 49), ("c50", 50)):
            with pytest.raises(PositionLost):
                await store.read([name], after, 20_000)
        assert (await store.read(["never", "c0"], 50, 20_000)).events == ()
        new = await put(store, "c0")
        entries, _ = await store.read_entries(["c0"], 50, 20_000, 10)
        assert [(entry.event.position, entry.previous) for entry in entries] == [(new, 50)]
        await check_books(store, client)


async def test_the_books_are_mended_after_keys_were_evicted(place: Place) -> None:
    """A sweep brings in line what the channels have and what is written about them."""
    server, url = place
    for missing in ("oldest", "names", "empty", "c:b"):
        async with opened(url) as store, server.client() as client:
            await store.append([Draft(channel=name, data=DATA) for name in "abc"])
            await client.delete(f"{store.keys.base}:{missing}")
            await store.prune(0)
            await check_books(store, client)
            assert {info.name for info in await store.channels()} >= {"a", "c"}
            await client.delete(*await ask(client, "KEYS", f"{store.keys.base}:*"))


@pytest.mark.usefixtures("hurried")
async def test_an_evicted_stream_does_not_stop_eviction(place: Place) -> None:
    """The channel is the oldest in the books, and has nothing left."""
    server, url = place
    async with opened(url, Retention(rules=(FOREVER,), total_bytes=100)) as store, server.client() as client:
        await put(store, "a", data=DATA)
        await client.delete(store.keys.stream("a"))
        for _ in range(5):
            await put(store, "b", data=DATA)
        assert len(await left(store, "b")) == 3
        await check_books(store, client)


async def test_the_sweep_forgets_keys_and_times(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys by number and age; times as far as there are no events from then."""
    monkeypatch.setattr("headwater.brokers.redis.retention.STEP", 3)
    server, url = place
    async with opened(url, Retention(rules=(Rule(age=HOUR),), keys=None)) as store, server.client() as client:
        for number in range(20):
            await put(store, key=f"k{number}")
            while await client.xlen(store.keys.times) <= number // 2:
                await put(store)
        assert await store.prune(0) == 0
        assert await client.hlen(store.keys.keys) == 20
        assert await client.xlen(store.keys.times) >= 10
        assert await store.prune(later(2 * HOUR)) > 0
        assert await client.xlen(store.keys.times) == 1
        assert await client.hlen(store.keys.keys) == 20
        await store.prune(later(25 * HOUR))
        assert await client.hlen(store.keys.keys) == await client.llen(store.keys.key_order) == 0
        assert await store.position_at(0) == await store.head()
    async with opened(url, Retention(keys=5)) as store:
        for number in range(8):
            await put(store, key=f"l{number}")
        await store.prune(0)
        async with server.client() as client:
            assert await client.hkeys(store.keys.keys) == [f"l{number}" for number in range(3, 8)]


async def test_publishers_apply_what_a_node_has_left(place: Place) -> None:
    """Whichever came first, and also after it was changed; without a node, the default."""
    server, url = place
    async with opened(url, keeps=False) as early, server.client() as client:
        await put(early)
        assert early._keeper.retention == Retention()
        for count in (7, 8):
            retention = Retention(rules=(Rule(count=count),), keys=count)
            async with opened(url, retention), opened(url, keeps=False) as late:
                assert json.loads(str(await client.hget(early.keys.log, "retention")))["keys"] == count
                for publisher in (early, late):
                    await put(publisher)
                    await put(publisher)
                    assert publisher._keeper.retention == retention


async def test_a_retention_that_cannot_be_read_is_the_default(
    redis_servers: SharedServers, caplog: pytest.LogCaptureFixture
) -> None:
    """A node of a later version may have left it."""
    url = redis_servers.url()
    async with opened(url), redis_servers.server().client() as client:
        async with opened(url, keeps=False) as publisher:
            await client.hset(publisher.keys.log, "retention", '{"rules": 5}')
        with caplog.at_level(logging.WARNING, "headwater"):
            async with opened(url, keeps=False) as publisher:
                await put(publisher)
                await put(publisher)
                assert publisher._keeper.retention == Retention()
        assert len(caplog.messages) == 1


async def test_one_node_sweeps_at_a_time(redis_servers: SharedServers, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them look now and then; the first one after a while does it."""
    monkeypatch.setattr("headwater.brokers.redis.retention.INTERVAL", 0.05)
    url = redis_servers.url()
    turns: list[int] = []
    retention = Retention(rules=(Rule(age=0.001),))
    monkeypatch.setattr("headwater.brokers.redis.retention.SPARED", 0)
    async with opened(url, retention) as one, opened(url, retention) as two:
        for store in (one, two):
            sweep = store._keeper.sweep

            async def counted(now: int, sweep: object = sweep) -> int:
                turns.append(now)
                return await sweep(now)  # type: ignore[operator, no-any-return]

            store._keeper.sweep = counted  # type: ignore[method-assign]
        await put(one)
        await until(lambda: len(turns) > 2, "some sweeps")
        assert await left(one, "a") == []
        before = len(turns)
        assert await one._ask("take_turn", {"interval": 0}) != await two._ask("take_turn", {"interval": 60_000})
        assert len(turns) <= before + 1


async def test_a_sweep_that_fails_is_tried_again(
    redis_servers: SharedServers, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Quietly if Redis is away; else with a warning."""
    monkeypatch.setattr("headwater.brokers.redis.retention.INTERVAL", 0.01)
    async with opened(redis_servers.url()) as store, redis_servers.server().client() as client:
        failures = 0
        ask_ = store._keeper._ask

        async def fail(script: str, *args: object, **options: object) -> object:
            nonlocal failures
            failures += 1
            if failures < 3:
                raise BrokerUnavailable("away")
            return await ask_(script, *args, **options)  # type: ignore[arg-type]

        store._keeper._ask = fail  # type: ignore[assignment]
        await until(lambda: failures > 3, "another attempt")
        assert caplog.messages == []
        await client.delete(store.keys.empty)
        await client.set(store.keys.empty, "somebody's")
        with caplog.at_level(logging.WARNING, "headwater"):
            await client.hset(store.keys.channels, "a", "1-1 0")
            await until(lambda: bool(caplog.messages), "a warning")
        assert "Retention could not be applied: there is something else under" in caplog.messages[0]
