"""`headwater pg status`: what is installed and what it is doing, in a few lines. Judges nothing; `doctor` does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import psycopg

from headwater.brokers.postgres.sql import quoted
from headwater.changes.install import is_ours
from headwater.changes.installed import Installed, read_installed
from headwater.changes.rules import Rule, check_rules
from headwater.changes.table import Connection


async def describe(connection: Connection, rules: Iterable[Rule], home: str) -> list[str]:
    """What there is, line by line.

    Args:
        connection: from `install.connect`.
        rules: all that there should be.
        home: the schema that is Headwater's own.
    """
    if not await is_ours(connection, home):
        return [f"schema {home}: not installed"]
    present = await read_installed(connection, home)
    lines = [*await _flow(connection, home), *_rules(check_rules(rules), present)]
    known = {rule.name for rule in rules}
    others = sorted({each.rule for each in present.values()} - known)
    return lines + [f"rule {name}: installed, and not declared here" for name in others]


async def _flow(connection: Connection, home: str) -> list[str]:
    try:
        cursor = await connection.execute(_FLOW.format(home=quoted(home)).encode())
    except psycopg.errors.InsufficientPrivilege:
        return [f"schema {home}: installed, and this role may not look into it"]
    row = await cursor.fetchone()
    assert row is not None
    version, leader, fence, events, waiting, captures_until = row
    return [
        f"schema {home}: version {version}",
        f"leader: {f'number {fence}, last {leader}' if leader else 'there has been none'}",
        f"log: {events} events so far",
        f"outbox: {waiting} rows wait; changes are captured until {captures_until or 'further notice'}",
    ]


def _rules(rules: Iterable[Rule], present: dict[str, Installed]) -> Iterator[str]:
    for rule in rules:
        mine = [each for each in present.values() if each.rule == rule.name]
        intact = [each.operation for each in mine if each.is_intact]
        broken = [each.operation for each in mine if not each.is_intact]
        parts = [", ".join(intact) or "not installed", *([f"{', '.join(broken)} broken"] if broken else [])]
        yield f"rule {rule.name}: on {rule.schema}.{rule.table}: {'; '.join(parts)}"


_FLOW: Final = """
SELECT (SELECT max(number) FROM {home}.migration), h.leader, h.fence, (SELECT pos FROM {home}.newest),
    (SELECT count(*) FROM {home}.outbox), (SELECT capture_until::timestamptz(0)::text FROM {home}.state)
FROM {home}.head AS h
"""
