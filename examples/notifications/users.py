"""Users: who they are, and whether they are there.

Functions that run inside a transaction, and tell everybody of what they change. Must not know streams or HTTP.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any, Final

import msgspec

from examples.notifications.events import EVERYONE, SSEEventType, now
from examples.notifications.outbox import tell
from headwater.errors import NotAllowed, NotFound

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS users (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, name TEXT NOT NULL, about TEXT NOT NULL, status TEXT NOT NULL,
    lastSeenAt TEXT
) STRICT;
"""
"""Columns are named as in the JSON that clients get."""

LISTED: Final = 500
"""Users that a list names at most."""

_ID = re.compile(r"[A-Za-z0-9_\-.@=]{1,100}\Z")


class Status(StrEnum):
    """Whether a user is there."""

    ONLINE = "online"
    OFFLINE = "offline"


class User(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Somebody who has a bell.

    Attributes:
        last_seen_at: when they were last known to be there; None if they never were.
    """

    id: str
    name: str
    about: str = ""
    status: Status = Status.OFFLINE
    last_seen_at: str | None = None


def check_id(id: str | None) -> str:
    """The id, if a user can have it.

    Raises:
        NotAllowed: it is none, or cannot be part of a channel's name.
    """
    if id is None or not _ID.match(id):
        raise NotAllowed("the token's sub names no user", expected="1 to 100 letters, digits or _ - . @ =")
    return id


def register(connection: sqlite3.Connection, user: User) -> bool:
    """Have somebody among the users; whether they were not before."""
    values = (user.id, user.name, user.about, user.status, user.last_seen_at)
    sql = "INSERT OR IGNORE INTO users (id, name, about, status, lastSeenAt) VALUES (?, ?, ?, ?, ?)"
    return connection.execute(sql, values).rowcount == 1


def join(connection: sqlite3.Connection, user: User) -> None:
    """Register somebody who has just come, and tell everybody."""
    if register(connection, user):
        tell(connection, EVERYONE, SSEEventType.USER_UPDATED, user)


def listed(connection: sqlite3.Connection) -> list[User]:
    """The users, those who are there first, by name."""
    sql = "SELECT * FROM users ORDER BY status = 'online' DESC, name, id LIMIT ?"
    return [_user(row) for row in connection.execute(sql, (LISTED,))]


def get(connection: sqlite3.Connection, id: str) -> User:
    """A user. Raises NotFound."""
    row = connection.execute("SELECT * FROM users WHERE id = ?", (id,)).fetchone()
    if row is None:
        raise NotFound(f"there is no user {id[:60]!r}", expected="somebody who GET /api/v1/users lists")
    return _user(row)


def check_all(connection: sqlite3.Connection, ids: Iterable[str]) -> None:
    """Raises NotFound unless all of them are users."""
    for id in ids:
        get(connection, id)


def edit(connection: sqlite3.Connection, id: str, changes: Mapping[str, Any]) -> User:
    """Change somebody's name, or what they say about themselves. Raises NotFound."""
    user = msgspec.structs.replace(get(connection, id), **changes)
    connection.execute("UPDATE users SET name = ?, about = ? WHERE id = ?", (user.name, user.about, id))
    tell(connection, EVERYONE, SSEEventType.USER_UPDATED, user)
    return user


def set_status(connection: sqlite3.Connection, id: str, status: Status) -> None:
    """Somebody has come or gone. Changes nothing, and tells nobody, if that is known."""
    moment = now()
    sql = "UPDATE users SET status = ?, lastSeenAt = ? WHERE id = ? AND status <> ?"
    if connection.execute(sql, (status, moment, id, status)).rowcount:
        change = {"id": id, "status": status, "lastSeenAt": moment}
        tell(connection, EVERYONE, SSEEventType.USER_STATUS_CHANGED, change)


def online(connection: sqlite3.Connection) -> list[str]:
    """The ids of those who count as being there."""
    return [row["id"] for row in connection.execute("SELECT id FROM users WHERE status = ?", (Status.ONLINE,))]


def _user(row: sqlite3.Row) -> User:
    fields = {name: row[name] for name in row.keys() if name != "number"}  # noqa: SIM118 (a Row iterates over values)
    return msgspec.convert(fields, User)
