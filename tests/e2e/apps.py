"""The application that the end-to-end tests run under every server: a hub in somebody's FastAPI application.

What it is made of comes from the environment, because servers start it in processes of their own: MIDDLEWARE names the
layers around it, from the outside in; BROKER, HEARTBEAT, GRACE and MAX_LAG are the hub's.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec
from fastapi import Depends, FastAPI, Request
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from headwater import Hub, Timing

hub = Hub(
    os.environ.get("BROKER", "memory://"),
    heartbeat=float(os.environ.get("HEARTBEAT", "15")),
    grace=float(os.environ.get("GRACE", "5")),
    timing=Timing(max_lag=float(os.environ.get("MAX_LAG", "60"))),
)
app = FastAPI(lifespan=hub.lifespan)
resources = {"open": 0}


async def resource() -> AsyncIterator[None]:
    """A dependency that holds something for as long as the request lasts, as a database session would be."""
    resources["open"] += 1
    try:
        yield
    finally:
        resources["open"] -= 1


@app.api_route("/stream/{channel}", methods=["GET", "HEAD"])
async def stream(channel: str, request: Request, held: None = Depends(resource)) -> Response:
    """A stream of one channel."""
    return hub.stream(request, channel)


@app.post("/publish/{channel}")
async def publish(channel: str, request: Request) -> str:
    """Publish the body as text; `?times=` publishes it several times."""
    text = (await request.body()).decode()
    for _ in range(int(request.query_params.get("times", "1"))):
        position = await hub.publish(channel, "said", text)
    return str(position)


@app.get("/numbers")
async def numbers() -> dict[str, Any]:
    """What the hub and the process say about themselves."""
    return {
        **msgspec.to_builtins(hub.statistics()),
        "tasks": len(asyncio.all_tasks()),
        "resources": resources["open"],
        "files": len(os.listdir("/proc/self/fd")),
    }


class Holding:
    """A middleware that keeps the response's head back until the first bytes of the body come."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward, with the head and the first of the body together."""
        held: list[Message] = []

        async def late(message: Message) -> None:
            if message["type"] == "http.response.start":
                held.append(message)
                return
            while held:
                await send(held.pop())
            await send(message)

        await self._app(scope, receive, late)


class Encoding:
    """A middleware that says it encodes the body, and upper-cases it instead so that a test can see it did."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward, changed."""

        async def changed(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"content-encoding", b"upper")]
            elif message["type"] == "http.response.body":
                message["body"] = message.get("body", b"").upper()
            await send(message)

        await self._app(scope, receive, changed)


async def forward(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    """What a BaseHTTPMiddleware does that does nothing."""
    return await call_next(request)


LAYERS: dict[str, Callable[[], Any]] = {
    "base": lambda: app.add_middleware(BaseHTTPMiddleware, dispatch=forward),
    "gzip": lambda: app.add_middleware(GZipMiddleware, minimum_size=0),
    "holding": lambda: app.add_middleware(Holding),
    "encoding": lambda: app.add_middleware(Encoding),
}
for layer in reversed([name for name in os.environ.get("MIDDLEWARE", "").split(",") if name]):
    LAYERS[layer]()
