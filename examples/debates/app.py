"""Debates as a web application: `headwater run examples.debates.app:app --port 3000`.

The stream of a debate as its team documented it: headers, `connected`, comment heartbeats, reconnection with Last-Event-ID.
A stream begins with all of the debate so far, unless the client says otherwise, so whoever comes late knows the phase and
the speaker at once. What has to be saved, in which order, and who may move a debate where is the domain's business.
"""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.responses import Response

from examples.debates import api
from examples.debates.clients import Clients, channel, check_client_id, check_debate_id, new_client_id, own_channel
from examples.debates.debates import Debates
from examples.debates.settings import Settings
from examples.shared.access import Access
from examples.shared.web import page, standalone
from headwater import Hub

PAGE = "/debates"
MODERATE = "debates.moderate"
"""The permission of those who may change a debate. Watching needs none."""

HEADERS = {"content-type": "text/event-stream", "cache-control": "no-cache", "x-accel-buffering": "no"}
"""As documented, to the letter; besides `Connection: keep-alive`."""


def router(hub: Hub, settings: Settings) -> APIRouter:
    """Everything the application answers to. Including it also opens and closes its debates, within the hub's lifespan."""
    debates, clients, access = Debates(hub, settings), Clients(hub), Access(settings)
    routes = APIRouter(lifespan=debates.lifespan, tags=["debates"])

    @routes.get("/api/debates/{debate_id}/stream")
    async def stream(debate_id: str, request: Request, clientId: str | None = None) -> Response:
        check_debate_id(debate_id)
        client_id = check_client_id(debate_id, clientId) if clientId else new_client_id(debate_id)
        one_connection = request.scope["http_version"] == "1.1"  # HTTP/2 forbids the header
        return hub.stream(
            request,
            channel(debate_id),
            own_channel(debate_id, client_id),
            since="all",
            hello=lambda first: {"clientId": client_id, "debateId": debate_id},
            heartbeat=settings.heartbeat,
            heartbeat_comment="heartbeat",
            headers={**HEADERS, "connection": "keep-alive"} if one_connection else HEADERS,
        )

    moderating = APIRouter(dependencies=[Depends(access.holding(MODERATE))])
    api.add_reading(routes, debates, clients)
    api.add_moderating(moderating, debates, clients)
    api.add_addressing(moderating, debates, clients)
    routes.include_router(moderating)
    routes.include_router(access.dev_token(f"{PAGE}/dev/token", permissions=(MODERATE,)))
    routes.include_router(page(PAGE, Path(__file__).parent))
    return routes


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application on its own, with a hub of its own."""
    return standalone("Debates", settings or Settings.from_env("DEBATES"), router)


app = create_app()
