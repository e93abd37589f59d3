"""Rooms in SQLite: what was asked for, and how far the agents have come.

Functions that take a connection and run inside one transaction each (see `examples.shared.database`). Must not know agents,
logs or HTTP.
"""

from __future__ import annotations

import sqlite3
from enum import StrEnum

import msgspec

SCHEMA = """
CREATE TABLE IF NOT EXISTS rooms (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    title TEXT NOT NULL,
    words TEXT NOT NULL,       -- JSON
    status TEXT NOT NULL,
    created_at TEXT NOT NULL,
    finished TEXT NOT NULL     -- JSON: agents that are done, in order
) STRICT;
"""


class Status(StrEnum):
    """Where a room is in its life."""

    BUILDING = "building"
    READY = "ready"
    FAILED = "failed"


class Room(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A room.

    Attributes:
        id: in its URL.
        title: for people.
        words: that have to appear in its story.
        status: where it is.
        created_at: ISO 8601 in UTC.
        finished: agents that are done.
    """

    id: str
    title: str
    words: tuple[str, ...]
    status: Status
    created_at: str
    finished: tuple[str, ...] = ()


def _room(row: sqlite3.Row) -> Room:
    return Room(
        id=row["id"],
        title=row["title"],
        words=msgspec.json.decode(row["words"], type=tuple[str, ...]),
        status=Status(row["status"]),
        created_at=row["created_at"],
        finished=msgspec.json.decode(row["finished"], type=tuple[str, ...]),
    )


def insert(connection: sqlite3.Connection, room: Room) -> None:
    """Add a room."""
    connection.execute(
        "INSERT INTO rooms (id, title, words, status, created_at, finished) VALUES (?, ?, ?, ?, ?, '[]')",
        (room.id, room.title, msgspec.json.encode(room.words).decode(), room.status, room.created_at),
    )


def get(connection: sqlite3.Connection, room_id: str) -> Room | None:
    """A room, or None if there is none of that id."""
    row = connection.execute("SELECT * FROM rooms WHERE id = ?", (room_id,)).fetchone()
    return None if row is None else _room(row)


def newest(connection: sqlite3.Connection, limit: int) -> list[Room]:
    """The newest rooms, newest first."""
    rows = connection.execute("SELECT * FROM rooms ORDER BY number DESC LIMIT ?", (limit,))
    return [_room(row) for row in rows]


def unfinished(connection: sqlite3.Connection) -> list[Room]:
    """Rooms that were being built, oldest first."""
    rows = connection.execute("SELECT * FROM rooms WHERE status = ? ORDER BY number", (Status.BUILDING,))
    return [_room(row) for row in rows]


def finish_agent(connection: sqlite3.Connection, room_id: str, agent: str) -> None:
    """Remember that an agent is done in a room."""
    connection.execute("UPDATE rooms SET finished = json_insert(finished, '$[#]', ?) WHERE id = ?", (agent, room_id))


def set_status(connection: sqlite3.Connection, room_id: str, status: Status) -> None:
    """Move a room on."""
    connection.execute("UPDATE rooms SET status = ? WHERE id = ?", (status, room_id))


def forget(connection: sqlite3.Connection, keep: int) -> list[str]:
    """Remove the oldest finished rooms beyond the newest `keep`; returns their ids."""
    rows = connection.execute(
        "DELETE FROM rooms WHERE status <> ? AND number NOT IN (SELECT number FROM rooms ORDER BY number DESC LIMIT ?) "
        "RETURNING id",
        (Status.BUILDING, keep),
    )
    return [row["id"] for row in rows]
