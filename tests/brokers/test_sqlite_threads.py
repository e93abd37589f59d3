"""The threads of the SQLite broker: group commit, the queue's bound, the watcher, and that nothing kills them."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from headwater.brokers.sqlite import SqliteBroker, broker, reads, retention, writer
from headwater.brokers.sqlite.appends import Group, write_group
from headwater.errors import BrokerUnavailable, IdempotencyConflict
from headwater.event import Draft, Event, Position
from headwater.testing.contract import Recorder
from tests.brokers.nodes import sqlite_node


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where this test's log is."""
    return tmp_path / "events.db"


@contextmanager
def busy(node_broker: SqliteBroker) -> Iterator[None]:
    """Within the block the writer is busy with something else, and appends wait."""
    free = threading.Event()
    task = asyncio.ensure_future(node_broker._do(lambda: free.wait(30)))
    try:
        yield
    finally:
        free.set()
        task.add_done_callback(lambda done: done.result())


def spied(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of appends of each transaction from now on."""
    sizes: list[int] = []

    def spy(connection: sqlite3.Connection, log: Any, appends: Sequence[Any], *rest: Any) -> Group:
        sizes.append(len(appends))
        return write_group(connection, log, appends, *rest)

    monkeypatch.setattr(writer, "write_group", spy)
    return sizes


async def test_the_log_is_looked_at_once_at_a_time(path: Path) -> None:
    """Who asks while the writer looks waits for that look, and costs no other."""
    async with sqlite_node(path) as (_, node_broker):
        with busy(node_broker):
            node_broker._check_soon()
            first = node_broker._checking
            look = asyncio.ensure_future(node_broker._check())
            await asyncio.sleep(0)
            assert node_broker._checking is first
        await look


async def test_appends_that_wait_share_a_transaction(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a hundred publishers wait for one fsync, and not for a hundred."""
    sizes = spied(monkeypatch)
    async with sqlite_node(path) as (node, node_broker):
        with busy(node_broker):
            appends = [asyncio.ensure_future(node.append(Draft(channel="a"))) for _ in range(100)]
            await asyncio.sleep(0)
        positions = await asyncio.gather(*appends)
    assert sizes == [100]
    assert [position.seq for (position,) in positions] == list(range(1, 101))


async def test_a_transaction_is_bounded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits for it should not wait for everybody; one large batch is never torn."""
    monkeypatch.setattr(writer, "MAX_GROUP", 10)
    sizes = spied(monkeypatch)
    async with sqlite_node(path) as (node, node_broker):
        with busy(node_broker):
            batches = [1] * 13 + [25, 1]
            appends = [asyncio.ensure_future(node.append(*[Draft(channel="a")] * size)) for size in batches]
            await asyncio.sleep(0)
        await asyncio.gather(*appends)
    assert sizes == [10, 4, 1]


async def test_a_conflict_in_a_shared_transaction_is_one_publishers_own(path: Path) -> None:
    """The others' events take the positions that its drafts would have had."""
    async with sqlite_node(path) as (node, node_broker):
        with busy(node_broker):
            batches = [
                [Draft(channel="a", idempotency_key="k", data="1")],
                [Draft(channel="b", idempotency_key="l"), Draft(channel="a", idempotency_key="k", data="2")],
                [Draft(channel="b", idempotency_key="l"), Draft(channel="a", idempotency_key="k", data="1")],
            ]
            appends = [asyncio.ensure_future(node.append(*batch)) for batch in batches]
            await asyncio.sleep(0)
        first, refused, last = await asyncio.gather(*appends, return_exceptions=True)
        assert isinstance(refused, IdempotencyConflict)
        assert (first, last) == (
            (Position(node.head.epoch, 1),),
            (Position(node.head.epoch, 2), Position(node.head.epoch, 1)),
        )


async def test_what_waits_is_bounded_and_counted(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In drafts and in size; a single batch of any size is taken while nothing waits."""
    monkeypatch.setattr(broker, "MAX_WAITING", 4)
    monkeypatch.setattr(broker, "MAX_WAITING_SIZE", 100)
    async with sqlite_node(path) as (node, node_broker):
        await node.append(*[Draft(channel="a")] * 9)
        with busy(node_broker):
            waiting = asyncio.ensure_future(node.append(*[Draft(channel="a")] * 3))
            await asyncio.sleep(0)
            for drafts in ([Draft(channel="a")] * 2, [Draft(channel="a", data='"' + "x" * 90 + '"')]):
                with pytest.raises(BrokerUnavailable, match="3 events are already waiting") as caught:
                    await node.append(*drafts)
                assert caught.value.retry_after == 1
        await waiting
        assert node_broker.overflows == 2
        assert node_broker.counters() == {"overflows": 2}
        await node.append(*[Draft(channel="a")] * 9)


async def test_an_unforeseen_error_hurts_one_transaction(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everyone in it is told, with the cause; the thread goes on."""
    failures: list[Exception] = [ZeroDivisionError("a defect"), sqlite3.OperationalError("disk I/O error")]

    def fail(*details: Any) -> Group:
        if failures:
            raise failures.pop()
        return write_group(*details)

    monkeypatch.setattr(writer, "write_group", fail)
    async with sqlite_node(path) as (node, _):
        for cause in (sqlite3.OperationalError, ZeroDivisionError):
            with pytest.raises(BrokerUnavailable) as caught:
                await node.append(Draft(channel="a"))
            assert isinstance(caught.value.__cause__, cause)
        await node.fill("a", 1)
        assert await node.seqs("a") == [1]


async def test_pruning_lets_appends_through(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between any two of its steps; and closing does not wait for its end."""
    steps = 0
    is_over = False

    def step(self: retention.Sweep, connection: sqlite3.Connection) -> bool:
        nonlocal steps
        steps += 1
        return not is_over

    monkeypatch.setattr(writer, "is_due", lambda *_: False)
    monkeypatch.setattr(retention.Sweep, "step", step)
    async with sqlite_node(path) as (node, node_broker):
        pruning = asyncio.ensure_future(node_broker.prune(0))
        await node.fill("a", 5)
        assert not pruning.done()
        is_over = True
        assert await pruning == 0
        assert steps > 1
        is_over = False
        pruning = asyncio.ensure_future(node_broker.prune(0))
        await node.fill("a", 1)
    with pytest.raises(BrokerUnavailable, match="closed meanwhile"):
        await pruning


async def test_processes_that_share_the_log_give_way(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a commit the lock is left alone for a moment, once another has appended too."""
    pauses: list[float] = []
    sleep = time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: pauses.append(seconds) if seconds > 1 else sleep(seconds))
    monkeypatch.setattr(writer, "COURTESY", 1000)
    monkeypatch.setattr(writer, "SHARED_FOR", 10_000)
    async with sqlite_node(path) as (one, _), sqlite_node(path) as (two, _):
        await one.fill("a", 3)
        assert pauses == []
        await two.fill("a", 2)
        assert len(pauses) == 1
        assert 900 < pauses[0] <= 1000


class Slow(Recorder):
    """A feed that notes the size of each batch and how many were under way."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[int] = []

    def receive(self, events: Sequence[Event], upto: Position) -> None:
        """See `headwater.brokers.base.Feed`."""
        self.batches.append(len(events))
        super().receive(events, upto)


async def test_a_burst_of_others_comes_in_bounded_batches(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One at a time: the next is read when the last was taken."""
    monkeypatch.setattr(reads, "BATCH_EVENTS", 7)
    since, read = reads.since, []
    feed = Slow()

    def note(connection: sqlite3.Connection, after: int) -> reads.Batch:
        read.append(len(feed.batches))
        return since(connection, after)

    monkeypatch.setattr(reads, "since", note)
    node_broker = SqliteBroker(path)
    await node_broker.open(feed)
    await node_broker.follow(["a"])
    async with sqlite_node(path) as (other, _):
        await other.append(*[Draft(channel="a")] * 100)
    await feed.until(lambda: len(feed.events) == 100)
    await node_broker.aclose()
    assert feed.batches == [7] * 14 + [2]
    assert read == list(range(15))


async def test_own_commits_are_not_read_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The feed has them from memory; the watcher sees that the newest commit is this node's."""
    since, reading = reads.since, []

    def note(connection: sqlite3.Connection, after: int) -> reads.Batch:
        reading.append(after)
        return since(connection, after)

    monkeypatch.setattr(reads, "since", note)
    async with sqlite_node(path, follow=["a"]) as (node, node_broker):
        looked = threading.Event()
        look = node_broker._watcher._look

        def note_look() -> None:
            look()
            looked.set()

        monkeypatch.setattr(node_broker._watcher, "_look", note_look)
        await node.fill("a", 1)
        looked.clear()
        node_broker._watcher.wake()
        await asyncio.to_thread(looked.wait, 30)
        assert node.feed.seqs() == [1]
    assert reading == []


async def test_what_was_removed_before_it_was_seen_is_not_passed_over(path: Path) -> None:
    """If that was followed, the feed starts over, in the same epoch; otherwise it goes on."""
    async with sqlite_node(path, follow=["a"]) as (node, _):
        for name, restarts in (("b", 0), ("a", 1)):
            (before,) = await node.fill("a", 1)
            with closing(sqlite3.connect(path)) as other, other:
                other.execute(
                    "INSERT INTO channel VALUES (NULL, ?, 0, 0, ?, ?, 0) ON CONFLICT DO UPDATE SET mark = excluded.mark",
                    (name, before + 1, before + 1),
                )
                other.execute("UPDATE log SET head = ?", (before + 1,))
            await node.feed.complete(Position(node.head.epoch, before + 1))
            assert node.feed.restarts == [Position(node.head.epoch, before + 1)] * restarts


async def test_the_watcher_sleeps_while_nothing_is_followed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that only publishes, and an idle hub, cost nothing."""
    async with sqlite_node(path) as (_, node_broker):
        watcher = node_broker._watcher
        assert watcher._interval() is None
        await node_broker.follow(["a"])
        assert watcher._interval() == pytest.approx(0.01)
        async with sqlite_node(path) as (other, _):
            (position,) = await other.append(Draft(channel="a"))
            await asyncio.sleep(0)
        while (await node_broker.head()) < position or watcher._interval() != pytest.approx(0.005):
            pass
        await node_broker.unfollow(["a"])
        assert watcher._interval() is None


async def test_closing_does_not_wait_for_the_rest_of_a_burst(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The watcher reads no further batch."""
    monkeypatch.setattr(reads, "BATCH_EVENTS", 1)
    async with sqlite_node(path, follow=["a"]) as (node, node_broker):
        since = reads.since

        def stop_after_this(connection: sqlite3.Connection, after: int) -> reads.Batch:
            node_broker._watcher.stop()
            return since(connection, after)

        monkeypatch.setattr(reads, "since", stop_after_this)
        async with sqlite_node(path) as (other, _):
            await other.append(*[Draft(channel="a")] * 3)
        await node.feed.until(lambda: bool(node.feed.events))
        await asyncio.to_thread(node_broker._watcher.join)
        assert node.feed.seqs() == [1]


async def test_a_reader_that_fails_for_itself_says_so(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Although the writer finds nothing wrong; appends go on, and so do reads when the cause is gone."""

    def fail(connection: sqlite3.Connection) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    async with sqlite_node(path) as (node, node_broker):
        with monkeypatch.context() as broken:
            broken.setattr(reads, "head", fail)
            with pytest.raises(BrokerUnavailable, match="disk I/O error"):
                await node_broker.head()
            await node.fill("a", 1)
        assert (await node_broker.head()).seq == 1


def test_a_loop_that_is_gone_harms_nobody(path: Path) -> None:
    """A program that ends without closing its broker leaves threads with nobody to tell; they do not complain."""

    async def forget() -> SqliteBroker:
        forgotten = SqliteBroker(path)
        await forgotten.open()
        return forgotten

    forgotten = asyncio.run(forget())
    done = threading.Event()
    forgotten._writer.submit(writer.Job(forgotten._writer.check, forgotten._post_from(print)))
    forgotten._writer.stop(lambda _: done.set())
    assert done.wait(30)
    forgotten._writer.join()
    forgotten._watcher.stop()
    forgotten._watcher.join()
