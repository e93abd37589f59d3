"""The one thread that writes: it takes all appends that wait and commits them together.

While one transaction is being made durable the next appends gather, so the more publishers there are, the more appends
share a commit. Between transactions the same thread does retention, a step at a time. It knows the file and its tables
and reports to callbacks, which run in its thread; it must not know the feed or the event loop.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

from headwater.brokers.base import Retention
from headwater.brokers.shared import new_epoch
from headwater.brokers.sqlite.appends import Group, Log, read_log, write_group
from headwater.brokers.sqlite.file import Link
from headwater.brokers.sqlite.retention import Sweep, is_due, trim_after
from headwater.brokers.sqlite.sql import SQL
from headwater.errors import BrokerUnavailable, HeadwaterError
from headwater.event import Draft

MAX_GROUP = 1000  # drafts in one transaction, unless a single append has more
SWEEP_INTERVAL = 30.0  # seconds between sweeps
STEP_INTERVAL = 0.02  # seconds between the steps of a sweep: other processes want the lock too
COURTESY = 0.001  # seconds for which the lock is left alone after a commit while other processes append as well
SHARED_FOR = 1.0  # seconds for which another process's append counts as a sign of that


class Append:
    """Drafts that wait to be written. `ticket` is the submitter's own."""

    __slots__ = ("drafts", "ticket")

    def __init__(self, drafts: Sequence[Draft], ticket: Any) -> None:
        self.drafts = drafts
        self.ticket = ticket


class Job:
    """Other work for the writer's thread.

    Args:
        work: returns its result, or None to be called again after the appends that wait by then.
        settle: gets the result, or the exception.
    """

    __slots__ = ("settle", "work")

    def __init__(self, work: Callable[[], Any], settle: Callable[[Any], None]) -> None:
        self.work = work
        self.settle = settle


class Writer:
    """The writer's thread.

    Args:
        link: to the file; used in this thread only.
        retention: what to keep.
        keeps: whether to apply retention unasked.
        seen: tells the epoch and seq that this node knows to have existed.
        settle: gets the appends of one transaction and what became of them.

    Attributes:
        head: epoch and seq of the last commit made here. Other threads may read it.
    """

    def __init__(
        self,
        link: Link,
        retention: Retention,
        *,
        keeps: bool,
        seen: Callable[[], tuple[str, int]],
        settle: Callable[[list[Append], Group | Exception], None],
    ) -> None:
        self.head = ("", 0)
        self._link = link
        self._retention = retention
        self._keeps = keeps
        self._seen = seen
        self._settle = settle
        self._queue: SimpleQueue[Append | Job] = SimpleQueue()
        self._thread = Thread(target=self._run, name="headwater-sqlite-writer", daemon=True)
        self._is_running = True
        self._committed = 0.0
        self._shared_until = 0.0
        self._sweep: Sweep | None = None
        self._swept = 0
        self._next_upkeep = time.monotonic()

    def start(self) -> None:
        self._thread.start()

    def submit(self, item: Append | Job) -> None:
        """Have it done. Appends are committed in the order of submission."""
        self._queue.put(item)

    def stop(self, settle: Callable[[Any], None]) -> None:
        """Let the thread end after what has been submitted; `settle` is then called, and only `join` is left to do."""
        self.submit(Job(self._end, settle))

    def join(self) -> None:
        self._thread.join()

    def check(self) -> tuple[str, int]:
        """Work for a job: look at the log, make it if it is missing, and return its epoch and head."""
        with self._link.transaction() as connection:
            log = self._read_log(connection)
        return log.epoch, log.head

    def begin_epoch(self) -> bool:
        """Work for a job: what the log says of positions is over."""
        with self._link.transaction() as connection:
            connection.execute(SQL["begin_epoch"], {"epoch": new_epoch()})
        return True

    def pruning(self, now: int) -> Callable[[], int | None]:
        """Work for a job: apply retention as of `now` and return how many events went."""
        sweep = Sweep(self._retention, now, self._link.transaction)
        return lambda: None if self._step(sweep) else sweep.removed

    def _step(self, sweep: Sweep) -> bool:
        return self._link.patiently(lambda: sweep.step(self._link.use()))

    def _run(self) -> None:
        while self._is_running:
            appends, job = self._take()
            if appends:
                self._commit(appends)
            if job is not None:
                self._work(job)
            if self._keeps and time.monotonic() >= self._next_upkeep:
                self._do_upkeep()

    def _take(self) -> tuple[list[Append], Job | None]:
        """Wait for something to do; then everything that waits, up to a full group or the first job."""
        appends: list[Append] = []
        drafts = 0
        try:
            item = self._queue.get(timeout=max(0, self._next_upkeep - time.monotonic()) if self._keeps else None)
            while isinstance(item, Append):
                appends.append(item)
                drafts += len(item.drafts)
                if drafts >= MAX_GROUP:
                    return appends, None
                item = self._queue.get_nowait()
        except Empty:
            return appends, None
        return appends, item

    def _commit(self, appends: list[Append]) -> None:
        result: Group | Exception
        try:
            result = self._write([append.drafts for append in appends])
        except Exception as error:  # of any kind: the publishers must hear of it, and the thread must go on
            self._link.close()  # a connection that failed is not trusted again
            result = error
        self._settle(appends, result)

    def _write(self, appends: Sequence[Sequence[Draft]]) -> Group:
        self._give_way()
        with self._link.transaction() as connection:
            log = self._read_log(connection)
            now = int(time.time() * 1000)
            group = write_group(connection, log, appends, now, self._retention.key_age)
            if self._keeps:
                trim_after(connection, group, self._retention, now)
        self._committed = time.monotonic()
        if group.base != self.head[1]:
            self._shared_until = self._committed + SHARED_FOR
        self.head = (log.epoch, log.head)
        return group

    def _give_way(self) -> None:
        """Leave the lock alone for a moment while others want it too: SQLite keeps no queue, and whoever asks again at once
        gets it again."""
        free = self._committed + COURTESY
        if free < self._shared_until:
            time.sleep(max(0.0, free - time.monotonic()))

    def _read_log(self, connection: sqlite3.Connection) -> Log:
        """The log's row. If the log ends before what is known to have existed, an older copy was put in its place: the
        positions it would give next have been given before, so it begins a new epoch."""
        log = read_log(connection)
        for epoch, seq in (self.head, self._seen()):
            if epoch == log.epoch and seq > log.head:
                log.epoch = new_epoch()
                connection.execute(SQL["begin_epoch"], {"epoch": log.epoch})
        return log

    def _work(self, job: Job) -> None:
        try:
            result = job.work()
        except Exception as error:  # of any kind, as above
            self._link.close()
            result = error
        if result is None:
            self.submit(job)
        else:
            job.settle(result)

    def _do_upkeep(self) -> None:
        try:
            connection = self._link.use()
            now = int(time.time() * 1000)
            if self._sweep is None and is_due(connection, self._retention, self._swept, now):
                self._sweep, self._swept = Sweep(self._retention, now, self._link.transaction), now
            if self._sweep is not None and not self._step(self._sweep):
                self._sweep = None
        except (sqlite3.Error, OSError, HeadwaterError):  # nobody waits for this; appends will tell what is wrong
            self._link.close()
            self._sweep = None
        self._next_upkeep = time.monotonic() + (SWEEP_INTERVAL if self._sweep is None else STEP_INTERVAL)

    def _end(self) -> bool:
        """Nothing is submitted after this but jobs that wanted to go on."""
        self._is_running = False
        while not self._queue.empty():
            job = self._queue.get()
            assert isinstance(job, Job)
            job.settle(BrokerUnavailable("the broker was closed meanwhile"))
        self._link.close()
        return True
