"""Types of the application's own: what becomes of their values, and that nobody can run code in our triggers by them."""

from __future__ import annotations

import psycopg

from headwater.changes import Rule
from tests.changes.database import Database


async def test_the_owner_of_a_type_cannot_run_code_as_who_installed_the_triggers(own_database: Database) -> None:
    """Postgres asks a type's cast to json, which its owner may make at any time, for what is in a column, an array, a
    composite type or a domain. The triggers do not: there the values are what the type says by itself."""
    role = f"owner_of_{own_database.name}"
    own_database.run(f"CREATE ROLE {role}; GRANT CREATE ON SCHEMA public TO {role}")
    try:
        with psycopg.connect(own_database.url, autocommit=True) as owner:
            heard: list[str] = []
            owner.add_notice_handler(lambda notice: heard.append(str(notice.message_primary)))
            owner.execute(f"SET SESSION AUTHORIZATION {role}".encode())
            owner.execute("CREATE TYPE state AS ENUM ('on', 'off, \"really\"'); CREATE DOMAIN short AS state")
            owner.execute("CREATE TYPE pair AS (a state, n numeric); CREATE DOMAIN pairs AS pair")
            owner.execute("CREATE TABLE own (id int, s state, l state[], d short, p pair, e pairs, q pair[])")
            await own_database.install(Rule(table="own", channel="c", data=["s", "l", "d", "p", "e", "q"], leave=False))
            owner.execute(
                "CREATE FUNCTION spy(state) RETURNS json LANGUAGE plpgsql AS"
                " $$ BEGIN RAISE NOTICE 'I am %', current_user; RETURN '1'; END $$;"
                "CREATE FUNCTION spy(pair) RETURNS json LANGUAGE plpgsql AS"
                " $$ BEGIN RAISE NOTICE 'I am %', current_user; RETURN '1'; END $$;"
                "CREATE CAST (state AS json) WITH FUNCTION spy(state); CREATE CAST (pair AS json) WITH FUNCTION spy(pair);"
            )
            owner.execute(
                """INSERT INTO own VALUES (
                    1, 'on', '{on,NULL,"off, \\"really\\""}', 'on', '(on,1.50)', '(on,)', '{"(on,2)"}'
                )"""
            )
            owner.execute("INSERT INTO own VALUES (2)")
        assert heard == []
        full, empty = [row.new for row in own_database.captured()]
        assert full == {
            "s": "on",
            "l": ["on", None, 'off, "really"'],
            "d": "on",
            "p": {"a": "on", "n": 1.5},
            "e": {"a": "on", "n": None},
            "q": ["(on,2)"],
        }
        assert empty == dict.fromkeys(full)
    finally:
        own_database.run(f"DROP OWNED BY {role} CASCADE; DROP ROLE {role}")


async def test_a_cast_that_a_superuser_has_made_is_used(database: Database) -> None:
    """As those of extensions are, such as hstore's and PostGIS'."""
    database.run(
        """CREATE SCHEMA "Own"; CREATE TYPE "Own".kind AS ENUM ('a', 'b');
        CREATE FUNCTION "Own"."To json"("Own".kind) RETURNS json LANGUAGE sql AS $$ SELECT to_json(ARRAY[$1::text]) $$;
        CREATE CAST ("Own".kind AS json) WITH FUNCTION "Own"."To json"("Own".kind);
        CREATE TABLE cast_by_us (k "Own".kind)"""
    )
    await database.install(Rule(table="cast_by_us", channel="c", data=["k"]))
    database.run("INSERT INTO cast_by_us VALUES ('a')")
    assert [row.new for row in database.captured()] == [{"k": ["a"]}]
