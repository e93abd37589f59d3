"""Where a stream begins: what a client may ask for, and how that becomes a position.

Knows the broker and the fan-out's position; must not know query strings (see `asgi.request`) or streams.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from contextlib import suppress
from typing import NamedTuple

import msgspec

from headwater.brokers.base import Broker
from headwater.errors import BrokerUnavailable, InvalidCursor
from headwater.event import MAX_SEQ, Position, ResetReason
from headwater.hub.fanout import Fanout

MAX_LAST = 1000
"""Events that `last=N` may ask for."""

MAX_AGO = 10 * 366 * 24 * 3600.0
"""Seconds that a stream may begin in the past: ten years, longer than any log is kept."""

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
    """What was accepted during the last `seconds`, 0 to MAX_AGO."""

    seconds: float

    def __post_init__(self) -> None:
        if not 0 <= self.seconds <= MAX_AGO:
            raise InvalidCursor(f"a start {self.seconds:g} seconds ago", expected=f"0 to {MAX_AGO:g}")


class Last(msgspec.Struct, frozen=True):
    """The newest `count` events that the principal may see, 1 to MAX_LAST."""

    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.count <= MAX_LAST:
            raise InvalidCursor(f"last={self.count}", expected=f"1 to {MAX_LAST}")


Start = Now | All | After | Ago | Last


def asks_for_what_is_left(start: Start) -> bool:
    """Whether a start asks for what the log still has. What retention removes before it was read is then no gap; the client
    knows nothing yet that could have one."""
    return not isinstance(start, Now | After)


class Beginning(NamedTuple):
    """Where a stream begins, and the reset it must be told if that is not where it asked to begin."""

    seq: int
    reset: ResetReason | None = None


class Locator:
    """Turns a `Start` into a `Beginning`.

    A beginning is never ahead of this node's feed: a stream there would be given what came before its beginning.
    """

    def __init__(self, broker: Broker, fanout: Fanout) -> None:
        self._broker = broker
        self._fanout = fanout

    async def locate(self, start: Start, channels: Collection[str], permissions: frozenset[str], now: int) -> Beginning:
        """Where `start` is, for these channels, which must be followed already.

        Args:
            now: Unix time in milliseconds.

        Raises:
            BrokerUnavailable: the store cannot say now, or this node's feed does not get there.
        """
        fanout = self._fanout
        if isinstance(start, After):
            await self._hear_of(start.cursor)
        epoch = fanout.epoch
        beginning = await self._find(start, channels, permissions, now)
        if fanout.epoch == epoch and beginning.seq > fanout.received:
            await self._wait(beginning.seq)
        if fanout.epoch != epoch:  # while we asked; what was found is a place in the old log
            return Beginning(fanout.received, ResetReason.EPOCH_CHANGED)
        return beginning

    async def _find(self, start: Start, channels: Collection[str], permissions: frozenset[str], now: int) -> Beginning:
        match start:
            case After(cursor):
                return await self._after(cursor)
            case All():
                return Beginning((await self._broker.horizon(channels)).seq)
            case Ago(seconds):
                position = await self._broker.position_at(now - int(seconds * 1000))
                return await self._retained(position.seq, channels)
            case Last(count):
                return await self._retained(await self._last(count, channels, permissions), channels)
            case _:
                return Beginning(self._fanout.received)

    async def _after(self, cursor: str) -> Beginning:
        try:
            position = Position.parse(cursor)
        except InvalidCursor:
            return Beginning(self._fanout.received, ResetReason.UNKNOWN_ID)
        if position.epoch != self._fanout.epoch:
            return Beginning(self._fanout.received, ResetReason.EPOCH_CHANGED)
        # Ahead of this node: either another node was quicker, or it is from a log that ours is an older copy of. The head of
        # an epoch that this node has not heard of yet says neither; hearing of it does.
        if position.seq > self._fanout.received:
            head = await self._broker.head()
            if head.epoch == self._fanout.epoch and position.seq > head.seq:
                return Beginning(self._fanout.received, ResetReason.UNKNOWN_ID)
        return Beginning(position.seq)

    async def _hear_of(self, cursor: str) -> None:
        """If a cursor is of an epoch that another node was quicker to hear of, wait until this one has heard of it: sending
        the client back to the old one would make it load everything anew, twice."""
        with suppress(InvalidCursor):
            epoch = Position.parse(cursor).epoch
            if epoch != self._fanout.epoch and epoch == (await self._broker.head()).epoch != self._fanout.epoch:
                await self._wait(MAX_SEQ)

    async def _wait(self, seq: int) -> None:
        try:
            await asyncio.wait_for(self._fanout.reached(seq), PATIENCE)
        except TimeoutError:
            raise BrokerUnavailable(
                "this node has not yet received what the log already has", fix="try again", retry_after=1
            ) from None

    async def _retained(self, seq: int, channels: Collection[str]) -> Beginning:
        """`seq`, or where the log of all the channels is complete from, if that is later."""
        return Beginning(max(seq, (await self._broker.horizon(channels)).seq))

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
        return 0
