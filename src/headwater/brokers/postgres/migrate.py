"""Installing the schema and bringing it up to date: numbered files, forward only, each of them once.

Knows the files of `schema/` and the table that says which have been applied. All that is missing is applied in one
transaction, under a lock, so nodes that start together do it once, and a node that fails leaves nothing half-done. A role
that may not create anything can use what somebody else has installed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from zlib import crc32

from psycopg import AsyncConnection
from psycopg.errors import InsufficientPrivilege
from psycopg.rows import TupleRow

from headwater.brokers.postgres.sql import check_schema, localised, migrations
from headwater.errors import ConfigurationError

OLDEST_SERVER = 130000  # PostgreSQL 13, the first with transaction ids of 64 bits in SQL

_APPLIED = "SELECT max(number) FROM headwater.migration"
# Not to_regclass: it answers from a cache, which does not hear of what another session has made while this one waited.
_IS_THERE = """
SELECT EXISTS (
    SELECT FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname = %s AND c.relname = 'migration'
)
"""
_STRANGERS = """
SELECT count(*) FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE n.nspname = %s
"""
_BEGINNING = """
CREATE SCHEMA IF NOT EXISTS headwater;
CREATE TABLE headwater.migration (
    number integer PRIMARY KEY,
    name text NOT NULL,
    at timestamptz NOT NULL DEFAULT now()
);
"""
_DONE = "INSERT INTO headwater.migration (number, name) VALUES ({number}, '{name}');"


async def migrate(connection: AsyncConnection[TupleRow], schema: str = "headwater") -> tuple[str, ...]:
    """Install what is missing; returns the names of the files that were applied.

    Args:
        connection: in autocommit mode.
        schema: the name of the schema, which is created if it is missing.

    Raises:
        ConfigurationError: the server is too old, the database is not in UTF-8, the schema holds other things or was
            made by a later Headwater, or the role may not create it.
        psycopg.Error: the database does not answer as it should.
    """
    await _check_server(connection)
    newest = migrations()[-1][0]
    if await _applied(connection, schema) == newest:
        return ()
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock(%s)", (lock_key(schema, "migrate"),))
        applied = await _applied(connection, schema)  # another node may have been quicker
        if applied > newest:
            raise ConfigurationError(
                f"the schema {schema!r} has version {applied}, of a later Headwater",
                expected=f"version {newest}",
                fix="upgrade this process too, or give it a schema of its own",
            )
        if not applied:
            await _check_free(connection, schema)
        try:
            await connection.execute(script(schema, applied).encode())
        except InsufficientPrivilege as error:
            raise ConfigurationError(
                f"this role may not install the schema {schema!r}: {error}",
                fix="install it as a role that may: headwater pg install",
            ) from error
    return tuple(name for number, name, _ in migrations() if number > applied)


def script(schema: str = "headwater", applied: int = 0) -> str:
    """The SQL that brings a schema from version `applied` (0: there is none) to the newest."""
    parts = [] if applied else [_BEGINNING]
    for number, name, text in migrations():
        if number > applied:
            parts += [text, _DONE.format(number=number, name=name)]
    return localised("\n".join(parts), schema)


def lock_key(schema: str, purpose: str) -> int:
    """The key of an advisory lock, which all nodes on a schema have in common and probably nobody else."""
    return crc32(b"headwater " + purpose.encode()) << 31 | crc32(schema.encode()) >> 1


def made() -> Mapping[str, tuple[str, ...]]:
    """The names of everything that is ours in the schema, by its kind, in an order in which it can be dropped. What belongs
    to a table goes with it."""
    text = "\n".join((_BEGINNING, *(each for _, _, each in migrations())))
    kinds = ("VIEW", "FUNCTION", "TABLE")
    return {
        kind: tuple(dict.fromkeys(re.findall(rf"CREATE (?:OR REPLACE )?{kind} headwater\.(\w+)", text)))
        for kind in kinds
    }


async def _check_server(connection: AsyncConnection[TupleRow]) -> None:
    if connection.info.server_version < OLDEST_SERVER:
        raise ConfigurationError(
            f"the server is PostgreSQL {connection.info.server_version // 10000}", expected="PostgreSQL 13 or later"
        )
    cursor = await connection.execute("SELECT getdatabaseencoding()")
    ((encoding,),) = await cursor.fetchall()
    if encoding != "UTF8":
        raise ConfigurationError(
            f"the database is in {encoding}, which cannot hold every event",
            expected="UTF8",
            fix="create a database with ENCODING 'UTF8' TEMPLATE template0",
        )


async def _applied(connection: AsyncConnection[TupleRow], schema: str) -> int:
    """The newest number that has been applied; 0 if nothing is installed."""
    cursor = await connection.execute(_IS_THERE, (check_schema(schema),))
    if await cursor.fetchone() != (True,):
        return 0
    cursor = await connection.execute(localised(_APPLIED, schema).encode())
    ((number,),) = await cursor.fetchall()
    return int(number or 0)


async def _check_free(connection: AsyncConnection[TupleRow], schema: str) -> None:
    cursor = await connection.execute(_STRANGERS, (schema,))
    if await cursor.fetchone() != (0,):
        raise ConfigurationError(
            f"the schema {schema!r} holds tables of somebody else", fix="give Headwater a schema of its own"
        )
