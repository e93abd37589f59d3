"""The REST routes: what can be asked for and changed, and the permission that each needs.

Knows requests and permissions; must not know the hub. What changes is told to everybody by the modules themselves.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends
from fastapi.params import Depends as Dependency
from fastapi.responses import Response
from pydantic import BaseModel, Field, StringConstraints

from examples.operations import automations, incidents, servers
from examples.operations.automations import Automations
from examples.operations.bus import EventBus, SystemEvent
from examples.operations.incidents import Incidents
from examples.operations.servers import Servers
from examples.operations.store import IncidentStatus, Severity
from examples.shared.access import Access
from examples.shared.web import answer
from headwater.errors import InvalidInput

NOTIFY: Final = "notifications.send"

Title = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=120)]
Host = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.:-]{1,253}$")]
Port = Annotated[int, Field(ge=1, le=65535)]


class CreateServer(BaseModel):
    """A server to register."""

    name: Title
    host: Host
    port: Port = 22


class UpdateServer(BaseModel):
    """What to change of a server; what is left out stays."""

    name: Title | None = None
    host: Host | None = None
    port: Port | None = None


class CreateIncident(BaseModel):
    """An incident to open."""

    title: Title
    severity: Severity = Severity.MEDIUM


class UpdateIncident(BaseModel):
    """What to change of an incident; what is left out stays."""

    title: Title | None = None
    severity: Severity | None = None


class SetStatus(BaseModel):
    """Where to move an incident."""

    status: IncidentStatus


class Notification(BaseModel):
    """A word to everybody."""

    message: Title


def changes_of(body: BaseModel) -> dict[str, Any]:
    """What a body asks to change.

    Raises:
        InvalidInput: nothing.
    """
    changes = body.model_dump(exclude_none=True)
    if not changes:
        raise InvalidInput("there is nothing to change", expected=" or ".join(type(body).model_fields))
    return changes


def holding(access: Access, permission: str) -> list[Dependency]:
    """The dependencies of a route for those who hold a permission."""
    return [Depends(access.holding(permission))]


def add_servers(routes: APIRouter, access: Access, module: Servers) -> None:
    """Routes of servers."""
    read, write = holding(access, servers.READ), holding(access, servers.WRITE)

    @routes.get("/api/v1/servers", dependencies=read)
    async def all_servers() -> Response:
        return answer(await module.all())

    @routes.post("/api/v1/servers", dependencies=write)
    async def create_server(new: CreateServer) -> Response:
        return answer(await module.create(new.name, new.host, new.port), 201)

    @routes.patch("/api/v1/servers/{server_id}", dependencies=write)
    async def update_server(server_id: str, body: UpdateServer) -> Response:
        return answer(await module.update(server_id, changes_of(body)))

    @routes.post("/api/v1/servers/{server_id}/test", dependencies=write)
    async def test_connection(server_id: str) -> Response:
        return answer(await module.test_connection(server_id))


def add_incidents(routes: APIRouter, access: Access, module: Incidents) -> None:
    """Routes of incidents."""
    read, write = holding(access, incidents.READ), holding(access, incidents.WRITE)

    @routes.get("/api/v1/incidents", dependencies=read)
    async def newest_incidents() -> Response:
        return answer(await module.newest())

    @routes.post("/api/v1/incidents", dependencies=write)
    async def create_incident(new: CreateIncident) -> Response:
        return answer(await module.create(new.title, new.severity), 201)

    @routes.patch("/api/v1/incidents/{incident_id}", dependencies=write)
    async def update_incident(incident_id: str, body: UpdateIncident) -> Response:
        return answer(await module.update(incident_id, changes_of(body)))

    @routes.post("/api/v1/incidents/{incident_id}/status", dependencies=write)
    async def set_status(incident_id: str, body: SetStatus) -> Response:
        return answer(await module.set_status(incident_id, body.status))


def add_automations(routes: APIRouter, access: Access, module: Automations) -> None:
    """Routes of automations."""
    read, run = holding(access, automations.READ), holding(access, automations.RUN)

    @routes.get("/api/v1/automations", dependencies=read)
    async def all_automations() -> Response:
        return answer(await module.all())

    @routes.post("/api/v1/automations/{name}/run", dependencies=run)
    async def run_automation(name: str) -> Response:
        return answer(await module.run(name), 202)


def add_notifications(routes: APIRouter, access: Access, bus: EventBus) -> None:
    """The route of notifications, which everybody gets: they ask for no permission."""

    @routes.post("/api/v1/broadcasts", dependencies=holding(access, NOTIFY))
    async def send_notification(new: Notification) -> Response:
        await bus.emit(type=SystemEvent.NOTIFICATION_SENT, data={"message": new.message})
        return Response(status_code=204)
