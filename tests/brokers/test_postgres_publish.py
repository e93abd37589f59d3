"""Publishing within transactions, on the connections of every driver."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import quote

import asyncpg  # type: ignore[import-untyped]
import psycopg
import pytest
import sqlalchemy
from psycopg.rows import dict_row
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from headwater.brokers.postgres import PostgresBroker, publish, publish_draft
from headwater.errors import InvalidChannel, InvalidEvent, InvalidInput
from headwater.event import Draft, Event
from headwater.testing.contract import Node
from tests.brokers.postgres_nodes import ask, fresh, plain, postgres_node, schema_of
from tests.support.postgres import PostgresServer, database_of, shared_server

SCHEMA = "He\"ad%s:x $body$'ü'"
"""Names that every driver must take as they are: quotes, placeholders, a named parameter, the end of a function's body."""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A database with a log in a schema of an awkward name."""
    with shared_server().database() as plain_url:
        yield plain_url


@pytest.fixture
async def log(url: str) -> AsyncIterator[tuple[Node, PostgresBroker]]:
    """A node that follows what the tests publish."""
    async with postgres_node(f"{url}?schema={quote(SCHEMA)}", follow=["a"]) as node:
        yield node


async def arrived(node: Node, count: int) -> list[Any]:
    """What came, when so many events have come."""
    await node.feed.until(lambda: len(node.feed.events) >= count)
    return [event.data for event in node.feed.events]


async def test_psycopg(url: str, log: tuple[Node, PostgresBroker]) -> None:
    """Connections and cursors, synchronous or not, whatever kind of rows and cursors they were told to make."""
    node, _ = log
    with psycopg.connect(url) as connection:
        publish(connection, "a", "x", 1, schema=SCHEMA)
        with connection.transaction(force_rollback=True):
            publish(connection, "a", "x", "rolled back to a savepoint", schema=SCHEMA)
        publish(connection.cursor(row_factory=dict_row), "a", "x", 2, schema=SCHEMA)
        connection.commit()
        publish(connection, "a", "x", "rolled back", schema=SCHEMA)
        connection.rollback()
    with psycopg.connect(url, cursor_factory=psycopg.RawCursor, autocommit=True) as raw:
        assert publish(raw, "a", "x", 3, schema=SCHEMA) is None
    async with await psycopg.AsyncConnection.connect(url, row_factory=dict_row) as connection:
        await publish(connection, "a", "x", 4, schema=SCHEMA)
        async with connection.cursor() as cursor:
            await publish(cursor, "a", "x", 5, schema=SCHEMA)
    assert await arrived(node, 5) == ["1", "2", "3", "4", "5"]


async def test_asyncpg(url: str, log: tuple[Node, PostgresBroker]) -> None:
    """Connections and those from a pool."""
    node, _ = log
    connection = await asyncpg.connect(url)
    async with connection.transaction():
        await publish(connection, "a", "x", {"n": 1}, permissions=["p"], idempotency_key="k", schema=SCHEMA)
    transaction = connection.transaction()
    await transaction.start()
    await publish(connection, "a", "x", "rolled back", schema=SCHEMA)
    await transaction.rollback()
    await connection.close()
    async with asyncpg.create_pool(url, min_size=1, max_size=1) as pool, pool.acquire() as pooled:
        await publish(pooled, "a", "x", 2, schema=SCHEMA)
    assert await arrived(node, 2) == ['{"n":1}', "2"]
    assert node.feed.events[0].permissions == {"p"}


async def test_sqlalchemy(url: str, log: tuple[Node, PostgresBroker]) -> None:
    """Sessions and connections, synchronous or not, and sessions of one's own kind."""
    node, _ = log
    name = url.removeprefix("postgresql://")

    class Mine(Session):
        pass

    engine = sqlalchemy.create_engine(f"postgresql+psycopg://{name}")
    with Mine(engine) as session:
        publish(session, "a", "x", 1, schema=SCHEMA)
        with session.begin_nested() as savepoint:
            publish(session, "a", "x", "rolled back to a savepoint", schema=SCHEMA)
            savepoint.rollback()
        session.commit()
        publish(session, "a", "x", "rolled back", schema=SCHEMA)
    with engine.begin() as connection:
        publish(connection, "a", "x", 2, idempotency_key="other", schema=SCHEMA)
    engine.dispose()
    for number, driver in enumerate(("psycopg", "asyncpg")):
        asynchronous = create_async_engine(f"postgresql+{driver}://{name}")
        async with AsyncSession(asynchronous) as asynchronous_session, asynchronous_session.begin():
            await publish(asynchronous_session, "a", "x", 3 + 2 * number, schema=SCHEMA)
        async with asynchronous.begin() as asynchronous_connection:
            await publish(asynchronous_connection, "a", "x", 4 + 2 * number, schema=SCHEMA)
        await asynchronous.dispose()
    assert await arrived(node, 6) == ["1", "2", "3", "4", "5", "6"]


async def test_django(url: str, log: tuple[Node, PostgresBroker]) -> None:
    """Connections to PostgreSQL, in transactions of Django's; and to no other database."""
    node, _ = log
    script = [sys.executable, "-m", "tests.brokers.postgres_django", url, SCHEMA]
    process = await asyncio.create_subprocess_exec(*script, stdout=PIPE)
    printed, _ = await process.communicate()
    assert await arrived(node, 2) == ["1", "2"]
    seq, complaint = printed.decode().splitlines()
    assert int(seq) >= 0
    assert complaint.startswith("this is a connection to sqlite")


def test_a_connection_of_django_s_is_known_by_where_it_comes_from() -> None:
    """The statement is run with a cursor, with placeholders as Django has them."""

    class Cursor:
        def __enter__(self) -> Cursor:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def execute(self, statement: str, parameters: list[object]) -> None:
            ran.append((statement, parameters))

        description = None

    class Wrapper:
        vendor = "postgresql"
        cursor = Cursor

    ran: list[tuple[str, list[object]]] = []
    insert = (
        'INSERT INTO "100%%".event (channel, type, data, is_text, permissions, key) VALUES (%s, %s, %s, %s, %s, %s)'
    )
    Wrapper.__module__ = "django.db.backends.postgresql.base"
    assert publish(Wrapper(), "a", "x", 1, schema="100%") is None
    assert ran == [(insert, ["a", "x", "1", False, None, None])]
    Wrapper.vendor = "sqlite"
    with pytest.raises(InvalidInput, match="a connection to sqlite"):
        publish(Wrapper(), "a")


def test_what_is_no_connection_is_refused() -> None:
    """With those that there are; and so is what is no event, before anything is sent."""
    with pytest.raises(InvalidInput, match=r"object is no connection.*asyncpg"):
        publish(object(), "a")
    for channel in ("", "a b", "$own"):
        with pytest.raises(InvalidChannel):
            publish(object(), channel)
    with pytest.raises(InvalidEvent):
        publish(object(), "a", "reset")
    with pytest.raises(InvalidChannel):
        publish_draft(object(), Draft(channel="$own"))


async def test_any_language_publishes_with_a_function() -> None:
    """With the defaults of a draft; JSON in whatever layout, and text."""
    with fresh() as url:
        async with postgres_node(url, follow=["a"]) as (node, _):
            ask(url, "SELECT headwater.publish('a')")
            ask(url, """SELECT headwater.publish('a', 'x', '{"b": [1, 2.50], "a": "é\\n"}', '{p,q}', 'key')""")
            ask(url, "SELECT headwater.publish_text('a', 'x', E'one\\r\\ntwo', permissions => '{p}')")
            ask(url, "SELECT headwater.publish('a', data => NULL, permissions => NULL)")
            ask(url, "SELECT headwater.publish_text('a', 'x', NULL)")
            await node.feed.until(lambda: len(node.feed.events) == 5)
            assert [told(event) for event in node.feed.events] == [
                ("message", "null", False, set()),
                ("x", '{"a":"é\\n","b":[1,2.50]}', False, {"p", "q"}),
                ("x", "one\ntwo", True, {"p"}),
                ("message", "null", False, set()),
                ("x", "", True, set()),
            ]


def told(event: Event) -> tuple[str, str, bool, set[str]]:
    """What an event says."""
    return event.type, event.data, event.text, set(event.permissions)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ("''", "not a channel name"),
        ("NULL", "not a channel name"),
        ("'a b'", "not a channel name"),
        ("E'a\\n'", "not a channel name"),
        ("'$own'", "not a channel name"),
        ("repeat('a', 201)", "not a channel name"),
        ("'a', ''", "event type '' is malformed"),
        ("'a', E'a\\nb'", r"event type .*\n.* is malformed"),
        ("'a', repeat('é', 201)", "event type .* is malformed"),
        ("'a', 'reset'", "only the hub sends"),
        ("'a', 'x', '1', '{a b}'", "permission is malformed"),
        ("'a', 'x', '1', '{NULL}'", "permission is malformed"),
        ("'a', 'x', '1', array_fill('p'::text, '{33}')", "33 permissions on one event"),
        ("'a', 'x', '1', '{}', ''", "idempotency key '' is malformed"),
        ("'a', 'x', '1', '{}', E'\\t'", "idempotency key .* is malformed"),
        ("'a', 'x', '{'", "invalid input syntax for type json"),
        ("'a', 'x', to_jsonb(repeat('x', 16777215))", "at most 16 MiB"),
    ],
)
async def test_what_is_no_event_fails_in_the_transaction(published: str, arguments: str, complaint: str) -> None:
    """With the rules of a draft, where the publisher sees it."""
    with pytest.raises(
        (psycopg.errors.InvalidParameterValue, psycopg.errors.InvalidTextRepresentation), match=complaint
    ):
        ask(published, f"SELECT headwater.publish({arguments})")


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ("DEFAULT, DEFAULT, DEFAULT, DEFAULT", "not a channel name"),
        ("'$own', DEFAULT, DEFAULT, DEFAULT", "not a channel name"),
        ("'a', NULL, DEFAULT, DEFAULT", "without data"),
        ("'a', repeat('x', 16777217), DEFAULT, DEFAULT", "has 16777217 bytes"),
        ("'a', DEFAULT, 'p  q', DEFAULT", "permission is malformed"),
        ("'a', DEFAULT, E'p\n', DEFAULT", "permission is malformed"),
        ("'a', DEFAULT, repeat('p ', 32) || 'p', DEFAULT", "33 permissions"),
        ("'a', DEFAULT, repeat('p', 201), DEFAULT", "permission is malformed"),
        ("'a', DEFAULT, DEFAULT, ''", "idempotency key '' is malformed"),
        ("'a', DEFAULT, DEFAULT, repeat('k', 201)", "idempotency key .* is malformed"),
    ],
)
async def test_what_is_inserted_is_checked_as_well(published: str, values: str, complaint: str) -> None:
    """Whoever publishes by an INSERT hears of what is wrong in the transaction, too."""
    with pytest.raises(psycopg.errors.InvalidParameterValue, match=complaint):
        ask(published, f"INSERT INTO headwater.event (channel, data, permissions, key) VALUES ({values})")


async def test_any_language_publishes_with_an_insert() -> None:
    """With the defaults of a draft; and with as many permissions and as odd a key as there may be."""
    with fresh() as url:
        async with postgres_node(url, follow=["a"]) as (node, _):
            many, key = " ".join(f"p{n}" * 60 for n in range(10, 42)), "ü " * 100
            ask(url, "INSERT INTO headwater.event (channel) VALUES ('a')")
            ask(url, "INSERT INTO headwater.event (channel, data) SELECT 'a', n::text FROM generate_series(1, 2) AS n")
            ask(
                url,
                "INSERT INTO headwater.event (channel, type, data, is_text, permissions, key)"
                f" VALUES ('a', 'x', 'one', true, '{many}', '{key}'), ('a', 'x', 'two', true, 'p q', 'k')",
            )
            await node.feed.until(lambda: len(node.feed.events) == 5)
            assert [told(event) for event in node.feed.events] == [
                ("message", "null", False, set()),
                ("message", "1", False, set()),
                ("message", "2", False, set()),
                ("x", "one", True, set(many.split())),
                ("x", "two", True, {"p", "q"}),
            ]


@pytest.fixture(scope="module")
def published() -> Iterator[str]:
    """A log that is installed, and no hub."""
    with fresh() as url:
        asyncio.run(install(url))
        yield url


async def install(url: str) -> None:
    """Open a publisher, which installs what is missing, and close it."""
    async with postgres_node(url):
        pass


async def test_a_publisher_goes_on_without_a_hub_for_as_long_as_was_promised(published: str) -> None:
    """What it publishes meanwhile arrives later. After that time it fails, and says why; without the row that says so it
    goes on."""
    ask(published, "SELECT headwater.publish('a', 'x', '1')")
    ask(published, "UPDATE headwater.state SET publish_until = now() - interval '1 second'")
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="no hub has taken anything") as caught:
        ask(published, "SELECT headwater.publish('a', 'x', '2')")
    assert caught.value.diag.message_hint is not None
    ask(published, "DELETE FROM headwater.state")
    ask(published, "SELECT headwater.publish('a', 'x', '3')")
    async with postgres_node(published, follow=["a"]) as (node, broker):
        head = await broker.head()
        seen = await broker.read(["a"], 0, head.seq)
        await node.feed.until(lambda: len({*node.feed.events, *seen.events}) == 2)
        ask(published, "SELECT headwater.publish('a', 'x', '4')")
        await node.feed.until(lambda: any(event.data == "4" for event in node.feed.events))


async def test_a_prepared_transaction_publishes_unless_it_notifies(published: str) -> None:
    """PostgreSQL prepares none that has notified. One that says so beforehand is found within a second of its commit."""
    transaction = f"BEGIN; SELECT {schema_of(published)}.publish('two'); PREPARE TRANSACTION 'two'"
    with psycopg.connect(plain(published), autocommit=True) as connection:
        async with postgres_node(published, follow=["two"]) as (node, _):
            connection.execute(f"SET headwater.notify = off; {transaction}".encode())
            connection.execute("COMMIT PREPARED 'two'")
            await node.feed.until(lambda: len(node.feed.events) == 1)
        ask(published, "UPDATE headwater.state SET awake_until = '-infinity'")
        connection.execute("RESET ALL")  # and with it what the session remembers of a leader that is awake
        with pytest.raises(psycopg.errors.FeatureNotSupported, match="NOTIFY"):
            connection.execute(transaction.encode())


def test_an_application_needs_only_to_see_the_schema(published: str) -> None:
    """A role with USAGE on the schema can publish, and can neither read nor write what is in it."""
    server = shared_server()
    role = f"app_{database_of(published)}"
    server.execute(f"CREATE ROLE {role} LOGIN")
    try:
        ask(published, f"GRANT USAGE ON SCHEMA {schema_of(published)} TO {role}")
        with psycopg.connect(server.url("logs", user=role), autocommit=True) as connection:
            publish(connection, "a", schema=schema_of(published).strip('"'))
            connection.execute(f"SELECT {schema_of(published)}.publish('a')".encode())
            for forbidden in (
                "SELECT * FROM {}.outbox",
                "SELECT * FROM {}.log",
                "SELECT * FROM {}.event",
                "DELETE FROM {}.state",
                "DELETE FROM {}.event",
                "INSERT INTO {}.event (channel, at) VALUES ('a', now())",
                "INSERT INTO {}.outbox (channel) VALUES ('a')",
                "SELECT {}.enter('', 0)",
            ):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(forbidden.format(schema_of(published)).encode())
    finally:
        ask(published, f"REVOKE USAGE ON SCHEMA {schema_of(published)} FROM {role}")
        server.execute(f"DROP ROLE {role}")


async def test_what_is_published_survives_a_crash_of_the_server() -> None:
    """If its transaction was committed, and only then."""
    with PostgresServer(16, fsync="on") as server:
        await install(server.url())
        connection = psycopg.connect(server.url())
        publish(connection, "a", "x", 1)
        connection.commit()
        publish(connection, "a", "x", 2)
        server.kill()
        connection.close()
        server.start()
        async with postgres_node(server.url(), follow=["a"]) as (node, broker):
            with psycopg.connect(server.url(), autocommit=True) as connection:
                publish(connection, "a", "x", 3)
            await node.feed.until(lambda: bool(node.feed.events) and node.feed.events[-1].data == "3")
            page = await broker.read(["a"], 0, (await broker.head()).seq)
            assert [event.data for event in page.events] == ["1", "3"]
