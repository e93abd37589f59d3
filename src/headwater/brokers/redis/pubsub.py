"""One pub/sub connection: subscribe, unsubscribe, and take what comes. When it breaks it says so, and is used no more.

Knows what Redis sends to those who listen. Must not know what the messages mean, nor connect again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from typing import Any

from headwater.brokers.redis.line import Line, Refused
from headwater.brokers.redis.link import Link
from headwater.brokers.redis.refusals import explain

CHUNK = 1000  # names per command

Taker = Callable[[Sequence[tuple[bytes, bytes]]], None]
"""Gets the messages of one read of the socket: what each was published to, and what."""


class PubSub:
    """A connection that receives.

    Args:
        take: gets what comes.

    Attributes:
        names: what is subscribed to.
        end: fails, with the reason, when the connection breaks.
    """

    def __init__(self, take: Taker) -> None:
        self.names: set[bytes] = set()
        self._messages = take
        self._line: Line | None = None
        self._unconfirmed = 0
        self._waiting: asyncio.Future[None] | None = None
        self.end: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def connect(self, link: Link) -> None:
        """To be called once. Raises as `Link.listen`."""
        self._line = await link.listen(self._take, self._ended)

    def close(self) -> None:
        """Nothing comes any more. Idempotent."""
        if self._line is not None:
            self._line.close()
        self.end.cancel()

    async def subscribe(self, names: Collection[bytes]) -> None:
        """Returns when Redis has confirmed all of them: from then on everything published to them comes."""
        new = [name for name in names if name not in self.names]
        if not new:
            return
        self.names.update(new)
        self._unconfirmed += len(new)
        self._waiting = asyncio.get_running_loop().create_future()
        self._send(b"SUBSCRIBE", new)
        await self._waiting

    def unsubscribe(self, names: Collection[bytes]) -> None:
        """Redis hears of it in time, and may send what is published until then."""
        self.names.difference_update(names)
        self._send(b"UNSUBSCRIBE", list(names))

    def _send(self, command: bytes, names: Sequence[bytes]) -> None:
        assert self._line is not None
        for start in range(0, len(names), CHUNK):
            self._line.send(command, *names[start : start + CHUNK])

    def _take(self, answers: Sequence[Any]) -> None:
        messages = []
        for answer in answers:
            if isinstance(answer, Refused):
                self._ended(explain(answer))
            elif answer[0] == b"message":
                messages.append((answer[1], answer[2]))
            elif answer[0] == b"subscribe":
                self._unconfirmed -= 1
        if messages:
            self._messages(messages)
        if not self._unconfirmed and self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def _ended(self, error: Exception) -> None:
        if not self.end.done():
            self.end.set_exception(error)
            self.end.exception()  # seen, even if nobody waits
