"""Notifications as a web application: `headwater run examples.notifications.app:app --port 3001`.

The stream behind a notification bell, as a team documented it: `connection_established` first, named events, a heartbeat
every 30 seconds, tokens in a header or in the query, `?lastEventId=`. That things are kept, and told if and only if they are,
is the business of the transactions and their outbox; order, resuming and slow readers are the hub's.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.responses import Response

from examples.notifications import announcements, api, inbox, keys, outbox, runs, users, workflows
from examples.notifications.bodies import Route
from examples.notifications.callers import Callers
from examples.notifications.dev import USERS, development
from examples.notifications.events import EVERYONE, SSEEventType, own_channel
from examples.notifications.outbox import Ledger
from examples.notifications.presence import Presence
from examples.notifications.runs import Runner
from examples.notifications.settings import Settings
from examples.shared.access import Access
from examples.shared.database import Database
from examples.shared.web import WEB, page, standalone
from headwater import Hub, Principal

PAGE: Final = "/notifications"
FOLDER: Final = Path(__file__).parent
FILES: Final = (
    *(FOLDER / name for name in ("person.js", "list.js", "bell.js")),
    *(WEB / "client.js", FOLDER.parents[1] / "js" / "notifications.js"),
)
"""What the page asks for besides its own files; the last one is the npm package's, as it is."""

SCHEMA: Final = "".join(each.SCHEMA for each in (outbox, keys, users, inbox, announcements, runs))


class Center:
    """Everything that runs: the database and what is told from it, who is there, and workflows."""

    def __init__(self, hub: Hub, settings: Settings) -> None:
        self._settings = settings
        self._database = Database(settings.folder / "notifications.db", SCHEMA)
        self.ledger = Ledger(self._database, hub)
        self.runner = Runner(self.ledger, settings)
        self._presence = Presence(hub, self.ledger, settings.away)

    @asynccontextmanager
    async def lifespan(self, app: object = None) -> AsyncIterator[None]:
        """Open the database, tell what was left untold; stop what runs at the end. Within the hub's lifespan."""
        self._settings.prepared()
        await self._database.open()
        tasks: list[asyncio.Task[None]] = []
        try:
            await asyncio.to_thread(workflows.prepare, self._settings.files, self._settings.archives)
            for user in USERS if self._settings.is_dev else ():
                await self.ledger.change(users.register, user)
            await self.runner.open()
            tasks += [asyncio.create_task(each.run()) for each in (self.ledger, self._presence)]
            yield
        finally:
            await self.runner.aclose()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._database.aclose()


def router(hub: Hub, settings: Settings) -> APIRouter:
    """Everything the application answers to. Including it also opens and closes its database, within the hub's lifespan."""
    center = Center(hub, settings)
    callers = Callers(Access(settings), center.ledger, settings)
    routes = APIRouter(lifespan=center.lifespan, route_class=Route, tags=["notifications"])
    caller = Depends(callers.principal)

    @routes.get("/api/v1/sse")
    async def sse(request: Request, principal: Principal = caller) -> Response:
        user = users.check_id(principal.id)

        def hello(first: dict[str, Any]) -> dict[str, Any]:
            return {"userId": user, "timestamp": first["time"], "cursor": first["cursor"]}

        return hub.stream(
            request,
            own_channel(user),
            EVERYONE,
            principal=principal,
            connected=SSEEventType.CONNECTION_ESTABLISHED,
            hello=hello,
            heartbeat=settings.heartbeat,
            limiter=callers.limiter,
        )

    api.add_reading(routes, callers, center.ledger)
    api.add_sending(routes, callers, center.ledger, settings)
    api.add_own(routes, callers, center.ledger)
    api.add_workflows(routes, callers, center.ledger, center.runner)
    routes.include_router(development(hub, settings, PAGE))
    routes.include_router(page(PAGE, FOLDER, *FILES))
    return routes


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application on its own, with a hub of its own."""
    return standalone("Notifications", settings or Settings.from_env("NOTIFICATIONS"), router)


app = create_app()
