"""A connection for commands that is made when it is needed, and made again after it broke.

Knows how to ask once, and what to do when an answer only says that this connection, or this server, is the wrong one. How
long to go on trying is the caller's business.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from headwater.brokers.redis.line import Line, Refused, Word
from headwater.brokers.redis.link import Link, load_scripts
from headwater.brokers.redis.refusals import PASSING, explain
from headwater.errors import BrokerUnavailable

Words = Callable[[], tuple[Word, ...]]
"""Makes a command, anew for each time that it is sent: it says what is known by then."""


class Lane:
    """A connection for commands.

    Args:
        link: makes connections.
    """

    def __init__(self, link: Link) -> None:
        self._link = link
        self._line: Line | None = None
        self._connecting = asyncio.Lock()
        self._is_closed = False

    async def line(self) -> Line:
        """The connection, made if there is none.

        Raises:
            BrokerUnavailable, ConfigurationError: see `Link.connect`.
        """
        if self._line is not None and self._line.is_open:
            return self._line
        async with self._connecting:
            if self._is_closed:
                raise BrokerUnavailable("the broker is closed")
            if self._line is None or not self._line.is_open:
                self._line = await self._link.connect()
            if self._is_closed:  # meanwhile
                self._line.close()
            return self._line

    async def ask(self, words: Words, *, is_safe: bool = True) -> Any:
        """Ask, and ask again on a new connection if the one that was there turns out to be broken, or not the right one.

        Args:
            words: the command.
            is_safe: to send twice; else it is sent again only if it was surely not carried out.

        Raises:
            BrokerUnavailable, ConfigurationError: no answer, or an error reply.
        """
        was_there = self._line
        line = await self.line()
        try:
            return await line.ask(*words())
        except BrokerUnavailable:
            if not is_safe or line is not was_there:
                raise
        except Refused as refused:
            if refused.code not in PASSING:
                raise explain(refused) from refused
            await self.recover(line, refused)
        try:
            return await (await self.line()).ask(*words())
        except Refused as refused:
            raise explain(refused) from refused

    async def recover(self, line: Line, refused: Refused) -> None:
        """Do what helps against an error that may pass: load the scripts, or leave the connection.

        Raises:
            BrokerUnavailable, ConfigurationError: it does not help.
        """
        if refused.code != "NOSCRIPT":
            line.drop("is not what it was any more")
            return
        try:
            await load_scripts(line)
        except Refused as again:
            raise explain(again) from again

    async def aclose(self) -> None:
        """End it, and return when it has ended. Idempotent."""
        self._is_closed = True
        if self._line is not None:
            self._line.close()
            await asyncio.shield(self._line.closed)
