"""Debates as a web application: `headwater run examples.debates.app:app --port 3000`.

The stream of a debate as its team documented it: headers, `connected`, comment heartbeats, reconnection with Last-Event-ID.
A stream begins with all of the debate so far, unless the client says otherwise, so whoever comes late knows the phase and
the speaker at once. What has to be saved, in which order, and who may move a debate where is the domain's business.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request
from fastapi.responses import Response
from pydantic import BaseModel

from examples.debates import clients
from examples.debates.debates import Debates
from examples.debates.phases import TRANSITIONS, IllegalTransition, Phase
from examples.debates.scripts import scripts
from examples.debates.settings import Settings
from examples.debates.store import Debate
from examples.shared.access import Access
from examples.shared.web import answer, page, standalone
from headwater import Hub

PAGE = "/debates"
MODERATE = "debates.moderate"
"""The permission of those who may change a debate. Watching needs none."""

HEADERS = {"content-type": "text/event-stream", "cache-control": "no-cache", "x-accel-buffering": "no"}


class NewDebate(BaseModel):
    """What to debate. With a script, it runs by itself."""

    id: str | None = None
    topic: str | None = None
    script: str | None = None


class NewUtterance(BaseModel):
    """What somebody says."""

    speaker: str
    content: str


class NewPhase(BaseModel):
    """Where to go."""

    phase: Phase


class Question(BaseModel):
    """A question from the audience to a speaker."""

    speaker: str
    question: str


class Answer(BaseModel):
    """The answer to a question."""

    content: str


class Message(BaseModel):
    """An event for one client."""

    type: str
    data: dict[str, Any]


def from_the_start(request: Request) -> Request:
    """The request, with `since=all` if it does not say where to begin. A Last-Event-ID header still wins."""
    if request.query_params.keys() & {"since", "last", "lastEventId"}:
        return request
    query = b"&".join(filter(None, (request.scope["query_string"], b"since=all")))
    return Request({**request.scope, "query_string": query})


@contextmanager
def conflicts() -> Iterator[None]:
    """What cannot be done to a debate as it stands is a 409."""
    try:
        yield
    except IllegalTransition as error:
        raise HTTPException(409, str(error)) from None


def described(hub: Hub, debate: Debate) -> dict[str, Any]:
    """A debate as the API shows it."""
    script = scripts().get(debate.script or "")
    return {
        **{name: getattr(debate, name) for name in ("id", "topic", "script", "phase", "paused", "speaker")},
        "createdAt": debate.created_at,
        "speakers": script.speakers if script else {},
        "next": TRANSITIONS[debate.phase],
        "clients": hub.count(clients.channel(debate.id)),
    }


def router(hub: Hub, settings: Settings) -> APIRouter:
    """Everything the application answers to. Including it also opens and closes its debates, within the hub's lifespan."""
    debates, access = Debates(hub, settings), Access(settings)
    routes = APIRouter(lifespan=debates.lifespan, tags=["debates"])
    clients.log_clients(hub)

    @routes.get("/api/debates/{debate_id}/stream")
    async def stream(debate_id: str, request: Request, clientId: str | None = None) -> Response:
        clients.check_debate_id(debate_id)
        client_id = clients.check_client_id(debate_id, clientId) if clientId else clients.new_client_id(debate_id)
        response = hub.stream(
            from_the_start(request),
            clients.channel(debate_id),
            clients.own_channel(debate_id, client_id),
            hello=lambda first: {"clientId": client_id, "debateId": debate_id},
            heartbeat=settings.heartbeat,
            heartbeat_comment=True,
        )
        if response.headers["content-type"].startswith(HEADERS["content-type"]):  # and not a poll
            response.headers.update(HEADERS)
            if request.scope["http_version"] == "1.1":  # HTTP/2 forbids the header
                response.headers["connection"] = "keep-alive"
        return response

    add_reading(routes, hub, debates)
    moderating = APIRouter(dependencies=[Depends(access.holding(MODERATE))])
    add_moderating(moderating, hub, debates)
    routes.include_router(moderating)
    routes.include_router(access.dev_token(f"{PAGE}/dev/token", permissions=(MODERATE,)))
    routes.include_router(page(PAGE, Path(__file__).parent))
    return routes


def add_reading(routes: APIRouter, hub: Hub, debates: Debates) -> None:
    """What everybody may ask for."""

    @routes.get("/api/debates")
    async def newest() -> Response:
        return answer([described(hub, debate) for debate in await debates.newest()])

    @routes.get("/api/debate-scripts")
    async def available() -> Response:
        return answer({name: script.topic for name, script in scripts().items()})

    @routes.get("/api/debates/{debate_id}")
    async def one(debate_id: str) -> Response:
        return answer(described(hub, await debates.get(debate_id)))

    @routes.get("/api/debates/{debate_id}/utterances")
    async def utterances(debate_id: str) -> Response:
        await debates.get(debate_id)
        return answer(await debates.utterances(debate_id))


def add_moderating(routes: APIRouter, hub: Hub, debates: Debates) -> None:
    """What changes a debate."""

    @routes.post("/api/debates")
    async def create(new: NewDebate) -> Response:
        with conflicts():
            return answer(described(hub, await debates.create(new.topic, new.script, new.id)), 201)

    @routes.post("/api/debates/{debate_id}/utterances")
    async def utter(debate_id: str, new: NewUtterance) -> Response:
        with conflicts():
            return answer(await debates.emit_utterance(debate_id, new.speaker, new.content), 201)

    @routes.post("/api/debates/{debate_id}/phase")
    async def transition(debate_id: str, new: NewPhase) -> Response:
        with conflicts():
            return answer(await debates.transition_phase(debate_id, new.phase))

    @routes.post("/api/debates/{debate_id}/pause")
    async def pause(debate_id: str) -> Response:
        with conflicts():
            return answer(await debates.pause(debate_id))

    @routes.post("/api/debates/{debate_id}/resume")
    async def resume(debate_id: str) -> Response:
        with conflicts():
            return answer(await debates.resume(debate_id))

    @routes.post("/api/debates/{debate_id}/interventions")
    async def intervene(debate_id: str, new: Question) -> Response:
        with conflicts():
            return answer(await debates.intervene(debate_id, new.speaker, new.question), 202)

    @routes.post("/api/debates/{debate_id}/interventions/{question_id}")
    async def respond(debate_id: str, question_id: str, new: Answer) -> Response:
        with conflicts():
            return answer(await debates.answer(debate_id, question_id, new.content))

    @routes.get("/api/debates/{debate_id}/clients")
    async def connected(debate_id: str) -> Response:
        return answer({"clients": clients.clients(hub, debate_id), "total": hub.count()})

    @routes.post("/api/debates/{debate_id}/clients/{client_id}/send")
    async def send(debate_id: str, client_id: str, message: Message) -> Response:
        position = await debates.send_to_client(debate_id, client_id, message.type, message.data)
        return answer({"id": str(position), "connected": client_id in clients.clients(hub, debate_id)}, 201)


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application on its own, with a hub of its own."""
    return standalone("Debates", settings or Settings.from_env("DEBATES"), router)


app = create_app()
