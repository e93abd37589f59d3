"""How a hub publishes: drafts are checked against its bounds and appended to the log.

Knows the broker protocol and the loop to call it in; must not know streams. The fan-out hears of an event from the
broker's feed like every other node's, never from here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

from headwater.brokers.base import Broker
from headwater.channels import check_channel
from headwater.errors import HeadwaterError, TooLarge, Unavailable
from headwater.event import Draft, Position, byte_length


def _is_running_here(loop: asyncio.AbstractEventLoop) -> bool:
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:  # none runs in this thread
        return False


class Publishing:
    """The publishing side of a hub.

    Args:
        broker: the log.
        max_event_bytes: of an event's data; 0 for no bound.
    """

    def __init__(self, broker: Broker, max_event_bytes: int) -> None:
        self.broker = broker
        self.max_event_bytes = max_event_bytes
        self.published = 0
        self._loop: asyncio.AbstractEventLoop | None = None  # the hub's while it runs

    def check_running(self) -> None:
        """Raise `Unavailable` unless the hub runs."""
        _ = self.loop

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop the hub runs in.

        Raises:
            Unavailable: it does not run.
        """
        if self._loop is None:
            raise Unavailable(
                "the hub is not running", fix="start it: FastAPI(lifespan=hub.lifespan), or await hub.start()"
            )
        return self._loop

    async def publish(
        self,
        channel: str,
        type: str = "message",
        data: Any = None,
        *,
        permissions: Iterable[str] = (),
        idempotency_key: str | None = None,
    ) -> Position:
        """Append one event; returns its position once it is durable.

        Args:
            channel: where it goes.
            type: its name on the wire.
            data: anything that can be written as JSON.
            permissions: a principal must hold all of them to see it.
            idempotency_key: publishing again with the same key appends nothing and returns the first position.

        Raises:
            InvalidInput: the event is malformed. TooLarge: its data is over the bound. IdempotencyConflict: the key was
            used for another event. BrokerUnavailable: it was not accepted.
        """
        draft = Draft.json(channel, type, data, permissions=permissions, idempotency_key=idempotency_key)
        return (await self.publish_all([draft]))[0]

    async def publish_all(self, drafts: Sequence[Draft]) -> tuple[Position, ...]:
        """Append all events or none; returns their positions. Raises as `publish`."""
        self.check_running()
        for draft in drafts:
            check_channel(draft.channel)
            self._check_size(draft)
        positions = await self.broker.append(drafts)
        self.published += len(positions)
        return positions

    def _check_size(self, draft: Draft) -> None:
        if self.max_event_bytes and (size := byte_length(draft.data)) > self.max_event_bytes:
            raise TooLarge(
                f"an event of {size} bytes",
                expected=f"at most {self.max_event_bytes}",
                fix="publish a reference to large data, or raise HEADWATER_MAX_EVENT_BYTES",
            )

    def publish_sync(
        self,
        channel: str,
        type: str = "message",
        data: Any = None,
        *,
        permissions: Iterable[str] = (),
        idempotency_key: str | None = None,
    ) -> Position:
        """`publish` for threads other than the loop's: a plain `def` route, a worker thread. Blocks until it is durable.

        Raises:
            HeadwaterError: this is the loop's thread. Otherwise as `publish`.
        """
        loop = self.loop
        if _is_running_here(loop):
            raise HeadwaterError("publish_sync would block the loop it waits for", fix="await hub.publish(...) here")
        work = self.publish(channel, type, data, permissions=permissions, idempotency_key=idempotency_key)
        return asyncio.run_coroutine_threadsafe(work, loop).result()
