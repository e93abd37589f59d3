"""The two ways to receive: one long event stream, or one JSON answer after the other.

Knows HTTP and the formats. What it receives it hands over in order, as messages; how a connection ends it says with
`Interrupted`. It must not know when to come back, nor which messages the consumer gets to see.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import Protocol

import httpx2
import msgspec

from headwater.client.http import (
    ANSWER_WITHIN,
    Credentials,
    Interrupted,
    Runtime,
    interruptions,
    read_body,
    refusal,
)
from headwater.client.received import MALFORMED
from headwater.client.reconnect import Ending, Silence, Why
from headwater.errors import ProtocolError, Unreachable
from headwater.wire import Decoder, Message

POLL_WAIT = 25
"""Seconds a poll asks the hub to hold it: under the 30 s after which some proxies cut an idle request."""

POLL_PAUSE = 1.0
"""Seconds between polls if the hub answers at once and with nothing."""

MAX_POLL = 64 * 1024 * 1024
"""Bytes of one poll's answer."""

Query = tuple[tuple[str, str], ...]

_EVENT_STREAM = re.compile(r"\s*text/event-stream\s*(;|\Z)", re.IGNORECASE)


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """What to ask whom for.

    Attributes:
        client: sends the requests; not closed here.
        url: with the query of the application's own, if any.
        query: parameters of every request.
        start: further parameters of requests that have no id to resume from.
        headers: of the application's own.
        credentials, runtime, silence: see there.
        max_event_bytes: of one line, and of one event's data.
    """

    client: httpx2.AsyncClient
    url: httpx2.URL
    query: Query
    start: Query
    headers: Mapping[str, str]
    credentials: Credentials
    runtime: Runtime
    silence: Silence
    max_event_bytes: int

    async def get(self, accept: str, id: str | None, query: Query, within: float) -> httpx2.Response:
        """Ask for everything after `id`; return the answer, whose body is still to come, if its status is 200.

        Args:
            within: seconds until the answer must begin.

        Raises:
            Interrupted: it has another status, or there is none.
            ProtocolError: asking again would be pointless.
        """
        url = self.url
        for name, value in (*self.query, *(() if id else self.start), *query):
            url = url.copy_add_param(name, value)
        headers = httpx2.Headers(dict(self.headers))
        headers.update({"Accept": accept, "Accept-Encoding": "identity", "Cache-Control": "no-store"})
        headers.update(await self.credentials.headers())
        resume = [(b"Last-Event-ID", id.encode())] if id else []  # as bytes: an id may be any UTF-8
        with interruptions(Why.UNREACHABLE):
            request = self.client.build_request("GET", url, headers=httpx2.Headers([*headers.raw, *resume]))
            async with asyncio.timeout(within):
                response = await self.client.send(request, stream=True, follow_redirects=True)
        if response.status_code != 200:
            raise await refusal(response, self.runtime.wall)
        return response


class Transport(Protocol):
    """A way to receive."""

    @property
    def last_id(self) -> str | None:
        """Where to resume, once everything received has been dealt with."""

    @property
    def retry(self) -> int | None:
        """Milliseconds, as the hub last asked; None if it did not."""

    async def connect(self) -> None:
        """Be ready to receive.

        Raises:
            Interrupted: the attempt failed.
            ProtocolError: the peer is no hub.
        """

    async def receive(self) -> list[Message]:
        """The next messages, after waiting for them; may be none.

        Raises:
            Interrupted: the connection ended.
            ProtocolError: what came is not what a hub sends.
        """

    async def aclose(self) -> None:
        """End the connection, if there is one. Idempotent; `connect` may follow."""


class StreamTransport:
    """Receives an event stream."""

    def __init__(self, target: Target, id: str | None) -> None:
        self._target = target
        self._decoder = Decoder(target.max_event_bytes, last_event_id=id or "")
        self._response: httpx2.Response | None = None
        self._chunks: AsyncIterator[bytes] = _nothing()
        self._opened_at = 0.0

    @property
    def last_id(self) -> str | None:
        """As the stream last set it."""
        return self._decoder.last_event_id or None

    @property
    def retry(self) -> int | None:
        """As the stream last set it."""
        return self._decoder.retry

    async def connect(self) -> None:
        """Open the stream."""
        within = min(ANSWER_WITHIN, self._target.silence.seconds or ANSWER_WITHIN)
        response = await self._target.get("text/event-stream", self.last_id, (), within)
        kind = response.headers.get("Content-Type", "")
        if not _EVENT_STREAM.match(kind):
            await response.aclose()
            raise ProtocolError(f"the answer is {kind[:80]!r}", expected="text/event-stream", fix="check the URL")
        self._response = response
        self._chunks = response.aiter_bytes()
        self._opened_at = self._target.runtime.clock()
        self._target.silence.opened()

    async def receive(self) -> list[Message]:
        """What the next bytes complete."""
        with interruptions(Why.LOST, self._lasted):
            async with asyncio.timeout(self._target.silence.seconds):
                chunk = await anext(self._chunks, None)
        if chunk is None:
            raise Interrupted(Ending(why=Why.LOST, lasted=self._lasted()), Unreachable("the stream ended"))
        return self._decoder.feed(chunk)

    def _lasted(self) -> float:
        return self._target.runtime.clock() - self._opened_at

    async def aclose(self) -> None:
        """Close the stream and forget what is incomplete."""
        self._decoder.close()
        if self._response is not None:
            response, self._response = self._response, None
            with suppress(httpx2.HTTPError):
                await response.aclose()


async def _nothing() -> AsyncIterator[bytes]:
    """What a transport receives that is not connected."""
    return
    yield b""


class _PolledEvent(msgspec.Struct, frozen=True):
    id: str
    channel: str
    type: str
    data: msgspec.Raw
    text: bool = False

    def message(self) -> Message:
        """The event as a stream would have brought it: JSON as it is, and text without its quotes."""
        data = msgspec.json.decode(self.data, type=str) if self.text else bytes(self.data).decode()
        return Message(self.type, data, self.id, self.channel)


class _Answer(msgspec.Struct, frozen=True):
    events: tuple[_PolledEvent, ...]
    cursor: str
    reset: msgspec.Raw = msgspec.Raw(b"null")


class PollTransport:
    """Asks again and again. The hub holds each question until there is something to answer."""

    def __init__(self, target: Target, id: str | None) -> None:
        self._target = target
        self._ready: list[Message] | None = None
        self._opened_at = 0.0
        self.last_id = id
        self.retry: int | None = None

    async def connect(self) -> None:
        """Ask for what there is already."""
        self._ready = await self._poll(wait=0)
        self._opened_at = self._target.runtime.clock()

    async def receive(self) -> list[Message]:
        """What there was when connecting; after that, what comes."""
        if self._ready is not None:
            ready, self._ready = self._ready, None
            return ready
        clock = self._target.runtime.clock
        asked_at = clock()
        try:
            messages = await self._poll(wait=POLL_WAIT)
        except Interrupted as interrupted:
            ending = msgspec.structs.replace(interrupted.ending, lasted=clock() - self._opened_at)
            raise Interrupted(ending, interrupted.error) from interrupted
        if not messages and clock() - asked_at < POLL_PAUSE:
            await self._target.runtime.sleep(POLL_PAUSE)
        return messages

    async def _poll(self, wait: int) -> list[Message]:
        query = (("wait", str(wait)),) if wait else ()
        within = wait + ANSWER_WITHIN
        response = await self._target.get("application/json", self.last_id, query, within)
        try:
            with interruptions(Why.LOST):
                async with asyncio.timeout(within):
                    body = await read_body(response, MAX_POLL)
        finally:
            await response.aclose()
        return self._read(body)

    def _read(self, body: bytes) -> list[Message]:
        try:
            answer = msgspec.json.decode(body, type=_Answer)
            messages = [event.message() for event in answer.events]
            reset = bytes(answer.reset).decode()
        except MALFORMED as error:
            raise ProtocolError(f"the answer is no poll's: {error}", fix="check the URL") from error
        if reset != "null":
            # Its id is one to resume from before the events that follow it.
            id = (self.last_id or "") if messages else answer.cursor
            messages.insert(0, Message("reset", reset, id))
        self.last_id = answer.cursor
        return messages

    async def aclose(self) -> None:
        """Nothing stays open between polls."""
        self._ready = None
