"""Rows of the outbox, and the events that they become.

Knows the outbox's columns and drafts. What a change of a row becomes is a `Mapping`'s to say, which this is given.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

import msgspec

from headwater.channels import check_channel
from headwater.errors import HeadwaterError
from headwater.event import Draft

PUBLISHED = "p"
CHANGED = "c"
REFUSED = "$refused"
"""The channel that tells operators of rows that could not become events."""

_log = logging.getLogger("headwater.brokers.postgres")


class Row(msgspec.Struct, frozen=True):
    """A row of the outbox.

    Attributes:
        seq: its number, in the order of insertion.
        time: when it was inserted, in milliseconds of Unix time.
        kind: `PUBLISHED` or `CHANGED`.
        channel, type, data, is_text, permissions, key: of an event that was published.
        source: which rule or table a change belongs to.
        op: what was done.
        new, old: the row after and before, as JSON.
    """

    seq: int
    time: int
    kind: str
    channel: str | None = None
    type: str | None = None
    data: str | None = None
    is_text: bool | None = None
    permissions: str | None = None
    key: str | None = None
    source: str | None = None
    op: str | None = None
    new: str | None = None
    old: str | None = None


Mapping: TypeAlias = Callable[[Row], Sequence[Draft]]
"""Says what a change of a row becomes. It must not block. What it raises is told on `REFUSED`."""


class Event(msgspec.Struct, frozen=True):
    """A draft, the row that it comes from, and which of that row's drafts it is."""

    seq: int
    number: int
    draft: Draft


def events(rows: Iterable[Row], mapping: Mapping | None) -> list[Event]:
    """What rows become, in order. A row that cannot become what it should becomes an event that says so."""
    return [Event(row.seq, number, draft) for row in rows for number, draft in enumerate(_drafts(row, mapping))]


def _drafts(row: Row, mapping: Mapping | None) -> Sequence[Draft]:
    try:
        if row.kind == PUBLISHED:
            return (_published(row),)
        assert mapping is not None, "changes are taken only by those who can map them"
        return mapping(row)
    except Exception as error:  # of any kind: one row must not hold up all that follow
        _log.warning("row %d of the outbox cannot become an event: %s", row.seq, error)
        return (refusal(row, error),)


def refusal(row: Row, error: Exception) -> Draft:
    """The event on `REFUSED` that tells of a row that could not become an event."""
    why = error.what if isinstance(error, HeadwaterError) else f"{type(error).__name__}: {error}"
    told: dict[str, Any] = {"outbox": row.seq, "time": row.time, "error": why[:1000]}
    named = {"channel": row.channel, "type": row.type, "source": row.source, "op": row.op}
    told.update({name: value[:200] for name, value in named.items() if value is not None})
    return Draft.json(REFUSED, "refused", told, permissions=["headwater.admin"])


def _published(row: Row) -> Draft:
    channel = check_channel(row.channel)  # who owns the table can put anything there
    permissions = frozenset(row.permissions.split(" ")) if row.permissions else frozenset[str]()
    if row.is_text:
        return Draft(
            channel=channel,
            type=row.type or "",
            data=row.data or "",
            text=True,
            permissions=permissions,
            idempotency_key=row.key,
        )
    data = msgspec.Raw((row.data or "").encode())  # compacted there: Postgres writes JSON with spaces
    return Draft.json(channel, row.type or "", data, permissions=permissions, idempotency_key=row.key)
