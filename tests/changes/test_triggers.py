"""Triggers on real servers: what they write, and that they leave the application's own writes alone."""

from __future__ import annotations

from typing import Any

import psycopg

from headwater.changes import Operation, Rule
from headwater.changes.table import Column, Table
from headwater.changes.triggers import dollar_quoted, drop, trigger_name, triggers
from tests.changes.database import HOME, Database, Row, seen

LATE_WRITER = (
    "SET TimeZone = 'Asia/Kathmandu'; SET DateStyle = 'German'; SET IntervalStyle = 'iso_8601';"
    " SET bytea_output = 'escape'; SET extra_float_digits = 0; SET search_path = hostile, public"
)


def calls(plan: Any) -> dict[str, int]:
    """How often each trigger was called, by what EXPLAIN ANALYZE says."""
    return {trigger["Trigger Name"]: trigger["Calls"] for trigger in plan[0]["Triggers"]}


async def test_values_come_as_postgres_writes_them(database: Database) -> None:
    """Whatever the writer's session is set to: times in UTC, bytes in hexadecimal, numbers with all digits. Functions of
    the same names as Postgres' own, earlier in the writer's path, are not called."""
    database.run("CREATE TYPE mood AS ENUM ('sad', 'ok')")
    database.run("CREATE TYPE pair AS (a int, b text)")
    database.run("CREATE SCHEMA hostile")
    database.run(
        "CREATE FUNCTION hostile.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS 'SELECT (1/0)::text::timestamptz'"
    )
    columns = {
        "b": ("bytea", r"'\x00ff'", "\\x00ff"),
        "t": ("timestamptz", "'2026-01-02 03:04:05.678+02'", "2026-01-02T01:04:05.678+00:00"),
        "d": ("date", "'2026-01-02'", "2026-01-02"),
        "i": ("interval", "'1 day 02:00'", "1 day 02:00:00"),
        "u": ("uuid", "'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
        "f": ("float8", "0.1::float8 + 0.2", 0.30000000000000004),
        "n": ("numeric", "'NaN'", "NaN"),
        "m": ("mood", "'ok'", "ok"),
        "a": ("int[]", "'{{1,NULL},{3,4}}'", [[1, None], [3, 4]]),
        "j": ("json", """'{"a": [1, null]}'""", {"a": [1, None]}),
        "k": ("jsonb", "'null'", None),
        "p": ("pair", "(1, 'x')", {"a": 1, "b": "x"}),
        "r": ("tstzrange", "'[2026-01-02 03:04:05+00,)'", '["2026-01-02 03:04:05+00",)'),
        "z": ("text", "NULL", None),
        "s": ("text", "'x'", "x"),
        "g": ("text GENERATED ALWAYS AS (s || '!') STORED", "DEFAULT", "x!"),
    }
    if database.connection.info.server_version >= 180000:
        columns["v"] = ("text GENERATED ALWAYS AS (upper(s) || '?') VIRTUAL", "DEFAULT", "X?")
    declared = ", ".join(f'"{name}" {type}' for name, (type, _, _) in columns.items())
    database.run(f"CREATE TABLE valued ({declared})")
    await database.install(Rule(table="valued", channel="c", data=list(columns), old=["b"]))
    with psycopg.connect(database.url, autocommit=True) as writer:
        writer.execute(LATE_WRITER.encode())
        writer.execute(f"INSERT INTO valued VALUES ({', '.join(value for _, value, _ in columns.values())})".encode())
        writer.execute("UPDATE valued SET s = 'y'")
    inserted, updated = database.captured()
    assert inserted.new == {name: value for name, (_, _, value) in columns.items()}
    assert updated.new["g"] == "y!"
    assert updated.new.get("v", "Y?") == "Y?"
    assert updated.old == {"b": "\\x00ff"}
    assert inserted.left_out is None


async def test_big_numbers_as_text(database: Database) -> None:
    """Those that JavaScript would round: bigint and numeric, and lists of them. NULL stays NULL."""
    database.run("CREATE TABLE large (id bigint, n numeric, a bigint[], i int, z numeric)")
    await database.install(Rule(table="large", channel="c", data=["id", "n", "a", "i", "z"], big_numbers="text"))
    database.run("INSERT INTO large VALUES (9007199254740993, 1.50, '{1,NULL}', 7, NULL)")
    assert [row.new for row in database.captured()] == [
        {"id": "9007199254740993", "n": "1.50", "a": ["1", None], "i": 7, "z": None}
    ]


async def test_large_values_that_did_not_change_are_there(database: Database) -> None:
    """A value kept apart from its row (TOAST) is complete after an UPDATE that does not mention it, in both rows."""
    database.run("CREATE TABLE toasted (id int, body text, n int)")
    database.run("ALTER TABLE toasted ALTER body SET STORAGE EXTERNAL")
    await database.install(Rule(table="toasted", channel="c", data=["body"], old=["body"], event="UPDATE"))
    database.run("INSERT INTO toasted VALUES (1, repeat('x', 50000), 1)")
    database.run("UPDATE toasted SET n = 2")
    (row,) = database.captured()
    assert row.new == row.old == {"body": "x" * 50000}


async def test_a_row_that_is_too_large_loses_its_longest_values(database: Database) -> None:
    """And says which. Small ones stay, and a large value of a column that is not declared does not matter."""
    database.run("CREATE TABLE oversize (id int, a text, b text, secret text)")
    await database.install(Rule(table="oversize", channel="c", data=["id", "a", "b"], old=["b"], max_bytes=2000))
    database.run("INSERT INTO oversize VALUES (1, repeat('a', 1500), 'b', repeat('s', 100000))")
    database.run("UPDATE oversize SET b = repeat('b', 3000)")
    database.run("UPDATE oversize SET a = repeat('a', 3000)")
    first, second, third = database.captured()
    assert (first.new, first.left_out) == ({"id": 1, "a": "a" * 1500, "b": "b"}, None)
    assert (second.new, second.left_out) == ({"id": 1, "a": "a" * 1500}, ["b"])
    assert (third.new, third.old, sorted(third.left_out)) == ({"id": 1}, {}, ["a", "b", "b"])


async def test_a_value_that_is_no_jsonb_is_left_out(database: Database) -> None:
    """The application's write succeeds: json may hold what jsonb may not."""
    database.run("CREATE TABLE odd (id int, j json)")
    await database.install(Rule(table="odd", channel="c", data=["id", "j"]))
    database.run("""INSERT INTO odd VALUES (1, '"\\u0000"'), (2, '1e400000'), (3, '"fine"')""")
    assert [(row.new, row.left_out) for row in database.captured()] == [
        ({"id": 1}, ["j"]),
        ({"id": 2}, ["j"]),
        ({"id": 3, "j": "fine"}, None),
    ]


async def test_more_columns_than_a_function_takes(database: Database) -> None:
    """A function has at most 100 arguments, a row more columns."""
    names = [f"c{n}" for n in range(120)]
    database.run(f"CREATE TABLE wide ({', '.join(f'{name} int' for name in names)})")
    await database.install(Rule(table="wide", channel="c", data=names))
    database.run(f"INSERT INTO wide VALUES ({', '.join(map(str, range(120)))})")
    assert [row.new for row in database.captured()] == [{name: n for n, name in enumerate(names)}]


async def test_only_declared_columns_leave_the_table(database: Database) -> None:
    """A column that was added later does not."""
    database.run("CREATE TABLE shy (id int, secret text, project_id int)")
    await database.install(Rule(table="shy", channel="p:{project_id}", data=["id"]))
    database.run("ALTER TABLE shy ADD COLUMN later text DEFAULT 'later'")
    database.run("INSERT INTO shy VALUES (1, 'secret', 5)")
    database.run("UPDATE shy SET secret = 'other'")
    assert [(row.new, row.old) for row in database.captured()] == [
        ({"id": 1, "project_id": 5}, None),
        ({"id": 1, "project_id": 5}, None),
    ]


async def test_a_row_that_moves_to_somebody_else_shows_nothing_to_who_had_it(database: Database) -> None:
    """What leaves the table for the old channel is the row as it was, and where it is now; whatever else was asked for."""
    database.run("CREATE TABLE moving (id int, secret text, project_id int, n int)")
    await database.install(
        Rule(table="moving", channel="p:{project_id}", data=["secret"], event="UPDATE", when_changed=["n"])
    )
    database.run("INSERT INTO moving VALUES (1, 'of 5', 5, 0)")
    database.run("UPDATE moving SET secret = 'of 6', project_id = 6")
    database.run("UPDATE moving SET project_id = NULL, n = 1")
    assert [row[1:4] for row in database.captured()] == [
        ("M", {"project_id": 6}, {"secret": "of 5", "project_id": 5}),
        ("M", {"project_id": None}, {"secret": "of 6", "project_id": 6}),
        ("U", {"secret": "of 6", "project_id": None}, None),
    ]


async def test_a_trigger_whose_condition_is_false_is_not_called(database: Database) -> None:
    """Postgres evaluates the condition itself, before it queues anything."""
    database.run("CREATE TABLE quiet (id int, status text, n int)")
    database.run("INSERT INTO quiet SELECT n, 'open', 0 FROM generate_series(1, 10) AS n")
    await database.install(
        Rule(table="quiet", channel="c", filter="status=eq.done", name="filtered", event="UPDATE"),
        Rule(table="quiet", channel="c", when_changed=["status"], name="changed", event="UPDATE"),
        Rule(table="quiet", channel="c", when_changed=["*"], name="any", event="UPDATE"),
    )
    explain = "EXPLAIN (ANALYZE, FORMAT JSON) UPDATE quiet"
    assert calls(database.run(f"{explain} SET n = n, status = status")[0]) == {}
    assert calls(database.run(f"{explain} SET n = 1")[0]) == {"headwater_any_update": 10}
    assert calls(database.run(f"{explain} SET status = 'done' WHERE id < 4")[0]) == {
        "headwater_any_update": 3,
        "headwater_changed_update": 3,
        "headwater_filtered_update": 3,
    }
    database.captured()


async def test_what_a_before_trigger_changes_counts(database: Database) -> None:
    """`when_changed` looks at values, not at what the UPDATE mentions."""
    database.run("CREATE TABLE touched (id int, status text, at int DEFAULT 0)")
    database.run(
        "CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.at := OLD.at + 1; RETURN NEW; END'"
    )
    database.run("CREATE TRIGGER touch BEFORE UPDATE ON touched FOR EACH ROW EXECUTE FUNCTION touch()")
    await database.install(Rule(table="touched", channel="c", when_changed=["at"], data=["at"], event="UPDATE"))
    database.run("INSERT INTO touched VALUES (1, 'a')")
    database.run("UPDATE touched SET status = 'b'")
    assert [row.new for row in database.captured()] == [{"at": 1}]


async def test_every_way_to_write_is_seen(database: Database) -> None:
    """COPY, INSERT ... ON CONFLICT, MERGE and what foreign keys do, in the order in which it happened."""
    database.run("CREATE TABLE parent (id int PRIMARY KEY)")
    database.run(
        "CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES parent ON DELETE CASCADE ON UPDATE CASCADE)"
    )
    await database.install(
        Rule(table="parent", channel="c", data=["id"]), Rule(table="child", channel="c", data=["id", "parent"])
    )
    database.run("INSERT INTO parent VALUES (1)")
    with database.connection.cursor().copy("COPY child FROM STDIN") as copy:
        copy.write("10\t1\n11\t1\n")
    database.run("INSERT INTO child VALUES (10, 1) ON CONFLICT (id) DO UPDATE SET parent = 1")
    database.run("INSERT INTO child VALUES (10, 1) ON CONFLICT DO NOTHING")
    database.run(
        "MERGE INTO child USING (VALUES (12)) AS v (id) ON v.id = child.id WHEN NOT MATCHED THEN INSERT VALUES (12, 1)"
    )
    database.run("UPDATE parent SET id = 2")
    database.run("DELETE FROM parent")
    found = seen(database.captured())
    assert found[:5] == [
        ("parent", "I", 1),
        *(("child", op, id) for op, id in (("I", 10), ("I", 11), ("U", 10), ("I", 12))),
    ]
    cascaded = [("child", op, id) for op in "UD" for id in (10, 11, 12)]
    assert sorted(found[5:]) == sorted([("parent", "U", 2), ("parent", "D", 2), *cascaded])


async def test_only_what_is_committed_is_seen(database: Database) -> None:
    """What a transaction or a savepoint rolls back leaves nothing."""
    database.run("CREATE TABLE undone (id int)")
    await database.install(Rule(table="undone", channel="c", data=["id"]))
    database.run("BEGIN; INSERT INTO undone VALUES (1); ROLLBACK")
    database.run(
        "BEGIN; INSERT INTO undone VALUES (2); SAVEPOINT s; INSERT INTO undone VALUES (3); ROLLBACK TO s;"
        " INSERT INTO undone VALUES (4); COMMIT"
    )
    assert seen(database.captured()) == [("undone", "I", 2), ("undone", "I", 4)]


async def test_partitioned_tables(database: Database) -> None:
    """Partitions are seen as the table they are parts of, also those that come later; a row that moves to another one is
    deleted here and inserted there, as Postgres does it."""
    database.run("CREATE TABLE parted (id int, k int) PARTITION BY LIST (k)")
    database.run("CREATE TABLE parted_1 PARTITION OF parted FOR VALUES IN (1)")
    await database.install(Rule(table="parted", channel="c", data=["id", "k"], filter="k=gt.0"))
    database.run("CREATE TABLE parted_2 (k int, extra int, id int)")
    database.run("ALTER TABLE parted_2 DROP COLUMN extra")
    database.run("ALTER TABLE parted ATTACH PARTITION parted_2 FOR VALUES IN (2)")
    database.run("INSERT INTO parted VALUES (1, 1), (2, 2)")
    database.run("UPDATE parted SET id = id + 10")
    database.run("UPDATE parted SET k = 2 WHERE k = 1")
    assert [(row.op, row.new or row.old) for row in database.captured()] == [
        ("I", {"id": 1, "k": 1}),
        ("I", {"id": 2, "k": 2}),
        ("U", {"id": 11, "k": 1}),
        ("U", {"id": 12, "k": 2}),
        ("D", {"id": 11, "k": 1}),
        ("I", {"id": 11, "k": 2}),
    ]
    await database.install(
        Rule(table="parted", channel="c", data=["id"], filter="k=gt.1")
    )  # replaces those of partitions
    database.run("INSERT INTO parted VALUES (3, 1), (4, 2)")
    assert [row.new for row in database.captured()] == [{"id": 4}]


async def test_truncate_is_one_event(database: Database) -> None:
    """Of the table, however many rows it had."""
    database.run("CREATE TABLE emptied (id int)")
    await database.install(Rule(table="emptied", channel="c", event="TRUNCATE"))
    database.run("INSERT INTO emptied SELECT generate_series(1, 5)")
    database.run("TRUNCATE emptied")
    assert database.captured() == [Row("emptied", "T", None, None, None)]


def test_names_of_triggers() -> None:
    """At most 63 bytes, and different for different rules, operations and installations."""
    assert trigger_name("headwater", "jobs", Operation.INSERT) == "headwater_jobs_insert"
    long = trigger_name("ü" * 31, "r" * 40, Operation.TRUNCATE)
    assert len(long.encode()) <= 63
    assert long.endswith(f"_{'r' * 40}_truncate")
    assert long != trigger_name("ä" * 31, "r" * 40, Operation.TRUNCATE)


TABLE = Table(schema="public", name="t", columns={"id": Column(name="id", type="integer")})


def made(rule: Rule, version: int = 180000, home: str = HOME) -> list[str]:
    """The statements for a rule."""
    found = triggers(rule, TABLE, home=home, version=version)
    return [statement.as_string() for trigger in found for statement in trigger.statements]


def test_a_server_that_cannot_replace_triggers() -> None:
    """PostgreSQL 13: the old one is dropped first, in the same transaction."""
    rule = Rule(table="t", channel="c", event="INSERT")
    old = made(rule, 130010)
    assert 'DROP TRIGGER IF EXISTS "headwater_t_insert" ON "public"."t"' in old
    assert any(statement.startswith('CREATE TRIGGER "headwater_t_insert" AFTER INSERT') for statement in old)
    assert any(statement.startswith("CREATE OR REPLACE TRIGGER") for statement in made(rule))


def test_a_fingerprint_changes_with_the_rule() -> None:
    """And not from one run to the next."""

    def fingerprint(**given: Any) -> str:
        rule = Rule(**{"table": "t", "channel": "c", "event": "INSERT", **given})
        return next(triggers(rule, TABLE, home=HOME, version=180000)).fingerprint

    assert fingerprint() == fingerprint(type="other", name="t")
    assert (
        len({fingerprint(), fingerprint(data=["id"]), fingerprint(filter="id=eq.1"), fingerprint(on_error="warn")}) == 4
    )


def test_what_is_dropped() -> None:
    """The trigger where there is a table, and its function."""
    assert [statement.as_string() for statement in drop(HOME, "x", ("public", "t"))] == [
        'DROP TRIGGER IF EXISTS "x" ON "public"."t"',
        'DROP FUNCTION IF EXISTS "headwater"."x"()',
    ]
    assert len(list(drop(HOME, "x", None))) == 1


def test_dollar_quotes_hold_any_text() -> None:
    """The tag is one that the text does not have."""
    assert dollar_quoted("x").as_string() == "$headwater$\nx\n$headwater$"
    assert dollar_quoted("x$headwater$").as_string().startswith("$headwater_$\n")
