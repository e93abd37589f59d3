"""An ASGI server without sockets that can hold an endless response: for tests of applications that stream.

Most in-process test clients collect a response's body until it ends, so that a test of a stream never returns. Here the
application runs beside the test: messages are read as they come, the client can stop reading or go away, and what the
application raises is raised in the test.

    async with lifespan(app), open_stream(app, "/events?channel=room:42") as stream:
        assert (await stream.message()).type == "connected"
        assert (await request(app, "POST", "/events", json={"channel": "room:42", "data": 1})).status == 201
        assert (await stream.message()).data == "1"

Knows ASGI and the event-stream format; must not know hubs.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Mapping, MutableMapping
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar
from urllib.parse import unquote

import msgspec

from headwater.wire import Decoder, Message

Headers = Mapping[str, str] | Iterable[tuple[str, str]]
Body = bytes | AsyncIterable[bytes]
_Message = MutableMapping[str, Any]
App = Callable[[Any, Callable[[], Awaitable[_Message]], Callable[[_Message], Awaitable[None]]], Awaitable[None]]
T = TypeVar("T")

TIMEOUT: Final = 10.0
"""Seconds after which a test that waits for something has failed."""

WINDOW: Final = 64 * 1024
"""Bytes that the application may send ahead of the reader before its `send` waits, as with a real socket."""


class Reply(msgspec.Struct, frozen=True):
    """A whole response.

    Attributes:
        status: its status code.
        headers: by name in lower case; those sent several times are joined with ", ".
        body: all of it.
    """

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON."""
        return msgspec.json.decode(self.body)


class StreamReply:
    """A response as it comes. Iterate over it for the messages of its event stream, until it ends.

    Attributes:
        status: its status code.
        headers: by name in lower case; those sent several times are joined with ", ".
        body: all bytes read so far.
        decoder: what reads its messages; knows `last_event_id` and `retry`.
    """

    def __init__(self, exchange: _Exchange) -> None:
        self.status, self.headers = exchange.head.result()
        self.body = bytearray()
        self.decoder = Decoder()
        self._exchange = exchange
        self._messages: deque[Message] = deque()

    async def read(self) -> bytes:
        """The next bytes of the body; none when it has ended.

        Raises:
            TimeoutError: none came in time.
        """
        data = await self._exchange.read()
        self.body += data
        return data

    async def message(self) -> Message:
        """The next message of the event stream.

        Raises:
            EOFError: the body ended. TimeoutError: none came in time.
        """
        while not self._messages:
            data = await self.read()
            if not data:
                raise EOFError(f"the stream has ended, after {bytes(self.body[-200:])!r}")
            self._messages.extend(self.decoder.feed(data))
        return self._messages.popleft()

    async def message_of(self, type: str) -> Message:
        """The next message of a type; those before it are dropped. Raises as `message`."""
        while (message := await self.message()).type != type:
            pass
        return message

    def __aiter__(self) -> AsyncIterator[Message]:
        return self

    async def __anext__(self) -> Message:
        try:
            return await self.message()
        except EOFError:
            raise StopAsyncIteration from None

    def pause(self) -> None:
        """Stop reading: the application's `send` waits from now on."""
        self._exchange.pause()

    def resume(self) -> None:
        """Read again."""
        self._exchange.resume()

    async def disconnect(self) -> None:
        """Go away, and wait until the application has returned. What it raises is raised here."""
        await self._exchange.leave()


async def request(
    app: App,
    method: str,
    target: str,
    *,
    headers: Headers = (),
    body: Body = b"",
    json: Any = msgspec.UNSET,
    **scope: Any,
) -> Reply:
    """Send a request and collect its response, which must end.

    Args:
        app: an ASGI application.
        method: in capitals.
        target: path and query, percent-encoded.
        headers: of the request.
        body: of the request; in pieces if it is an asynchronous iterable.
        json: a value to send as JSON instead of `body`.
        scope: further entries of the ASGI scope, such as `client`, `root_path`, `http_version`.

    Raises:
        TimeoutError: the response did not end in time. Whatever the application raises.
    """
    async with open_stream(app, target, method=method, headers=headers, body=body, json=json, **scope) as reply:
        while await reply.read():
            pass
    return Reply(reply.status, reply.headers, bytes(reply.body))


@asynccontextmanager
async def open_stream(
    app: App,
    target: str,
    *,
    method: str = "GET",
    headers: Headers = (),
    body: Body = b"",
    json: Any = msgspec.UNSET,
    timeout: float = TIMEOUT,  # noqa: ASYNC109 (it holds for each step of the block, not for this call)
    **scope: Any,
) -> AsyncIterator[StreamReply]:
    """Send a request and read its response as it comes, until the block ends; then the client goes away.

    Args:
        timeout: seconds that anything may take.
        others: as for `request`.

    Raises:
        TimeoutError: the response did not begin in time, or the application did not return after the client had gone.
        Whatever the application raises.
    """
    fields = list(headers.items() if isinstance(headers, Mapping) else headers)
    if json is not msgspec.UNSET:
        body = msgspec.json.encode(json)
        fields.append(("content-type", "application/json"))
    exchange = _Exchange(app, _scope(method, target, fields, scope), body, timeout)
    try:
        await exchange.begun()
        yield StreamReply(exchange)
        await exchange.leave()
    finally:
        exchange.cancel()


@asynccontextmanager
async def lifespan(app: App) -> AsyncIterator[None]:
    """Send the application its startup message, and its shutdown message after the block.

    Raises:
        RuntimeError: it says that one of them failed.
    """
    inbox: asyncio.Queue[_Message] = asyncio.Queue()
    outbox: asyncio.Queue[_Message] = asyncio.Queue()
    task = asyncio.ensure_future(
        app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, inbox.get, outbox.put)
    )
    try:
        await _say("startup", inbox, outbox, task)
        yield
        await _say("shutdown", inbox, outbox, task)
        await task
    finally:
        task.cancel()


async def _say(phase: str, inbox: Any, outbox: Any, task: asyncio.Future[None]) -> None:
    inbox.put_nowait({"type": f"lifespan.{phase}"})
    answer = await _or_failure(outbox.get(), task, TIMEOUT, f"the answer to {phase}")
    if answer is None or answer["type"] != f"lifespan.{phase}.complete":
        raise RuntimeError(f"{phase} failed: {(answer or {}).get('message', 'the application returned')}")


def _scope(method: str, target: str, headers: list[tuple[str, str]], further: Mapping[str, Any]) -> dict[str, Any]:
    path, _, query = target.partition("?")
    names = {name.lower() for name, _ in headers}
    if "host" not in names:
        headers = [("host", "localhost"), *headers]
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(path),
        "raw_path": path.encode("ascii"),
        "query_string": query.encode("latin-1"),
        "root_path": "",
        "headers": [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers],
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 80),
        "extensions": {},
        "state": {},
        **further,
    }


class _Exchange:
    """One request and its response, and the task in which the application answers."""

    def __init__(self, app: App, scope: dict[str, Any], body: Body, timeout: float) -> None:
        self.head: asyncio.Future[tuple[int, dict[str, str]]] = asyncio.get_running_loop().create_future()
        self._chunks: deque[bytes] = deque()
        self._size = 0  # bytes of them
        self._is_whole = False  # the application has sent the end of the body
        self._is_paused = False
        self._changed = asyncio.Event()  # something was sent or read, or the reader paused or went on
        self._gone = asyncio.Event()  # the client went away
        self._incoming = _pieces(body)
        self._timeout = timeout
        self._task = asyncio.ensure_future(app(scope, self._receive, self._send))

    # -- what the application calls ----------------------------------------------------------------------------------------

    async def _receive(self) -> _Message:
        piece = asyncio.ensure_future(anext(self._incoming, None))
        gone = asyncio.ensure_future(self._gone.wait())
        try:
            await asyncio.wait((piece, gone), return_when=asyncio.FIRST_COMPLETED)
            if piece.done() and (message := piece.result()) is not None:
                return message
            await gone
            return {"type": "http.disconnect"}
        finally:
            piece.cancel()
            gone.cancel()

    async def _send(self, message: _Message) -> None:
        if message["type"] == "http.response.start":
            self.head.set_result((message["status"], _joined(message.get("headers", ()))))
        elif self._gone.is_set():
            await asyncio.sleep(0)  # an application that does nothing but send must still get to hear of it
        elif message["type"] == "http.response.body":
            data = message.get("body", b"")
            self._chunks.append(data)
            self._size += len(data)
            self._is_whole = not message.get("more_body", False)
            self._change()
            while (self._is_paused or self._size > WINDOW) and not self._gone.is_set():
                await self._changed.wait()

    # -- what the test calls -----------------------------------------------------------------------------------------------

    async def begun(self) -> None:
        """Wait for the head of the response."""
        await _or_failure(asyncio.shield(self.head), self._task, self._timeout, "a response")
        if not self.head.done():
            raise RuntimeError("the application returned without a response")

    async def read(self) -> bytes:
        """The next bytes that are not empty; empty bytes at the end."""
        while True:
            while self._chunks:
                data = self._chunks.popleft()
                self._size -= len(data)
                self._change()
                if data:
                    return data
            if self._is_whole or self._task.done():
                self._check()
                return b""
            await _or_failure(self._changed.wait(), self._task, self._timeout, "the next bytes of the body")

    def pause(self) -> None:
        """Let `send` wait."""
        self._is_paused = True

    def resume(self) -> None:
        """Let it go on."""
        self._is_paused = False
        self._change()

    async def leave(self) -> None:
        """Tell the application that the client is gone, and wait for it to return."""
        self._gone.set()
        self._change()
        await asyncio.wait((self._task,), timeout=self._timeout)
        if not self._task.done():
            raise TimeoutError(f"the application did not return within {self._timeout:g} s after the client had gone")
        self._check()

    def cancel(self) -> None:
        """End the application's task if it still runs, and the exchange with it."""
        self._gone.set()
        self._task.cancel()

    def _check(self) -> None:
        """Raise what the application raised."""
        if self._task.done():
            self._task.result()

    def _change(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


async def _pieces(body: Body) -> AsyncIterator[_Message]:
    """The messages with the request's body."""
    if isinstance(body, bytes):
        yield {"type": "http.request", "body": body, "more_body": False}
        return
    async for piece in body:
        yield {"type": "http.request", "body": piece, "more_body": True}
    yield {"type": "http.request", "body": b"", "more_body": False}


def _joined(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    joined: dict[str, str] = {}
    for raw, value in headers:
        name = raw.decode("latin-1").lower()
        joined[name] = f"{joined[name]}, {value.decode('latin-1')}" if name in joined else value.decode("latin-1")
    return joined


async def _or_failure(wanted: Awaitable[T], task: asyncio.Future[None], seconds: float, what: str) -> T | None:
    """The outcome of `wanted`; None if the application returned before, and its exception if it raised one."""
    waiting = asyncio.ensure_future(wanted)
    try:
        await asyncio.wait((waiting, task), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if waiting.done():
            return waiting.result()
        if task.done():
            task.result()
            return None
        raise TimeoutError(f"waited {seconds:g} s for {what}")
    finally:
        waiting.cancel()
