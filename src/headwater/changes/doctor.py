"""`headwater pg doctor`: what may keep row changes from becoming events, in plain words.

Asks the catalogs and the statistics; changes nothing, and needs no more rights than the hub has. Each check yields
findings; what is good is said, too, so that one sees that it was looked at.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from typing import Any, Final

import psycopg

from headwater.brokers.base import Finding, Grade
from headwater.brokers.postgres.sql import migrations, quoted
from headwater.changes.install import check_namesake, is_ours, wanted
from headwater.changes.installed import Installed, read_installed
from headwater.changes.rules import Rule, check_rules
from headwater.changes.table import Connection
from headwater.changes.triggers import Trigger
from headwater.errors import ConfigurationError, InvalidInput

SOUND_MINORS: Final = {18: 2, 17: 8, 16: 12, 15: 16, 14: 21}
"""The first minor version of each major one in which a session that listens for long does not break LISTEN and NOTIFY
("could not access status of transaction"; Postgres' commit 8eeb4a0f7c of November 2025)."""

LONG_TRANSACTION: Final = 300.0
"""Seconds after which an open transaction is worth a look: dead rows of the outbox are kept for it."""

LATE: Final = 10.0
"""Seconds after which a row in the outbox should long have been taken."""

COUNTED: Final = 100_000
"""Rows of the outbox up to which they are counted exactly."""


async def examine(connection: Connection, rules: Iterable[Rule], home: str) -> list[Finding]:
    """Look at everything.

    Args:
        connection: from `install.connect`, as the role that the hub uses.
        rules: all that there should be.
        home: the schema that is Headwater's own.
    """
    findings = [finding async for finding in _server(connection)]
    if not await is_ours(connection, home):
        return [*findings, _bad(f"schema {home}: is not installed; run headwater pg install")]
    findings += [finding async for finding in _schema(connection, home)]
    findings += [finding async for finding in look_at_triggers(connection, rules, home)]
    try:
        findings += [finding async for finding in _flow(connection, home)]
    except psycopg.errors.InsufficientPrivilege as error:
        findings.append(_bad(f"grants: this role may not look into the outbox: {error.diag.message_primary}"))
    return findings


async def _server(connection: Connection) -> AsyncIterator[Finding]:
    number = connection.info.server_version
    major, minor = number // 10000, number % 10000
    name = f"PostgreSQL {major}.{minor}"
    if major < min(SOUND_MINORS):
        yield _note(f"{name}: is no longer maintained; upgrade to a later one")
    elif minor < SOUND_MINORS.get(major, 0):
        yield _note(
            f"{name}: a session that listens for long can break LISTEN for the whole cluster; upgrade to "
            f"{major}.{SOUND_MINORS[major]}, or use a hub that polls"
        )
    else:
        yield _good(name)
    (pid,) = await _row(connection, "SELECT pg_backend_pid()")
    if pid != connection.info.backend_pid:
        yield _bad(
            "pooler: something between here and the server lends its sessions out; give the hub a URL that leads to the "
            "server itself, or it polls, and takes longer to notice that a leader has died"
        )
    else:
        yield _good("pooler: none in the way")
    for pid, name, seconds, state in await _rows(connection, _TRANSACTIONS, long=LONG_TRANSACTION):
        yield _note(
            f"transactions: one of {name or 'an unnamed application'} has been open for {seconds / 60:.0f} minutes"
            f" ({state}, pid {pid}); nothing is held up, but dead rows cannot be cleared away"
        )


async def _schema(connection: Connection, home: str) -> AsyncIterator[Finding]:
    newest = migrations()[-1][0]
    (applied,) = await _row(connection, f"SELECT max(number) FROM {quoted(home)}.migration")
    if applied != newest:
        yield _bad(f"schema {home}: has version {applied}, this Headwater is for {newest}; run headwater pg install")
    else:
        yield _good(f"schema {home}: version {applied}")
    try:
        await check_namesake(connection, home)
    except ConfigurationError as error:
        yield _bad(f"names: {error}")
    (cache,) = await _row(connection, _SEQUENCE, outbox=f"{quoted(home)}.outbox")
    if cache != 1:
        yield _bad(
            f"order: the outbox's sequence gives sessions {cache} numbers at a time, so changes come in the wrong order; "
            f"ALTER SEQUENCE {home}.outbox_seq_seq CACHE 1"
        )
    for table, role, privilege in await _rows(connection, _STRANGERS, home=home):
        yield _bad(f"grants: {role} may {privilege} {home}.{table}, where everybody's changes are; REVOKE it")
    for function, owner in await _rows(connection, _HELPLESS, home=home, outbox=f"{quoted(home)}.outbox"):
        yield _bad(f"grants: {function}() runs as {owner}, who may not insert into the outbox: every write fails")


async def look_at_triggers(connection: Connection, rules: Iterable[Rule], home: str) -> AsyncIterator[Finding]:
    """Whether each rule has its triggers, as they were made, and nobody else has any."""
    present = await read_installed(connection, home)
    named: set[str] = set()
    for rule in check_rules(rules):
        try:
            should = await wanted(connection, [rule], home)
        except InvalidInput as error:
            named |= {each.name for each in present.values() if each.rule == rule.name}
            yield _bad(str(error))
            continue
        named |= set(should)
        found = list(_differences(should, present))
        operations = ", ".join(trigger.operation for trigger in should.values())
        for finding in found or [_good(f"rule {rule.name}: on {rule.schema}.{rule.table}: {operations}")]:
            yield finding
    for name in present.keys() - named:
        yield _note(f"trigger {name}: belongs to no rule any more; headwater pg install takes it away")


def _differences(should: Mapping[str, Trigger], present: Mapping[str, Installed]) -> Iterator[Finding]:
    """What is wrong with the triggers of a rule."""
    for name, trigger in should.items():
        where = f"rule {trigger.rule.name}: trigger {name} on {trigger.table}"
        each = present.get(name)
        if each is None:
            yield _bad(f"{where} is not installed; run headwater pg install")
        elif each.now is None:
            yield _bad(f"{where} was dropped, perhaps together with a column; run headwater pg install")
        elif each.enabled not in "OA":
            yield _bad(f"{where} is disabled; ALTER TABLE ... ENABLE TRIGGER, or run headwater pg install")
        elif each.now != each.found:
            yield _bad(f"{where} was altered since it was installed; run headwater pg install")
        elif not each.is_made_for(trigger):
            yield _bad(f"{where} is not what the rule and the table ask for now; run headwater pg install")


async def _flow(connection: Connection, home: str) -> AsyncIterator[Finding]:
    """Whether somebody takes what triggers write."""
    state = await _row(connection, _STATE.format(home=quoted(home)), most=COUNTED)
    leads, captures, rows, age = state
    waiting = (
        f"{'over ' if rows >= COUNTED else ''}{rows} rows wait, the oldest for {age:.0f} s" if rows else "nothing waits"
    )
    if not captures:
        yield _bad("lease: no hub has been here for so long that changes go unnoticed; start one")
    if not leads:
        yield _bad(f"leader: no hub takes anything from the outbox, where {waiting}; start one with this database")
    elif age is not None and age > LATE:
        yield _bad(f"outbox: {waiting}: more comes than the leader can take, or it is stuck; see its log")
    else:
        yield _good(f"outbox: a leader takes from it; {waiting}")


async def _rows(connection: Connection, statement: str, **parameters: Any) -> list[tuple[Any, ...]]:
    return await (await connection.execute(statement.encode(), parameters or None)).fetchall()


async def _row(connection: Connection, statement: str, **parameters: Any) -> tuple[Any, ...]:
    return (await _rows(connection, statement, **parameters))[0]


def _good(text: str) -> Finding:
    return Finding(Grade.GOOD, text)


def _note(text: str) -> Finding:
    return Finding(Grade.NOTE, text)


def _bad(text: str) -> Finding:
    return Finding(Grade.BAD, text)


_TRANSACTIONS: Final = """
SELECT pid, application_name, extract(epoch FROM clock_timestamp() - xact_start)::float8, state FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
    AND clock_timestamp() - xact_start > %(long)s * interval '1 second'
ORDER BY xact_start LIMIT 5
"""

_SEQUENCE: Final = """
SELECT seqcache FROM pg_sequence WHERE seqrelid = pg_get_serial_sequence(%(outbox)s, 'seq')::regclass
"""

_STRANGERS: Final = """
SELECT DISTINCT c.relname, 'PUBLIC', a.privilege_type
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace, aclexplode(c.relacl) AS a
WHERE n.nspname = %(home)s AND a.grantee = 0 AND c.relname IN ('outbox', 'log')
ORDER BY 1, 3
"""

_HELPLESS: Final = """
SELECT p.proname, pg_get_userbyid(p.proowner) FROM pg_proc AS p
WHERE p.pronamespace = (SELECT oid FROM pg_namespace WHERE nspname = %(home)s) AND p.prorettype = 'trigger'::regtype
    AND NOT has_table_privilege(p.proowner, %(outbox)s, 'INSERT')
ORDER BY 1
"""

_STATE: Final = """
SELECT
    EXISTS (SELECT FROM {home}.lease WHERE until > clock_timestamp()),
    (SELECT coalesce(bool_and(capture_until > clock_timestamp()), true) FROM {home}.state),
    (SELECT count(*) FROM (SELECT FROM {home}.outbox LIMIT %(most)s) AS counted),
    (SELECT extract(epoch FROM clock_timestamp() - at)::float8 FROM {home}.outbox ORDER BY seq LIMIT 1)
"""
