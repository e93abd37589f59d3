"""A publisher's own event loop, in a thread: what plain functions publish through.

The thread is started when something is published and ended by `stop`, by the interpreter's end, when nobody holds the
publisher any more, and before the process forks: what is open in a parent must not be used, or even closed, by its child.
Both then start anew when they next publish, so Celery's prefork workers and servers that load an application before
they fork need do nothing. Knows threads and processes; must not know what is published.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import lru_cache

from headwater.errors import ConfigurationError
from headwater.event import Draft
from headwater.publishing.line import Line
from headwater.publishing.sinks import Sink

END_WITHIN = 5.0
"""Seconds that a fork, or the interpreter's end, waits for what is being published: the default of how long a publish waits
out an outage."""

START_WITHIN = 10.0
"""Seconds for a thread to run at all; on a busy machine one takes milliseconds."""


class Background:
    """The loop and its thread, while there is one. All methods may be called from any thread.

    Args:
        make: makes the sink that events go to.
    """

    def __init__(self, make: Callable[[], Sink]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._life: _Life | None = None
        self._orphans: list[
            _Life
        ] = []  # of the process that this one was forked from; only kept, lest they be cleaned up
        _household().add(self)  # here, where no lock of ours is held: before a fork they are taken in the other order

    @property
    def is_running(self) -> bool:
        """Whether there is a thread."""
        return self._life is not None

    def submit(self, drafts: Sequence[Draft]) -> Future[tuple[str, ...]]:
        """Begin to publish; the future has the ids, or the error. Cancelling it cancels the attempt.

        Raises:
            ConfigurationError: threads do not run here.
        """
        with self._lock:
            if self._life is None:
                self._life = self._begin()
            return self._life.submit(drafts)

    def _begin(self) -> _Life:
        life = _Life(self._make)
        weakref.finalize(self, life.ask).atexit = False  # the household sees to that, and waits
        return life

    def stop(self, within: float = END_WITHIN) -> None:
        """End the thread after what is being published; go on without it if that takes longer than `within` seconds."""
        with self._lock:
            life, self._life = self._life, None
        if life is not None:
            life.end(within)

    def pause(self) -> None:
        """Before a fork: end the thread, and let none begin until `resume`."""
        self._lock.acquire()
        life, self._life = self._life, None
        if life is not None:
            life.end(END_WITHIN)

    def resume(self) -> None:
        """After a fork, in the parent."""
        self._lock.release()

    def disown(self) -> None:
        """After a fork, in the child: whatever the parent had is not ours. That is nothing, except where the fork was made
        without telling Python before, as uWSGI does."""
        self._lock = threading.Lock()
        if self._life is not None:
            self._orphans.append(self._life)
            self._life = None


class _Life:
    """One loop in one thread, from its start to its end."""

    def __init__(self, make: Callable[[], Sink]) -> None:
        self._ready: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event, Line]] = Future()
        self._thread = threading.Thread(
            target=_run, args=(make, self._ready), name="headwater-publisher", daemon=True
        )  # a daemon, because the interpreter waits for others without end
        self._thread.start()
        try:
            self._loop, self._stopping, self._line = self._ready.result(START_WITHIN)
        except TimeoutError:
            raise ConfigurationError(
                f"a thread has not begun to run within {START_WITHIN:g} s",
                expected="a server that lets applications have threads",
                fix="start uWSGI with --enable-threads",
            ) from None

    def submit(self, drafts: Sequence[Draft]) -> Future[tuple[str, ...]]:
        return asyncio.run_coroutine_threadsafe(self._line.send(drafts), self._loop)

    def ask(self) -> None:
        """Have it end, without waiting for that."""
        with suppress(RuntimeError):  # it has ended before
            self._loop.call_soon_threadsafe(self._stopping.set)

    def end(self, within: float) -> None:
        """Have it end, and wait. A thread cannot wait for itself; then it ends when the caller is done."""
        self.ask()
        if threading.current_thread() is not self._thread:
            self._thread.join(max(0.0, within))


def _run(make: Callable[[], Sink], ready: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event, Line]]) -> None:
    """The thread. It knows no `_Life`, so that one which nobody holds is let go."""

    async def live() -> None:
        stopping, line = asyncio.Event(), Line(make)
        ready.set_result((asyncio.get_running_loop(), stopping, line))
        await stopping.wait()
        # Nobody is there to be told of a failure; late in the interpreter's end brokers cannot use their own threads.
        with suppress(Exception):
            await line.aclose()

    asyncio.run(live())


class _Household:
    """All backgrounds of this process. What Python calls at a fork it calls for ever, so one place is told of forks and knows
    the others weakly."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._members: weakref.WeakSet[Background] = weakref.WeakSet()
        self._paused: list[Background] = []
        atexit.register(self.end)
        if hasattr(os, "register_at_fork"):  # Windows cannot fork
            os.register_at_fork(before=self.pause, after_in_parent=self.resume, after_in_child=self.disown)

    def add(self, member: Background) -> None:
        with self._lock:
            self._members.add(member)

    def pause(self) -> None:
        self._lock.acquire()
        self._paused = list(self._members)
        for member in self._paused:
            member.pause()

    def resume(self) -> None:
        for member in self._paused:
            member.resume()
        self._paused = []
        self._lock.release()

    def disown(self) -> None:
        self._lock = threading.Lock()
        self._paused = []
        for member in list(self._members):
            member.disown()

    def end(self) -> None:
        with self._lock:
            members = list(self._members)
        deadline = time.monotonic() + END_WITHIN
        for member in members:
            member.stop(deadline - time.monotonic())


@lru_cache(maxsize=1)
def _household() -> _Household:
    return _Household()
