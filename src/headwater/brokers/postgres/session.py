"""The one session that lasts: it hears what others tell, and does the node's duties in turn.

A session that breaks is replaced, after a pause that grows and is random, so that nodes which lost the same server do not
come back all at once. It knows connections and time, and of the duties only that each says when it wants to go on. Nothing
is lost with a session: what it hears are hints, and the duties look for themselves.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from collections.abc import Callable, Collection, Sequence
from typing import Any, Protocol

from psycopg import AsyncConnection

from headwater.brokers.postgres.address import Address
from headwater.brokers.postgres.link import Failure, Link, explain
from headwater.brokers.postgres.sql import quoted

FIRST_PAUSE = 0.05  # seconds at most before the first attempt at a new session; doubled each time
LONGEST_PAUSE = 2.0
SELF_TEST = 1.0  # seconds that word may take from one session to another through a pooler
CLOSING = 2.0  # seconds that a statement may still take when the broker is closed

_log = logging.getLogger("headwater.brokers.postgres")


class Duty(Protocol):
    """Something that a node does whenever there is something to do."""

    async def begin(self, is_told: bool) -> None:
        """There is a new session; `is_told` says whether it can hear others, and hold locks."""

    async def step(self) -> float:
        """Do a little; seconds after which to go on if nothing is heard."""


class Session:
    """The session's task.

    Args:
        link: used here and by the duties only.
        address: of the database.
        duties: in the order in which they take turns.
        lost: is called whenever there is no session.

    Attributes:
        losses: how often a session broke, or could not be had.
        is_told: whether this session hears others.
    """

    def __init__(self, link: Link, address: Address, duties: Sequence[Duty], *, lost: Callable[[], None]) -> None:
        self.losses = 0
        self.is_told = False
        self._link = link
        self._address = address
        self._duties = duties
        self._lost = lost
        self._news = asyncio.Event()
        self._rested = asyncio.Event()
        self._is_stopping = False
        self._is_troubled = False
        self._failures = 0  # in a row

    def start(self) -> None:
        """Begin. To be called once, and before `stop`."""
        self._task = asyncio.create_task(self._run(), name="headwater-postgres-session")

    def wake(self) -> None:
        """Do every duty now."""
        self._news.set()

    async def stop(self) -> None:
        """Return when the session has ended."""
        self._is_stopping = True
        self._rested.set()
        self.wake()
        await end([self._task], self._link)

    async def _run(self) -> None:
        while not self._is_stopping:
            try:
                await self._serve()
            except Exception as error:  # of any kind: the session must come back
                self._note_trouble(error)
                self._lost()
            await self._link.close()
            longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(self._failures, 10))
            self._failures += 1
            await _until(self._rested, random.uniform(0, longest))  # whatever else happens
            self._rested.clear()

    async def _serve(self) -> None:
        connection = await self._link.use()
        connection.add_notify_handler(lambda _: self._news.set())
        self.is_told = await self._listen(connection)
        for duty in self._duties:
            await duty.begin(self.is_told)
        self._note_trouble(None)
        while not self._is_stopping:
            self._news.clear()
            pause = min([await duty.step() for duty in self._duties])
            self._failures = 0
            await self._wait(connection, pause)

    async def _listen(self, connection: AsyncConnection[Any]) -> bool:
        """Ask to be told, and whether that works: a pooler that lends sessions out does not pass word on."""
        schema = self._address.options.schema
        await self._link.execute(f"LISTEN {quoted(schema)}")
        if not self._link.is_pooled:
            return True
        token = secrets.token_hex(8)
        heard: list[str] = []
        connection.add_notify_handler(lambda word: heard.append(word.payload))
        other = Link(self._address)
        try:
            await other.row("tell", payload=token)
        finally:
            await other.close()
        deadline = asyncio.get_running_loop().time() + SELF_TEST
        while token not in heard and (left := deadline - asyncio.get_running_loop().time()) > 0:
            await self._wait(connection, left)
            self._news.clear()
        if token not in heard:
            _log.warning(
                "there is a pooler before %s that lends sessions out: looking instead of being told", self._address
            )
        return token in heard

    async def _wait(self, connection: AsyncConnection[Any], seconds: float) -> None:
        """Until something is heard, or somebody wakes us, or the time is over."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        _hear(connection)  # word that came with an answer is in a buffer, and the socket does not tell of it
        loop = asyncio.get_running_loop()
        loop.add_reader(connection.fileno(), self._news.set)
        try:
            await _until(self._news, seconds)
        finally:
            loop.remove_reader(connection.fileno())
        connection.pgconn.consume_input()  # also finds out that the server has gone
        _hear(connection)

    def _note_trouble(self, error: Exception | None) -> None:
        """Say once that there is no session, and once that there is one again."""
        if error is not None:
            self.losses += 1
            if not isinstance(error, Failure):
                _log.exception("a duty failed in a way that nobody expected")
            elif not self._is_troubled:
                _log.warning("%s", explain(error, self._address))
        elif self._is_troubled:
            _log.info("the log in %s can be followed again", self._address)
        self._is_troubled = error is not None


async def end(tasks: Collection[asyncio.Task[Any]], *links: Link, patience: float = CLOSING) -> None:
    """Wait until tasks have ended. After `patience` seconds those that have not lose the connections that they use; if that
    does not end them either, they are cancelled."""
    late = set(tasks)
    if late:
        _, late = await asyncio.wait(late, timeout=patience)
    if late:
        for link in links:
            link.cut()
        _, late = await asyncio.wait(late, timeout=CLOSING)
    if late:
        for task in late:
            task.cancel()
        await asyncio.wait(late)


async def _until(event: asyncio.Event, seconds: float) -> None:
    """Return when the event happens. It does so by itself after so many seconds."""
    timer = asyncio.get_running_loop().call_later(seconds, event.set)
    try:
        await event.wait()
    finally:
        timer.cancel()


def _hear(connection: AsyncConnection[Any]) -> None:
    """Pass on what has been received already."""
    while word := connection.pgconn.notifies():
        assert connection.pgconn.notify_handler is not None
        connection.pgconn.notify_handler(word)
