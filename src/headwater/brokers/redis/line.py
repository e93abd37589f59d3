"""One connection to Redis: commands out, replies in, in order.

Knows RESP (through hiredis) and sockets. It must not know what is asked, who may be asked, or when to ask again.

redis-py's connections are not used. They start a timer for each read, turn each pushed message into text for a log that
nobody reads, and try again by themselves; here all that one read of the socket brings is handed over at once, which is what
delivery wants, too.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, cast

import hiredis

from headwater.errors import BrokerUnavailable

_WRAPPED = re.compile(r"ERR Error running script .*: -?([A-Z]{3,}) ")
_NOTHING = object()
_pack: Callable[[tuple[Any, ...]], bytes] = hiredis.pack_command
_SMALL_TALK = _pack(("TIME",))  # of the commands that a broker has the right to anyway, the one that costs least

Address = tuple[str, int]
Word = str | bytes | int


class Refused(Exception):
    """An error reply.

    Attributes:
        code: its first word, such as `OOM`; of an error within a script, which Redis 6 wraps into another, that one's.
            `NOPERM` also for what a script may not do, which Redis says in words.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        wrapped = _WRAPPED.match(text)
        self.code = wrapped[1] if wrapped else text.partition(" ")[0]
        if "The user executing the script can't" in text:
            self.code = "NOPERM"


class Line(asyncio.Protocol):
    """A connection. `Link` makes them; one that you get from there is in order.

    Args:
        address: host and port of the other end.
        timeout: seconds without any answer while one is due, after which the connection is given up.

    Attributes:
        address: host and port of the other end.
        closed: done once the connection has ended.
        life: of Redis, in which the connection was made (see `known`).
    """

    def __init__(self, address: Address, timeout: float) -> None:
        loop = asyncio.get_running_loop()
        self.address = address
        self.closed: asyncio.Future[None] = loop.create_future()
        self.life = 0
        self._timeout = timeout
        self._reader = hiredis.Reader(replyError=Refused, notEnoughData=_NOTHING)
        self._transport: asyncio.Transport  # there before anybody gets a line
        self._due: deque[asyncio.Future[Any]] = deque()  # who gets the next replies
        self._heard = 0.0  # when the last reply came, or the first of those that are due became so
        self._timer: asyncio.TimerHandle | None = None  # runs while a reply is due, and may go on when none is any more
        self._take: Callable[[Sequence[Any]], None] | None = None
        self._ended: Callable[[Exception], None] | None = None
        self._reason: str | None = None  # why we have ended it ourselves

    @classmethod
    async def open(cls, address: Address, patience: float, tls: ssl.SSLContext | None) -> Line:
        """Connect, and no more.

        Args:
            address: host and port.
            patience: seconds for the connection to be made, and for any answer later.
            tls: None for a connection that is not encrypted.

        Raises:
            BrokerUnavailable: nobody answers there, or not in time, or not as TLS demands.
        """
        loop = asyncio.get_running_loop()
        host, port = address
        try:
            async with asyncio.timeout(patience):
                _, line = await loop.create_connection(lambda: cls(address, patience), host, port, ssl=tls)
        except (OSError, TimeoutError) as error:
            raise _unavailable(address, f"cannot be reached: {str(error) or 'no answer'}") from error
        return line

    @property
    def is_open(self) -> bool:
        """Whether commands may still be sent."""
        return not self._transport.is_closing()

    def request(self, *words: Word) -> asyncio.Future[Any]:
        """Send a command; its reply to come. An error reply is a result, too, a `Refused`. Requests made at the same time
        share the connection, in order. Cancelling one does not harm the others.

        Raises, in the future:
            BrokerUnavailable: the connection broke, or no answer came in time and it was given up.
        """
        return self.request_all([words])[0]

    def request_all(
        self, commands: Sequence[tuple[Word, ...]], *, publishing: bool = False
    ) -> list[asyncio.Future[Any]]:
        """Many requests at once, which go out together. `publishing`: those who listen shall hear of it before we get the
        replies, or what we do with these delays them where Redis shares a core with us. Redis writes first to whom it has
        had something to say last; so it is asked for something before, and has had to say something to us already."""
        create = asyncio.get_running_loop().create_future
        futures: list[asyncio.Future[Any]] = [create() for _ in commands]
        if not self.is_open:
            for future in futures:
                future.set_exception(self._lost(None))
        else:
            self._watch()
            if publishing:
                self._due.append(_nobody())
            self._due.extend(futures)
            self._transport.write((_SMALL_TALK if publishing else b"") + b"".join(map(_pack, commands)))
        return futures

    async def ask(self, *words: Word) -> Any:
        """`request`, and wait for the reply; an error reply is raised.

        Raises:
            Refused: Redis answered with an error.
            BrokerUnavailable: see `request`.
        """
        reply = await self.request(*words)
        if isinstance(reply, Refused):
            raise reply
        return reply

    def send(self, *words: Word) -> None:
        """Send a command whose reply nobody waits for: of a connection that listens. Nothing happens if it has ended."""
        if self.is_open:
            self._transport.write(_pack(words))

    def listen(self, take: Callable[[Sequence[Any]], None], ended: Callable[[Exception], None]) -> None:
        """From now on everything that comes goes to `take`: all that one read of the socket brought, in order. Messages look
        the same in both protocols: `[b"message", channel, payload]`, `[b"subscribe", channel, count]`...; an error reply is
        a `Refused` among them. `ended` is called once, when the connection ends otherwise than by `close`. Both are called
        by the event loop itself, and must not raise."""
        self._take, self._ended = take, ended
        if not self.is_open:
            asyncio.get_running_loop().call_soon(self._tell_end, self._lost(None))

    def close(self) -> None:
        """End it at once. Whoever waits for an answer gets `BrokerUnavailable`. Idempotent; `take` and `ended` are not called
        any more."""
        self._take = self._ended = None
        self.drop("was left")

    def drop(self, reason: str) -> None:
        """End it at once, and tell everyone that it has broken. Idempotent.

        Args:
            reason: completes "Redis at host:port ...".
        """
        self._reason = self._reason or reason
        self._transport.abort()  # not close: that would wait until the other end has read what we sent

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but its class

    def data_received(self, data: bytes) -> None:
        try:
            replies = self._parse(data)
        except hiredis.ProtocolError as error:
            self.drop(f"brought what is not of Redis: {error}")
            return
        if self._take is not None:
            self._take(replies)
        else:
            for reply in replies:
                self._answer(reply)

    def _parse(self, data: bytes) -> list[Any]:
        self._reader.feed(data)
        replies = []
        while (reply := self._reader.gets()) is not _NOTHING:
            replies.append(reply)
        return replies

    def _answer(self, reply: Any) -> None:
        if isinstance(reply, hiredis.PushNotification) or not self._due:
            return  # nobody has asked: an announcement
        future = self._due.popleft()
        if not future.done():  # else cancelled
            future.set_result(reply)
        self._heard = asyncio.get_running_loop().time()

    def _watch(self) -> None:
        """A reply is going to be due. A timer that still runs for an earlier one is left: most never have anything to do."""
        loop = asyncio.get_running_loop()
        if not self._due:
            self._heard = loop.time()
        if self._timer is None:
            self._timer = loop.call_later(self._timeout, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._due:
            loop = asyncio.get_running_loop()
            remaining = self._heard + self._timeout - loop.time()
            if remaining <= 0:
                self.drop(f"gave no answer within {self._timeout:g} s")
            else:
                self._timer = loop.call_later(remaining, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due, self._due = self._due, deque()
        for future in due:
            if not future.done():
                future.set_exception(self._lost(exc))
                future.exception()  # seen, even if who has asked waits no more
        if not self.closed.done():
            self.closed.set_result(None)
        self._tell_end(self._lost(exc))

    def _tell_end(self, error: Exception) -> None:
        ended, self._take, self._ended = self._ended, None, None
        if ended is not None:
            ended(error)

    def _lost(self, cause: Exception | None) -> BrokerUnavailable:
        return _unavailable(self.address, self._reason or f"closed the connection{f': {cause}' if cause else ''}")


def _nobody() -> asyncio.Future[Any]:
    """Who gets a reply that is of no interest."""
    future = asyncio.get_running_loop().create_future()
    future.cancel()
    return future


def _unavailable(address: Address, what: str) -> BrokerUnavailable:
    host, port = address
    return BrokerUnavailable(
        f"Redis at {host}:{port} {what}", fix="check that it runs and can be reached from here", retry_after=1
    )
