"""Several real processes on one SQLite log: nothing is lost, the order is agreed, and a process may die at any moment."""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from headwater.brokers.base import Retention, Rule
from headwater.brokers.sqlite import SqliteBroker
from headwater.event import Draft, Event, Position
from headwater.testing.contract import Recorder
from tests.brokers.nodes import RELAXED
from tests.support.source import ROOT
from tests.support.waiting import PATIENCE

ROUNDS = int(os.environ.get("HEADWATER_KILL_ROUNDS", "20"))
"""How many processes are killed; the environment may ask for more."""

SEED = int(os.environ.get("HEADWATER_KILL_SEED", "38"))
EVERYTHING = Retention(rules=(Rule(count=None, age=None),), total_bytes=None)
CHANNELS = ("c0", "c1", "c2")


class Worker:
    """A process that runs `sqlite_worker.py`.

    Attributes:
        acknowledged: the batches it has been told are durable: number -> first and last seq.
    """

    def __init__(self, process: Process, name: str) -> None:
        self.process = process
        self.name = name
        self.acknowledged: dict[int, tuple[int, int]] = {}

    async def read(self) -> Any:
        """The next thing it says; None when it is gone."""
        assert self.process.stdout
        async with asyncio.timeout(PATIENCE):
            line = await self.process.stdout.readline()
        if not line.endswith(b"\n"):  # nothing, or a line that death cut short
            return None
        said = msgspec.json.decode(line)
        if isinstance(said, list):
            self.acknowledged[said[0]] = (said[1], said[2])
        return said

    async def read_to(self, wanted: object) -> Any:
        """Read on until it says `wanted`, or, for a type, something of that type."""
        while (said := await self.read()) is not None:
            if said == wanted or (isinstance(wanted, type) and isinstance(said, wanted)):
                return said
        assert wanted is None, f"{self.name} ended with {await self.process.wait()}"
        return None

    def go(self) -> None:
        """Let it go on."""
        assert self.process.stdin
        self.process.stdin.write(b"\n")


@asynccontextmanager
async def working(path: Path, name: str, appends: int, at_once: int, *options: str) -> AsyncIterator[Worker]:
    """A worker that is ready to begin; gone at the end."""
    arguments = ("publish", str(path), name, str(appends), str(at_once), *options)
    command = (sys.executable, "-m", "tests.e2e.sqlite_worker", *arguments)
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdin=PIPE, stdout=PIPE, limit=1 << 24)
    try:
        worker = Worker(process, name)
        await worker.read_to("ready")
        yield worker
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        process._transport.close()  # type: ignore[attr-defined] # or its pipes outlive the loop


async def whole_log(path: Path) -> list[Event]:
    """Everything in the log, after checking the file."""
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert (
        connection.execute("SELECT head FROM log").fetchall()
        == connection.execute("SELECT max(seq) FROM event").fetchall()
    )
    connection.close()
    broker = SqliteBroker(path)
    await broker.open()
    page = await broker.read(CHANNELS, 0, 1 << 60, 1 << 30)
    await broker.aclose()
    return list(page.events)


def assert_nothing_missing(events: list[Event], workers: list[Worker]) -> None:
    """Every acknowledged batch is there, at the positions acknowledged; every batch that is there is whole, in its order
    and without another's events in it."""
    seqs = [event.position.seq for event in events]
    assert seqs == list(range(1, len(seqs) + 1))
    found: dict[tuple[str, int], list[int]] = {}
    for event in events:
        name, number, index, size, _ = msgspec.json.decode(event.data)
        at = found.setdefault((name, number), [])
        assert index == len(at), f"event {index} of {size} of {name}'s batch {number} came after {len(at)}"
        at.append(event.position.seq)
    for (name, number), at in found.items():
        assert len(at) == 1 + number % 5, f"{name}'s batch {number} is torn"
        assert at == list(range(at[0], at[-1] + 1))
    for worker in workers:
        for number, (first, last) in worker.acknowledged.items():
            at = found[worker.name, number]
            assert (at[0], at[-1]) == (first, last)


async def test_t38_processes_that_hammer_one_file_do_not_lock_each_other_out(tmp_path: Path) -> None:
    """Four processes with ten publishers each: no append fails, and the log holds every batch of all of them."""
    path = tmp_path / "events.db"
    async with (
        working(path, "p0", 300, 10) as p0,
        working(path, "p1", 300, 10) as p1,
        working(path, "p2", 300, 10) as p2,
        working(path, "p3", 300, 10) as p3,
    ):
        workers = [p0, p1, p2, p3]
        for worker in workers:
            worker.go()
        await asyncio.gather(*(worker.read_to(None) for worker in workers))
        assert [await worker.process.wait() for worker in workers] == [0] * 4
    assert [len(worker.acknowledged) for worker in workers] == [300] * 4
    events = await whole_log(path)
    assert len(events) == 4 * 300 * 3
    assert_nothing_missing(events, workers)


async def test_processes_that_serve_one_log_agree(tmp_path: Path) -> None:
    """Each of three processes appends and follows: all feeds are the log, whole and in order."""
    path = tmp_path / "events.db"
    async with (
        working(path, "p0", 200, 5, "feed") as p0,
        working(path, "p1", 200, 5, "feed") as p1,
        working(path, "p2", 200, 1, "feed") as p2,
    ):
        workers = [p0, p1, p2]
        for worker in workers:
            worker.go()
        await asyncio.gather(*(worker.read_to("done") for worker in workers))
        for worker in workers:
            worker.go()
        fed = [(await worker.read_to(dict))["fed"] for worker in workers]
        await asyncio.gather(*(worker.process.wait() for worker in workers))
    events = await whole_log(path)
    assert len(events) == 3 * 200 * 3
    assert_nothing_missing(events, workers)
    assert fed == [[event.position.seq for event in events]] * 3


class Clock(Recorder):
    """A feed that notes how long after it was sent each event came, in seconds."""

    def __init__(self) -> None:
        super().__init__()
        self.delays: list[float] = []

    def receive(self, events: Any, upto: Position) -> None:
        """See `headwater.brokers.base.Feed`."""
        now = time.monotonic()
        self.delays += [now - msgspec.json.decode(event.data)[4] for event in events]
        super().receive(events, upto)


async def test_another_process_is_seen_soon(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What another process appends reaches the feed within about ten milliseconds (asserted loosely: machines differ)."""
    path = tmp_path / "events.db"
    broker, feed = SqliteBroker(path, RELAXED), Clock()
    await broker.open(feed)
    try:
        await broker.follow(CHANNELS)
        async with working(path, "p", 200, 1) as worker:
            worker.go()
            await worker.read_to(None)
        await feed.complete(await broker.head())
    finally:
        await broker.aclose()
    delays = sorted(feed.delays)
    p50, p99 = delays[len(delays) // 2], delays[len(delays) * 99 // 100]
    with capsys.disabled():
        print(f"\nanother process's events were seen after p50 {p50 * 1e3:.1f} ms, p99 {p99 * 1e3:.1f} ms")
    assert p50 < 0.05


async def test_a_process_may_be_killed_at_any_moment(tmp_path: Path) -> None:
    """`kill -9` while it publishes, again and again, with a hub on the same file or without: what was acknowledged is
    there, no batch is torn, the hub saw the log as it is, and the file is sound."""
    path = tmp_path / "events.db"
    dice = random.Random(SEED)
    workers: list[Worker] = []
    for first in range(0, ROUNDS, 5):
        names = [f"w{number}" for number in range(first, min(first + 5, ROUNDS))]
        if first % 2:
            workers += await _kill_each(path, names, dice)
        else:
            workers += await _kill_each_beside_a_hub(path, names, dice)
    events = await whole_log(path)
    assert sum(len(worker.acknowledged) for worker in workers) >= ROUNDS
    assert_nothing_missing([event for event in events if event.type == "log"], workers)


async def _kill_each(path: Path, names: list[str], dice: random.Random) -> list[Worker]:
    """Start processes, two at a time, and kill each after a random number of acknowledgements."""
    room = asyncio.Semaphore(2)

    async def kill(name: str, after: int) -> Worker:
        async with room, working(path, name, 1_000_000, 8) as worker:
            worker.go()
            for _ in range(after):
                assert await worker.read() is not None
            worker.process.kill()
            await worker.read_to(None)  # what it managed to say before
            return worker

    return await asyncio.gather(*(kill(name, dice.randrange(1, 150)) for name in names))


async def _kill_each_beside_a_hub(path: Path, names: list[str], dice: random.Random) -> list[Worker]:
    """The same, while this process follows the log and appends to it too."""
    broker, feed = SqliteBroker(path, RELAXED, retention=EVERYTHING), Recorder()
    head = await broker.open(feed)
    ended = asyncio.Event()

    async def publish() -> None:
        number = 0
        while not ended.is_set():
            data = [f"hub{head.seq}", number, 0, 1, 0]
            await broker.append([Draft.json("c0", "log", data)])
            number += 5  # a batch of one

    try:
        await broker.follow(CHANNELS)
        publishing = asyncio.create_task(publish())
        workers = await _kill_each(path, names, dice)
        ended.set()
        await publishing
        await feed.complete(await broker.head())
        page = await broker.read(CHANNELS, head.seq, 1 << 60, 1 << 30)
        assert feed.events == list(page.events)
        assert not feed.restarts
        assert not feed.complaints
    finally:
        await broker.aclose()
    return workers
