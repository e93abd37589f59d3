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
        response = hub.stream(
            from_the_start(request),
            channel(debate_id),
            own_channel(debate_id, client_id),
            hello=lambda first: {"clientId": client_id, "debateId": debate_id},
            heartbeat=settings.heartbeat,
            heartbeat_comment=True,
        )
        if response.headers["content-type"].startswith(HEADERS["content-type"]):  # and not a poll
            response.headers.update(HEADERS)
            if request.scope["http_version"] == "1.1":  # HTTP/2 forbids the header
                response.headers["connection"] = "keep-alive"
        return response

    moderating = APIRouter(dependencies=[Depends(access.holding(MODERATE))])
    api.add_reading(routes, debates, clients)
    api.add_moderating(moderating, debates, clients)
    api.add_addressing(moderating, debates, clients)
    routes.include_router(moderating)
    routes.include_router(access.dev_token(f"{PAGE}/dev/token", permissions=(MODERATE,)))
    routes.include_router(page(PAGE, Path(__file__).parent))
    return routes


def from_the_start(request: Request) -> Request:
    """The request, with `since=all` if it does not say where to begin. A Last-Event-ID header still wins."""
    if request.query_params.keys() & {"since", "last", "lastEventId"}:
        return request
    query = b"&".join(filter(None, (request.scope["query_string"], b"since=all")))
    return Request({**request.scope, "query_string": query})


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application on its own, with a hub of its own."""
    return standalone("Debates", settings or Settings.from_env("DEBATES"), router)


app = create_app()
