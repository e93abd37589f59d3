"""Where a stream begins: what a client may ask for, and how that becomes a position.

Knows the broker and the fan-out's position; must not know query strings (see `asgi.request`) or streams.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import NamedTuple

import msgspec

from headwater.brokers.base import Broker
from headwater.errors import BrokerUnavailable, InvalidCursor
from headwater.event import Position, ResetReason
from headwater.hub.fanout import Fanout

MAX_LAST = 1000
"""Events that `last=N` may ask for."""

PATIENCE = 5.0
"""Seconds to wait for this node's feed to reach a position that another node has already sent to the client."""


class Now(msgspec.Struct, frozen=True):
    """Only what comes from now on."""


class All(msgspec.Struct, frozen=True):
    """Everything the log still has."""


class After(msgspec.Struct, frozen=True):
    """What came after a cursor, as the client sent it."""

    cursor: str


class Ago(msgspec.Struct, frozen=True):
    """What was accepted during the last `seconds`."""

    seconds: float


class Last(msgspec.Struct, frozen=True):
    """The newest `count` events that the principal may see, 1 to MAX_LAST."""

    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.count <= MAX_LAST:
            raise InvalidCursor(f"last={self.count}", expected=f"1 to {MAX_LAST}")


Start = Now | All | After | Ago | Last


class Beginning(NamedTuple):
    """Where a stream begins, and the reset it must be told if that is not where it asked to begin."""

    seq: int
    reset: ResetReason | None = None


class Locator:
    """Turns a `Start` into a `Beginning`.

    Args:
        epoch: of the log, as a function because it may change.
        now: Unix time in milliseconds.
    """

    def __init__(self, broker: Broker, fanout: Fanout, epoch: str) -> None:
        self.epoch = epoch
        self._broker = broker
        self._fanout = fanout

    async def locate(self, start: Start, channels: Collection[str], permissions: frozenset[str], now: int) -> Beginning:
        """Where `start` is, for these channels, which must be followed already.

        Raises:
            BrokerUnavailable: the store cannot say now.
        """
        match start:
            case After(cursor):
                return await self._after(cursor)
            case All():
                return Beginning((await self._broker.horizon(channels)).seq)
            case Ago(seconds):
                position = await self._broker.position_at(now - int(seconds * 1000))
                return Beginning(max(position.seq, (await self._broker.horizon(channels)).seq))
            case Last(count):
                return Beginning(await self._last(count, channels, permissions))
            case Now():
                return Beginning(self._fanout.received)

    async def _after(self, cursor: str) -> Beginning:
        try:
            position = Position.parse(cursor)
        except InvalidCursor:
            return Beginning(self._fanout.received, ResetReason.UNKNOWN_ID)
        if position.epoch != self.epoch:
            return Beginning(self._fanout.received, ResetReason.EPOCH_CHANGED)
        if position.seq <= self._fanout.received:
            return Beginning(position.seq)
        # Ahead of this node: either another node was quicker, or it is from a log that ours is an older copy of.
        head = await self._broker.head()
        if position.seq > head.seq:
            return Beginning(self._fanout.received, ResetReason.UNKNOWN_ID)
        try:
            await asyncio.wait_for(self._fanout.reached(position.seq), PATIENCE)
        except TimeoutError:
            raise BrokerUnavailable(
                "this node has not yet received what the cursor has seen", fix="try again", retry_after=1
            ) from None
        return Beginning(position.seq)

    async def _last(self, count: int, channels: Collection[str], permissions: frozenset[str]) -> int:
        """The seq before the `count`-th newest visible event."""
        before = self._fanout.received
        while before > 0:
            page = await self._broker.read_back(channels, before)
            for event in page.events:
                count -= event.permissions <= permissions
                if count == 0:
                    return event.position.seq - 1
            before = max(0, page.end.seq - 1)
        return (await self._broker.horizon(channels)).seq
