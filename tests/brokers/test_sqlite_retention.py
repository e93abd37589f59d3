"""Retention of a SQLite log: by itself, in small steps, and with bounded memory of what is gone."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

from headwater.brokers.base import Retention, Rule
from headwater.brokers.sqlite import Options, SqliteBroker, retention, writer
from headwater.brokers.sqlite.appends import read_log, write_group
from headwater.brokers.sqlite.file import Link
from headwater.brokers.sqlite.reads import horizon
from headwater.brokers.sqlite.retention import Sweep, is_due, trim_after
from headwater.event import Draft
from tests.brokers.nodes import sqlite_node

FOREVER = Rule(count=None, age=None)
HOUR = 3_600_000


class Log:
    """A log with a clock of its own, without threads."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.now = 10 * HOUR
        self.retention = Retention()

    def append(self, *channels: str, data: str = "null", key: str | None = None, trim: bool = False) -> None:
        """Append one event to each channel."""
        drafts = [Draft(channel=name, data=data, idempotency_key=key) for name in channels]
        with self.link.transaction() as connection:
            group = write_group(connection, read_log(connection), [drafts], self.now, self.retention.key_age)
            if trim:
                trim_after(connection, group, self.retention, self.now)

    def sweep(self) -> list[int]:
        """Sweep; how many events each step removed."""
        sweep, steps = Sweep(self.retention, self.now, self.link.transaction), [0]
        while sweep.step(self.link.use()):
            steps.append(sweep.removed)
        steps.append(sweep.removed)
        return [after - before for before, after in pairwise(steps)]

    def held(self) -> dict[str, int]:
        """Events per channel, counted, and as the channel's own count has it."""
        counted = self.link.use().execute(
            "SELECT c.name, count(e.seq), c.events, coalesce(sum(e.size), 0), c.bytes"
            " FROM channel c LEFT JOIN event e ON e.channel = c.id GROUP BY c.id"
        )
        held = {}
        for name, events, count, size, bytes_ in counted:
            assert (events, size) == (count, bytes_)
            held[name] = events
        assert self.one("SELECT bytes FROM log") == self.one("SELECT coalesce(sum(size), 0) FROM event")
        return held

    def one(self, statement: str) -> int:
        """One number."""
        (value,) = self.link.use().execute(statement).fetchone()
        assert isinstance(value, int)
        return value


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    """An empty log."""
    with closing(Link(tmp_path / "events.db", Options(synchronous="normal"), create=True)) as link:
        yield Log(link)


def test_a_sweep_is_done_in_small_steps(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """No step removes more than its share, however much there is to remove and whatever channels it is in."""
    monkeypatch.setattr(retention, "STEP", 10)
    monkeypatch.setattr(retention, "SURVEY", 3)
    log.retention = Retention(rules=(Rule(count=2),))
    for name in "abcdefg":
        log.append(*[name] * 17)
    log.now += HOUR
    steps = log.sweep()
    assert sum(steps) == 7 * 15
    assert max(steps) == 10
    assert log.held() == dict.fromkeys("abcdefg", 2)


def test_a_large_log_is_cut_in_small_steps(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """By bytes in all: the oldest of every channel, so many at a time."""
    monkeypatch.setattr(retention, "STEP", 10)
    log.retention = Retention(rules=(FOREVER,), total_bytes=4 * 20)
    for _ in range(30):
        log.append("a", "b")
    log.now += HOUR
    steps = log.sweep()
    assert sum(steps) == 40
    assert max(steps) == 10
    assert log.held() == {"a": 10, "b": 10}


def test_what_is_young_is_spared(log: Log) -> None:
    """A node that was busy for a moment must still find in the file what it was not told yet."""
    log.retention = Retention(rules=(Rule(count=1, bytes=1, age=0),), total_bytes=1)
    log.append(*"aaa")
    log.now += retention.SPARED - 1
    log.append(*"aaa", trim=True)
    assert sum(log.sweep()) == 0
    log.now += 1
    assert sum(log.sweep()) == 3
    assert log.held() == {"a": 3}


def test_an_append_makes_room_for_itself(log: Log) -> None:
    """It removes what is over, with some slack, and at most a little more than it brought."""
    log.retention = Retention(rules=(Rule(count=100),))
    log.append(*["a"] * 1000)
    log.now += HOUR
    log.append("a", trim=True)
    assert log.held() == {"a": 1001 - 2 - retention.BATCH}
    log.append(*["a"] * 900, trim=True)
    assert log.held() == {"a": 901}  # those that came in the same moment are spared
    log.now += HOUR
    for _ in range(50):
        log.append("a", trim=True)
        log.now += HOUR
    assert log.held()["a"] <= 110


def test_an_append_makes_room_in_bytes(log: Log) -> None:
    """Those of its channel, and those of all."""
    log.retention = Retention(rules=(Rule(pattern="a", count=None, bytes=16), FOREVER), total_bytes=100)
    log.append(*"aaaaaaaaaa", *"bbbbbbbbbbbbbbbbbbbb")
    log.now += HOUR
    log.append("b", trim=True)
    assert log.held() == {"a": 4, "b": 21}
    log.append("a", trim=True)
    assert log.held() == {"a": 4, "b": 21}
    log.append("b", trim=True)
    assert log.held() == {"a": 3, "b": 22}


def test_keys_are_forgotten_in_small_steps(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """When they have their age, whatever became of their events."""
    monkeypatch.setattr(retention, "STEP", 3)
    log.retention = Retention(rules=(FOREVER,), key_age=3600)
    for number in range(10):
        log.append("a", key=str(number))
    log.now += HOUR // 2
    log.append("a", key="young")
    log.sweep()
    assert log.one("SELECT count(*) FROM key") == 11
    log.now += HOUR // 2 + 1
    steps = log.sweep()
    assert log.one("SELECT count(*) FROM key") == 1
    assert len(steps) >= 4


@pytest.mark.parametrize(("keys", "kept"), [(5, 5), (7, 7), (12, 12), (13, 12), (None, 12)])
def test_the_newest_keys_are_remembered(log: Log, monkeypatch: pytest.MonkeyPatch, keys: int | None, kept: int) -> None:
    """However young the others are: a publisher with a key for each event would fill the disk within a day, whatever
    `total_bytes` says. They are counted, and they go, a few at a time."""
    monkeypatch.setattr(retention, "COUNTED", 2)
    monkeypatch.setattr(retention, "STEP", 3)
    log.retention = Retention(rules=(FOREVER,), keys=keys)
    for number in range(12):
        log.append("a", key=str(number))
        log.append("a")
    log.sweep()
    assert log.one("SELECT count(*) FROM key") == kept
    assert log.one("SELECT min(CAST(key AS INTEGER)) FROM key") == 12 - kept
    assert sum(log.held().values()) == 24


def test_few_keys_among_many_events_are_all_remembered(log: Log) -> None:
    """Their number counts, and not how far apart they are."""
    log.retention = Retention(rules=(FOREVER,), keys=3)
    log.append("a", key="first")
    for _ in range(10):
        log.append("a")
    log.append("a", key="last")
    log.sweep()
    assert log.one("SELECT count(*) FROM key") == 2


def test_channels_that_are_long_empty_share_a_floor(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows stay bounded; a forgotten channel's position is not taken for complete, nor a new channel's before it."""
    monkeypatch.setattr(retention, "MAX_EMPTY", 3)
    monkeypatch.setattr(retention, "STEP", 2)
    log.retention = Retention(rules=(Rule(age=60),))
    for name in "abcdefgh":
        log.append(name)
    log.now += HOUR
    log.append("full")
    log.sweep()
    assert log.held() == {"f": 0, "g": 0, "h": 0, "full": 1}
    horizons = {name: horizon(log.link.use(), [name])[1].seq for name in ("a", "e", "f", "h", "new", "full")}
    assert horizons == {"a": 5, "e": 5, "f": 6, "h": 8, "new": 5, "full": 0}
    log.append("a")
    assert horizon(log.link.use(), ["a"])[1].seq == 5


@pytest.mark.parametrize("kind", ["_channels", "_log", "_keys", "_empty"])
def test_another_process_may_be_quicker(log: Log, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """What a step found to do may be done by the time it has the lock; then it does nothing."""
    monkeypatch.setattr(retention, "MAX_EMPTY", 1 if kind == "_empty" else 0)
    rule = Rule(age=60) if kind == "_channels" else FOREVER
    log.retention = Retention(rules=(rule,), total_bytes=3)
    log.append("a", "b")
    log.append("a", key="k")
    log.now += 100 * HOUR
    if kind == "_empty":
        monkeypatch.setattr(retention, "MAX_EMPTY", 9)
        log.sweep()
        monkeypatch.setattr(retention, "MAX_EMPTY", 0)

    def after_the_other() -> AbstractContextManager[sqlite3.Connection]:
        log.sweep()
        return log.link.transaction()

    sweep = Sweep(log.retention, log.now, after_the_other)
    sweep._steps = [getattr(sweep, kind)]
    while sweep.step(log.link.use()):
        pass
    assert sweep.removed == 0
    assert log.held() == {}


def test_a_sweep_is_due_when_it_could_find_something(log: Log) -> None:
    """After appends, for as long as they are spared, and when the oldest event has the age of some rule."""
    connection = log.link.use()
    rules = Retention(rules=(Rule(pattern="a", age=3600), Rule(pattern="**", age=7200)))
    assert not is_due(connection, rules, 0, log.now)
    log.append("a")
    assert is_due(connection, rules, log.now, log.now)
    swept = log.now + retention.SPARED + 1
    assert not is_due(connection, rules, swept, swept)
    assert not is_due(connection, rules, swept, log.now + HOUR)
    assert is_due(connection, rules, swept, log.now + HOUR + 1)
    assert not is_due(connection, Retention(rules=(FOREVER,)), swept, log.now + 1000 * HOUR)
    assert is_due(connection, Retention(rules=()), swept, log.now + 24 * HOUR + 1)


async def wait_for(broker: SqliteBroker, held: dict[str, int]) -> None:
    """Return once the log holds so many events of each channel."""
    while {info.name: info.events for info in await broker.channels()} != held:
        pass


async def test_a_node_keeps_the_log_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Soon after it was opened, and ever again."""
    monkeypatch.setattr(retention, "SPARED", 0)
    monkeypatch.setattr(writer, "SWEEP_INTERVAL", 0.01)
    monkeypatch.setattr(retention, "STEP", 2)
    keep = Retention(rules=(Rule(pattern="count", count=2), Rule(pattern="age", age=0)))
    publisher = SqliteBroker(tmp_path / "events.db", retention=keep)
    await publisher.open()
    for name in ("count", "age"):
        await publisher.append([Draft(channel=name)] * 7)
    assert [info.events for info in await publisher.channels()] == [7, 7], "a process without a feed removes nothing"
    async with sqlite_node(tmp_path / "events.db", retention=keep) as (_, broker):
        await wait_for(broker, {"count": 2})
        await publisher.append([Draft(channel="count")] * 3 + [Draft(channel="age")])
        await wait_for(broker, {"count": 2})
    await publisher.aclose()


async def test_keeping_the_log_fails_quietly_and_tries_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for it, and appends go on."""
    monkeypatch.setattr(retention, "SPARED", 0)
    monkeypatch.setattr(writer, "SWEEP_INTERVAL", 0.01)
    failures = [OSError("disk")] * 3

    def fail_at_first(*details: object) -> bool:
        if failures:
            raise failures.pop()
        return True

    monkeypatch.setattr(writer, "is_due", fail_at_first)
    async with sqlite_node(tmp_path / "events.db", retention=Retention(rules=(Rule(age=0),))) as (node, broker):
        await node.append(Draft(channel="a"))
        await wait_for(broker, {})
        assert not failures


def test_a_log_of_a_hundred_thousand_is_swept_without_long_transactions(log: Log) -> None:
    """Each step, looking and removing, takes milliseconds (asserted loosely), so an append never waits longer."""
    rows = msgspec.json.encode([[f"c{number}"] for number in range(100)]).decode()
    with log.link.transaction() as connection:
        connection.execute(
            "INSERT INTO channel (name, events, bytes, mark, last, last_time) SELECT json_extract(value, '$[0]'),"
            " 1000, 4000, 0, 100000, 0 FROM json_each(?)",
            (rows,),
        )
        connection.execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)"
            " INSERT INTO event SELECT i, 1 + i % 100, 0, 4, 0, NULL, NULL, 'null' FROM n"
        )
        connection.execute("UPDATE log SET head = 100000, bytes = 400000")
    log.retention = Retention(rules=(Rule(count=990, age=None),))
    sweep = Sweep(log.retention, log.now, log.link.transaction)
    durations: list[float] = []
    more = True
    while more:
        start = time.perf_counter()
        more = sweep.step(log.link.use())
        durations.append(time.perf_counter() - start)
    assert sweep.removed == 1000
    assert set(log.held().values()) == {990}
    assert max(durations) < 0.5


def test_a_clock_that_was_put_back_does_not_stop_retention(log: Log) -> None:
    """Times of events never run backwards, so after it they all have the time up to which the clock had once come. Such an
    event is not young for all the time until the clock has caught up: neither an append nor a sweep spares it."""
    log.retention = Retention(rules=(Rule(count=20, age=None),), total_bytes=100)
    log.now += 24 * HOUR
    log.append("a")
    log.now -= 24 * HOUR
    for _ in range(200):
        log.append("a", data='"xx"', trim=True)
    assert log.held()["a"] <= 22 + retention.BATCH
    for _ in range(200):
        log.append("b", data='"xx"')
    log.sweep()
    assert sum(log.held().values()) <= 25


def test_a_clock_that_was_put_back_a_little_spares_what_is_young(log: Log) -> None:
    """As time services do; a node that was busy for a moment still gets its events."""
    log.retention = Retention(rules=(Rule(count=1, age=None),), total_bytes=1)
    log.append("a")
    log.now -= 1000
    for _ in range(50):
        log.append("a", trim=True)
    log.sweep()
    assert log.held() == {"a": 51}
