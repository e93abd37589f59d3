"""Installing the schema: once, whole, where nobody else is, and by whoever may."""

from __future__ import annotations

from collections.abc import AsyncIterator

import psycopg
import pytest
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from headwater.brokers.postgres import migrate as module
from headwater.brokers.postgres.migrate import lock_key, made, migrate, script
from headwater.brokers.postgres.sql import migrations, quoted
from headwater.errors import ConfigurationError
from tests.brokers.postgres_nodes import postgres_node
from tests.support.postgres import VERSIONS, database_of, rows, shared_server

ALL = tuple(name for _, name, _ in migrations())
NAMES = [
    'Head"water',
    "100%s",
    "ünï cödé",
    "$body$",
    "'quoted'",
    "a.b",
    "x" * 63,
    "; DROP TABLE x; --",
    "$1",
    ":x",
    "\\",
]


@pytest.fixture(params=VERSIONS)
async def connection(request: pytest.FixtureRequest) -> AsyncIterator[AsyncConnection[TupleRow]]:
    """To a new database of either version."""
    with shared_server(request.param).database() as url:
        async with await AsyncConnection.connect(url, autocommit=True) as connection:
            yield connection


async def test_what_is_missing_is_installed_once(connection: AsyncConnection[TupleRow]) -> None:
    """All of it the first time, nothing the second; an older installation gets what is newer, in order."""
    assert await migrate(connection) == ALL
    assert await migrate(connection) == ()
    await connection.execute("DROP SCHEMA headwater CASCADE")
    await connection.execute(script().encode())
    assert await migrate(connection) == ()
    await connection.execute("DELETE FROM headwater.migration WHERE number > 1")
    await connection.execute("DROP FUNCTION headwater.note_removed, headwater.trim, headwater.trim_log, headwater.fold")
    with pytest.raises(psycopg.errors.DuplicateTable):  # what was only half undone is not papered over
        await migrate(connection)
    assert await (await connection.execute("SELECT max(number) FROM headwater.migration")).fetchone() == (1,)


async def test_any_name_can_be_the_schemas(connection: AsyncConnection[TupleRow]) -> None:
    """Side by side in one database, and each works."""
    for name in NAMES:
        assert await migrate(connection, name) == ALL
        prefix = quoted(name).replace("%", "%%")
        await connection.execute(f"SELECT {prefix}.publish('a')".encode(), {})
        found = await connection.execute(f"SELECT pending FROM {prefix}.here()".encode(), {})
        assert await found.fetchone() == ("1",)
    cursor = await connection.execute("SELECT nspname FROM pg_namespace WHERE nspname = ANY (%s)", (NAMES,))
    assert {name for (name,) in await cursor.fetchall()} == set(NAMES)
    assert len({lock_key(name, "lead") for name in NAMES} | {lock_key("a", "migrate")}) == len(NAMES) + 1


async def test_a_log_in_a_schema_of_any_name() -> None:
    """Nodes use it, and are told through a channel of that name."""
    with shared_server().database() as url:
        for name in ("Head%22water", "100%25s", "$body$", "a.b", "%27quoted%27"):
            async with postgres_node(f"{url}?schema={name}", follow=["a"]) as (node, _):
                await node.fill("a", 1)
                assert await node.seqs("a") == node.feed.seqs() == [1]


async def test_a_later_installation_is_left_alone(connection: AsyncConnection[TupleRow]) -> None:
    """This process must be upgraded, too."""
    await migrate(connection)
    await connection.execute("INSERT INTO headwater.migration (number, name) VALUES (99, 'later')")
    with pytest.raises(ConfigurationError, match=r"version 99, of a later Headwater.*upgrade"):
        await migrate(connection)


async def test_a_schema_of_somebody_else_is_left_alone(connection: AsyncConnection[TupleRow]) -> None:
    """One that is empty can be used."""
    await connection.execute("CREATE SCHEMA theirs; CREATE TABLE theirs.log (id int); CREATE SCHEMA empty")
    with pytest.raises(ConfigurationError, match="holds tables of somebody else"):
        await migrate(connection, "theirs")
    assert await migrate(connection, "empty") == ALL


async def test_a_role_that_may_not_install_says_so_and_uses_what_is_installed() -> None:
    """With the command for one that may."""
    server = shared_server()
    with server.database() as url:
        server.execute("CREATE ROLE visitor LOGIN")
        try:
            async with await AsyncConnection.connect(
                server.url(database_of(url), user="visitor"), autocommit=True
            ) as connection:
                with pytest.raises(ConfigurationError, match=r"may not install.*headwater pg install"):
                    await migrate(connection)
                async with await AsyncConnection.connect(url, autocommit=True) as owner:
                    await migrate(owner)
                rows(url, "GRANT USAGE ON SCHEMA headwater TO visitor; GRANT SELECT ON headwater.migration TO visitor")
                assert await migrate(connection) == ()
            rows(url, "DROP OWNED BY visitor")
        finally:
            server.execute("DROP ROLE visitor")


async def test_a_server_that_is_too_old_is_refused(
    connection: AsyncConnection[TupleRow], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is tried."""
    monkeypatch.setattr(module, "OLDEST_SERVER", 190000)
    with pytest.raises(ConfigurationError, match=r"the server is PostgreSQL 1[68]\. expected"):
        await migrate(connection)


async def test_a_database_that_cannot_hold_every_event_is_refused() -> None:
    """Its encoding must be UTF-8."""
    server = shared_server()
    server.execute("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0")
    try:
        async with await AsyncConnection.connect(server.url("latin"), autocommit=True) as connection:
            with pytest.raises(ConfigurationError, match="the database is in LATIN1"):
                await migrate(connection)
    finally:
        server.drop_database("latin")


async def test_an_identity_is_found_without_every_right(connection: AsyncConnection[TupleRow]) -> None:
    """A provider that forbids one of the questions gets by without it."""
    await migrate(connection)
    cursor = await connection.execute("SELECT headwater.identity()")
    ((identity,),) = await cursor.fetchall()
    cluster, database, timeline = identity.split("/")
    assert timeline == "00000001"
    await connection.execute("CREATE ROLE hosted; REVOKE EXECUTE ON FUNCTION pg_control_system FROM PUBLIC")
    await connection.execute("REVOKE EXECUTE ON FUNCTION pg_walfile_name FROM PUBLIC")
    try:
        await connection.execute("GRANT USAGE ON SCHEMA headwater TO hosted; SET ROLE hosted")
        cursor = await connection.execute("SELECT headwater.identity()")
        assert await cursor.fetchall() == [(f"?/{database}/?",)]
        assert cluster.isdigit()
    finally:
        await connection.execute("RESET ROLE; DROP OWNED BY hosted; DROP ROLE hosted")


async def test_an_append_needs_to_see_what_it_waited_for(connection: AsyncConnection[TupleRow]) -> None:
    """In a transaction that does not, it fails."""
    await migrate(connection)
    await connection.execute("SET default_transaction_isolation = 'repeatable read'")
    with pytest.raises(psycopg.errors.RaiseException, match="READ COMMITTED"):
        await connection.execute(
            "SELECT headwater.append('', 0, 0, NULL, NULL, NULL, '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}')"
        )


async def test_everything_that_is_made_can_be_named(connection: AsyncConnection[TupleRow]) -> None:
    """As the database names it: so what is not ours can be told from it."""
    await migrate(connection)
    tables = "SELECT relname FROM pg_class WHERE relnamespace = 'headwater'::regnamespace AND relkind = 'r'"
    functions = "SELECT proname FROM pg_proc WHERE pronamespace = 'headwater'::regnamespace"
    assert {name for (name,) in await (await connection.execute(tables)).fetchall()} == set(made()["TABLE"])
    assert {name for (name,) in await (await connection.execute(functions)).fetchall()} == set(made()["FUNCTION"])


async def test_everything_that_is_made_has_a_name(connection: AsyncConnection[TupleRow]) -> None:
    """So that it can be dropped by name: functions, views and tables are all that is there besides what belongs to these."""
    await migrate(connection, "named")
    found = await connection.execute(
        "SELECT 'FUNCTION', proname::text FROM pg_proc WHERE pronamespace = 'named'::regnamespace UNION "
        "SELECT CASE relkind WHEN 'v' THEN 'VIEW' ELSE 'TABLE' END, relname FROM pg_class "
        "WHERE relnamespace = 'named'::regnamespace AND relkind IN ('r', 'v', 'm', 'p', 'f')"
    )
    assert set(await found.fetchall()) == {(kind, name) for kind, names in made().items() for name in names}
