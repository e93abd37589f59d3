"""The event bus: what modules call when something happened, and the one channel on which everybody is told.

`bus.emit(type=..., data=..., permissions=[...])` is all that a module needs to know of live updates. Knows the hub and the
names of events; must not know what makes them happen.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

import msgspec

from headwater import Hub, Position
from headwater.errors import Unavailable

CHANNEL: Final = "operations"

PATIENCE: Final = 5.0
"""Seconds for which an event whose log cannot be written is offered again. What it tells of has happened already."""


class SystemEvent(StrEnum):
    """Everything that can happen. The value is the event's name on the wire."""

    INCIDENT_CREATED = "incident.created"
    INCIDENT_UPDATED = "incident.updated"
    INCIDENT_STATUS_CHANGED = "incident.status_changed"
    SERVER_CREATED = "server.created"
    SERVER_UPDATED = "server.updated"
    SERVER_STATUS_CHANGED = "server.status_changed"
    AUTOMATION_STARTED = "automation.started"
    AUTOMATION_COMPLETED = "automation.completed"
    AUTOMATION_FAILED = "automation.failed"
    LOG_ADDED = "log.added"
    NOTIFICATION_SENT = "notification.sent"


class Emitted(msgspec.Struct, frozen=True, kw_only=True):
    """An event as it is on the wire, its fields in this order.

    Attributes:
        type: also the frame's `event:`.
        data: what happened.
        timestamp: when; ISO 8601 in UTC with milliseconds.
        permissions: what a user must hold to be sent it: all of them. Everybody is sent it if there are none.
    """

    type: SystemEvent
    data: Any
    timestamp: str
    permissions: tuple[str, ...]


def iso(moment: datetime) -> str:
    """A moment, as JavaScript's `toISOString` writes it."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def now() -> str:
    """This moment."""
    return iso(datetime.now(UTC))


class EventBus:
    """Where modules say what happened.

    Args:
        hub: keeps the events and brings them to everybody who may see them.
    """

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def emit(
        self,
        *,
        type: SystemEvent,
        data: Any,
        timestamp: datetime | None = None,
        permissions: Iterable[str] | None = None,
    ) -> Position:
        """Tell everybody who holds the permissions; returns once the event is durable.

        Args:
            timestamp: when it happened; now by default.
            permissions: None or none at all sends it to all connected users.

        Raises:
            Unavailable: the log could not be written within `PATIENCE` seconds.
        """
        needed = tuple(permissions or ())
        event = Emitted(type=type, data=data, timestamp=iso(timestamp) if timestamp else now(), permissions=needed)
        key = uuid.uuid4().hex  # a second attempt cannot say it twice
        loop = asyncio.get_running_loop()
        deadline = loop.time() + PATIENCE
        while True:
            try:
                return await self._hub.publish(CHANNEL, type, event, permissions=needed, idempotency_key=key)
            except Unavailable as error:
                pause = error.retry_after or 0.5
                if loop.time() + pause > deadline:
                    raise
                await asyncio.sleep(pause)
