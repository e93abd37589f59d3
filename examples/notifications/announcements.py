"""Announcements and maintenance: what everybody is told, until it is over.

Functions that run inside a transaction, and tell everybody of what they change. Must not know streams or HTTP.
"""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from examples.notifications.events import EVERYONE, SSEEventType, iso, now
from examples.notifications.inbox import Level
from examples.notifications.outbox import tell
from headwater.errors import NotFound

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS announcements (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    type TEXT NOT NULL, title TEXT NOT NULL, message TEXT NOT NULL, level TEXT NOT NULL, by TEXT NOT NULL,
    createdAt TEXT NOT NULL, startsAt TEXT NOT NULL, endsAt TEXT NOT NULL
) STRICT;
"""

LISTED: Final = 50
"""Announcements that a list has at most."""


class Announcement(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Something that everybody is told.

    Attributes:
        type: of the event that tells of it.
        by: the user who announces it.
        starts_at, ends_at: between which it holds.
    """

    id: str
    type: SSEEventType
    title: str
    message: str
    level: Level
    by: str
    created_at: str
    starts_at: str
    ends_at: str


def announce(
    connection: sqlite3.Connection,
    type: SSEEventType,
    by: str,
    title: str,
    message: str = "",
    level: Level = Level.INFO,
    *,
    starts_at: datetime | None = None,
    minutes: int = 60,
) -> Announcement:
    """Tell everybody of something that holds for so many minutes from its start, which is now by default."""
    present = datetime.now(UTC)
    begins = starts_at or present
    times = (iso(present), iso(begins), iso(begins + timedelta(minutes=minutes)))
    connection.execute("DELETE FROM announcements WHERE endsAt < ?", (iso(present - timedelta(days=1)),))
    sql = """INSERT INTO announcements (type, title, message, level, by, createdAt, startsAt, endsAt)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?) RETURNING *"""
    (row,) = connection.execute(sql, (type, title, message, level, by, *times)).fetchall()
    return _told(connection, row)


def current(connection: sqlite3.Connection) -> list[Announcement]:
    """Those that are not over, the newest first."""
    rows = connection.execute("SELECT * FROM announcements WHERE endsAt > ? ORDER BY id DESC LIMIT ?", (now(), LISTED))
    return [_announcement(row) for row in rows]


def end(connection: sqlite3.Connection, id: str) -> None:
    """Have one be over. Raises NotFound: there is none of that id that is not."""
    moment = now()
    sql = "UPDATE announcements SET endsAt = ? WHERE CAST(id AS TEXT) = ? AND endsAt > ? RETURNING *"
    rows = connection.execute(sql, (moment, id, moment)).fetchall()
    if not rows:
        raise NotFound(f"there is no announcement {id[:40]!r}", fix="GET /api/v1/announcements lists them")
    _told(connection, rows[0])


def _told(connection: sqlite3.Connection, row: sqlite3.Row) -> Announcement:
    announcement = _announcement(row)
    tell(connection, EVERYONE, announcement.type, announcement)
    return announcement


def _announcement(row: sqlite3.Row) -> Announcement:
    fields: dict[str, Any] = {name: row[name] for name in row.keys()}  # noqa: SIM118 (a Row iterates over values)
    return msgspec.convert({**fields, "id": str(row["id"])}, Announcement)
