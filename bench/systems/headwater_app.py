"""The application measured as `headwater-uvicorn`: the library in someone's own application, on a server that is not ours."""

from __future__ import annotations

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from headwater import Hub

hub = Hub("memory://")


async def stream(request: Request) -> Response:
    return hub.stream(request, "bench")


async def publish(request: Request) -> Response:
    await hub.publish("bench", "message", msgspec.Raw(await request.body()))
    return Response(status_code=204)


app = Starlette(
    lifespan=hub.lifespan,
    routes=[Route("/", stream, methods=["GET"]), Route("/", publish, methods=["POST"])],
)
