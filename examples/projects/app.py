"""Projects as a web application: `headwater run examples.projects.app:app --port 3000`.

The progress updates that a team documented: rows change, whoever changes them, and the page of their project is told. Which
rows say what stands in `changes`; everything between the database and the browser is the hub's business.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, Literal

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.responses import PlainTextResponse, Response
from pydantic import BaseModel

from examples.projects.projects import Projects
from examples.projects.settings import Settings
from examples.shared.access import Access, check_local
from examples.shared.web import answer, page, prepare
from headwater import Limiter, Limits, Principal
from headwater.errors import NotAllowed, NotAuthenticated

PAGE: Final = "/projects"
FOLDER: Final = Path(__file__).parent

USERS: Final = {"alice": ("handbook", "library"), "bob": ("handbook", "examples")}
"""Who there is in development, and the projects of each."""


class Decision(BaseModel):
    """What becomes of a proposal."""

    status: Literal["accepted", "rejected", "pending"]


def router(projects: Projects, settings: Settings) -> APIRouter:
    """Everything the application answers to, while `projects` runs."""
    access, routes = Access(settings, cookie="session"), APIRouter(tags=["projects"])
    limiter = Limiter(Limits(connect_rate=settings.connect_rate, max_streams_per_principal=settings.max_streams))
    headers = cors(settings)

    @routes.get("/api/projects/{project}/status")
    async def status(project: str, request: Request) -> Response:
        try:
            caller = await access.principal(request)
            channel = projects.check(project, caller)
        except NotAuthenticated:
            return PlainTextResponse("Unauthorized", 401, headers={"www-authenticate": "Bearer", **headers})
        except NotAllowed:
            return PlainTextResponse("Forbidden", 403, headers=headers)
        one_connection = request.scope["http_version"] == "1.1"  # HTTP/2 forbids the header
        hub, _ = await projects.running()
        return hub.stream(
            request,
            channel,
            principal=caller,
            connected="",
            hello=lambda first: {"type": "connected", "message": "Connected to status updates"},
            heartbeat=settings.heartbeat,
            headers={**headers, "connection": "keep-alive"} if one_connection else headers,
            limiter=limiter,
        )

    add_project(routes, projects, access)
    if settings.is_dev:
        add_development(routes, projects, access)
    routes.include_router(page(PAGE, FOLDER, FOLDER / "lists.js"))
    return routes


def cors(settings: Settings) -> dict[str, str]:
    """As documented: whoever is asked by a page of the one configured origin says so, and that credentials may be sent."""
    if len(settings.origins) != 1:
        return {}  # of several, the middleware says which
    return {"access-control-allow-origin": settings.origins[0], "access-control-allow-credentials": "true"}


def add_project(routes: APIRouter, projects: Projects, access: Access) -> None:
    """What there is of a project, and what can be done."""

    caller = Depends(access.principal)

    async def checked(project: str, principal: Principal = caller) -> str:
        projects.check(project, principal)
        return project

    mine = Depends(checked)

    @routes.get("/api/projects")
    async def names(principal: Principal = caller) -> Response:
        return answer(projects.names(principal))

    @routes.get("/api/projects/{project}")
    async def one(project: str = mine) -> Response:
        return answer(await projects.state(project))

    @routes.post("/api/projects/{project}/jobs")
    async def begin(project: str = mine) -> Response:
        return answer(await projects.begin(project), 202)

    @routes.post("/api/projects/{project}/proposals/{proposal}")
    async def decide(proposal: str, decision: Decision, project: str = mine) -> Response:
        await projects.decide(project, proposal, decision.status)
        return Response(status_code=204)

    @routes.delete("/api/projects/{project}/proposals/{proposal}")
    async def delete(proposal: str, project: str = mine) -> Response:
        await projects.decide(project, proposal, None)
        return Response(status_code=204)


def add_development(routes: APIRouter, projects: Projects, access: Access) -> None:
    """Tokens for pages of this machine, and where to type SQL."""
    for user, names in USERS.items():
        grants = tuple(f"project:{name}" for name in names)
        routes.include_router(access.dev_token(f"{PAGE}/dev/token/{user}", sub=user, subscribe=grants))

    @routes.get(f"{PAGE}/dev/database", include_in_schema=False)
    async def database(request: Request) -> Response:
        check_local(request)
        await projects.running()
        return answer({"url": projects.own_database})


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application on its own, with a hub of its own."""
    settings = settings or Settings.from_env("PROJECTS")
    projects = Projects(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with projects.lifespan(app):
            yield

    app = FastAPI(title="Projects", lifespan=lifespan, docs_url=None, redoc_url=None)  # those pages come from elsewhere
    app.state.projects = projects
    app.include_router(router(projects, settings))
    prepare(app, settings, credentials=True)
    return app


app = create_app()
