"""Requests that may be repeated: the answer to a first one is kept with its `Idempotency-Key`, and given again.

Functions that run inside a transaction, the one that does what is asked for, so there is never the deed without the answer.
Must not know what requests ask for.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from examples.notifications.events import iso
from headwater.errors import IdempotencyConflict, InvalidInput

KEPT: Final = timedelta(days=1)

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS keys (
    user TEXT NOT NULL, key TEXT NOT NULL, request TEXT NOT NULL, answer TEXT NOT NULL, at TEXT NOT NULL,
    PRIMARY KEY (user, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS keys_at ON keys (at);
"""

_KEY = re.compile(r"[\x21-\x7e]{1,200}\Z")


def check_key(key: str | None) -> str | None:
    """Raises InvalidInput unless there is no key, or one that may be."""
    if key is not None and not _KEY.match(key):
        raise InvalidInput("the Idempotency-Key is malformed", expected="1 to 200 visible ASCII characters")
    return key


def once(
    connection: sqlite3.Connection,
    user: str,
    key: str | None,
    request: str,
    work: Callable[[sqlite3.Connection], object],
) -> msgspec.Raw:
    """Do it unless it was done before; what it answers, as JSON.

    Args:
        user: whose key it is.
        key: None does it in any case.
        request: what is asked for, as a text that is the same if it is asked for again.
        work: does it.

    Raises:
        IdempotencyConflict: the key belongs to another request.
    """
    if key is not None and (found := _find(connection, user, key)) is not None:
        if found["request"] != request:
            raise IdempotencyConflict("the Idempotency-Key belongs to another request", fix="use a new one for each")
        return msgspec.Raw(found["answer"].encode())
    answer = msgspec.json.encode(work(connection))
    if key is not None:
        present = datetime.now(UTC)
        connection.execute("DELETE FROM keys WHERE at < ?", (iso(present - KEPT),))
        connection.execute(
            "INSERT INTO keys VALUES (?, ?, ?, ?, ?)", (user, key, request, answer.decode(), iso(present))
        )
    return msgspec.Raw(answer)


def _find(connection: sqlite3.Connection, user: str, key: str) -> sqlite3.Row | None:
    row: sqlite3.Row | None = connection.execute(
        "SELECT request, answer FROM keys WHERE user = ? AND key = ?", (user, key)
    ).fetchone()
    return row
