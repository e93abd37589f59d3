"""Rooms as a web application: `headwater run examples.rooms.app:app --port 3001`.

The log streams of agents, as their team documented them: who may read (a valid token), what exists (404), what a frame says
(`connected`, `log`, `heartbeat`). Order, resuming, heartbeats and slow readers are the hub's business.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.responses import FileResponse, Response
from pydantic import BaseModel

from examples.rooms.builder import Builder
from examples.rooms.logs import channel
from examples.rooms.rooms import Rooms
from examples.rooms.settings import Settings
from examples.shared.access import Access
from examples.shared.web import answer, page, standalone
from headwater import Hub, Principal

PAGE = "/rooms"


class NewRoom(BaseModel):
    """What to build."""

    title: str | None = None
    words: list[str] = []


class NewLog(BaseModel):
    """A line from an agent outside."""

    agentType: str
    level: str
    message: str
    metadata: dict[str, Any] | None = None


def router(hub: Hub, settings: Settings) -> APIRouter:
    """Everything the application answers to. Including it also has the agents work, within the hub's lifespan."""
    rooms, access = Rooms(hub, settings), Access(settings)
    caller = Depends(access.principal)
    builder = Builder(hub, rooms.register, hub, settings)
    routes = APIRouter(lifespan=builder.lifespan if settings.builds else None, tags=["rooms"])

    @routes.get("/api/v1/rooms/{room_id}/logs")
    async def logs(room_id: str, request: Request, principal: Principal = caller) -> Response:
        await rooms.get(room_id)
        return hub.stream(
            request,
            channel(room_id),
            principal=principal,
            hello=lambda first: {"roomId": room_id, "timestamp": first["time"]},
            heartbeat=settings.heartbeat,
        )

    @routes.post("/api/v1/rooms/{room_id}/logs", dependencies=[caller])
    async def emit(room_id: str, line: NewLog) -> Response:
        await rooms.get(room_id)
        emitted = await rooms.emit_log(room_id, line.agentType, line.level, line.message, line.metadata)
        return answer(emitted, 201)

    @routes.post("/api/v1/rooms", dependencies=[caller])
    async def create(new: NewRoom) -> Response:
        return answer(await rooms.create(new.title, new.words), 201)

    @routes.get("/api/v1/rooms", dependencies=[caller])
    async def newest() -> Response:
        return answer(await rooms.newest())

    @routes.get("/api/v1/rooms/{room_id}", dependencies=[caller])
    async def one(room_id: str) -> Response:
        return answer(await rooms.get(room_id))

    @routes.get("/api/v1/rooms/{room_id}/files/{name}", dependencies=[caller])
    async def file(room_id: str, name: str) -> Response:
        headers = {"content-security-policy": "sandbox", "x-content-type-options": "nosniff"}
        return FileResponse(await rooms.file(room_id, name), headers=headers)

    routes.include_router(access.dev_token(f"{PAGE}/dev/token"))
    routes.include_router(page(PAGE, Path(__file__).parent))
    return routes


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application on its own, with a hub of its own."""
    return standalone("Rooms", settings or Settings.from_env("ROOMS"), router)


app = create_app()
