"""The names of the events, the channels they go to, and the permissions that decide who may do what.

Knows names only; must not know hubs or tables.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

EVERYONE: Final = "everyone"
"""The channel of what is everybody's."""

SEND: Final = "notifications.send"
RUN: Final = "workflows.run"
READ: Final = "workflows.read"
ANNOUNCE: Final = "system.announce"


class SSEEventType(StrEnum):
    """Everything that a client may be sent. The value is the event's name on the wire."""

    # Connection events
    CONNECTION_ESTABLISHED = "connection_established"
    HEARTBEAT = "heartbeat"

    # Notification events
    NOTIFICATION_CREATED = "notification.created"
    NOTIFICATION_UPDATED = "notification.updated"
    NOTIFICATION_DELETED = "notification.deleted"

    # User events
    USER_STATUS_CHANGED = "user.status_changed"
    USER_UPDATED = "user.updated"

    # Workflow events
    WORKFLOW_STARTED = "workflow.started"
    WORKFLOW_COMPLETED = "workflow.completed"
    WORKFLOW_FAILED = "workflow.failed"

    # System events
    SYSTEM_ANNOUNCEMENT = "system.announcement"
    SYSTEM_MAINTENANCE = "system.maintenance"


def own_channel(user_id: str) -> str:
    """The channel of what is one user's own."""
    return f"user:{user_id}"


def iso(moment: datetime) -> str:
    """A moment, as JavaScript's `toISOString` writes it."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def now() -> str:
    """This moment. Texts of moments sort as the moments do."""
    return iso(datetime.now(UTC))
