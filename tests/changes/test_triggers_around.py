"""Triggers and what happens around them: hostile names, columns that come and go, roles without rights, no hub."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from headwater.changes import Rule
from tests.changes.database import HOME, NEWEST, Database, seen

HOSTILE = "Ro\"w's; DROP TABLE x; -- $headwater$ {} %s \\ üß"


async def test_hostile_names(database: Database) -> None:
    """Quotes, semicolons, dollar signs, braces, percent signs, backslashes, capitals and 63 bytes: of schema, table,
    column, value and type, all of them are names and nothing else."""
    long = "C" * 62 + "%"
    for name in (HOSTILE, long):
        database.connection.execute(
            psycopg.sql.SQL("CREATE SCHEMA {0}; CREATE TABLE {0}.{0} ({0} text, id int, {1} int)").format(
                psycopg.sql.Identifier(name), psycopg.sql.Identifier("New_row")
            )
        )
        quoted = '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
        rule = Rule(
            schema=name,
            table=name,
            channel=f"c:{{{name}}}" if "{" not in name else "c",
            filter=f"{quoted}=in.({quoted},x),{quoted}=not.match.^no",
            when_changed=[name, "New_row"],
            data=[name, "id", "New_row"],
            old=[name],
            name=f"n{len(name)}",
            leave=True,
        )
        await database.install(rule)
        table = psycopg.sql.Identifier(name, name)
        insert = psycopg.sql.SQL("INSERT INTO {} VALUES ({}, 1, 2), ('no', 2, 3)").format(table, name)
        database.connection.execute(insert)
        database.connection.execute(
            psycopg.sql.SQL("UPDATE {} SET {} = 'x'").format(table, psycopg.sql.Identifier(name))
        )
        inserted, updated, moved = database.captured()[:3]
        assert inserted.new == {name: name, "id": 1, "New_row": 2}
        assert {updated.op, moved.op} <= {"U", "L", "M"}


async def test_columns_that_were_renamed(database: Database) -> None:
    """A condition follows its column. A declared column that is gone is left out, and the write goes on."""
    database.run("CREATE TABLE renamed (id int, status text, body text)")
    await database.install(Rule(table="renamed", channel="c", filter="status=eq.a", data=["id", "body"]))
    database.run("ALTER TABLE renamed RENAME status TO state")
    database.run("ALTER TABLE renamed RENAME body TO content")
    database.run("INSERT INTO renamed VALUES (1, 'a', 'x'), (2, 'b', 'x')")
    assert [(row.new, row.left_out) for row in database.captured()] == [({"id": 1}, ["body"])]


async def test_columns_that_are_dropped(database: Database) -> None:
    """Postgres does not drop one that a condition needs; with CASCADE the trigger goes with it. Other columns go freely."""
    database.run("CREATE TABLE dropped (id int, status text, body text)")
    await database.install(Rule(table="dropped", channel="c", filter="status=eq.a", data=["id", "body"]))
    with pytest.raises(psycopg.errors.DependentObjectsStillExist):
        database.run("ALTER TABLE dropped DROP COLUMN status")
    database.run("ALTER TABLE dropped DROP COLUMN body")
    database.run("INSERT INTO dropped VALUES (1, 'a')")
    assert [(row.new, row.left_out) for row in database.captured()] == [({"id": 1}, ["body"])]
    database.run("ALTER TABLE dropped DROP COLUMN status CASCADE")
    database.run("INSERT INTO dropped VALUES (2)")
    assert database.captured() == []


async def test_a_role_without_any_right_to_our_schema_can_write(database: Database) -> None:
    """The application's role needs nothing; and it cannot call the function itself, or read what others wrote."""
    database.run("CREATE TABLE theirs (id int)")
    await database.install(Rule(table="theirs", channel="c", data=["id"]))
    role = f"app_{database.name}"
    database.run(f"CREATE ROLE {role} LOGIN; GRANT INSERT ON theirs TO {role}")
    try:
        with psycopg.connect(database.url.replace("postgres@", f"{role}@"), autocommit=True) as writer:
            writer.execute("INSERT INTO theirs VALUES (1)")
            for forbidden in (f"SELECT * FROM {HOME}.outbox", f"INSERT INTO {HOME}.outbox (kind) VALUES ('c')"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    writer.execute(forbidden.encode())
        assert seen(database.captured()) == [("theirs", "I", 1)]
    finally:
        database.run(f"DROP OWNED BY {role}; DROP ROLE {role}")


@NEWEST
async def test_when_no_hub_has_been_there_for_long(own_database: Database) -> None:
    """The application goes on writing, and nothing piles up. Without a row that says how long, changes are captured."""
    own_database.run("CREATE TABLE alone (id int)")
    await own_database.install(Rule(table="alone", channel="c", data=["id"]))
    own_database.run(f"UPDATE {HOME}.state SET capture_until = now() - interval '1 second'")
    own_database.run("INSERT INTO alone VALUES (1)")
    assert own_database.captured() == []
    own_database.run(f"DELETE FROM {HOME}.state")
    own_database.run("INSERT INTO alone VALUES (2)")
    assert seen(own_database.captured()) == [("alone", "I", 2)]


@NEWEST
async def test_the_leader_is_told_only_when_it_sleeps(own_database: Database) -> None:
    """Once for a transaction; while it is awake, or none has been there for minutes, a commit is as quick as any."""
    own_database.run("CREATE TABLE told (id int)")
    await own_database.install(Rule(table="told", channel="c", data=["id"]))
    with psycopg.connect(own_database.url, autocommit=True) as listener:
        listener.execute(f"LISTEN {HOME}")
        for awake, told, expected in (
            ("infinity", "infinity", 0),
            ("-infinity", "infinity", 1),
            ("-infinity", "-infinity", 0),
        ):
            own_database.run(f"UPDATE {HOME}.state SET awake_until = '{awake}', told_until = '{told}'")
            own_database.run("RESET ALL")  # and with it what the session remembers
            own_database.run("INSERT INTO told SELECT generate_series(1, 10)")
            listener.execute(f"NOTIFY {HOME}, 'end'")
            heard = list(listener.notifies(timeout=10, stop_after=expected + 1))
            assert [notice.payload for notice in heard][-1] == "end"
            assert len(heard) == expected + 1


@NEWEST
async def test_each_transaction_tells_once(own_database: Database) -> None:
    """Also one whose first row was rolled back with a savepoint, and with it the word; and the next one tells again."""
    own_database.run(f"CREATE TABLE told (id int); UPDATE {HOME}.state SET told_until = 'infinity'")
    await own_database.install(Rule(table="told", channel="c", data=["id"]))
    with psycopg.connect(own_database.url, autocommit=True) as listener:
        listener.execute(f"LISTEN {HOME}")
        own_database.run(
            "BEGIN; SAVEPOINT s; INSERT INTO told VALUES (1); ROLLBACK TO s; INSERT INTO told VALUES (2), (3); COMMIT"
        )
        own_database.run("INSERT INTO told VALUES (4)")
        listener.execute(f"NOTIFY {HOME}, 'end'")
        heard = [notice.payload for notice in listener.notifies(timeout=10, stop_after=3)]
    assert heard == ["outbox", "outbox", "end"]
    assert seen(own_database.captured()) == [("told", "I", 2), ("told", "I", 3), ("told", "I", 4)]


@pytest.mark.parametrize("on_error", ["raise", "warn"])
@NEWEST
async def test_a_change_that_cannot_be_recorded(own_database: Database, on_error: Any) -> None:
    """Fails the write, or with `warn` lets it go on and is lost, with a warning."""
    own_database.run("CREATE TABLE failing (id int)")
    await own_database.install(Rule(table="failing", channel="c", data=["id"], on_error=on_error))
    own_database.run(f"ALTER TABLE {HOME}.outbox ADD CHECK (kind <> 'c')")
    warnings: list[str] = []
    own_database.connection.add_notice_handler(lambda notice: warnings.append(notice.message_primary or ""))
    if on_error == "raise":
        with pytest.raises(psycopg.errors.CheckViolation):
            own_database.run("INSERT INTO failing VALUES (1)")
    else:
        own_database.run("INSERT INTO failing VALUES (1)")
        assert "a change is lost to rule failing" in warnings[0]
    assert own_database.run("SELECT count(*) FROM failing") == [0 if on_error == "raise" else 1]


SETTINGS = [
    "standard_conforming_strings = off",
    "search_path = pg_temp, other",
    "transform_null_equals = on",
    "plpgsql.variable_conflict = error",
    "plpgsql.extra_errors = 'all'",
    "array_nulls = off",
    "client_encoding = 'LATIN1'",
    "default_transaction_isolation = serializable",
    "row_security = off",
    "statement_timeout = '10s'",
    "jit_above_cost = 0",
]


async def test_whatever_the_writer_has_set(own_database: Database) -> None:
    """Each setting of a session that could change what our functions mean or whether they run."""
    own_database.run('CREATE TABLE odd (id int, "a\\b" text)')
    await own_database.install(Rule(table="odd", channel="c", data=["id", "a\\b"], filter='"a\\\\b"=neq.x\\y'))
    own_database.run("UPDATE headwater.state SET told_until = 'infinity'")
    for number, setting in enumerate(SETTINGS):
        with psycopg.connect(own_database.url, autocommit=True) as writer:
            writer.execute("CREATE TEMP TABLE outbox (x int); CREATE TEMP TABLE state (x int)")
            writer.execute(f"SET {setting}".encode())
            writer.execute("INSERT INTO public.odd VALUES (%s, 'é')", (number,))
            writer.execute("SELECT headwater.publish('c', 'äb', '1', ARRAY['a'], 'key')")
    assert [row.new for row in own_database.captured()] == [{"id": n, "a\\b": "é"} for n in range(len(SETTINGS))]
