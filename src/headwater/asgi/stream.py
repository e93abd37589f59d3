"""GET as a stream: the only endless response, as an ASGI application.

Sends the response's head, then hands the rest to the hub: as a bare transport where the server lets go of it (our own
server does, see `headwater.server`), else through ASGI's `send`. The two are never mixed on one connection, because what
is written to a transport overtakes what middlewares still hold. Knows the hub and ASGI; must not know tokens or routes.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Protocol

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from headwater.asgi.problems import refuse
from headwater.errors import Draining, HeadwaterError
from headwater.hub import Hub, Opening, Subscription
from headwater.stream import CloseReason, Stream, Writer

DETACH = "headwater.detach"
"""The ASGI extension under which a server offers a connection's transport: a `Detach`."""

HEADERS: Mapping[str, str] = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache, no-transform",
    "x-accel-buffering": "no",  # nginx would otherwise collect a few kilobytes first
}

HIGH_WATER = 64 * 1024
"""Bytes waiting in a `SendWriter` above which its stream counts as full; what transports use by default."""


class Detach(Protocol):
    """What a server that can let go of a connection puts into the scope."""

    def prepare(self) -> None:
        """Called before the response's head is sent."""

    async def __call__(self, hub: Hub) -> DetachedWriter | None:
        """Called after it was sent: the connection as a writer, or None where that is not possible this time."""


class DetachedWriter(Writer, Protocol):
    """A connection that the server has let go of."""

    def begin(self, stream: Stream) -> None:
        """From now on report for this stream."""


class StreamResponse(Response):
    """A subscription as a response. Any ASGI application or framework of Starlette's family can return it.

    Args:
        hub: a running hub.
        subscription: already authorised.
        headers: further headers.
    """

    def __init__(self, hub: Hub, subscription: Subscription, *, headers: Mapping[str, str] | None = None) -> None:
        self.status_code = 200
        self.background = None
        self._hub = hub
        self._subscription = subscription
        self.init_headers({**HEADERS, "vary": "Accept", **(headers or {})})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "HEAD":
            try:
                await send(self._head())
                await send({"type": "http.response.body", "body": b""})
            finally:
                self.abandon()
            return
        opening: Opening | None = None
        is_begun = False
        try:
            async with self._hub.prepare(self._subscription) as opening:
                detach: Detach | None = scope.get("extensions", {}).get(DETACH)
                if detach is not None:
                    detach.prepare()
                is_begun = True
                await send(self._head())
                await self._stream(opening, detach, receive, send)
        except HeadwaterError as error:
            if is_begun:  # there is no second status to give
                raise
            await refuse(self._hub, error)(scope, receive, send)
        finally:
            if opening is None or not opening.is_attached:
                self.abandon()

    async def _stream(self, opening: Opening, detach: Detach | None, receive: Receive, send: Send) -> None:
        """Everything after the head, where an error can only end the body."""
        writer = None if detach is None else await detach(self._hub)
        try:
            if writer is not None:
                writer.begin(opening.attach(writer))
                return
            fallback = SendWriter(self._hub)
            fallback.begin(opening.attach(fallback))
        except Draining:
            if writer is not None:
                writer.finish()
            else:
                await send({"type": "http.response.body", "body": b""})
            return
        await fallback.pump(receive, send)

    def abandon(self) -> None:
        """There will be no stream: give back what was lent for one."""
        if self._subscription.release is not None:
            self._subscription.release()

    def _head(self) -> Message:
        return {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}


class SendWriter:
    """Writes through ASGI's `send`: for every server but our own, and where a middleware must see the body.

    The request's task is the pump; the hub's writes are collected and sent in one message each time it comes round.
    """

    chunked = False

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._stream: Stream | None = None
        self._held: list[bytes] = []
        self._size = 0
        self._is_full = False
        self._is_finished = False
        self._wake = asyncio.Event()
        self._task = asyncio.current_task()

    def begin(self, stream: Stream) -> None:
        self._stream = stream
        if self._is_full:
            self._hub.full(stream)

    def write(self, data: bytes) -> None:
        self._held.append(data)
        self._size += len(data)
        self._wake.set()
        if self._size > HIGH_WATER and not self._is_full:
            self._is_full = True
            if self._stream is not None:
                self._hub.full(self._stream)

    def finish(self) -> None:
        self._is_finished = True
        self._wake.set()

    def abort(self) -> None:
        # The pump may be inside a send() that waits for a client which does not read: only cancelling ends that.
        if self._task is not None:
            self._task.cancel(msg=_ABORTED)

    async def pump(self, receive: Receive, send: Send) -> None:
        """Send what is written until the stream ends or the client goes."""
        gone = asyncio.create_task(_disconnect(receive))
        gone.add_done_callback(lambda _: self._wake.set())
        try:
            while not gone.done():
                await self._wake.wait()
                self._wake.clear()
                if await self._flush(send):
                    return
                self._drain()
        except asyncio.CancelledError as error:
            if error.args == (_ABORTED,):
                assert self._task is not None
                self._task.uncancel()  # it was our own: a timeout around this response must not take it for its own
                return
            await self._part(send)
            raise
        finally:
            gone.cancel()
            assert self._stream is not None
            self._hub.lost(self._stream)

    async def _flush(self, send: Send) -> bool:
        """Send what is held; whether the body has ended with it."""
        is_finished = self._is_finished
        if self._held:
            data, self._held, self._size = b"".join(self._held), [], 0
            await send({"type": "http.response.body", "body": data, "more_body": True})
        if is_finished and not self._held:
            await send({"type": "http.response.body", "body": b""})
            return True
        return False

    async def _part(self, send: Send) -> None:
        """The server cancels the request because it stops: it has not told the application, so this is where it shows. End
        the body properly, if the client takes it."""
        assert self._stream is not None
        if self._hub.end(self._stream, CloseReason.DRAIN):
            with contextlib.suppress(Exception):
                async with asyncio.timeout(PARTING):
                    await self._flush(send)

    def _drain(self) -> None:
        if self._is_full and self._size == 0:
            self._is_full = False
            assert self._stream is not None
            self._hub.drained(self._stream)


_ABORTED = "headwater: the stream was aborted"

PARTING = 1.0
"""Seconds for a last frame after the server has cancelled the request."""


async def _disconnect(receive: Receive) -> None:
    """Return when the client is gone. The only reader of `receive`: two would steal each other's messages."""
    while (await receive())["type"] != "http.disconnect":
        pass
