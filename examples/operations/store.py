"""What is kept: servers, incidents and runs of automations, as rows of one SQLite database.

Functions take a connection and run inside a transaction of `Database.run`. Knows SQL and the values; must not know events.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final, TypeVar

import msgspec

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS servers (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, name TEXT NOT NULL, host TEXT NOT NULL, port INTEGER NOT NULL,
    status TEXT NOT NULL, message TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS incidents (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, title TEXT NOT NULL, severity TEXT NOT NULL,
    status TEXT NOT NULL, createdAt TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS runs (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, automation TEXT NOT NULL, status TEXT NOT NULL,
    startedAt TEXT NOT NULL, output TEXT NOT NULL
);
"""
"""Columns are named as in the JSON that clients get."""


class ServerStatus(StrEnum):
    """What the last connection test found."""

    UNKNOWN = "UNKNOWN"  # there was none yet
    SUCCESS = "SUCCESS"
    FAILED = "FAILED"


class IncidentStatus(StrEnum):
    """How far an incident is."""

    OPEN = "OPEN"
    INVESTIGATING = "INVESTIGATING"
    RESOLVED = "RESOLVED"


class Severity(StrEnum):
    """How bad an incident is."""

    LOW = "LOW"
    MEDIUM = "MEDIUM"
    HIGH = "HIGH"
    CRITICAL = "CRITICAL"


class RunStatus(StrEnum):
    """How a run of an automation stands."""

    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """A machine that answers at `host` and `port`, or does not.

    Attributes:
        message: what the last connection test found, in words.
    """

    id: str
    name: str
    host: str
    port: int
    status: ServerStatus = ServerStatus.UNKNOWN
    message: str = ""


class Incident(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Something that is wrong until it is resolved."""

    id: str
    title: str
    severity: Severity
    status: IncidentStatus = IncidentStatus.OPEN
    created_at: str


class Run(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One run of an automation.

    Attributes:
        output: what it has said, line by line.
    """

    id: str
    automation: str
    status: RunStatus = RunStatus.RUNNING
    started_at: str
    output: str = ""


Row = TypeVar("Row", Server, Incident, Run)

_TABLES: Final[dict[type, str]] = {Server: "servers", Incident: "incidents", Run: "runs"}


def insert(connection: sqlite3.Connection, value: Server | Incident | Run) -> None:
    """Add a row."""
    row = msgspec.to_builtins(value)
    marks = ", ".join(f":{name}" for name in row)
    connection.execute(f"INSERT INTO {_TABLES[type(value)]} ({', '.join(row)}) VALUES ({marks})", row)


def edit(
    connection: sqlite3.Connection, kind: type[Row], id: str, changes: Mapping[str, Any]
) -> tuple[Row, Row] | None:
    """Change fields of a row; returns it as it was and as it is, or None if there is none of that id."""
    if (before := get(connection, kind, id)) is None:
        return None
    after = msgspec.structs.replace(before, **changes)
    row = msgspec.to_builtins(after)
    assignments = ", ".join(f"{name} = :{name}" for name in row)
    connection.execute(f"UPDATE {_TABLES[kind]} SET {assignments} WHERE id = :id", row)
    return before, after


def get(connection: sqlite3.Connection, kind: type[Row], id: str) -> Row | None:
    """A row, or None if there is none of that id."""
    row = connection.execute(f"SELECT * FROM {_TABLES[kind]} WHERE id = ?", (id,)).fetchone()
    return None if row is None else _value(kind, row)


def newest(connection: sqlite3.Connection, kind: type[Row], limit: int = 1000) -> list[Row]:
    """The newest rows, newest first."""
    rows = connection.execute(f"SELECT * FROM {_TABLES[kind]} ORDER BY number DESC LIMIT ?", (limit,))
    return [_value(kind, row) for row in rows]


def last_runs(connection: sqlite3.Connection) -> dict[str, Run]:
    """The newest run of each automation that has one."""
    rows = connection.execute("SELECT * FROM runs WHERE number IN (SELECT max(number) FROM runs GROUP BY automation)")
    return {row["automation"]: _value(Run, row) for row in rows}


def append_output(connection: sqlite3.Connection, run_id: str, line: str) -> None:
    """Add a line to what a run has said."""
    connection.execute("UPDATE runs SET output = output || ? || char(10) WHERE id = ?", (line, run_id))


def unfinished(connection: sqlite3.Connection) -> list[Run]:
    """Runs that have not ended, oldest first."""
    rows = connection.execute("SELECT * FROM runs WHERE status = ? ORDER BY number", (RunStatus.RUNNING,))
    return [_value(Run, row) for row in rows]


def forget(connection: sqlite3.Connection, keep: int) -> None:
    """Remove incidents and runs beyond the newest `keep` of each; those that are not closed stay."""
    for table, still in (("incidents", "status <> 'RESOLVED'"), ("runs", "status = 'RUNNING'")):
        newest = f"SELECT number FROM {table} ORDER BY number DESC LIMIT ?"
        connection.execute(f"DELETE FROM {table} WHERE NOT ({still}) AND number NOT IN ({newest})", (keep,))


def counts(connection: sqlite3.Connection) -> dict[str, dict[str, int]]:
    """How many servers, incidents and runs there are, by status: the dashboard's query, which reads all of them."""
    found: dict[str, dict[str, int]] = {
        "servers": dict.fromkeys(ServerStatus, 0),
        "incidents": dict.fromkeys(IncidentStatus, 0),
        "runs": dict.fromkeys(RunStatus, 0),
    }
    query = " UNION ALL ".join(f"SELECT '{table}', status, count(*) FROM {table} GROUP BY status" for table in found)
    for table, status, count in connection.execute(query):
        found[table][status] = count
    return found


def _value(kind: type[Row], row: sqlite3.Row) -> Row:
    return msgspec.convert({name: row[name] for name in row.keys() if name != "number"}, kind)  # noqa: SIM118 (a Row iterates over values)
