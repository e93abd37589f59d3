"""The doctor: everything that can go wrong with row changes is found, and said in plain words."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import psycopg
import pytest

from headwater.brokers.base import Finding, Grade
from headwater.brokers.postgres.address import parse
from headwater.changes import Rule, doctor
from headwater.changes.doctor import examine
from headwater.changes.install import connect, install
from headwater.changes.table import Connection
from tests.changes.database import NEWEST, Database

RULE = Rule(table="jobs", channel="c", filter="status=eq.a", data=["id"], event="INSERT")


@pytest.fixture
async def connection(own_database: Database) -> AsyncIterator[Connection]:
    """Where a rule is installed."""
    own_database.run("CREATE TABLE jobs (id int, status text)")
    made = await connect(parse(own_database.url))
    await install(made, [RULE], say=lambda line: None)
    yield made
    await made.close()


async def bad(connection: Any, *rules: Rule) -> list[str]:
    """What must be mended."""
    findings = await examine(connection, rules or [RULE], "headwater")
    return [finding.text for finding in findings if finding.grade is Grade.BAD]


LEADING = "UPDATE headwater.lease SET until = now() + interval '1 minute'"


async def test_a_good_installation_has_nothing_to_mend(own_database: Database, connection: Connection) -> None:
    """Everything that was looked at is said."""
    own_database.run(LEADING)
    findings = await examine(connection, [RULE], "headwater")
    text = "\n".join(finding.text for finding in findings if finding.grade is not Grade.BAD)
    assert len(text.splitlines()) == len(findings)
    for expected in (
        "PostgreSQL 1",
        "pooler: none in the way",
        "schema headwater: version",
        "rule jobs: on public.jobs: INSERT",
        "a leader takes from it; nothing waits",
    ):
        assert expected in text


TROUBLES = [
    ("DROP TRIGGER headwater_jobs_insert ON jobs", "headwater_jobs_insert on public.jobs was dropped"),
    ("ALTER TABLE jobs DISABLE TRIGGER headwater_jobs_insert", "headwater_jobs_insert on public.jobs is disabled"),
    (
        "ALTER TABLE jobs ENABLE REPLICA TRIGGER headwater_jobs_insert",
        "headwater_jobs_insert on public.jobs is disabled",
    ),
    ("ALTER TABLE jobs DROP status CASCADE", "rule jobs: table public.jobs has no column 'status'"),
    ("ALTER TABLE jobs RENAME status TO state", "rule jobs: table public.jobs has no column 'status'"),
    ("ALTER TABLE jobs RENAME TO work", "there is no table public.jobs"),
    ("DROP TABLE jobs", "there is no table public.jobs"),
    ("ALTER FUNCTION headwater.headwater_jobs_insert() SECURITY INVOKER", "was altered since it was installed"),
    (
        "DROP FUNCTION headwater.headwater_jobs_insert() CASCADE",
        "headwater_jobs_insert on public.jobs is not installed",
    ),
    ("ALTER SEQUENCE headwater.outbox_seq_seq CACHE 50", "the outbox's sequence gives sessions 50 numbers at a time"),
    ("GRANT SELECT ON headwater.outbox TO PUBLIC", "PUBLIC may SELECT headwater.outbox"),
    ("UPDATE headwater.state SET capture_until = now() - interval '1 day'", "changes go unnoticed; start one"),
    (
        "INSERT INTO headwater.outbox (kind, at) SELECT 'c', now() - interval '20 s' FROM generate_series(1, 3)",
        "outbox: 3 rows wait, the oldest for 20 s",
    ),
    ("DELETE FROM headwater.migration WHERE number > 1", "schema headwater: has version 1, this Headwater is for"),
]


@pytest.mark.parametrize(("trouble", "found"), TROUBLES)
async def test_trouble_is_found(database: Database, trouble: str, found: str) -> None:
    """And nothing else is said to be wrong."""
    database.run("DROP TABLE IF EXISTS jobs; CREATE TABLE jobs (id int, status text)")
    made = await connect(parse(database.url))
    await install(made, [RULE], say=lambda line: None)
    try:
        async with made.transaction(force_rollback=True):
            script = f"SET LOCAL search_path = public; {LEADING}; {trouble}; SET LOCAL search_path = pg_catalog"
            await made.execute(script.encode())
            (only,) = await bad(made)
        assert found in only
    finally:
        await made.close()


@NEWEST
async def test_rules_and_triggers_that_differ(connection: Connection) -> None:
    """A rule that was changed, one that was never installed, and triggers that belong to none."""
    changed = Rule(table="jobs", channel="c", filter="status=eq.b", data=["id"], event="INSERT")
    new = Rule(table="jobs", channel="c", event="DELETE", name="new")
    found = await bad(connection, changed, new)
    assert (
        "rule jobs: trigger headwater_jobs_insert on public.jobs is not what the rule and the table ask for" in found[0]
    )
    assert "rule new: trigger headwater_new_delete on public.jobs is not installed" in found[1]
    findings = await examine(connection, [new], "headwater")
    assert any("headwater_jobs_insert: belongs to no rule any more" in finding.text for finding in findings)


@NEWEST
async def test_no_leader(own_database: Database, connection: Connection) -> None:
    """Nobody takes what triggers write."""
    assert await bad(connection) == [
        "leader: no hub takes anything from the outbox, where nothing waits; start one with this database"
    ]
    own_database.run(LEADING)
    assert await bad(connection) == []


@NEWEST
async def test_nothing_installed(own_database: Database, connection: Connection) -> None:
    """There is then nothing else to look at."""
    own_database.run("DROP SCHEMA headwater CASCADE")
    assert await bad(connection) == ["schema headwater: is not installed; run headwater pg install"]


@NEWEST
async def test_a_transaction_that_stays_open(
    own_database: Database, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whose it is, and how long it has been."""
    monkeypatch.setattr(doctor, "LONG_TRANSACTION", 0.0)
    with psycopg.connect(own_database.url, application_name="report") as session:
        session.execute("SELECT 1")
        findings = await examine(connection, [RULE], "headwater")
    notes = [finding.text for finding in findings if finding.grade is Grade.NOTE]
    assert any("one of report has been open for 0 minutes (idle in transaction, pid" in note for note in notes)


@NEWEST
async def test_roles_without_rights(own_database: Database, connection: Connection) -> None:
    """The hub's own, which may not look; and the owner of a function, who may not write: each write would fail."""
    name = f"doctor_{own_database.name}"
    own_database.run(f"CREATE ROLE {name} LOGIN; GRANT USAGE ON SCHEMA headwater TO {name}")
    own_database.run(f"GRANT SELECT ON headwater.migration TO {name}")
    own_database.run(f"ALTER FUNCTION headwater.headwater_jobs_insert() OWNER TO {name}")
    theirs = await connect(parse(own_database.url.replace("postgres@", f"{name}@")))
    try:
        found = await bad(theirs)
    finally:
        await theirs.close()
        own_database.run(f"DROP OWNED BY {name} CASCADE; DROP ROLE {name}")
    assert any(f"headwater_jobs_insert() runs as {name}, who may not insert into the outbox" in text for text in found)
    assert any("this role may not look into the outbox: permission denied" in text for text in found)


class Info(NamedTuple):
    """What a connection says of its server."""

    server_version: int
    backend_pid: int = 1


class Pretender:
    """A connection to another server than there is."""

    def __init__(self, version: int) -> None:
        self.info = Info(version)

    async def execute(self, statement: bytes, parameters: Any = None) -> Pretender:
        """Answer the two questions that are asked of a server."""
        self.rows = [(2,)] if b"pg_backend_pid()" in statement and b"FROM" not in statement else []
        return self

    async def fetchall(self) -> list[Any]:
        """The rows of the answer."""
        return self.rows


@pytest.mark.parametrize(
    ("version", "grade", "text"),
    [
        (130020, Grade.NOTE, "PostgreSQL 13.20: is no longer maintained"),
        (160011, Grade.NOTE, "PostgreSQL 16.11: a session that listens for long can break LISTEN"),
        (160012, Grade.GOOD, "PostgreSQL 16.12"),
        (190000, Grade.GOOD, "PostgreSQL 19.0"),
    ],
)
async def test_servers(version: int, grade: Grade, text: str) -> None:
    """Old ones, and minor versions with a known defect; and a pooler, which gives itself away by its process id."""
    server, pooler = [finding async for finding in doctor._server(Pretender(version))]  # type: ignore[arg-type]
    assert server.grade is grade
    assert server.text.startswith(text)
    assert pooler == Finding(Grade.BAD, pooler.text)
    assert "lends its sessions out" in pooler.text


@NEWEST
async def test_a_role_that_is_named_like_the_schema(own_database: Database, connection: Connection) -> None:
    """Its tables would be made in it."""
    own_database.run("ALTER SCHEMA headwater RENAME TO " + own_database.name)
    own_database.run(f"CREATE ROLE {own_database.name}")
    try:
        findings = await examine(connection, [], own_database.name)
        assert any("names: a role is named" in finding.text for finding in findings if finding.grade is Grade.BAD)
    finally:
        own_database.run(f"DROP ROLE {own_database.name}")
