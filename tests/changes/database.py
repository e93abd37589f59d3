"""A database with Headwater's schema in it, and rules installed by their bare statements: what tests of row changes share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, NamedTuple

import psycopg
import pytest
from psycopg import sql

from headwater.brokers.postgres.migrate import script
from headwater.changes import Rule
from headwater.changes.table import read_table
from headwater.changes.triggers import triggers
from tests.support.postgres import database_of, shared_server

VERSIONS = (18, 16)
HOME = "headwater"

NEWEST = pytest.mark.parametrize("own_database", VERSIONS[:1], indirect=True)
"""For tests of what no version of the server makes a difference to."""


class Row(NamedTuple):
    """What a trigger wrote."""

    rule: str
    op: str
    new: Any
    old: Any
    left_out: Any


@lru_cache(maxsize=len(VERSIONS))
def template(version: int) -> str:
    """A database with our schema, made once in a run; others are copies of it."""
    server = shared_server(version)
    name = "template_changes"
    server.create_database(name)
    with psycopg.connect(server.url(name), autocommit=True) as connection:
        connection.execute(script().encode())
    return name


class Database:
    """One database. `connection` is a superuser's, in autocommit mode."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.name = database_of(url)
        self.connection: psycopg.Connection[Any] = psycopg.connect(url, autocommit=True)

    def run(self, statement: str, *parameters: Any) -> list[Any]:
        """Run a statement; its rows, or only their values where there is one column."""
        cursor = self.connection.execute(statement.encode(), parameters or None)
        if cursor.description is None:
            return []
        rows = cursor.fetchall()
        return [row[0] for row in rows] if len(cursor.description) == 1 else rows

    async def install(self, *rules: Rule) -> None:
        """Make the triggers of rules."""
        async with await psycopg.AsyncConnection.connect(self.url, autocommit=True) as connection:
            await connection.execute("SET search_path = pg_catalog")
            tables = {(rule.schema, rule.table) for rule in rules}
            known = {table: await read_table(connection, *table) for table in tables}
            for rule in rules:
                table = known[rule.schema, rule.table]
                for trigger in triggers(rule, table, home=HOME, version=connection.info.server_version):
                    await connection.execute(sql.SQL(";\n").join(trigger.statements))  # all in one transaction

    def captured(self) -> list[Row]:
        """What triggers have written since last asked, in order."""
        rows = self.run(
            f"WITH gone AS (DELETE FROM {HOME}.outbox RETURNING *)"
            " SELECT source, op, new, old, data::jsonb FROM gone WHERE kind = 'c' ORDER BY seq"
        )
        return [Row(*row) for row in rows]


@contextmanager
def new_database(version: int) -> Iterator[Database]:
    """A database of its own, for as long as the block lasts."""
    with shared_server(version).database(template(version)) as url:
        database = Database(url)
        try:
            yield database
        finally:
            database.connection.close()


def seen(rows: Iterable[Row], key: str = "id") -> list[tuple[str, str, Any]]:
    """Rule, operation, and the key of the row: of the new one, or of the old where there is no new one."""
    return [(row.rule, row.op, (row.new or row.old)[key]) for row in rows]
