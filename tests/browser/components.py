"""The application behind tests/browser/test_react.py: pages of React components, under a strict policy, and a hub.

It serves the files of the folder that `COMPONENTS` names. It must not know what a test is about.
"""

from __future__ import annotations

import os

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from headwater import Hub
from headwater.event import Draft

CHANNEL = "user:1"
POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'"
STORED = {
    "items": [
        {
            "id": "old",
            "title": "Welcome",
            "message": "This was here before.",
            "createdAt": 1_700_000_000_000,
            "read": True,
        }
    ],
    "unread": 0,
    "unseen": 0,
}

hub = Hub("memory://")


async def events(request: Request) -> Response:
    """The user's stream."""
    return hub.stream(request, CHANNEL)


async def publish(request: Request) -> Response:
    """What a test has to say: pairs of type and data, in one batch."""
    await hub.publish_all([Draft.json(CHANNEL, type, data) for type, data in await request.json()])
    return Response(status_code=204)


async def burst(request: Request) -> Response:
    """So many notifications, as fast as it goes."""
    drafts = [
        Draft.json(CHANNEL, "notification.created", {"id": n, "title": f"No. {n}"})
        for n in range(int(request.query_params["count"]))
    ]
    for begin in range(0, len(drafts), 500):
        await hub.publish_all(drafts[begin : begin + 500])
    return Response(status_code=204)


async def count(request: Request) -> Response:
    """How many streams are open."""
    return JSONResponse(hub.count())


async def notifications(request: Request) -> Response:
    """What the server has stored."""
    return JSONResponse(STORED)


def strict(app: ASGIApp) -> ASGIApp:
    """The same under the policy."""

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        async def sending(message: dict[str, object]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"content-security-policy", POLICY.encode())]  # type: ignore[misc]
            await send(message)

        await app(scope, receive, sending)  # type: ignore[arg-type]

    return guarded


app = Starlette(
    lifespan=hub.lifespan,
    routes=[
        Route("/events", events),
        Route("/publish", publish, methods=["POST"]),
        Route("/burst", burst, methods=["POST"]),
        Route("/count", count),
        Route("/notifications", notifications),
        Mount("/", strict(StaticFiles(directory=os.environ["COMPONENTS"], html=True))),
    ],
)
