"""Debates in SQLite: what was said, and what of it is still to be broadcast.

Functions that take a connection and run inside a transaction (see `examples.shared.database`). The `outbox` is the point: an
event is put there by the same transaction that changes the debate, so there is never one without the other, whenever the
process dies. Must not know hubs, clocks or HTTP.
"""

from __future__ import annotations

import sqlite3
from typing import Any

import msgspec

from examples.debates.phases import Phase, State

SCHEMA = """
CREATE TABLE IF NOT EXISTS debates (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    topic TEXT NOT NULL,
    script TEXT,                  -- NULL: nobody runs it but those who call
    phase TEXT NOT NULL,
    paused INTEGER NOT NULL,
    speaker TEXT,                 -- of the newest utterance
    created_at INTEGER NOT NULL   -- milliseconds of Unix time, as all times here
) STRICT;
CREATE TABLE IF NOT EXISTS utterances (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    debate TEXT NOT NULL REFERENCES debates (id),
    timestamp INTEGER NOT NULL,
    phase TEXT NOT NULL,
    speaker TEXT NOT NULL,
    content TEXT NOT NULL,
    line INTEGER,                 -- of the script
    UNIQUE (debate, line)         -- nothing is said twice, whoever restarts
) STRICT;
CREATE TABLE IF NOT EXISTS interventions (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    debate TEXT NOT NULL REFERENCES debates (id),
    timestamp INTEGER NOT NULL,
    speaker TEXT NOT NULL,        -- who is asked
    question TEXT NOT NULL,
    answer TEXT
) STRICT;
CREATE TABLE IF NOT EXISTS outbox (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    debate TEXT NOT NULL,
    type TEXT NOT NULL,
    data TEXT NOT NULL,           -- JSON
    key TEXT NOT NULL UNIQUE      -- of idempotency: publishing it again changes nothing
) STRICT;
"""


class Debate(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A debate as it stands."""

    id: str
    topic: str
    script: str | None
    phase: Phase
    paused: bool
    speaker: str | None
    created_at: int

    @property
    def state(self) -> State:
        """Where it is."""
        return State(self.phase, self.paused)


class Utterance(msgspec.Struct, frozen=True):
    """What somebody said, with its fields in the order of the wire."""

    id: str
    timestamp: int
    phase: Phase
    speaker: str
    content: str


class Intervention(msgspec.Struct, frozen=True):
    """A question from the audience."""

    id: str
    timestamp: int
    speaker: str
    question: str
    answer: str | None = None


class Pending(msgspec.Struct, frozen=True):
    """An event that was persisted and is still to be broadcast."""

    number: int
    debate: str
    type: str
    data: msgspec.Raw
    key: str


def _debate(row: sqlite3.Row) -> Debate:
    fields: dict[str, Any] = {name: row[name] for name in Debate.__struct_fields__}
    return Debate(**{**fields, "phase": Phase(row["phase"]), "paused": bool(row["paused"])})


def insert(connection: sqlite3.Connection, debate: Debate) -> bool:
    """Add a debate; False if there is one of that id."""
    values = (debate.id, debate.topic, debate.script, debate.phase, debate.paused, debate.created_at)
    sql = "INSERT OR IGNORE INTO debates (id, topic, script, phase, paused, created_at) VALUES (?, ?, ?, ?, ?, ?)"
    return connection.execute(sql, values).rowcount == 1


def find(connection: sqlite3.Connection, debate_id: str) -> Debate | None:
    """A debate, or None if there is none of that id."""
    row = connection.execute("SELECT * FROM debates WHERE id = ?", (debate_id,)).fetchone()
    return None if row is None else _debate(row)


def newest(connection: sqlite3.Connection, limit: int) -> list[Debate]:
    """The newest debates, newest first."""
    rows = connection.execute("SELECT * FROM debates ORDER BY number DESC LIMIT ?", (limit,))
    return [_debate(row) for row in rows]


def scripted(connection: sqlite3.Connection) -> list[Debate]:
    """Debates with a script that are not over, oldest first."""
    sql = "SELECT * FROM debates WHERE script IS NOT NULL AND phase <> ? ORDER BY number"
    return [_debate(row) for row in connection.execute(sql, (Phase.COMPLETE,))]


def set_state(connection: sqlite3.Connection, debate_id: str, state: State) -> None:
    """Move a debate."""
    sql = "UPDATE debates SET phase = ?, paused = ? WHERE id = ?"
    connection.execute(sql, (state.phase, state.paused, debate_id))


def add_utterance(connection: sqlite3.Connection, debate_id: str, utterance: Utterance, line: int | None) -> None:
    """Keep what was said, and who says it now."""
    values = (utterance.id, debate_id, utterance.timestamp, utterance.phase, utterance.speaker, utterance.content, line)
    connection.execute(
        "INSERT INTO utterances (id, debate, timestamp, phase, speaker, content, line) VALUES (?, ?, ?, ?, ?, ?, ?)",
        values,
    )
    connection.execute("UPDATE debates SET speaker = ? WHERE id = ?", (utterance.speaker, debate_id))


def utterances(connection: sqlite3.Connection, debate_id: str) -> list[Utterance]:
    """All that was said, in order."""
    rows = connection.execute("SELECT * FROM utterances WHERE debate = ? ORDER BY number", (debate_id,))
    return [Utterance(row["id"], row["timestamp"], Phase(row["phase"]), row["speaker"], row["content"]) for row in rows]


def said(connection: sqlite3.Connection, debate_id: str) -> frozenset[int]:
    """The lines of its script that were said."""
    sql = "SELECT line FROM utterances WHERE debate = ? AND line IS NOT NULL"
    return frozenset(row["line"] for row in connection.execute(sql, (debate_id,)))


def ask(connection: sqlite3.Connection, debate_id: str, question: Intervention) -> None:
    """Keep a question."""
    connection.execute(
        "INSERT INTO interventions (id, debate, timestamp, speaker, question) VALUES (?, ?, ?, ?, ?)",
        (question.id, debate_id, question.timestamp, question.speaker, question.question),
    )


def interventions(connection: sqlite3.Connection, debate_id: str) -> list[Intervention]:
    """All questions, oldest first."""
    rows = connection.execute("SELECT * FROM interventions WHERE debate = ? ORDER BY number", (debate_id,))
    return [Intervention(row["id"], row["timestamp"], row["speaker"], row["question"], row["answer"]) for row in rows]


def answer(connection: sqlite3.Connection, debate_id: str, question_id: str, content: str) -> Intervention | None:
    """Keep the answer to a question; None if there is no such question, or it has one."""
    sql = "UPDATE interventions SET answer = ? WHERE debate = ? AND id = ? AND answer IS NULL RETURNING *"
    row = connection.execute(sql, (content, debate_id, question_id)).fetchone()
    if row is None:
        return None
    return Intervention(row["id"], row["timestamp"], row["speaker"], row["question"], row["answer"])


def queue(connection: sqlite3.Connection, debate_id: str, type: str, data: object, key: str) -> None:
    """Put an event into the outbox."""
    sql = "INSERT INTO outbox (debate, type, data, key) VALUES (?, ?, ?, ?)"
    connection.execute(sql, (debate_id, type, msgspec.json.encode(data).decode(), key))


def pending(connection: sqlite3.Connection, limit: int = 100) -> list[Pending]:
    """The oldest events of the outbox, in the order in which they were put there."""
    rows = connection.execute("SELECT * FROM outbox ORDER BY number LIMIT ?", (limit,))
    return [
        Pending(row["number"], row["debate"], row["type"], msgspec.Raw(row["data"].encode()), row["key"])
        for row in rows
    ]


def broadcast(connection: sqlite3.Connection, upto: int) -> None:
    """Take events that were broadcast out of the outbox."""
    connection.execute("DELETE FROM outbox WHERE number <= ?", (upto,))
