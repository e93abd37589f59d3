"""A connection of uvicorn's as our server has it, on a transport that writes down what is done to it.

Knows our server and uvicorn's protocol; opens no socket.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from headwater.server import DetachingProtocol

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


class Transport(asyncio.Transport):
    """A transport that writes down what is done to it."""

    def __init__(self, sock: socket.socket | None = None, *, high_water: int = 1 << 30) -> None:
        super().__init__({"socket": sock} if sock else {})
        self.high_water = high_water
        self.limit: int | None = None
        self.written = b""
        self.ended = ""
        self.protocol: Any = None

    def write(self, data: Any) -> None:
        """Keep the bytes; say once that they are too many."""
        was_full = len(self.written) > self.high_water
        self.written += bytes(data)
        if len(self.written) > self.high_water and not was_full:
            self.protocol.pause_writing()

    def close(self) -> None:
        """A clean end."""
        self.ended = self.ended or "closed"

    def abort(self) -> None:
        """An abrupt one."""
        self.ended = "aborted"

    def is_closing(self) -> bool:
        """After either."""
        return bool(self.ended)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """The new owner."""
        self.protocol = protocol

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """How much is too much; the one that a test gave counts."""
        self.limit = high

    def pause_reading(self) -> None:
        """Nothing to pause."""

    def resume_reading(self) -> None:
        """Nothing to resume."""


async def nothing(scope: Any, receive: Any, send: Any) -> None:
    """An application that never answers, and ends with the connection."""
    while (await receive())["type"] != "http.disconnect":
        pass


def connection(transport: Transport, app: Any = nothing, request: bytes = REQUEST) -> DetachingProtocol:
    """A protocol that has read a request's head."""
    made = uvicorn.Config(app, log_config=None, access_log=False)
    made.load()
    protocol = DetachingProtocol(made, ServerState(), {})
    protocol.connection_made(transport)
    if request:
        protocol.data_received(request)
    return protocol


def offer_of(protocol: DetachingProtocol) -> Any:
    """The offer to detach, as an application finds it in its scope."""
    scope: Any = protocol.scope
    return scope["extensions"]["headwater.detach"]


def first_offer_of(protocol: DetachingProtocol) -> Any:
    """The same, where further requests wait."""
    scope: Any = protocol._cycles[0].scope
    return scope["extensions"]["headwater.detach"]


async def started(protocol: DetachingProtocol, **headers: str) -> Any:
    """Send a response's head through the protocol, and the offer to detach."""
    offer = offer_of(protocol)
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    await protocol.cycle.send({"type": "http.response.start", "status": 200, "headers": pairs})
    return offer


async def complete(protocol: DetachingProtocol) -> None:
    """Answer the request."""
    await protocol.cycle.send({"type": "http.response.start", "status": 204, "headers": []})
    await protocol.cycle.send({"type": "http.response.body", "body": b""})
