"""The application's state and the log's position, seen at one moment.

A page that loads its state and then streams from a position must miss nothing in between. In one REPEATABLE READ
transaction all statements see the same committed transactions, so what the state shows and what the log holds go
together, but for one thing: an event whose transaction is committed is in the outbox until the leader has given it a
position, mostly for some milliseconds. The state shows its effect, and the stream will bring it as well. A snapshot says
which these are, so that whoever minds seeing them twice can tell.

That is, for a snapshot in a REPEATABLE READ (or SERIALIZABLE) transaction:

1. Nothing is lost. Every event that was published in a transaction which the snapshot does not see has, or will get, a
   later position than the snapshot's.
2. What comes twice is known. An event with a later position whose transaction the snapshot does see is one of
   `pending`, and `PostgresBroker.repeated` tells its position.

With `first`, in a READ COMMITTED transaction that asks for the position before it reads its state, the first holds, too,
and of the second nothing is known: what is committed in between is in the state and comes again.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable
from typing import Any

import msgspec

from headwater.brokers.postgres.foreign import Row, ask
from headwater.brokers.postgres.sql import check_schema, quoted
from headwater.errors import InvalidInput
from headwater.event import Position


class Snapshot(msgspec.Struct, frozen=True):
    """What `position` saw.

    Attributes:
        position: where to stream from. Its text is the cursor for a client.
        pending: the numbers in the outbox of events that are committed and have no position yet. Mostly there are none.
    """

    position: Position
    pending: tuple[int, ...] = ()

    @property
    def cursor(self) -> str:
        """The position as clients carry it."""
        return str(self.position)


def position(connection: Any, *, first: bool = False, schema: str = "headwater") -> Any:
    """The log's position as the transaction sees it that `connection` is in.

    Args:
        connection: as for `publish`.
        first: the transaction is READ COMMITTED, and its state is read after this and not before.
        schema: where Headwater is installed.

    Returns:
        a `Snapshot`; for an asynchronous connection an awaitable of one.

    Raises:
        InvalidInput: the transaction is READ COMMITTED, and `first` is not set.
    """
    answer = ask(connection, f"SELECT isolation, epoch, pos, pending FROM {quoted(check_schema(schema))}.here()")
    if inspect.isawaitable(answer):
        return _awaited(answer, first)
    return _snapshot(answer, first)


async def _awaited(answer: Awaitable[Row], first: bool) -> Snapshot:
    return _snapshot(await answer, first)


def _snapshot(row: Any, first: bool) -> Snapshot:
    isolation, epoch, pos, pending = row
    if isolation == "read committed" and not first:
        raise InvalidInput(
            "each statement of this transaction sees another state, so the position may be later than what was read",
            expected="REPEATABLE READ",
            fix="begin the transaction with that isolation level, or ask for the position first and say first=True",
        )
    return Snapshot(Position(epoch, pos), tuple(map(int, pending.split())))
