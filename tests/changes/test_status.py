"""The status: what there is, in a few lines."""

from __future__ import annotations

from headwater.brokers.postgres.address import parse
from headwater.changes import Rule
from headwater.changes.install import connect, install
from headwater.changes.status import describe
from tests.changes.database import NEWEST, Database

RULE = Rule(table="jobs", channel="c", event="INSERT,DELETE")


async def test_what_there_is(own_database: Database) -> None:
    """Schema, leader, log, outbox and each rule: what is intact, broken, missing, or of nobody."""
    own_database.run("CREATE TABLE jobs (id int)")
    connection = await connect(parse(own_database.url))
    await install(connection, [RULE], say=lambda line: None)
    own_database.run("INSERT INTO jobs VALUES (1); ALTER TABLE jobs DISABLE TRIGGER headwater_jobs_insert")
    lines = await describe(connection, [RULE, Rule(table="jobs", channel="c", name="new")], "headwater")
    assert lines[0].startswith("schema headwater: version ")
    assert lines[1:3] == ["leader: there has been none", "log: 0 events so far"]
    assert lines[3].startswith("outbox: 1 rows wait; changes are captured until 20")
    assert lines[4:] == ["rule jobs: on public.jobs: DELETE; INSERT broken", "rule new: on public.jobs: not installed"]
    own_database.run("UPDATE headwater.head SET leader = 'host:1', fence = 7; DELETE FROM headwater.state")
    lines = await describe(connection, [], "headwater")
    assert lines[1] == "leader: number 7, last host:1"
    assert lines[3].endswith("until further notice")
    assert lines[4:] == ["rule jobs: installed, and not declared here"]
    await connection.close()


@NEWEST
async def test_a_role_that_may_not_look(own_database: Database) -> None:
    """Is told that, and what the catalogs tell everybody."""
    name = f"status_{own_database.name}"
    own_database.run(f"CREATE ROLE {name} LOGIN; GRANT USAGE ON SCHEMA headwater TO {name}")
    connection = await connect(parse(own_database.url.replace("postgres@", f"{name}@")))
    assert await describe(connection, [RULE], "headwater") == [
        "schema headwater: installed, and this role may not look into it",
        "rule jobs: on public.jobs: not installed",
    ]
    own_database.run("DROP SCHEMA headwater CASCADE")
    assert await describe(connection, [RULE], "headwater") == ["schema headwater: not installed"]
    await connection.close()
    own_database.run(f"DROP OWNED BY {name}; DROP ROLE {name}")
