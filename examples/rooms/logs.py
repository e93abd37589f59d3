"""What agents say, and how it gets to everyone in the room.

Knows the log line's fields and whoever publishes them; must not know rooms' files, agents' work or HTTP.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Protocol, TypeVar

import msgspec

from headwater.errors import InvalidInput, Unavailable


class AgentType(StrEnum):
    """Who says it."""

    STORY = "story"
    ASSET = "asset"
    CODE = "code"
    DEPLOY = "deploy"
    ORCHESTRATOR = "orchestrator"


class Level(StrEnum):
    """How much it matters."""

    INFO = "info"
    WARN = "warn"
    ERROR = "error"
    SUCCESS = "success"


class AgentLog(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """One line of a room's log, with its fields in the order of the wire.

    Attributes:
        timestamp: ISO 8601 in UTC with milliseconds.
        metadata: whatever belongs to the line; left out where there is nothing.
    """

    timestamp: str
    agent_type: AgentType
    level: Level
    message: str
    metadata: Mapping[str, Any] | None = None


Name = TypeVar("Name", bound=StrEnum)


def one_of(names: type[Name], value: str, what: str) -> Name:
    """`value` as one of the names.

    Raises:
        InvalidInput: it is none of them.
    """
    try:
        return names(value)
    except ValueError:
        raise InvalidInput(f"{what} {value[:40]!r} is unknown", expected=f"one of {', '.join(names)}") from None


def now() -> str:
    """This moment, as JavaScript's `toISOString` writes it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def channel(room_id: str) -> str:
    """The channel of a room's log."""
    return f"room:{room_id}"


class Publishes(Protocol):
    """A hub, or a publisher without one: `headwater.publisher(url)`."""

    async def publish(self, channel: str, type: str, data: Any, /, *, idempotency_key: str | None = None) -> object:
        """Append one event to the log."""


async def insist(log: Publishes, channel: str, type: str, data: Any) -> None:
    """Publish, for an agent at work: while the log cannot be written it waits, and then the event is there once."""
    key = uuid.uuid4().hex
    while True:
        try:
            await log.publish(channel, type, data, idempotency_key=key)
        except Unavailable as error:
            await asyncio.sleep(error.retry_after or 1.0)
        else:
            return


class RoomLogs:
    """The logs of all rooms. They live in the log; nothing of them is kept here."""

    def __init__(self, log: Publishes) -> None:
        self._log = log

    async def emit_log(
        self,
        room_id: str,
        agent_type: str,
        level: str,
        message: str,
        metadata: Mapping[str, Any] | None = None,
        *,
        key: str | None = None,
    ) -> AgentLog:
        """Publish one line to a room; returns it once it is durable.

        Args:
            key: publishing again with the same key and line changes nothing.

        Raises:
            InvalidInput: the agent type or the level is none of those there are. Unavailable: it was not published.
        """
        line = AgentLog(
            timestamp=now(),
            agent_type=one_of(AgentType, agent_type, "agent type"),
            level=one_of(Level, level, "level"),
            message=message,
            metadata=metadata,
        )
        await self._log.publish(channel(room_id), "log", line, idempotency_key=key)
        return line

    async def insist(
        self, room_id: str, agent_type: AgentType, level: Level, message: str, metadata: Mapping[str, Any] | None = None
    ) -> None:
        """`emit_log` for an agent at work (see `insist`)."""
        line = AgentLog(timestamp=now(), agent_type=agent_type, level=level, message=message, metadata=metadata)
        await insist(self._log, channel(room_id), "log", line)
