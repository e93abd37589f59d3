"""A sink that does as it is told, for tests of what stands before it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from headwater.event import Draft
from headwater.publishing.sinks import Sink, Target

Step = Callable[[], object]


@dataclass
class Store:
    """What sinks share: it outlives each of them.

    Attributes:
        events: what was published.
        threads: the one in which each sink was opened.
        closed: how many were closed.
        failures: raised by the next attempts to open one.
        opens, appends: waited for before one is opened, or appends, if there is one.
        then: called after an append.
    """

    events: list[Draft] = field(default_factory=list)
    threads: list[threading.Thread] = field(default_factory=list)
    closed: int = 0
    failures: list[Exception] = field(default_factory=list)
    opens: asyncio.Event | None = None
    appends: asyncio.Event | None = None
    began: threading.Event = field(default_factory=threading.Event)
    then: Step = lambda: None

    def make(self) -> Sink:
        """A sink of this store."""
        return Scripted(self)

    def target(self, *, is_remote: bool = True, max_event_bytes: int = 0) -> Target:
        """Where a publisher finds this store."""
        return Target(shown="scripted://", make=self.make, is_remote=is_remote, max_event_bytes=max_event_bytes)

    @property
    def channels(self) -> list[str]:
        """Those of the events."""
        return [event.channel for event in self.events]


class Scripted:
    """A sink."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def open(self) -> None:
        """As the store says."""
        self._store.threads.append(threading.current_thread())
        self._store.began.set()
        if self._store.opens is not None:
            await self._store.opens.wait()
        if self._store.failures:
            raise self._store.failures.pop(0)

    async def append(self, drafts: Sequence[Draft]) -> tuple[str, ...]:
        """As the store says; ids are numbers."""
        self._store.began.set()
        if self._store.appends is not None:
            await self._store.appends.wait()
        first = len(self._store.events) + 1
        self._store.events += drafts
        self._store.then()
        return tuple(f"e-{first + number}" for number in range(len(drafts)))

    async def aclose(self) -> None:
        """Count."""
        self._store.closed += 1
