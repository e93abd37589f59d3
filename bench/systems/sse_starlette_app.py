"""The application measured as `sse-starlette`.

Kinder to the library than most applications are: an event is encoded once, with the library's own class, and every client
gets the same bytes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import count

from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


class Room:
    """The clients' queues. 1,000 events is more than the benchmark ever has in flight."""

    def __init__(self) -> None:
        self.queues: set[asyncio.Queue[bytes]] = set()
        self.numbers = count(1)

    async def stream(self, request: Request) -> Response:
        return EventSourceResponse(self.events())

    async def events(self) -> AsyncIterator[bytes]:
        queue: asyncio.Queue[bytes] = asyncio.Queue(1000)
        self.queues.add(queue)
        try:
            yield ServerSentEvent(comment="welcome").encode()
            while True:
                yield await queue.get()
        finally:
            self.queues.discard(queue)

    async def publish(self, request: Request) -> Response:
        event = ServerSentEvent((await request.body()).decode(), id=str(next(self.numbers))).encode()
        for queue in self.queues:
            queue.put_nowait(event)
        return Response(status_code=204)


room = Room()
app = Starlette(routes=[Route("/", room.stream, methods=["GET"]), Route("/", room.publish, methods=["POST"])])
