"""Installing and uninstalling: what is done, what is left alone, and what it takes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest

from headwater.brokers.postgres.address import parse
from headwater.changes import Rule
from headwater.changes import install as module
from headwater.changes.install import as_script, check_namesake, connect, connected, install, is_ours, uninstall
from headwater.changes.table import Connection
from headwater.errors import BrokerUnavailable, ConfigurationError, InvalidInput
from tests.changes.database import NEWEST, Database, seen
from tests.support.waiting import until

CATALOG = """
SELECT 'class', n.nspname, c.relname, c.relkind::text || coalesce(c.relacl::text, '') FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE n.nspname NOT LIKE 'pg_%'
UNION ALL SELECT 'trigger', tgrelid::regclass::text, tgname, pg_get_triggerdef(oid) FROM pg_trigger
UNION ALL SELECT 'function', pronamespace::regnamespace::text, proname, md5(prosrc) FROM pg_proc WHERE oid > 16384
UNION ALL SELECT 'schema', nspname, '', coalesce(nspacl::text, '') FROM pg_namespace
UNION ALL SELECT 'type', typnamespace::regnamespace::text, typname, '' FROM pg_type WHERE oid > 16384
UNION ALL SELECT 'column', attrelid::regclass::text, attname, atttypid::text FROM pg_attribute
WHERE attrelid > 16384 AND attrelid::regclass::text NOT LIKE 'pg_toast%'
UNION ALL SELECT 'description', classoid::regclass::text, '', description FROM pg_description WHERE objoid > 16384
UNION ALL SELECT 'depends', classid::regclass::text, '', count(*)::text FROM pg_depend WHERE objid > 16384 GROUP BY classid
ORDER BY 1, 2, 3, 4
"""
"""Everything in a database that somebody could notice."""

JOBS = Rule(table="jobs", channel="project:{project_id}", filter="status=neq.draft", data=["id"], leave=True)
PARTS = Rule(table="parts", channel="parts", data=["id"], event="INSERT")
TABLES = "CREATE TABLE jobs (id int, project_id int, status text); CREATE TABLE parts (id int)"


class Said(list[str]):
    """What is said, to be asked."""

    def about(self, word: str) -> list[str]:
        """The lines with a word, which are then forgotten."""
        found = [line for line in self if word in line]
        self.clear()
        return found


@pytest.fixture
def said() -> Said:
    """Where lines go."""
    return Said()


@pytest.fixture
async def connection(own_database: Database) -> AsyncIterator[Connection]:
    """A connection to a database with two tables."""
    own_database.run(TABLES)
    made = await connect(parse(own_database.url))
    yield made
    await made.close()


async def test_what_is_right_is_left_alone(own_database: Database, connection: Connection, said: Said) -> None:
    """Installing again does nothing; a rule that changed has its triggers mended, a rule that is gone loses them."""
    assert await install(connection, [JOBS, PARTS], say=said.append) == 6
    assert len(said.about(": makes ")) == 6
    assert await install(connection, [JOBS, PARTS], say=said.append) == 0
    assert said == []
    changed = Rule(table="parts", channel="parts", data=["id"], event="INSERT", filter="id=gt.1")
    assert await install(connection, [JOBS, changed], say=said.append) == 1
    assert said == ["public.parts: mends headwater_parts_insert (1/1)"]
    said.clear()
    assert await install(connection, [JOBS], say=said.append) == 1
    assert said == ["public.parts: drops headwater_parts_insert (1/1)"]
    own_database.run("INSERT INTO parts VALUES (5); INSERT INTO jobs VALUES (1, 1, 'open')")
    assert seen(own_database.captured()) == [("jobs", "I", 1)]


async def test_what_was_broken_is_mended(own_database: Database, connection: Connection, said: Said) -> None:
    """A trigger that was disabled, dropped, altered, or whose function was."""
    await install(connection, [JOBS], say=said.append)
    said.clear()
    own_database.run(
        "ALTER TABLE jobs DISABLE TRIGGER headwater_jobs_insert; DROP TRIGGER headwater_jobs_update ON jobs"
    )
    own_database.run("ALTER FUNCTION headwater.headwater_jobs_delete() SECURITY INVOKER")
    own_database.run(
        "CREATE OR REPLACE TRIGGER headwater_jobs_leave AFTER UPDATE ON jobs FOR EACH ROW"
        " EXECUTE FUNCTION headwater.headwater_jobs_leave()"
    )
    assert await install(connection, [JOBS], say=said.append) == 4
    own_database.run("INSERT INTO jobs VALUES (1, 1, 'open'); UPDATE jobs SET status = 'x'; DELETE FROM jobs")
    assert [op for _, op, _ in seen(own_database.captured())] == ["I", "U", "D"]
    assert await install(connection, [JOBS], say=said.append) == 0


async def test_a_rule_may_go_to_another_table(own_database: Database, connection: Connection, said: Said) -> None:
    """The triggers on the old one go first. So they do if a table gets another name and a new one takes its place."""
    await install(connection, [Rule(table="jobs", channel="c", name="x", event="INSERT")], say=said.append)
    moved = Rule(table="parts", channel="c", name="x", event="INSERT", data=["id"])
    assert await install(connection, [moved], say=said.append) == 2
    own_database.run("ALTER TABLE parts RENAME TO old_parts; CREATE TABLE parts (id int)")
    said.clear()
    assert await install(connection, [moved], say=said.append) == 2
    assert said == ["public.old_parts: drops headwater_x_insert (1/2)", "public.parts: mends headwater_x_insert (2/2)"]
    own_database.run("INSERT INTO old_parts VALUES (1); INSERT INTO parts VALUES (2); INSERT INTO jobs VALUES (3)")
    assert seen(own_database.captured()) == [("x", "I", 2)]


@NEWEST
async def test_a_function_without_its_table_is_taken_away(own_database: Database, connection: Connection) -> None:
    """The table was dropped, and its triggers with it."""
    await install(connection, [PARTS], say=lambda line: None)
    own_database.run("DROP TABLE parts")
    said = Said()
    assert await install(connection, [], say=said.append) == 1
    assert said == ["public.parts: drops what is left of headwater_parts_insert (1/1)"]


@NEWEST
async def test_nothing_is_done_if_a_rule_does_not_fit(own_database: Database, connection: Connection) -> None:
    """All rules are looked at first."""
    wrong = Rule(table="parts", channel="c", filter="missing=eq.1", name="wrong")
    with pytest.raises(InvalidInput, match=r"rule wrong: table public\.parts has no column 'missing'"):
        await install(connection, [JOBS, wrong], say=lambda line: None)
    assert own_database.run("SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal") == [0]


async def test_uninstall_leaves_the_database_as_it_was(own_database: Database) -> None:
    """Its catalogs say the same as before, though there were partitions, a hub's log, and rows in all of it."""
    own_database.run("DROP SCHEMA headwater CASCADE")
    own_database.run(
        TABLES + "; CREATE TABLE p (id int) PARTITION BY LIST (id); CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1)"
    )
    before = own_database.run(CATALOG)
    connection = await connect(parse(own_database.url))
    rules = [
        JOBS,
        PARTS,
        Rule(table="p", channel="p", data=["id"]),
        Rule(table="p", channel="p", event="TRUNCATE", name="t"),
    ]
    await install(connection, rules, say=lambda line: None)
    own_database.run("INSERT INTO jobs VALUES (1, 1, 'open'); INSERT INTO p VALUES (1)")
    assert own_database.run(CATALOG) != before
    said = Said()
    assert await uninstall(connection, say=said.append) == 10
    assert said[-1] == "schema headwater: dropped"
    assert own_database.run(CATALOG) == before
    assert await uninstall(connection, say=said.append) == 0
    await connection.close()


@NEWEST
async def test_the_log_may_be_kept(own_database: Database, connection: Connection) -> None:
    """Then only the triggers go."""
    await install(connection, [PARTS], say=lambda line: None)
    own_database.run("INSERT INTO parts VALUES (1)")
    assert await uninstall(connection, keep_log=True, say=lambda line: None) == 1
    assert await is_ours(connection, "headwater")
    assert len(own_database.captured()) == 1


@NEWEST
async def test_a_table_in_use_is_waited_for(
    own_database: Database, connection: Connection, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In short attempts, so that nobody waits long behind us; then it is done, or given up with a sentence."""
    monkeypatch.setattr(module, "LOCK_TIMEOUT", 0.05)
    with psycopg.connect(own_database.url) as holder:
        holder.execute("INSERT INTO parts VALUES (1)")
        with pytest.raises(BrokerUnavailable, match=r"public\.parts is in use by a transaction that does not end"):
            await install(connection, [PARTS], say=said.append, patience=0)
        waiting = asyncio.Event()

        def say(line: str) -> None:
            said.append(line)
            waiting.set()

        installing = asyncio.create_task(install(connection, [PARTS], say=say, patience=30))
        await waiting.wait()
        holder.commit()
        assert await installing == 1
    assert "public.parts: is in use, waiting" in said


async def test_the_script_does_what_install_does(own_database: Database, connection: Connection) -> None:
    """As a whole, for an empty database, or within somebody else's transaction, whose settings it leaves alone."""
    own_database.run("DROP SCHEMA headwater CASCADE")
    text = await as_script(connection, [JOBS, PARTS])
    assert text.count("BEGIN;\nSET LOCAL lock_timeout") == text.count("COMMIT;") == 3
    own_database.run(text)
    assert await install(connection, [JOBS, PARTS], say=lambda line: None) == 0
    assert await as_script(connection, [JOBS, PARTS]) == "-- everything is there already\n"
    changed = Rule(table="parts", channel="parts", data=["id"], event="INSERT", filter="id=gt.1")
    text = await as_script(connection, [JOBS, changed], begin=False)
    with psycopg.connect(own_database.url) as migration:
        migration.execute("SET LOCAL search_path = public")
        migration.execute(text.encode())
        assert migration.execute("SHOW search_path").fetchone() == ("public",)
    assert await install(connection, [JOBS, changed], say=lambda line: None) == 0


def role(database: Database, name: str, *grants: str) -> str:
    """Make a role with these rights only; the URL it connects with."""
    database.run(f"CREATE ROLE {name} LOGIN")
    for grant in grants:
        database.run(f"{grant} TO {name}")
    return database.url.replace("postgres@", f"{name}@")


@NEWEST
async def test_the_least_that_a_role_needs(own_database: Database, said: Said) -> None:
    """To install: CREATE on the database, and USAGE and TRIGGER on what it watches. To take a trigger away: the table."""
    own_database.run("DROP SCHEMA headwater CASCADE")
    own_database.run(TABLES)
    name = f"installer_{own_database.name}"
    url = role(own_database, name, f"GRANT CREATE ON DATABASE {own_database.name}")
    connection = await connect(parse(url))
    try:
        with pytest.raises(
            ConfigurationError, match=r"this role may not do it: permission denied for table parts.*TRIGGER"
        ):
            await install(connection, [PARTS], say=said.append)
        own_database.run(f"GRANT TRIGGER ON parts TO {name}")
        assert await install(connection, [PARTS], say=said.append) == 1
        own_database.run("INSERT INTO parts VALUES (1)")
        assert seen(own_database.captured()) == [("parts", "I", 1)]
        with pytest.raises(ConfigurationError, match="this role may not do it: must be owner of relation parts"):
            await uninstall(connection, say=said.append)
        own_database.run(f"ALTER TABLE parts OWNER TO {name}")
        assert await uninstall(connection, say=said.append) == 1
    finally:
        await connection.close()
        own_database.run(f"DROP OWNED BY {name} CASCADE; DROP ROLE {name}")


@NEWEST
async def test_a_role_that_may_create_nothing(own_database: Database, said: Said) -> None:
    """Is told what is missing."""
    own_database.run("DROP SCHEMA headwater CASCADE")
    name = f"nobody_{own_database.name}"
    connection = await connect(parse(role(own_database, name)))
    with pytest.raises(ConfigurationError, match="may not install the schema"):
        await install(connection, [], say=said.append)
    await connection.close()
    own_database.run(f"DROP ROLE {name}")


@pytest.mark.parametrize("home", ['Our "own" $headwater$ {} %s', "ü" * 31])
@NEWEST
async def test_another_schema(own_database: Database, connection: Connection, home: str) -> None:
    """Any name will do, and two installations in one database do not disturb each other."""
    await install(connection, [PARTS], say=lambda line: None)
    assert await install(connection, [PARTS], home=home, say=lambda line: None) == 1
    assert await install(connection, [PARTS], home=home, say=lambda line: None) == 0
    own_database.run("INSERT INTO parts VALUES (1)")
    query = psycopg.sql.SQL("SELECT count(*) FROM {}").format(psycopg.sql.Identifier(home, "outbox"))
    assert own_database.connection.execute(query).fetchone() == (1,)
    assert len(own_database.captured()) == 1
    assert await uninstall(connection, home=home, say=lambda line: None) == 1
    assert await install(connection, [PARTS], say=lambda line: None) == 0


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("postgresql://x@127.0.0.1:1/x", BrokerUnavailable),
        ("postgresql://x@127.0.0.1:1/x?schema=public", ConfigurationError),
    ],
)
async def test_a_database_that_cannot_be_reached(url: str, kind: Any) -> None:
    """The error says why."""
    with pytest.raises(kind):
        await connect(parse(url))


async def test_what_is_not_ours_is_not_dropped(own_database: Database, connection: Connection) -> None:
    """Whatever somebody else has put into the schema, or made of what is in it, stays; and so does the rest of it then."""
    await install(connection, [PARTS], say=lambda line: None)
    for make, drop, told in [
        ("TABLE headwater.users (id int)", "TABLE headwater.users", "table headwater.users"),
        ("VIEW public.tail AS SELECT * FROM headwater.log", "VIEW public.tail", "view public.tail"),
        (
            "FUNCTION headwater.publish(int) RETURNS int LANGUAGE sql AS 'SELECT 1'",
            "FUNCTION headwater.publish(int)",
            "publish",
        ),
    ]:
        own_database.run(f"CREATE {make}")
        with pytest.raises(ConfigurationError, match=f"something is not ours: .*{told}"):
            await uninstall(connection, say=lambda line: None)
        assert own_database.run("SELECT count(*) FROM headwater.log") == [0]
        own_database.run(f"DROP {drop}")
    await uninstall(connection, say=lambda line: None)
    assert not await is_ours(connection, "headwater")


async def test_a_role_that_is_named_like_the_schema(own_database: Database, connection: Connection) -> None:
    """Its names without a schema would mean ours. It may be there if its search path says otherwise."""
    role = own_database.name  # roles belong to the whole server
    own_database.run(f"CREATE ROLE {role}")
    try:
        for act in (install(connection, [PARTS], home=role), as_script(connection, [PARTS], home=role)):
            with pytest.raises(ConfigurationError, match=r"a role is named '.*', as the schema is"):
                await act
        assert not await is_ours(connection, role)
        own_database.run(f"""ALTER ROLE {role} SET search_path = app, "$user" """)
        with pytest.raises(ConfigurationError, match="search_path = public"):
            await check_namesake(connection, role)
        own_database.run(f"ALTER ROLE {role} IN DATABASE {role} SET search_path = app")
        await check_namesake(connection, role)
        own_database.run(f"ALTER ROLE {role} RESET search_path; ALTER ROLE {role} IN DATABASE {role} RESET search_path")
        own_database.run(f"ALTER DATABASE {role} SET search_path = public")
        await check_namesake(connection, role)
    finally:
        own_database.run(f"DROP ROLE {role}")


@NEWEST
async def test_a_connection_that_is_of_no_use_is_closed(
    own_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its first statement failed, or whoever wanted it has gone meanwhile."""
    monkeypatch.setattr(module, "_SESSION", "SELECT 1 / 0")
    with pytest.raises(BrokerUnavailable, match="division by zero"):
        await connect(parse(own_database.url))
    monkeypatch.setattr(module, "_SESSION", "SELECT pg_sleep(60)")
    task = asyncio.create_task(connect(parse(own_database.url)))
    others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    await until(lambda: own_database.run(f"{others} AND state = 'active'") == [1], "the statement runs")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: own_database.run(others) == [0], "the session is gone")


@NEWEST
async def test_what_postgres_says_is_said_in_our_words(own_database: Database) -> None:
    """And the connection is closed, whatever happens."""
    with pytest.raises(BrokerUnavailable, match="division by zero"):
        async with connected(parse(own_database.url)) as connection:
            await connection.execute("SELECT 1 / 0")
    assert connection.closed
