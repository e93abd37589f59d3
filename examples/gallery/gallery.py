"""The gallery: the hub's own application and the reference applications, on one port, over one shared hub.

Development only: the hub lets every page of this machine do everything, and the applications give out tokens. Knows the
routers; must not know what is behind them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI

from examples.debates import app as debates
from examples.debates.settings import Settings as Debates
from examples.gallery.demo import Caller, Demo
from examples.gallery.home import EVERYTHING, home, token_of
from examples.gallery.pulse import GalleryHub, beating, overhearing
from examples.gallery.settings import RETENTION, Settings
from examples.notifications import app as notifications
from examples.notifications.dev import ROLES
from examples.notifications.settings import Settings as Notifications
from examples.operations import app as operations
from examples.operations.settings import Settings as Operations
from examples.projects import app as projects
from examples.projects.projects import Projects
from examples.projects.settings import Settings as ProjectsSettings
from examples.rooms import app as rooms
from examples.rooms.settings import Settings as Rooms
from examples.shared.web import prepare
from headwater.asgi.app import create_app as hub_app


def create_app(settings: Settings | None = None) -> FastAPI:
    """Everything, as one application."""
    settings = settings or Settings.from_env("GALLERY")
    hub = GalleryHub(settings.broker_url, retention=RETENTION, grace=1.0)
    kept = ProjectsSettings(data=settings.data, database=settings.database)
    database = Projects(kept, retention=RETENTION, grace=1.0)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        settings.prepared()
        async with hub.lifespan(app), beating(hub):
            yield

    @asynccontextmanager
    async def beside(app: object) -> AsyncIterator[None]:
        async with database.beside(), overhearing(hub, database):
            yield

    # The hub's own description is at /openapi.json; FastAPI's pages about its own come from elsewhere on the internet.
    app = FastAPI(title="Gallery", lifespan=lifespan, openapi_url="/api/openapi.json", docs_url=None, redoc_url=None)
    app.state.hub = hub
    app.state.home = "/"  # the applications' pages lead back there
    app.include_router(home(settings))
    # Slower than on their own: a visitor looks at everything at once, and there is always something going on.
    app.include_router(rooms.router(hub, Rooms(data=settings.data, kept=20, pace=0.8)))
    app.include_router(debates.router(hub, Debates(data=settings.data, speed=300.0)))
    app.include_router(operations.router(hub, Operations(data=settings.data, kept=50)))
    app.include_router(projects.router(database, kept))
    app.include_router(notifications.router(hub, Notifications(data=settings.data, kept=50, pace=0.3 * settings.pace)))
    app.include_router(APIRouter(lifespan=beside))
    if settings.demo:
        call = Caller(app, lambda: token_of(settings, "demo", (*EVERYTHING, *ROLES["ada"])))
        app.include_router(APIRouter(lifespan=Demo(hub, call, settings.pace, database.count).lifespan))
    app.mount("/", hub_app(hub, dev=True))
    prepare(app, settings)
    return app


app = create_app()
