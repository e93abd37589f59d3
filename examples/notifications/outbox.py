"""From the database to the hub: what a transaction has changed is told, in order, and nothing else is.

An event is put into the outbox by the transaction that makes the change, so there is never one without the other, whenever
the process dies:

    committed, not published     it died in between: published at the next start
    published, still in the box  it died a moment later: published again with the same key, which changes nothing
    the log cannot be written    it stays in the box, and is tried again

Knows the outbox and the hub; must not know what the events are about.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import uuid
from collections.abc import Callable
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

import msgspec

from examples.notifications.events import SSEEventType
from examples.shared.database import Database
from headwater import Draft, Hub
from headwater.errors import HeadwaterError

log = logging.getLogger("examples.notifications")

P = ParamSpec("P")
T = TypeVar("T")

BATCH: Final = 200
"""Events that are published at once."""

MAX_PAUSE: Final = 5.0
"""Seconds between two tries while the log cannot be written."""

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS outbox (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    channel TEXT NOT NULL,
    type TEXT NOT NULL,
    data TEXT NOT NULL,         -- JSON
    permission TEXT NOT NULL,   -- that a reader needs; empty for none
    key TEXT NOT NULL           -- of idempotency: publishing it again changes nothing
) STRICT;
"""


def tell(connection: sqlite3.Connection, channel: str, type: SSEEventType, data: object, permission: str = "") -> None:
    """Put an event into the outbox, in the transaction that makes it true."""
    connection.execute(
        "INSERT INTO outbox (channel, type, data, permission, key) VALUES (?, ?, ?, ?, ?)",
        (channel, type, msgspec.json.encode(data).decode(), permission, uuid.uuid4().hex),
    )


def pending(connection: sqlite3.Connection) -> list[sqlite3.Row]:
    """The oldest events of the outbox, in the order in which they were put there."""
    return connection.execute("SELECT * FROM outbox ORDER BY number LIMIT ?", (BATCH,)).fetchall()


def told(connection: sqlite3.Connection, upto: int) -> None:
    """Take events that were published out of the outbox."""
    connection.execute("DELETE FROM outbox WHERE number <= ?", (upto,))


class Ledger:
    """The database, and the one reader of its outbox.

    Args:
        database: has the outbox's schema.
        hub: to publish to.
    """

    def __init__(self, database: Database, hub: Hub) -> None:
        self._database = database
        self._hub = hub
        self._wake = asyncio.Event()

    async def read(self, work: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What `work(connection, ...)` finds, in one transaction."""
        return await self._database.run(work, *args, **kwargs)

    async def change(
        self, work: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Have `work(connection, ...)` change something and tell of it, all of it or nothing. It is durable when this
        returns, and told as soon as the log takes it; also if nobody waits for that any more."""
        changing = asyncio.ensure_future(self._database.run(work, *args, **kwargs))
        changing.add_done_callback(lambda _: self._wake.set())
        return await asyncio.shield(changing)  # a transaction goes on when its asker is cancelled

    async def cursor(self) -> str:
        """Where to stream from to miss nothing of what happens after this; to be asked for before anything is read. What was
        committed and is still in the outbox will be published, and so comes after it."""
        return str(await self._hub.broker.head())

    async def run(self) -> None:
        """Publish until cancelled, beginning with what an earlier life has left behind."""
        self._wake.set()
        while True:
            await self._wake.wait()
            self._wake.clear()
            pause = 0.1
            while not await self._empty():
                await asyncio.sleep(pause)
                pause = min(pause * 2, MAX_PAUSE)

    async def _empty(self) -> bool:
        """Publish all there is; False if that was not possible now."""
        try:
            while events := await self._database.run(pending):
                await self._hub.publish_all([draft(event) for event in events])
                await self._database.run(told, events[-1]["number"])
        except HeadwaterError as error:
            log.warning("telling waits: %s", error)
            return False
        except Exception:
            log.exception("telling failed and is tried again")
            return False
        return True


def draft(event: Any) -> Draft:
    """A row of the outbox as the hub takes it."""
    permissions = (event["permission"],) if event["permission"] else ()
    return Draft(
        channel=event["channel"],
        type=event["type"],
        data=event["data"],
        permissions=frozenset(permissions),
        idempotency_key=event["key"],
    )
