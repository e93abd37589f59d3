"""One connection to Redis: commands out, replies in, in order.

Knows RESP (through hiredis), sockets and TLS. It must not know what is asked, who may be asked, or when to ask again.

redis-py's connections are not used. They start a timer for each read and turn each pushed message into text for a log that
nobody reads; here all that one read of the socket brings is handed over at once, which is also what delivery wants.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any


class Line(asyncio.Protocol):
    """A connection. `Link` makes them; it is in order when you get it.

    Attributes:
        address: host and port of the other end.
        life: of Redis, in which the connection was made (see `known`).
    """

    address: tuple[str, int]
    life: int

    async def ask(self, *words: str | bytes | int) -> Any:
        """Send a command and return its reply; concurrent ones share the connection, in order. An error reply is returned,
        not raised. Being cancelled does not harm the connection.

        Raises:
            BrokerUnavailable: the connection broke, or no answer came in time (it is then closed).
        """
        raise NotImplementedError

    def send(self, *words: str | bytes | int) -> None:
        """Send a command whose reply nobody waits for: of a connection that listens. Nothing happens if it has ended."""
        raise NotImplementedError

    def listen(self, take: Callable[[Sequence[Any]], None], ended: Callable[[Exception], None]) -> None:
        """From now on everything that comes goes to `take`: all that one read of the socket brought, in order. Messages look
        the same in both protocols: `[b"message", channel, payload]`, `[b"subscribe", channel, count]`...; an error reply is
        an exception among them. `ended` is called once, when the connection ends otherwise than by `close`. Both are called
        in the event loop's thread, from the loop itself."""
        raise NotImplementedError

    def close(self) -> None:
        """End it. Whoever waits for an answer gets `BrokerUnavailable`. Idempotent; nothing is called afterwards."""
        raise NotImplementedError
