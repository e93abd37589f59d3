"""Operations as a web application: `headwater run examples.operations.app:app --port 3001`.

The event system that a team documented: one stream for everybody, permissions that decide who is sent what, and a dashboard
whose expensive query runs once however many ask. Order, resuming, heartbeats and slow readers are the hub's business.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.responses import Response

from examples.operations import api, automations, incidents, servers, store
from examples.operations.automations import Automations
from examples.operations.bus import CHANNEL, EventBus
from examples.operations.incidents import Incidents
from examples.operations.servers import Servers
from examples.operations.settings import Settings
from examples.shared.access import Access
from examples.shared.database import Database
from examples.shared.web import page, standalone
from headwater import Hub, Principal, single_flight

PAGE: Final = "/operations"
FOLDER: Final = Path(__file__).parent

ROLES: Final = {
    "operator": (
        *(servers.READ, servers.WRITE, incidents.READ, incidents.WRITE),
        *(automations.READ, automations.RUN, automations.LOGS, api.NOTIFY),
    ),
    "developer": (servers.READ, automations.READ, automations.LOGS),
    "support": (incidents.READ, incidents.WRITE),
}
"""Whom the page shows side by side, and what each of them holds."""


class Operations:
    """The modules of the application, and the bus between them and everybody who looks on."""

    def __init__(self, hub: Hub, settings: Settings) -> None:
        self._settings = settings
        self._hub = hub
        self._database = Database(settings.folder / "operations.db", store.SCHEMA)
        self.bus = EventBus(hub)
        self.servers = Servers(self.bus, self._database, settings)
        self.incidents = Incidents(self.bus, self._database, settings)
        self.automations = Automations(self.bus, self._database, self.servers, settings)

    @asynccontextmanager
    async def lifespan(self, app: object = None) -> AsyncIterator[None]:
        """Open the database; stop what runs at the end. Within the hub's lifespan."""
        self._settings.prepared()
        await self._database.open()
        try:
            await self.automations.open()
            yield
        finally:
            await self.automations.aclose()
            await self._database.aclose()

    async def get_system_stats(self) -> dict[str, Any]:
        """Everything that the dashboard shows, from one query over all tables."""
        return {**await self._database.run(store.counts), "streams": self._hub.count(CHANNEL)}


def router(hub: Hub, settings: Settings) -> APIRouter:
    """Everything the application answers to. Including it also opens and closes its database, within the hub's lifespan."""
    operations, access = Operations(hub, settings), Access(settings)
    caller = Depends(access.principal)
    routes = APIRouter(lifespan=operations.lifespan, tags=["operations"])

    @routes.get("/api/v1/events/stream")
    async def stream(request: Request, principal: Principal = caller) -> Response:
        return hub.stream(request, CHANNEL, principal=principal, heartbeat=settings.heartbeat)

    @routes.get("/api/v1/dashboard/stats", dependencies=[caller])
    @single_flight
    async def get_stats() -> dict[str, Any]:
        # Expensive query - will be deduplicated
        return await operations.get_system_stats()

    api.add_servers(routes, access, operations.servers)
    api.add_incidents(routes, access, operations.incidents)
    api.add_automations(routes, access, operations.automations)
    api.add_notifications(routes, access, operations.bus)
    for role, permissions in ROLES.items():
        routes.include_router(access.dev_token(f"{PAGE}/dev/token/{role}", permissions=permissions))
    routes.include_router(page(PAGE, FOLDER, FOLDER / "channel.js"))
    return routes


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application on its own, with a hub of its own."""
    return standalone("Operations", settings or Settings.from_env("OPERATIONS"), router)


app = create_app()
