"""The thread that sees what other processes append to the file.

It looks only while a channel is followed: every few milliseconds it asks SQLite for a number that changes with every
commit, which costs microseconds. It reads what is new in bounded batches and waits for each to be taken before it reads
the next. It must not know the event loop: what it finds goes to callbacks, which run in its thread.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable
from threading import Event, Thread

from headwater.brokers.sqlite import reads
from headwater.brokers.sqlite.delivery import Delivery
from headwater.brokers.sqlite.file import Link
from headwater.brokers.sqlite.writer import Writer
from headwater.errors import HeadwaterError

INTERVAL = 0.005  # seconds between looks while others append
QUIET_INTERVAL = 0.010  # seconds between looks when they have not for QUIET_AFTER: waking up costs more than looking
QUIET_AFTER = 1.0
PAUSE = 0.05  # seconds before looking again at a file that is not as expected

_log = logging.getLogger("headwater.brokers.sqlite")


class Watcher:
    """The watcher's thread.

    Args:
        link: to the file; used in this thread only.
        delivery: tells what is followed, and how far the feed has come.
        writer: tells which commits were made here, and need no reading.
        deliver: gets a batch; `taken` must follow.
        doubt: is told that the file may be another log than before.
    """

    def __init__(
        self,
        link: Link,
        delivery: Delivery,
        writer: Writer,
        *,
        deliver: Callable[[reads.Batch], None],
        doubt: Callable[[], None],
    ) -> None:
        self._link = link
        self._delivery = delivery
        self._writer = writer
        self._deliver = deliver
        self._doubt = doubt
        self._version: tuple[sqlite3.Connection, int] | None = None  # what the file was when all of it had been read
        self._wake = Event()
        self._taken = Event()
        self._stop = Event()
        self._is_troubled = False
        self._busy_until = 0.0
        self._thread = Thread(target=self._run, name="headwater-sqlite-watcher", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """Look now: a channel has been followed, or a gap has to be filled."""
        self._wake.set()

    def taken(self) -> None:
        """The last batch has been taken."""
        self._taken.set()

    def stop(self) -> None:
        """Let the thread end soon; `join` waits for it."""
        self._stop.set()
        self._wake.set()
        self._taken.set()

    def join(self) -> None:
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            self._wake.wait(self._interval())
            self._wake.clear()
            try:
                if self._delivery.followed and not self._stop.is_set():
                    self._look()
                    self._note_trouble(None)
            except (sqlite3.Error, OSError, HeadwaterError) as error:
                self._link.close()
                self._note_trouble(error)
                self._hesitate()
        self._link.close()

    def _interval(self) -> float | None:
        if not self._delivery.followed:
            return None
        return INTERVAL if time.monotonic() < self._busy_until else QUIET_INTERVAL

    def _look(self) -> None:
        connection = self._link.use()
        (number,) = connection.execute("PRAGMA data_version").fetchone()
        version = (connection, number)
        if version == self._version and self._delivery.gap <= self._delivery.at[1]:
            return
        while not self._stop.is_set():
            known, at = self._delivery.at  # before the head, which may then only be later
            epoch, head = reads.head(connection)
            if epoch != known or head.seq < at:
                self._hesitate()
                return
            if at >= (self._delivery.gap if (epoch, head.seq) == self._writer.head else head.seq):
                break
            self._taken.clear()
            self._deliver(reads.since(connection, at))
            self._taken.wait()
            self._busy_until = time.monotonic() + QUIET_AFTER
        self._version = version

    def _hesitate(self) -> None:
        """The file is not what it was. The writer, who alone decides what the log is, will look at it."""
        self._doubt()
        self._stop.wait(PAUSE)

    def _note_trouble(self, error: Exception | None) -> None:
        """Say once that reading fails, and once that it works again."""
        if error is not None and not self._is_troubled:
            _log.warning("cannot see what other processes append: %s", error)
        elif error is None and self._is_troubled:
            _log.info("what other processes append is seen again")
        self._is_troubled = error is not None
