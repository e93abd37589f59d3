"""Notifications: sent, listed, marked, changed and taken back.

Functions that run inside a transaction, and tell the receiver of what they change. Must not know streams or HTTP.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any, Final

import msgspec

from examples.notifications import users
from examples.notifications.events import SSEEventType, now, own_channel
from examples.notifications.outbox import tell
from headwater.errors import NotAllowed, NotFound

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS notifications (
    number INTEGER PRIMARY KEY AUTOINCREMENT,  -- no id is ever given twice
    user TEXT NOT NULL,                        -- whose it is
    sender TEXT,                               -- NULL: the system
    title TEXT NOT NULL, message TEXT NOT NULL, level TEXT NOT NULL, href TEXT,
    createdAt TEXT NOT NULL, read INTEGER NOT NULL DEFAULT 0, seen INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX IF NOT EXISTS notifications_user ON notifications (user, number);
CREATE INDEX IF NOT EXISTS notifications_unread ON notifications (user) WHERE NOT read;
"""

OF_RECEIVER: Final = frozenset({"read", "seen"})
"""What only the receiver may change; the rest is the sender's."""

_ID = re.compile(r"[1-9][0-9]{0,17}\Z", re.ASCII)


class Level(StrEnum):
    """How a notification is meant."""

    INFO = "info"
    SUCCESS = "success"
    WARNING = "warning"
    ERROR = "error"


class Text(msgspec.Struct, frozen=True, kw_only=True):
    """What a notification says."""

    title: str
    message: str = ""
    level: Level = Level.INFO
    href: str | None = None


class Notification(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A notification, its fields in the order of the wire.

    Attributes:
        sender: who has sent it; None for the system.
        read: its user has dealt with it.
        seen: its user has had it in view.
    """

    id: str
    title: str
    message: str
    level: Level
    href: str | None
    sender: str | None = msgspec.field(name="from")
    created_at: str
    read: bool
    seen: bool


class Created(msgspec.Struct, frozen=True):
    """What became of sending to one user."""

    id: str
    to: str


class Page(msgspec.Struct, frozen=True):
    """A part of somebody's notifications, the newest first.

    Attributes:
        unread, unseen: of all that there are.
        next: where the next page begins; None if this is the last.
    """

    items: list[Notification]
    unread: int
    unseen: int
    next: str | None


def send(connection: sqlite3.Connection, sender: str | None, to: Iterable[str], text: Text, kept: int) -> list[Created]:
    """Notify users; all of them or, if one is unknown, nobody.

    Args:
        sender: a user; None for the system.
        kept: notifications that each of them may have; beyond it their oldest go.

    Raises:
        NotFound: one of them is no user.
    """
    receivers = tuple(dict.fromkeys(to))
    users.check_all(connection, receivers)
    return [_send(connection, sender, user, text, kept) for user in receivers]


def _send(connection: sqlite3.Connection, sender: str | None, user: str, text: Text, kept: int) -> Created:
    sql = """INSERT INTO notifications (user, sender, title, message, level, href, createdAt)
        VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING *"""
    values = (user, sender, text.title, text.message, text.level, text.href, now())
    (row,) = connection.execute(sql, values).fetchall()
    created = _notification(row)
    tell(connection, own_channel(user), SSEEventType.NOTIFICATION_CREATED, created)
    older = """DELETE FROM notifications WHERE user = ?1 AND number <= (
        SELECT number FROM notifications WHERE user = ?1 ORDER BY number DESC LIMIT 1 OFFSET ?2) RETURNING number"""
    for gone in connection.execute(older, (user, kept)).fetchall():
        tell(connection, own_channel(user), SSEEventType.NOTIFICATION_DELETED, {"id": str(gone["number"])})
    return Created(created.id, user)


def page(connection: sqlite3.Connection, user: str, limit: int, before: str | None) -> Page:
    """A part of somebody's notifications. Raises NotFound: `before` can be no id."""
    bound = 2**62 if before is None else _number(before)
    sql = "SELECT * FROM notifications WHERE user = ? AND number < ? ORDER BY number DESC LIMIT ?"
    rows = connection.execute(sql, (user, bound, limit + 1)).fetchall()
    sql = "SELECT count(*) AS unread, total(NOT seen) AS unseen FROM notifications WHERE user = ? AND NOT read"
    counts = connection.execute(sql, (user,)).fetchone()
    items = [_notification(row) for row in rows[:limit]]
    return Page(items, counts["unread"], int(counts["unseen"]), items[-1].id if len(rows) > limit else None)


def get(connection: sqlite3.Connection, user: str, id: str) -> Notification:
    """One of somebody's own. Raises NotFound: it is none of theirs, or there is none."""
    row = _find(connection, id)
    if row["user"] != user:
        raise _unknown(id)
    return _notification(row)


def mark(
    connection: sqlite3.Connection, user: str, changed: str, ids: Sequence[str] | None = None
) -> list[Notification]:
    """Mark somebody's own; those that were so already, and ids that are unknown, are left alone.

    Args:
        changed: `read`, which is seen, too; or `seen`.
        ids: None for all.
    """
    sets, which = ("read = 1, seen = 1", "NOT read") if changed == "read" else ("seen = 1", "NOT seen")
    sql = f"UPDATE notifications SET {sets} WHERE user = ? AND {which}"
    values: list[object] = [user]
    if ids is not None:
        sql += " AND number IN (SELECT value FROM json_each(?))"
        values.append(msgspec.json.encode([_number(id) for id in ids]).decode())
    rows = connection.execute(f"{sql} RETURNING *", values).fetchall()
    marked = [_notification(row) for row in sorted(rows, key=lambda row: int(row["number"]))]
    for each in marked:
        tell(connection, own_channel(user), SSEEventType.NOTIFICATION_UPDATED, each)
    return marked


def edit(connection: sqlite3.Connection, caller: str, id: str, changes: Mapping[str, Any]) -> Notification:
    """Change one: its receiver what they made of it, its sender what it says.

    Raises:
        NotFound: the caller is neither, or there is none. NotAllowed: a change is the other one's to make.
    """
    row = _own(connection, caller, id)
    if row["user"] != caller and OF_RECEIVER & changes.keys():
        raise NotAllowed("read and seen are the receiver's to change", expected="title, message, level or href")
    if row["sender"] != caller and changes.keys() - OF_RECEIVER:
        raise NotAllowed("what a notification says is its sender's to change", expected="read or seen")
    changes = {**changes, "seen": True} if changes.get("read") else changes
    sets = ", ".join(f"{name} = :{name}" for name in changes)
    sql = f"UPDATE notifications SET {sets} WHERE number = :number RETURNING *"
    (after,) = connection.execute(sql, {**changes, "number": row["number"]}).fetchall()
    edited = _notification(after)
    tell(connection, own_channel(row["user"]), SSEEventType.NOTIFICATION_UPDATED, edited)
    return edited


def delete(connection: sqlite3.Connection, caller: str, id: str) -> None:
    """Remove one: its receiver's right, and its sender's. Raises NotFound: the caller is neither, or there is none."""
    row = _own(connection, caller, id)
    connection.execute("DELETE FROM notifications WHERE number = ?", (row["number"],))
    tell(connection, own_channel(row["user"]), SSEEventType.NOTIFICATION_DELETED, {"id": id})


def _own(connection: sqlite3.Connection, caller: str, id: str) -> sqlite3.Row:
    row = _find(connection, id)
    if caller not in (row["user"], row["sender"]):
        raise _unknown(id)
    return row


def _find(connection: sqlite3.Connection, id: str) -> sqlite3.Row:
    row: sqlite3.Row | None = connection.execute(
        "SELECT * FROM notifications WHERE number = ?", (_number(id),)
    ).fetchone()
    if row is None:
        raise _unknown(id)
    return row


def _number(id: str) -> int:
    if not _ID.match(id):
        raise _unknown(id)
    return int(id)


def _unknown(id: str) -> NotFound:
    """The same for those that are somebody else's: whether there are any is nobody's business."""
    return NotFound(f"there is no notification {id[:40]!r} of yours", fix="GET /api/v1/notifications lists them")


def _notification(row: sqlite3.Row) -> Notification:
    return Notification(
        id=str(row["number"]),
        title=row["title"],
        message=row["message"],
        level=Level(row["level"]),
        href=row["href"],
        sender=row["sender"],
        created_at=row["createdAt"],
        read=bool(row["read"]),
        seen=bool(row["seen"]),
    )
