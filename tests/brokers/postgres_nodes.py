"""Nodes on a log in PostgreSQL, and what applications and operators do to its database.

A log of its own is a schema of its own, in a database that all tests share: that is made in a tenth of the time that a new
database takes. Tests that do something to a database, or to the server, take one of their own.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import lru_cache
from itertools import count

import psycopg

from headwater.brokers.base import Retention
from headwater.brokers.postgres import Mapping, PostgresBroker, parse
from headwater.brokers.postgres.sql import quoted
from headwater.testing.contract import Node, Recorder
from tests.support.postgres import PostgresServer, rows, shared_server


@contextmanager
def fresh(version: int = 18) -> Iterator[str]:
    """The URL of a log that does not exist yet, and is removed in the end."""
    server, names = _shared(version)
    schema = f"log_{next(names)}"
    url = server.url("logs")
    try:
        yield f"{url}?schema={schema}"
    finally:
        rows(url, f"DROP SCHEMA IF EXISTS {quoted(schema)} CASCADE")


@lru_cache(maxsize=2)
def _shared(version: int) -> tuple[PostgresServer, count[int]]:
    server = shared_server(version)
    server.create_database("logs")
    return server, count(1)


@asynccontextmanager
async def postgres_node(
    url: str,
    *,
    retention: Retention = Retention(),  # noqa: B008 (frozen)
    follow: Collection[str] = (),
    mapping: Mapping | None = None,
) -> AsyncIterator[tuple[Node, PostgresBroker]]:
    """An open broker with a feed, closed at the end."""
    broker, feed = PostgresBroker(parse(url), retention=retention, mapping=mapping), Recorder()
    try:
        node = Node(broker, feed, await broker.open(feed))
        if follow:
            await broker.follow(follow)
        yield node, broker
    finally:
        await broker.aclose()
    assert not feed.complaints


def schema_of(url: str) -> str:
    """The schema that a broker's URL names, as SQL."""
    return quoted(parse(url).options.schema)


def plain(url: str) -> str:
    """The URL without our options, as any other program takes it."""
    return url.partition("?")[0]


def ask(url: str, statement: str, *parameters: object) -> list[tuple[object, ...]]:
    """Run a statement, in which `headwater.` stands for the schema, outside of a transaction."""
    return rows(plain(url), statement.replace("headwater.", f"{schema_of(url)}."), parameters)


async def connection(url: str, *, autocommit: bool = True) -> psycopg.AsyncConnection[tuple[object, ...]]:
    """An application's connection, on which `headwater.` need not be written: the schema is searched first."""
    options = f"-c search_path={parse(url).options.schema},public"
    return await psycopg.AsyncConnection.connect(plain(url), autocommit=autocommit, options=options)
