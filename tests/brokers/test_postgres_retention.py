"""Retention of a log in PostgreSQL: by itself, in small steps, and with bounded memory of what is gone."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from itertools import pairwise

import pytest

from headwater.brokers.base import Retention, Rule
from headwater.brokers.postgres import parse, retention
from headwater.brokers.postgres.link import Link
from headwater.brokers.postgres.reads import horizon
from headwater.brokers.postgres.retention import Sweep, Upkeep
from headwater.event import Draft
from tests.brokers.postgres_nodes import ask, fresh, postgres_node
from tests.support.waiting import until

FOREVER = Rule(count=None, age=None)
HOUR = 3_600_000


class Log:
    """A log with a clock of its own."""

    def __init__(self, url: str, link: Link) -> None:
        self.url = url
        self.link = link
        self.now = 10 * HOUR
        self.retention = Retention()

    def append(self, *channels: str, data: str = "null", at: int | None = None) -> None:
        """Append one event to each channel."""
        for name in channels:
            ask(
                self.url,
                "SELECT headwater.append('', 0, 0, NULL, NULL, NULL, '{1}', %s, '{j}', '{NULL}', '{NULL}', '{NULL}',"
                " '{NULL}', '{NULL}', %s)",
                [name],
                [data],
            )
        ask(self.url, "UPDATE headwater.log SET at = %s WHERE at > 100000000000", self.now if at is None else at)

    async def sweep(self) -> list[int]:
        """Sweep; how many events each step removed, if any."""
        sweep, steps = Sweep(self.retention, self.now), [0]
        while await sweep.step(self.link):
            steps.append(sweep.removed)
        steps.append(sweep.removed)
        return [after - before for before, after in pairwise(steps) if after > before]

    def held(self) -> dict[str, int]:
        """Events per channel, counted, and as their running numbers have it."""
        found = ask(
            self.url,
            "SELECT channel, count(*), max(nth) - min(nth) + 1, sum(size),"
            " max(channel_bytes) - min(channel_bytes - size) FROM headwater.log GROUP BY channel",
        )
        for _, events, counted, size, size_counted in found:
            assert (events, size) == (counted, size_counted)
        (sums,) = ask(
            self.url,
            "SELECT (SELECT coalesce(sum(size), 0) FROM headwater.log), n.log_bytes - r.removed_bytes"
            " FROM headwater.newest AS n, headwater.retained AS r",
        )
        assert sums[0] == sums[1]
        return {str(name): int(str(events)) for name, events, *_ in found}


@pytest.fixture
async def log() -> AsyncIterator[Log]:
    """An empty log."""
    with fresh() as url:
        async with postgres_node(url, retention=Retention(rules=(FOREVER,))):
            pass
        link = Link(parse(url))
        yield Log(url, link)
        await link.close()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small steps."""
    for name in ("STEP", "SURVEY", "OPERATIONS"):
        monkeypatch.setattr(retention, name, 2)


@pytest.mark.usefixtures("small")
async def test_a_sweep_is_done_in_small_steps(log: Log) -> None:
    """No step removes more than its share, however much there is to remove and whatever channels it is in."""
    log.append(*"aaaaaaabbbc", at=0)
    log.retention = Retention(rules=(Rule(count=1),))
    assert await log.sweep() == [2, 2, 2, 2]
    assert log.held() == {"a": 1, "b": 1, "c": 1}


@pytest.mark.usefixtures("small")
async def test_a_log_that_is_too_large_is_trimmed_in_small_steps(log: Log) -> None:
    """The oldest go, whatever channel they are in, and what is young stays."""
    log.append(*"abcabcab", at=0)
    log.append("b")
    log.retention = Retention(rules=(FOREVER,), total_bytes=10)
    assert await log.sweep() == [2, 2, 2, 1]
    assert log.held() == {"b": 2}
    assert ask(log.url, "SELECT name, mark, emptied FROM headwater.channel ORDER BY name") == [
        ("a", 7, True),
        ("b", 5, False),
        ("c", 6, True),
    ]
    log.retention = Retention(rules=(FOREVER,), total_bytes=1)
    assert await log.sweep() == [1]
    assert log.held() == {"b": 1}


async def test_what_is_young_stays_unless_it_is_of_a_clock_that_was_put_back(log: Log) -> None:
    """By count, too."""
    log.append("a", "a", at=log.now - retention.SPARED - 1)
    log.append("a")
    log.retention = Retention(rules=(Rule(count=0, bytes=0),), total_bytes=0)
    assert await log.sweep() == [2]
    log.now -= HOUR
    assert await log.sweep() == [1]
    assert log.held() == {}


async def test_keys_are_forgotten_by_age_and_by_number(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest ones are kept, counted in small steps."""
    monkeypatch.setattr(retention, "COUNTED", 3)

    def remember(count: int) -> None:
        ask(log.url, "TRUNCATE headwater.key")
        ask(
            log.url,
            "INSERT INTO headwater.key (key, pos, at, print) SELECT i, i, i * 3600000, '' FROM generate_series(1, %s) AS i",
            count,
        )
        ask(log.url, "UPDATE headwater.retained SET pos = %s", count)

    async def left() -> list[object]:
        await log.sweep()
        return [pos for (pos,) in ask(log.url, "SELECT pos FROM headwater.key ORDER BY pos")]

    remember(9)
    log.retention = Retention(key_age=4 * 3600.0 + 1)
    assert await left() == [6, 7, 8, 9]
    for keys, kept in ((None, range(1, 10)), (100, range(1, 10)), (9, range(1, 10)), (7, range(3, 10)), (2, (8, 9))):
        remember(9)
        log.retention = Retention(keys=keys)
        assert await left() == list(kept)
    remember(9)
    ask(log.url, "DELETE FROM headwater.key WHERE pos BETWEEN 2 AND 8")
    log.retention = Retention(keys=3)
    assert await left() == [1, 9]
    ask(log.url, "DELETE FROM headwater.key WHERE pos < 9")
    log.retention = Retention(keys=3)
    assert await left() == [9]
    ask(log.url, "TRUNCATE headwater.key")
    assert await left() == []


@pytest.mark.usefixtures("small")
async def test_answers_are_forgotten(log: Log) -> None:
    """When nobody asks for them again any more."""
    log.now = 10 * retention.OPERATION_AGE
    for at in (0, 0, 0, log.now - retention.OPERATION_AGE - 1, log.now - retention.OPERATION_AGE):
        ask(log.url, "INSERT INTO headwater.operation VALUES (gen_random_uuid(), %s, '{}')", at)
    await log.sweep()
    assert ask(log.url, "SELECT count(*) FROM headwater.operation") == [(1,)]


@pytest.mark.usefixtures("small")
async def test_channels_without_events_are_forgotten_in_the_end(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that have been empty longest; what they have lost then counts for every unknown channel, and not for those that
    live on or have begun again."""
    monkeypatch.setattr(retention, "MAX_EMPTY", 2)
    log.append("live", *"abcdef", at=0)
    ask(log.url, "UPDATE headwater.log SET at = %s WHERE channel = 'live'", log.now)
    log.retention = Retention(rules=(Rule(age=60),))
    await log.sweep()
    assert ask(log.url, "SELECT count(*) FROM headwater.channel") == [(3,)]
    for name, mark in (("live", 0), ("a", 5), ("f", 7), ("never used", 5)):
        assert (await horizon(log.link, [name]))[1].seq == mark
    log.append("e", "g", at=log.now)
    ask(log.url, "INSERT INTO headwater.channel VALUES ('x', 1, true), ('y', 2, true)")
    await log.sweep()
    assert (await horizon(log.link, ["e"]))[1].seq == 6
    assert log.held() == {"live": 1, "e": 1, "g": 1}
    assert ask(log.url, "SELECT name FROM headwater.channel WHERE emptied ORDER BY name") == [("e",), ("f",)]


async def test_the_leader_applies_retention(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unasked, again and again."""
    monkeypatch.setattr(retention, "SWEEP_INTERVAL", 0.01)
    monkeypatch.setattr(retention, "STEP_INTERVAL", 0.0)
    monkeypatch.setattr(retention, "SPARED", 1)
    with fresh() as url:
        async with postgres_node(url, retention=Retention(rules=(Rule(count=2),)), follow=["a"]) as (node, _):
            for _ in range(2):
                await node.append(*[Draft(channel="a")] * 5)
                await until(lambda: ask(url, "SELECT count(*) FROM headwater.log") == [(2,)], "retention")
            assert len(node.feed.events) == 10


async def test_upkeep_looks_only_when_there_may_be_something(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """After something was appended, or when something has come of age."""
    monkeypatch.setattr(time, "time", lambda: log.now / 1000)

    async def is_due(upkeep: Upkeep, now: float) -> bool:
        return await upkeep.step(log.link, now) == retention.STEP_INTERVAL

    upkeep = Upkeep(Retention(rules=(Rule(pattern="a", age=3600), Rule(pattern="**", age=None))))
    assert not await is_due(upkeep, 0)
    assert await upkeep.step(log.link, 10) == retention.SWEEP_INTERVAL - 10
    log.append("a")
    for start in (100, 200):  # the first time it is too young
        assert await is_due(upkeep, start)
        while await is_due(upkeep, start := start + 1):
            pass
        log.now += 2 * retention.SPARED
    assert not await is_due(upkeep, 300)
    log.now += 2 * HOUR
    assert await is_due(upkeep, 400)
    assert await Upkeep(None).step(log.link, 0) == retention.SWEEP_INTERVAL
    other = Upkeep(Retention(rules=(Rule(pattern="x", age=None),)))
    other._swept = log.now
    log.now += 1000 * HOUR
    assert await is_due(other, 0)  # by the default rule
