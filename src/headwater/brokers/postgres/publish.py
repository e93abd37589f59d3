"""Publishing within a transaction of the application: the event exists if and only if that is committed.

The event goes into the outbox over the application's own connection, next to whatever else the transaction does, and a
hub takes it from there when it can be seen. Rolling back, to a savepoint too, takes it back.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

from headwater.brokers.postgres.foreign import PARAMETER, ask
from headwater.brokers.postgres.sql import check_schema, quoted
from headwater.channels import check_channel
from headwater.event import Draft


def publish(
    connection: Any,
    channel: str,
    type: str = "message",
    data: Any = None,
    *,
    permissions: Iterable[str] = (),
    idempotency_key: str | None = None,
    schema: str = "headwater",
) -> Any:
    """Publish an event as part of the transaction that `connection` is in.

    Args:
        connection: a connection or cursor of psycopg 3, a connection of asyncpg, a session or connection of SQLAlchemy
            (each synchronous or not), or a connection of Django. In autocommit mode the event is published at once.
        channel, type, data, permissions, idempotency_key: as for `Draft.json`. A key that was used for a different event
            is found out only when the hub takes the event; the first one stands, and the log of the hub tells.
        schema: where Headwater is installed.

    Returns:
        None; for an asynchronous connection an awaitable, which has to be awaited.

    Raises:
        InvalidInput: the event, or the connection, is none.
        the connection's own errors: also when no hub has taken anything from the outbox for longer than its
            `publish_for` (SQLSTATE 55000).
    """
    draft = Draft.json(check_channel(channel), type, data, permissions=permissions, idempotency_key=idempotency_key)
    return publish_draft(connection, draft, schema=schema)


def publish_draft(connection: Any, draft: Draft, *, schema: str = "headwater") -> Any:
    """The same for a draft that is made already, of text for instance."""
    check_channel(draft.channel)
    view, places = f"{quoted(check_schema(schema))}.event", ", ".join([PARAMETER] * 6)
    done = ask(
        connection,
        f"INSERT INTO {view} (channel, type, data, is_text, permissions, key) VALUES ({places})",
        (
            draft.channel,
            draft.type,
            draft.data,
            draft.text,
            " ".join(sorted(draft.permissions)) or None,
            draft.idempotency_key,
        ),
    )
    return _nothing(done) if inspect.isawaitable(done) else None


async def _nothing(done: Any) -> None:
    await done
