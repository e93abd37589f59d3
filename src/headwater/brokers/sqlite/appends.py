"""Group commit: many appends in one transaction.

Knows drafts, the tables and idempotency keys. It must not know threads, futures or the feed: it is given a connection
inside a transaction and says what became of each append.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from headwater.brokers.shared import fingerprint
from headwater.brokers.sqlite.sql import SQL
from headwater.errors import IdempotencyConflict
from headwater.event import Draft, byte_length

_dump = msgspec.json.encode
_counts = msgspec.json.Decoder(list[tuple[int, str, int, int]])
_keys = msgspec.json.Decoder(list[tuple[str, str, int]])

_CHUNKS = (64, 16, 4, 1)  # rows per INSERT: few enough shapes that each stays a prepared statement


class Log(msgspec.Struct):
    """The row of table `log`: which life of the log this is, and how far it has come."""

    epoch: str
    head: int
    time: int
    bytes: int
    floor: int


class Counts(msgspec.Struct):
    """What one channel holds."""

    id: int
    name: str
    events: int
    bytes: int


class Outcome(msgspec.Struct):
    """What became of one append: its positions, or why it was refused."""

    seqs: tuple[int, ...] = ()
    conflict: IdempotencyConflict | None = None


class Group(msgspec.Struct):
    """What became of a group of appends.

    Attributes:
        log: as it is after the commit.
        base: the head before it.
        outcomes: one per append.
        fresh: the drafts that became events, at base + 1, base + 2, ...
        touched: the channels they went to.
    """

    log: Log
    base: int
    outcomes: list[Outcome]
    fresh: list[Draft]
    touched: list[Counts]


def read_log(connection: sqlite3.Connection) -> Log:
    """The log's row."""
    return Log(*connection.execute(SQL["log"]).fetchone())


def write_group(
    connection: sqlite3.Connection, log: Log, appends: Sequence[Sequence[Draft]], now: int, key_age: float
) -> Group:
    """Write the appends. Those with a conflicting key are left out, and harm no other.

    Args:
        connection: in a transaction that writes.
        log: its row, which is brought up to date.
        appends: the drafts of each.
        now: milliseconds of Unix time.
        key_age: seconds for which keys count.
    """
    base = log.head
    log.time = max(log.time, now)  # times never run backwards, or `position_at` would mean nothing
    placement = _Placement(base, _known_keys(connection, appends, log.time - int(key_age * 1000)))
    outcomes = [placement.place(drafts) for drafts in appends]
    fresh = placement.fresh
    touched = _write_events(connection, log, fresh) if fresh else []
    rows = [(seq, log.time, print_, key) for key, (print_, seq) in placement.keys.items() if seq > base]
    _insert(connection, SQL["insert_key"], rows)
    return Group(log, base, outcomes, fresh, touched)


def _known_keys(
    connection: sqlite3.Connection, appends: Iterable[Sequence[Draft]], oldest: int
) -> dict[str, tuple[str, int]]:
    keys = [draft.idempotency_key for drafts in appends for draft in drafts if draft.idempotency_key is not None]
    if not keys:
        return {}
    (found,) = connection.execute(SQL["known_keys"], {"keys": _dump(keys).decode(), "oldest": oldest}).fetchone()
    return {key: (print_, seq) for key, print_, seq in _keys.decode(found)}


class _Placement:
    """Gives positions to drafts, one append after the other."""

    def __init__(self, base: int, keys: dict[str, tuple[str, int]]) -> None:
        self.keys = keys
        self.fresh: list[Draft] = []
        self._base = base

    def place(self, drafts: Sequence[Draft]) -> Outcome:
        seq = self._base + len(self.fresh)
        fresh: list[Draft] = []
        keys: dict[str, tuple[str, int]] = {}
        seqs: list[int] = []
        for draft in drafts:
            key = draft.idempotency_key
            place = seq + len(fresh) + 1
            if key is not None:
                print_ = fingerprint(draft).hex()
                first, place = self.keys.get(key) or keys.setdefault(key, (print_, place))
                if first != print_:
                    return Outcome(conflict=_conflict(key))
            if place > seq + len(fresh):
                fresh.append(draft)
            seqs.append(place)
        self.fresh += fresh
        self.keys.update(keys)
        return Outcome(tuple(seqs))


def _conflict(key: str) -> IdempotencyConflict:
    return IdempotencyConflict(
        f"idempotency key {key!r} was used before for a different event",
        fix="use a new key for each event; repeat a key only with the very same event",
    )


def _write_events(connection: sqlite3.Connection, log: Log, fresh: Sequence[Draft]) -> list[Counts]:
    base = log.head
    sizes = [byte_length(draft.data) for draft in fresh]
    touched = _count_in(connection, log, fresh, sizes)
    ids = {counts.name: counts.id for counts in touched}
    rows = (
        (
            seq,
            ids[draft.channel],
            log.time,
            size,
            draft.text,
            None if draft.type == "message" else draft.type,
            " ".join(sorted(draft.permissions)) or None,
            draft.data,
        )
        for seq, size, draft in zip(range(base + 1, base + 1 + len(fresh)), sizes, fresh, strict=True)
    )
    _insert(connection, SQL["insert_event"], list(rows))
    log.head += len(fresh)
    log.bytes += sum(sizes)
    connection.execute(SQL["advance"], {"head": log.head, "time": log.time, "bytes": sum(sizes)})
    return touched


def _count_in(connection: sqlite3.Connection, log: Log, fresh: Sequence[Draft], sizes: Sequence[int]) -> list[Counts]:
    """Add to the channels' counts, making the channels that are new."""
    changes: dict[str, tuple[int, int, int]] = {}
    for seq, (draft, size) in enumerate(zip(fresh, sizes, strict=True), log.head + 1):
        events, total, _ = changes.get(draft.channel, (0, 0, 0))
        changes[draft.channel] = (events + 1, total + size, seq)
    channels = _dump([(name, *change) for name, change in changes.items()]).decode()
    connection.execute(SQL["count_in"], {"channels": channels, "floor": log.floor, "time": log.time})
    (found,) = connection.execute(SQL["counts"], {"names": _dump(list(changes)).decode()}).fetchone()
    return [Counts(*row) for row in _counts.decode(found)]


def _insert(connection: sqlite3.Connection, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
    """Insert the rows, many to a statement."""
    head, _, values = statement.rpartition("VALUES ")
    for chunk in _chunks(rows):
        many = f"{head}VALUES {', '.join([values] * len(chunk))}"
        connection.execute(many, [value for row in chunk for value in row])


def _chunks(rows: Sequence[tuple[object, ...]]) -> Iterator[Sequence[tuple[object, ...]]]:
    start = 0
    for size in _CHUNKS:
        while len(rows) - start >= size:
            yield rows[start : start + size]
            start += size
