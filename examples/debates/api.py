"""The routes around the stream: what is going on, what moderators can do, and who watches. Plain requests and answers.

Knows the debates and HTTP; must not know how anything is broadcast.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fastapi import APIRouter, HTTPException
from fastapi.responses import Response
from pydantic import BaseModel

from examples.debates.clients import Clients
from examples.debates.debates import Debates
from examples.debates.phases import TRANSITIONS, IllegalTransition, Phase
from examples.debates.scripts import scripts
from examples.debates.store import Debate
from examples.shared.web import answer


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


@contextmanager
def conflicts() -> Iterator[None]:
    """What cannot be done to a debate as it stands is a 409."""
    try:
        yield
    except IllegalTransition as error:
        raise HTTPException(409, str(error)) from None


def described(debate: Debate, clients: Clients) -> dict[str, Any]:
    """A debate as the API shows it."""
    script = scripts().get(debate.script or "")
    return {
        **{name: getattr(debate, name) for name in ("id", "topic", "script", "phase", "paused", "speaker")},
        "createdAt": debate.created_at,
        "speakers": script.speakers if script else {},
        "next": TRANSITIONS[debate.phase],
        "clients": clients.count(debate.id),
    }


def add_reading(routes: APIRouter, debates: Debates, clients: Clients) -> None:
    """What everybody may ask for."""

    @routes.get("/api/debates")
    async def newest() -> Response:
        return answer([described(debate, clients) for debate in await debates.newest()])

    @routes.get("/api/debate-scripts")
    async def available() -> Response:
        return answer({name: script.topic for name, script in scripts().items()})

    @routes.get("/api/debates/{debate_id}")
    async def one(debate_id: str) -> Response:
        return answer(described(await debates.get(debate_id), clients))

    @routes.get("/api/debates/{debate_id}/utterances")
    async def utterances(debate_id: str) -> Response:
        await debates.get(debate_id)
        return answer(await debates.utterances(debate_id))


def add_moderating(routes: APIRouter, debates: Debates, clients: Clients) -> None:
    """What changes a debate."""

    @routes.post("/api/debates")
    async def create(new: NewDebate) -> Response:
        with conflicts():
            return answer(described(await debates.create(new.topic, new.script, new.id), clients), 201)

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


def add_addressing(routes: APIRouter, debates: Debates, clients: Clients) -> None:
    """Who watches, and what is sent to one of them."""

    @routes.get("/api/debates/{debate_id}/clients")
    async def connected(debate_id: str) -> Response:
        return answer({"clients": clients.of(debate_id), "total": clients.total})

    @routes.post("/api/debates/{debate_id}/clients/{client_id}/send")
    async def send(debate_id: str, client_id: str, message: Message) -> Response:
        position = await debates.send_to_client(debate_id, client_id, message.type, message.data)
        return answer({"id": str(position), "connected": client_id in clients.of(debate_id)}, 201)
