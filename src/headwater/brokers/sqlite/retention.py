"""Retention, in small steps: what to remove, and never much of it at once.

Knows the tables and the rules. It must not know threads or when it is its turn: the writer gives it a connection and
calls again while there is more to do, so an append never waits for more than one step, however large the log is.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import msgspec

from headwater.brokers.base import Retention, Rule
from headwater.brokers.shared import rule_for
from headwater.brokers.sqlite.appends import Group, read_log
from headwater.brokers.sqlite.sql import SQL

STEP = 200  # rows removed in one transaction: some milliseconds, for each may lie in a page of its own
SURVEY = 200  # channels looked at in one step
SLACK = 100  # events over a channel's count that an append tolerates, so that not every append has to remove some
BATCH = 20  # rows that an append may remove in addition to twice as many as it brought
SPARED = 5000  # milliseconds: younger events stay, so that a node that was busy for a moment still sees them
AHEAD = 60_000  # milliseconds: events from later than that are of a clock that was put back since, and not young
COUNTED = 5000  # idempotency keys counted in one step: a millisecond or two
MAX_EMPTY = 10_000  # channels without events whose marks are kept one by one

_oldest = msgspec.json.Decoder(list[tuple[int, int, int]])
_oldest_of_all = msgspec.json.Decoder(list[tuple[int, int, int, int]])
_survey = msgspec.json.Decoder(list[tuple[int, str, int, int, int | None]])

Transaction = Callable[[], AbstractContextManager[sqlite3.Connection]]


def trim_after(connection: sqlite3.Connection, group: Group, retention: Retention, now: int) -> None:
    """Make room for what was just appended, in the same transaction: remove at most a little more than came. `now` is the
    clock's and not the log's time, which stands still while a clock that was put back catches up."""
    log = group.log
    left = 2 * len(group.fresh) + BATCH
    for channel in group.touched:
        rule = rule_for(retention, channel.name)
        slack = 0 if rule.count is None else min(rule.count // 10, SLACK)
        if left and _is_over(rule, channel.events - slack, channel.bytes):
            left -= trim_channel(connection, channel.id, rule, now, left)
    if left and retention.total_bytes is not None and log.bytes > retention.total_bytes:
        trim_log(connection, retention.total_bytes, now, left)


def _is_over(rule: Rule, events: int, size: int) -> bool:
    return (rule.count is not None and events > rule.count) or (rule.bytes is not None and size > rule.bytes)


def _is_young(time: int, now: int) -> bool:
    return now - SPARED < time <= now + AHEAD


def trim_channel(connection: sqlite3.Connection, channel: int, rule: Rule, now: int, limit: int) -> int:
    """Remove up to `limit` of a channel's oldest events, as far as its rule says; return how many."""
    bounds = {"channel": channel, "limit": limit, "young": now - SPARED, "ahead": now + AHEAD}
    events, size, rows = connection.execute(SQL["oldest_of_channel"], bounds).fetchone()
    removed = removed_bytes = cut = 0
    for seq, bytes_, time in _oldest.decode(rows):
        is_old = rule.age is not None and time < now - rule.age * 1000
        if _is_young(time, now) or not (is_old or _is_over(rule, events - removed, size - removed_bytes)):
            break
        removed, removed_bytes, cut = removed + 1, removed_bytes + bytes_, seq
    if removed:
        _remove(connection, channel, removed, removed_bytes, cut)
    return removed


def trim_log(connection: sqlite3.Connection, most: int, now: int, limit: int) -> int:
    """Remove up to `limit` of the log's oldest events while it has more than `most` bytes; return how many."""
    total = read_log(connection).bytes
    (rows,) = connection.execute(SQL["oldest_of_all"], {"limit": limit}).fetchone()
    removed = 0
    by_channel: dict[int, tuple[int, int, int]] = {}
    for seq, size, time, channel in _oldest_of_all.decode(rows):
        if total <= most or _is_young(time, now):
            break
        events, size_, _ = by_channel.get(channel, (0, 0, 0))
        by_channel[channel] = (events + 1, size_ + size, seq)
        total, removed = total - size, removed + 1
    for channel, (events, size_, cut) in by_channel.items():
        _remove(connection, channel, events, size_, cut)
    return removed


def _remove(connection: sqlite3.Connection, channel: int, events: int, size: int, cut: int) -> None:
    connection.execute(SQL["remove"], {"channel": channel, "cut": cut})
    connection.execute(SQL["count_out"], {"channel": channel, "events": events, "bytes": size, "cut": cut})
    connection.execute(SQL["shrink"], {"bytes": size})


def is_due(connection: sqlite3.Connection, retention: Retention, swept: int, now: int) -> bool:
    """Whether a sweep could find anything: an event that the last one, at `swept`, has not seen or has spared, or one that
    has come of age."""
    oldest = connection.execute(SQL["oldest_time"]).fetchone()
    if oldest is None:
        return False
    covered = any(rule.pattern == "**" for rule in retention.rules)
    rules = retention.rules if covered else (*retention.rules, Rule())
    ages = [rule.age for rule in rules if rule.age is not None]
    is_old = bool(ages) and oldest[0] < now - min(ages) * 1000
    return is_old or read_log(connection).time >= swept - SPARED


class Sweep:
    """One walk over the whole log that leaves what retention keeps, in as many steps as it takes.

    Args:
        retention: what to keep.
        now: milliseconds of Unix time.
        transaction: begins a transaction that writes.

    Attributes:
        removed: events removed so far.
    """

    def __init__(self, retention: Retention, now: int, transaction: Transaction) -> None:
        self.removed = 0
        self._retention = retention
        self._now = now
        self._transaction = transaction
        self._after = 0  # the id of the last channel that is done with
        self._counted = 0  # keys from the newest on, down to `_counted_to`
        self._counted_to: int | None = None
        self._surplus = 0  # keys before this seq are more than may be remembered
        self._steps = [self._channels, self._log, self._count_keys, self._keys, self._empty]

    def step(self, connection: sqlite3.Connection) -> bool:
        """Do a little; whether more is left to do."""
        if self._steps[0](connection):
            del self._steps[0]
        return bool(self._steps)

    def _channels(self, connection: sqlite3.Connection) -> bool:
        """Look at the next channels without a lock, then remove from those that have too much. True after the last."""
        (rows,) = connection.execute(SQL["survey"], {"after": self._after, "limit": SURVEY}).fetchone()
        surveyed = _survey.decode(rows)
        over = [(id_, rule) for id_, rule, is_over in map(self._judge, surveyed) if is_over]
        if over and not self._trim(over):
            return False
        self._after = surveyed[-1][0] if surveyed else self._after
        return len(surveyed) < SURVEY

    def _judge(self, row: tuple[int, str, int, int, int | None]) -> tuple[int, Rule, bool]:
        id_, name, events, size, oldest = row
        rule = rule_for(self._retention, name)
        is_old = rule.age is not None and oldest is not None and oldest < self._now - rule.age * 1000
        return id_, rule, is_old or _is_over(rule, events, size)

    def _trim(self, over: Sequence[tuple[int, Rule]]) -> bool:
        """Remove one step's worth; whether that was all."""
        left = STEP
        with self._transaction() as connection:
            for id_, rule in over:
                left -= trim_channel(connection, id_, rule, self._now, left)
                self._after = id_ if left else id_ - 1
                if not left:
                    break
        self.removed += STEP - left
        return left > 0

    def _log(self, connection: sqlite3.Connection) -> bool:
        most = self._retention.total_bytes
        if most is None or read_log(connection).bytes <= most:
            return True
        with self._transaction() as connection:
            removed = trim_log(connection, most, self._now, STEP)
        self.removed += removed
        return removed < STEP

    def _count_keys(self, connection: sqlite3.Connection) -> bool:
        """Find where the newest keys begin that may be remembered. There are no more keys than positions, so mostly there is
        nothing to count."""
        most = self._retention.keys
        if most is None:
            return True
        if self._counted_to is None:
            head, oldest = connection.execute(SQL["span_of_keys"]).fetchone()
            if oldest is None or head - oldest < most:
                return True
            self._counted_to = head + 1
        limit = min(COUNTED, most - self._counted)
        bounds = {"before": self._counted_to, "limit": limit}
        count, oldest = connection.execute(SQL["count_keys"], bounds).fetchone()
        if count < limit:
            return True
        self._counted, self._counted_to = self._counted + count, oldest
        if self._counted < most:
            return False
        self._surplus = oldest
        return True

    def _keys(self, connection: sqlite3.Connection) -> bool:
        oldest = self._now - int(self._retention.key_age * 1000)
        bounds = {"oldest": oldest, "surplus": self._surplus, "limit": STEP}
        (cut,) = connection.execute(SQL["last_old_key"], bounds).fetchone()
        if cut is None:
            return True
        with self._transaction() as connection:
            return connection.execute(SQL["remove_keys"], {"cut": cut}).rowcount < STEP

    def _empty(self, connection: sqlite3.Connection) -> bool:
        """Forget the channels that have been empty longest. Their marks, the lowest, become the floor of all channels
        without a row: a little too careful for the others, and bounded."""
        if _count_empty(connection) <= MAX_EMPTY:
            return True
        with self._transaction() as connection:
            bounds = {"limit": max(0, min(_count_empty(connection) - MAX_EMPTY, STEP))}
            (cut,) = connection.execute(SQL["last_mark_to_fold"], bounds).fetchone()
            connection.execute(SQL["raise_floor"], {"cut": cut})
            connection.execute(SQL["fold"], {"cut": cut})
        return False


def _count_empty(connection: sqlite3.Connection) -> int:
    (empty,) = connection.execute(SQL["count_empty"]).fetchone()
    assert isinstance(empty, int)
    return empty
