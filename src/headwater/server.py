"""Our server: uvicorn with a protocol that lets go of a connection once its stream has begun.

After the response's head is written, a `StreamProtocol` of a few slots replaces uvicorn's protocol on the transport. The
request's task ends, its dependencies close, and the fan-out writes to the transport. uvicorn still lists the connection,
so that its shutdown reaches it. Everything else about HTTP stays uvicorn's.

Knows uvicorn's httptools protocol, including names that are not public: `self_check` looks for each of them when a server
is made, and without them streams go through ASGI like on any other server. Must not know routes, tokens or events.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from typing import Any, Final, cast

import uvicorn
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from headwater import wire
from headwater.asgi.stream import DETACH, HIGH_WATER
from headwater.hub import Hub
from headwater.stream import CloseReason, Stream

log = logging.getLogger("headwater")

PATIENCE: Final = 32
"""Turns of the loop to wait for the head to come out of the middlewares: one each, five measured with three of Starlette's
BaseHTTPMiddleware. A middleware that holds it back for longer gets the stream through ASGI."""

SEND_BUFFER: Final = 128 * 1024
"""Bytes of a stream that the kernel may hold (Linux doubles the number for its own overhead). Enough for 2 MB/s to a client
100 ms away, and a bound for thousands that have stopped reading."""

MAX_UNUSED: Final = 128 * 1024
"""Bytes that a connection may send without completing anything: a request's head, or what stands around the chunks of its
body. The parser holds them all. Heads up to this size reach the application, which refuses smaller ones with an answer."""

HEAD_TIME: Final = 30.0
"""Seconds for a request's head to come, counted from the connection; on one that was kept, from the time for which uvicorn
keeps it."""

STALL_TIME: Final = 60.0
"""Seconds after which the kernel gives up a connection whose client acknowledges nothing, or takes nothing of an answer."""

_NEEDED: Final[dict[type, tuple[str, ...]]] = {
    HttpToolsProtocol: (
        "connection_made",
        "data_received",
        "on_message_begin",
        "on_headers_complete",
        "on_body",
        "on_message_complete",
        "on_response_complete",
        "connection_lost",
        "shutdown",
        "_unset_keepalive_if_required",
    ),
    RequestResponseCycle: ("run_asgi", "send", "receive"),
    FlowControl: ("resume_reading",),
}
_NEEDED_OF_INSTANCES: Final[dict[type, tuple[str, ...]]] = {
    RequestResponseCycle: ("response_started", "response_complete", "chunked_encoding", "disconnected", "more_body"),
    FlowControl: ("write_paused",),
}


class StreamProtocol(asyncio.Protocol):
    """All that is left of a connection once its stream has begun; also the stream's writer."""

    __slots__ = ("_connections", "_hub", "_is_full", "_stream", "_transport", "chunked", "write")

    def __init__(
        self, transport: asyncio.Transport, connections: set[Any], hub: Hub, *, chunked: bool, is_full: bool
    ) -> None:
        self.chunked = chunked
        self._is_full = is_full  # a transport says so once, which may have been before, or with the first frame
        self.write = transport.write
        self._transport = transport
        self._connections = connections
        self._hub = hub
        self._stream: Stream | None = None

    def begin(self, stream: Stream) -> None:
        """From now on report for this stream."""
        self._stream = stream
        if self._is_full:
            self._hub.full(stream)

    def finish(self) -> None:
        """End the body cleanly after everything written; `close` lets the buffer out first."""
        if self.chunked:
            self._transport.write(wire.LAST_CHUNK)
        self._transport.close()

    def abort(self) -> None:
        """Cut the connection: `close` would wait for a client that does not read."""
        self._transport.abort()

    def shutdown(self) -> None:
        """uvicorn calls this on every connection when it stops."""
        if self._stream is not None:
            self._hub.end(self._stream, CloseReason.DRAIN)

    def data_received(self, data: bytes) -> None:
        """Another request, on a connection whose answer never ends. It could only wait for ever, so the stream ends."""
        if self._stream is not None:
            self._hub.end(self._stream, CloseReason.PIPELINED)

    def pause_writing(self) -> None:
        """The transport's buffer is over its high-water mark."""
        self._is_full = True
        if self._stream is not None:
            self._hub.full(self._stream)

    def resume_writing(self) -> None:
        """The buffer has drained."""
        self._is_full = False
        if self._stream is not None:
            self._hub.drained(self._stream)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, whoever ended it."""
        self._connections.discard(self)
        stream, self._stream = self._stream, None
        if stream is not None:
            self._hub.lost(stream)


class DetachingProtocol(HttpToolsProtocol):
    """uvicorn's httptools protocol that offers each request's endpoint to take the connection over, and that no client can
    hold for ever, or fill, without being served: uvicorn sets no bounds to a request's head.

    Also for use without our command: `uvicorn --http headwater.server:DetachingProtocol app:app`.
    """

    lets_go = True  # of connections whose stream has begun

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._unused = 0  # bytes since the parser last made something of them
        self._was_used = False
        self._head_timer: asyncio.TimerHandle | None = None
        self._cycles: list[RequestResponseCycle] = []  # requests without a whole answer: one, or several if pipelined
        self.is_streaming = False  # the answer under way has no end, so that nothing behind it would ever be answered

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        _give_up_after(transport, STALL_TIME)
        self._expect_head(HEAD_TIME)

    def data_received(self, data: bytes) -> None:
        self._was_used = False
        super().data_received(data)
        self._unused = 0 if self._was_used else self._unused + len(data)
        if self._unused > MAX_UNUSED and not self.transport.is_closing():
            if all(cycle.response_complete for cycle in self._cycles):
                self.transport.write(_TOO_LARGE)
            self.transport.close()

    def on_message_begin(self) -> None:
        self._was_used = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._was_used = True
        self._stop_timer()
        previous = self.cycle
        super().on_headers_complete()
        if self.cycle is not previous:
            self._cycles = [cycle for cycle in self._cycles if not cycle.response_complete] + [self.cycle]
            extensions: dict[str, Any] = {DETACH: _Detach(self, self.cycle)}
            self.scope["extensions"] = extensions
            self.check_pipeline()

    def check_pipeline(self) -> None:
        """End an endless answer behind which another request waits: uvicorn stops reading then, and so would not hear that
        the client has gone."""
        if self.is_streaming and self.pipeline:
            self.transport.close()

    def on_body(self, body: bytes) -> None:
        self._was_used = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._was_used = True
        super().on_message_complete()

    def on_response_complete(self) -> None:
        self.is_streaming = False
        super().on_response_complete()
        if self.cycle.response_complete and not self.transport.is_closing():
            self._expect_head(self.timeout_keep_alive + HEAD_TIME)

    def connection_lost(self, exc: Exception | None) -> None:
        # uvicorn tells only the newest request of a connection, and keeps the timer of a connection that was reset.
        self._unset_keepalive_if_required()
        self._stop_timer()
        for cycle in self._cycles:
            cycle.disconnected = not cycle.response_complete
            cycle.message_event.set()
        if self.cycle is not None:
            super().connection_lost(exc)
        else:
            self.connections.discard(self)

    def _expect_head(self, within: float) -> None:
        self._head_timer = self.loop.call_later(within, self.transport.close)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def let_go(self, hub: Hub, *, chunked: bool) -> StreamProtocol:
        """Replace this protocol on its transport, and leave nothing of it behind."""
        transport = self.transport
        stream = StreamProtocol(transport, self.connections, hub, chunked=chunked, is_full=self.flow.write_paused)
        self.flow.resume_reading()
        transport.set_protocol(stream)
        transport.set_write_buffer_limits(HIGH_WATER)  # over TLS it would be half a megabyte
        self.connections.discard(self)
        self.connections.add(cast(Any, stream))  # for uvicorn's shutdown, which calls `shutdown` on each
        self._unset_keepalive_if_required()
        self.pipeline.clear()
        self._cycles.clear()
        self.cycle = self.parser = self.transport = self.flow = self.scope = None  # type: ignore[assignment]
        _bound(transport, hub.timing.max_lag)
        return stream


class KeepingProtocol(DetachingProtocol):
    """The same, but streams go through ASGI: for applications whose middlewares must see every byte."""

    lets_go = False


class _Detach:
    """The offer in one request's scope."""

    __slots__ = ("_cycle", "_is_encoded", "_is_unframed", "_protocol", "_send")

    def __init__(self, protocol: DetachingProtocol, cycle: RequestResponseCycle) -> None:
        self._protocol = protocol
        self._cycle = cycle
        self._is_encoded = False
        self._is_unframed = False
        self._send = cycle.send
        cycle.send = self._observe  # type: ignore[method-assign]

    async def _observe(self, message: Any) -> None:
        """See the head as it leaves the outermost middleware: a body that one of them encodes must go through it."""
        if message["type"] == "http.response.start":
            self._is_encoded = any(name.lower() == b"content-encoding" for name, _ in message.get("headers", ()))
        elif self._is_unframed and not message.get("more_body", False):
            self._cycle.expected_content_length = len(message.get("body", b""))  # this was all of it
        await self._send(message)

    def prepare(self) -> None:
        """HTTP/1.0 knows no chunks: its body ends with the connection."""
        self._protocol.is_streaming = True
        if self._cycle.scope["http_version"] != "1.1":
            self._is_unframed = True
            self._cycle.chunked_encoding = False
            self._cycle.expected_content_length = 1 << 62
            self._cycle.keep_alive = False

    async def __call__(self, hub: Hub) -> StreamProtocol | None:
        """The connection as a writer, once the head is on the wire; None if it cannot be had.

        Not if the server keeps its connections, if a middleware holds the head back or encodes the body, if the request's own
        body is still coming, or if the connection is already answering something else.
        """
        cycle, protocol = self._cycle, self._protocol
        for _ in range(PATIENCE):
            if cycle.response_started or cycle.disconnected:
                break
            await asyncio.sleep(0)
        if (
            not protocol.lets_go
            or not cycle.response_started
            or cycle.response_complete
            or cycle.disconnected
            or cycle.more_body
            or self._is_encoded
            or protocol.transport.is_closing()
        ):
            protocol.check_pipeline()
            _give_up_after(protocol.transport, hub.timing.max_lag + 10)  # a stream still, if through ASGI
            return None
        is_pipelined = bool(protocol.pipeline)
        writer = protocol.let_go(hub, chunked=cycle.chunked_encoding is True)
        cycle.disconnected = True  # uvicorn then accepts that the application returns without ending the body
        if is_pipelined:
            asyncio.get_running_loop().call_soon(writer.data_received, b"")
        return writer


_TOO_LARGE: Final = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


def _bound(transport: asyncio.Transport, seconds: float) -> None:
    """Have the kernel hold little for a client that does not read, and give up on one that has acknowledged nothing for
    longer than we wait for a slow one. By itself Linux grows a send buffer to megabytes, and notices a client whose network
    is gone after a quarter of an hour of retransmissions."""
    if (sock := transport.get_extra_info("socket")) is not None and sock.family in _INTERNET:
        with contextlib.suppress(OSError, ValueError):  # it may just have been closed
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
    _give_up_after(transport, seconds + 10)


def _give_up_after(transport: asyncio.Transport, seconds: float) -> None:
    """Have the kernel end the connection once its peer has taken nothing for so long. Only Linux can."""
    sock, option = transport.get_extra_info("socket"), getattr(socket, "TCP_USER_TIMEOUT", None)
    if sock is not None and sock.family in _INTERNET and option is not None:
        with contextlib.suppress(OSError, ValueError):  # it may just have been closed
            sock.setsockopt(socket.IPPROTO_TCP, option, int(seconds * 1000))


_INTERNET: Final = (socket.AF_INET, socket.AF_INET6)


def self_check() -> list[str]:
    """Names of uvicorn's that the direct path needs and that are missing in the installed version; none, normally."""
    missing = [
        f"{owner.__name__}.{name}" for owner, names in _NEEDED.items() for name in names if not hasattr(owner, name)
    ]
    return missing + [
        f"{owner.__name__}.{name}"
        for owner, names in _NEEDED_OF_INSTANCES.items()
        for name in names
        if name not in owner.__init__.__code__.co_names  # type: ignore[misc]
    ]


def http_protocol(*, direct: bool = True) -> type[asyncio.Protocol] | str:
    """The value for uvicorn's `http` setting: our protocol, detaching or not, or uvicorn's own choice where that cannot
    work."""
    if missing := self_check():
        log.warning(
            "uvicorn %s lacks %s: streams go through ASGI, which costs more", uvicorn.__version__, ", ".join(missing)
        )
        return "auto"
    return DetachingProtocol if direct else KeepingProtocol


def config(app: Any, *, direct: bool = True, grace: float = 10.0, **options: Any) -> uvicorn.Config:
    """A uvicorn configuration for long streams.

    Args:
        app: an ASGI application, or its import string.
        direct: let streams take their connections over.
        grace: seconds that a shutdown may take.
        options: any other of uvicorn's.
    """
    if options.get("limit_concurrency"):
        log.warning("limit_concurrency counts every open stream: use HEADWATER_MAX_STREAMS to bound streams instead")
    defaults: dict[str, Any] = {
        "http": http_protocol(direct=direct),
        "timeout_graceful_shutdown": max(1, round(grace)),
        "backlog": 4096,  # a restart brings every client back at once
        "server_header": False,
        "log_config": None,
        "access_log": False,
    }
    return uvicorn.Config(app, **{**defaults, **options})
