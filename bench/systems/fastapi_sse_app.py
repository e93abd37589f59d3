"""The application measured as `fastapi`.

Kinder to the framework than most applications are: an event is built once and shared, and goes out as `raw_data`, which
FastAPI does not encode again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable
from itertools import count

from fastapi import FastAPI, Request
from fastapi.sse import EventSourceResponse, ServerSentEvent

app = FastAPI()
queues: set[asyncio.Queue[ServerSentEvent]] = set()
numbers = count(1)


@app.get("/", response_class=EventSourceResponse)
async def stream() -> AsyncIterable[ServerSentEvent]:
    queue: asyncio.Queue[ServerSentEvent] = asyncio.Queue(1000)
    queues.add(queue)
    try:
        yield ServerSentEvent(comment="welcome")
        while True:
            yield await queue.get()
    finally:
        queues.discard(queue)


@app.post("/", status_code=204)
async def publish(request: Request) -> None:
    event = ServerSentEvent(raw_data=(await request.body()).decode(), id=str(next(numbers)))
    for queue in queues:
        queue.put_nowait(event)
