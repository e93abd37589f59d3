"""The JSON poll: the same read as a stream's, as request and answer, for clients that cannot stream.

Knows the hub's poll and ASGI's disconnect message; must not know tokens or routes.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from headwater.asgi.problems import refuse
from headwater.errors import HeadwaterError, InvalidInput
from headwater.event import Event, ResetReason
from headwater.hub import Hub, Subscription
from headwater.hub.frames import timestamp
from headwater.hub.poll import Polled

MAX_WAIT: Final = 60.0
"""Seconds that a poll may ask to be held. Longer ones are held as long as this: proxies end them soon after."""

PIECE: Final = 64 * 1024
"""Bytes of an answer sent at once. Servers wait for the client between two messages, not within one, so until a client has
taken nearly all of an answer it keeps the place that was lent for it."""

_SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?\Z", re.ASCII)


class PolledEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """One event of an answer.

    Attributes:
        id: the cursor after it.
        channel: where it was published.
        type: `message` if it was published without one.
        data: the JSON value it was published with, or its text.
        time: when the log accepted it, ISO 8601 in UTC.
        text: said only where it is true: `data` is plain text, and not JSON that happens to be a string.
    """

    id: str
    channel: str
    type: str
    data: msgspec.Raw | str
    time: str
    text: bool = False


class PolledReset(msgspec.Struct, frozen=True):
    """Events are missing before those of this answer: load the current state anew, then go on from `cursor`."""

    reason: ResetReason
    cursor: str


class PollAnswer(msgspec.Struct, frozen=True):
    """What a poll answers.

    Attributes:
        events: in order.
        cursor: where the next poll goes on.
        reset: why events are missing; None if none are.
    """

    events: list[PolledEvent]
    cursor: str
    reset: PolledReset | None


def wait_of(query: Sequence[tuple[str, str]]) -> float:
    """Seconds to hold the request while there is nothing: `wait=`, 0 without it, MAX_WAIT at most.

    Raises:
        InvalidInput: it is no number of seconds.
    """
    wait = next((value for name, value in query if name == "wait"), "0")
    if not _SECONDS.match(wait):
        raise InvalidInput(f"wait={wait[:40]!r} cannot be read", expected=f"seconds, 0 to {MAX_WAIT:g}")
    return min(float(wait), MAX_WAIT)


def answer_of(polled: Polled) -> PollAnswer:
    """The answer's body."""
    cursor = str(polled.end)
    reset = None if polled.reset is None else PolledReset(polled.reset, cursor)
    return PollAnswer([_entry(event) for event in polled.events], cursor, reset)


def _entry(event: Event) -> PolledEvent:
    return PolledEvent(
        str(event.position),
        event.channel,
        event.type,
        event.data if event.text else msgspec.Raw(event.data.encode()),
        timestamp(event.time / 1000),
        event.text,
    )


class PollResponse(Response):
    """A subscription's events so far, or the first to come, as a response.

    Args:
        hub: a running hub.
        subscription: already authorised. Its `release` is called when the answer has been sent, or cannot be any more.
        query: the request's; `wait` is read from it.
        headers: further headers.

    Raises:
        InvalidInput: `wait` cannot be read.
    """

    def __init__(
        self,
        hub: Hub,
        subscription: Subscription,
        query: Sequence[tuple[str, str]],
        *,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._hub = hub
        self._subscription = subscription
        self._wait = wait_of(query)
        super().__init__(
            media_type="application/json", headers={"cache-control": "no-store", "vary": "Accept", **(headers or {})}
        )
        del self.headers["content-length"]  # not known yet; a HEAD leaves it open

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            response = self if scope["method"] == "HEAD" else await self._answer(receive)
            if response is self:
                await self._send(send)
            elif response is not None:
                await response(scope, receive, send)
        finally:
            if self._subscription.release is not None:
                self._subscription.release()

    async def _answer(self, receive: Receive) -> Response | None:
        """This response with its body, another one that refuses, or None for a client that is gone."""
        polling = asyncio.ensure_future(self._hub.poll(self._subscription, self._patience()))
        try:
            if not await _first(polling, receive):
                return None
            polled = polling.result()
        except HeadwaterError as error:
            return refuse(self._hub, error)
        finally:
            polling.cancel()
        self.body = msgspec.json.encode(answer_of(polled))
        self.headers["content-length"] = str(len(self.body))
        return self

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        for start in range(0, len(self.body) or 1, PIECE):
            end = start + PIECE
            body = self.body[start:end]
            await send({"type": "http.response.body", "body": body, "more_body": end < len(self.body)})

    def _patience(self) -> float:
        """Seconds to wait: never beyond the time for which the principal may see anything."""
        expires_at = self._subscription.principal.expires_at
        return self._wait if expires_at is None else min(self._wait, max(0.0, expires_at - time.time()))


async def _first(polling: asyncio.Future[Polled], receive: Receive) -> bool:
    """Wait for the answer; False if the client went away before it."""
    gone = asyncio.ensure_future(_disconnect(receive))
    try:
        await asyncio.wait((polling, gone), return_when=asyncio.FIRST_COMPLETED)
        return polling.done()
    finally:
        gone.cancel()


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
