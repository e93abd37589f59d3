"""Incidents: opened, described better, and brought to an end.

Knows the store and the bus; must not know HTTP.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any, Final

from examples.operations import store
from examples.operations.bus import EventBus, SystemEvent, now
from examples.operations.settings import Settings
from examples.operations.store import Incident, IncidentStatus, Severity
from examples.shared.database import Database
from headwater.errors import NotFound

READ: Final = "incidents.read"
WRITE: Final = "incidents.write"

SHOWN: Final = 50


class Incidents:
    """All incidents."""

    def __init__(self, bus: EventBus, database: Database, settings: Settings) -> None:
        self._bus = bus
        self._database = database
        self._kept = settings.kept

    async def newest(self) -> list[Incident]:
        """The newest incidents, newest first."""
        return await self._database.run(store.newest, Incident, SHOWN)

    async def create(self, title: str, severity: Severity) -> Incident:
        """Open an incident."""
        incident = Incident(id=secrets.token_hex(6), title=title, severity=severity, created_at=now())
        await self._database.run(store.insert, incident)
        await self._database.run(store.forget, self._kept)
        await self._bus.emit(
            type=SystemEvent.INCIDENT_CREATED,
            data=incident,
            permissions=[READ],  # Only users with this permission receive the event
        )
        return incident

    async def update(self, incident_id: str, changes: Mapping[str, Any]) -> Incident:
        """Change an incident's title or severity. Raises NotFound."""
        _, incident = await self._edit(incident_id, changes)
        await self._bus.emit(
            type=SystemEvent.INCIDENT_UPDATED,
            data={"id": incident.id, "title": incident.title, "changes": dict(changes)},
            permissions=[READ],
        )
        return incident

    async def set_status(self, incident_id: str, status: IncidentStatus) -> Incident:
        """Move an incident on; to the status that it has, nothing happens. Raises NotFound."""
        before, incident = await self._edit(incident_id, {"status": status})
        if before.status != incident.status:
            await self._bus.emit(
                type=SystemEvent.INCIDENT_STATUS_CHANGED,
                data={"id": incident.id, "oldStatus": before.status, "newStatus": incident.status},
                permissions=[READ],
            )
        return incident

    async def _edit(self, incident_id: str, changes: Mapping[str, Any]) -> tuple[Incident, Incident]:
        edited = await self._database.run(store.edit, Incident, incident_id, changes)
        if edited is None:
            raise NotFound(f"there is no incident {incident_id[:60]!r}", fix="GET /api/v1/incidents lists them")
        return edited
