"""From the outbox to the hub: what was persisted is broadcast, in order, and nothing else is.

    persisted, not broadcast     the process died in between: broadcast at the next start
    broadcast, still in the box  it died a moment later: published again with the same key, which changes nothing
    the log cannot be written    it stays in the box, and is tried again

Knows the outbox and the hub; must not know debates' rules or HTTP.
"""

from __future__ import annotations

import asyncio
import logging

from examples.debates import store
from examples.debates.clients import channel
from examples.debates.store import Pending
from examples.shared.database import Database
from headwater import Draft, Hub
from headwater.errors import Unavailable

log = logging.getLogger("examples.debates")

MAX_PAUSE = 5.0


class Relay:
    """The one reader of the outbox."""

    def __init__(self, database: Database, hub: Hub) -> None:
        self._database = database
        self._hub = hub
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """There is something in the outbox."""
        self._wake.set()

    async def run(self) -> None:
        """Broadcast until cancelled, beginning with what an earlier life has left behind."""
        self._wake.set()
        while True:
            await self._wake.wait()
            self._wake.clear()
            pause = 0.1
            while not await self._empty():
                await asyncio.sleep(pause)
                pause = min(pause * 2, MAX_PAUSE)

    async def _empty(self) -> bool:
        """Broadcast all there is; False if that was not possible now."""
        try:
            while events := await self._database.run(store.pending):
                await self._hub.publish_all([draft(event) for event in events])
                for event in events:
                    self._tell(event)
                await self._database.run(store.broadcast, events[-1].number)
        except Unavailable as error:
            log.warning("broadcasting waits: %s", error)
            return False
        except Exception:
            log.exception("broadcasting failed and is tried again")
            return False
        return True

    def _tell(self, event: Pending) -> None:
        count = self._hub.count(channel(event.debate))
        log.info(
            "[SSE] Broadcasted %s to %d clients for debate %s",
            *(event.type, count, event.debate),
            extra={"event_type": event.type, "clients": count, "debate_id": event.debate},
        )


def draft(event: Pending) -> Draft:
    """The event as the hub takes it."""
    return Draft.json(channel(event.debate), event.type, event.data, idempotency_key=event.key)
