"""The REST routes: what can be asked for and changed, and by whom.

Knows requests and permissions; must not know the hub. What changes is told by the transactions that change it.
"""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
from collections.abc import Callable
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Header, Query
from fastapi.responses import Response
from pydantic import BaseModel

from examples.notifications import announcements, inbox, runs, users
from examples.notifications.bodies import (
    EditNotification,
    EditUser,
    Id,
    NewAnnouncement,
    NewMaintenance,
    NewNotification,
    Some,
)
from examples.notifications.callers import Callers
from examples.notifications.events import ANNOUNCE, READ, RUN, SEND, SSEEventType
from examples.notifications.inbox import Text
from examples.notifications.keys import check_key, once
from examples.notifications.outbox import Ledger
from examples.notifications.runs import Run, Runner
from examples.notifications.settings import Settings
from examples.notifications.workflows import WORKFLOWS
from examples.shared.web import answer
from headwater import Principal

Key = Annotated[str | None, Header(alias="Idempotency-Key")]
Limit = Annotated[int, Query(ge=1, le=100)]


async def repeatable(
    ledger: Ledger,
    user: str,
    key: str | None,
    path: str,
    body: BaseModel | None,
    work: Callable[[sqlite3.Connection], object],
) -> msgspec.Raw:
    """Do it once for each key; what it answers. Raises as `keys.once`."""
    said = body.model_dump_json() if body else ""
    request = hashlib.sha256(f"{path}\n{said}".encode()).hexdigest()
    return await ledger.change(once, user, check_key(key), request, work)


def add_reading(routes: APIRouter, callers: Callers, ledger: Ledger) -> None:
    """What is asked for. The cursor is always asked for first, so that it is older than what stands beside it."""
    user = Depends(callers.user)
    caller = Depends(callers.principal)

    @routes.get("/api/v1/notifications")
    async def notifications(me: str = user, limit: Limit = 100, before: Id | None = None) -> Response:
        cursor = await ledger.cursor()
        found = await ledger.read(inbox.page, me, limit, before)
        return answer(
            {"items": found.items, "unread": found.unread, "unseen": found.unseen, "cursor": cursor, "next": found.next}
        )

    @routes.get("/api/v1/notifications/{id}")
    async def notification(id: str, me: str = user) -> Response:
        return answer(await ledger.read(inbox.get, me, id))

    @routes.get("/api/v1/users", dependencies=[user])
    async def everybody() -> Response:
        cursor = await ledger.cursor()
        return answer({"items": await ledger.read(users.listed), "cursor": cursor})

    @routes.get("/api/v1/users/me")
    async def myself(principal: Principal = caller) -> Response:
        found = msgspec.to_builtins(await ledger.read(users.get, users.check_id(principal.id)))
        return answer({**found, "permissions": sorted(principal.permissions)})

    @routes.get("/api/v1/workflows", dependencies=[Depends(callers.holding(READ))])
    async def workflows() -> Response:
        cursor = await ledger.cursor()
        newest = await ledger.read(runs.newest)
        return answer({"items": [each.shown() for each in WORKFLOWS.values()], "runs": newest, "cursor": cursor})

    @routes.get("/api/v1/announcements", dependencies=[user])
    async def current() -> Response:
        cursor = await ledger.cursor()
        return answer({"items": await ledger.read(announcements.current), "cursor": cursor})


def add_sending(routes: APIRouter, callers: Callers, ledger: Ledger, settings: Settings) -> None:
    """What is sent by those who may."""

    @routes.post("/api/v1/notifications")
    async def send(new: NewNotification, me: str = Depends(callers.holding(SEND)), key: Key = None) -> Response:
        receivers = list(dict.fromkeys(new.receivers))
        callers.limiter.publish(me, len(receivers) - 1)
        text = Text(title=new.title, message=new.message, level=new.level, href=new.href)

        def work(connection: sqlite3.Connection) -> dict[str, Any]:
            return {"created": inbox.send(connection, me, receivers, text, settings.kept)}

        return answer(await repeatable(ledger, me, key, "notifications", new, work), 201)

    announcing = Depends(callers.holding(ANNOUNCE))

    @routes.post("/api/v1/announcements")
    async def announce(new: NewAnnouncement, me: str = announcing, key: Key = None) -> Response:
        def work(connection: sqlite3.Connection) -> announcements.Announcement:
            said = (new.title, new.message, new.level)
            return announcements.announce(connection, SSEEventType.SYSTEM_ANNOUNCEMENT, me, *said, minutes=new.minutes)

        return answer(await repeatable(ledger, me, key, "announcements", new, work), 201)

    @routes.post("/api/v1/maintenance")
    async def maintain(new: NewMaintenance, me: str = announcing, key: Key = None) -> Response:
        def work(connection: sqlite3.Connection) -> announcements.Announcement:
            said = (new.title, new.message, inbox.Level.WARNING)
            return announcements.announce(
                connection, SSEEventType.SYSTEM_MAINTENANCE, me, *said, starts_at=new.startsAt, minutes=new.minutes
            )

        return answer(await repeatable(ledger, me, key, "maintenance", new, work), 201)

    @routes.delete("/api/v1/announcements/{id}", dependencies=[announcing])
    async def end(id: str) -> Response:
        await ledger.change(announcements.end, id)
        return Response(status_code=204)


def add_own(routes: APIRouter, callers: Callers, ledger: Ledger) -> None:
    """What users do with what they were sent, and with themselves."""
    writer = Depends(callers.writer)

    @routes.post("/api/v1/notifications/read")
    async def read_all(some: Some | None = None, me: str = writer) -> Response:
        ids = some.ids if some else None
        return answer({"changed": len(await ledger.change(inbox.mark, me, "read", ids))})

    @routes.post("/api/v1/notifications/seen")
    async def seen_all(me: str = writer) -> Response:
        return answer({"changed": len(await ledger.change(inbox.mark, me, "seen"))})

    @routes.post("/api/v1/notifications/{id}/read")
    async def read(id: str, me: str = writer) -> Response:
        await ledger.change(inbox.mark, me, "read", [id])
        return answer(await ledger.read(inbox.get, me, id))

    @routes.patch("/api/v1/notifications/{id}")
    async def edit(id: str, body: EditNotification, me: str = writer) -> Response:
        return answer(await ledger.change(inbox.edit, me, id, body.changes()))

    @routes.delete("/api/v1/notifications/{id}")
    async def delete(id: str, me: str = writer) -> Response:
        await ledger.change(inbox.delete, me, id)
        return Response(status_code=204)

    @routes.patch("/api/v1/users/me")
    async def edit_me(body: EditUser, me: str = writer) -> Response:
        return answer(await ledger.change(users.edit, me, body.changes()))


def add_workflows(routes: APIRouter, callers: Callers, ledger: Ledger, runner: Runner) -> None:
    """What starts a workflow."""

    @routes.post("/api/v1/workflows/{name}/runs")
    async def run(name: str, me: str = Depends(callers.holding(RUN)), key: Key = None) -> Response:
        async def start() -> msgspec.Raw:
            fresh: list[Run] = []
            found = await repeatable(ledger, me, key, f"workflows/{name}", None, runner.starting(name, me, fresh))
            for each in fresh:
                runner.perform(each)
            return found

        # What was started runs, even if nobody waits for the answer any more: it would be under way for ever.
        return answer(await asyncio.shield(asyncio.ensure_future(start())), 202)
