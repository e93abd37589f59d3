"""Installing rules, and taking them away again: `headwater pg install` and `uninstall`.

First it is found out what there is and what there should be; then each table's share is done in a transaction of its own
that does not wait long for the table's lock, because whoever waits for it makes everybody behind it wait too. All of it can
be repeated at any time: what is right is left alone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Final, NamedTuple

import psycopg
from psycopg import sql

from headwater.brokers.postgres.address import Address
from headwater.brokers.postgres.link import explain
from headwater.brokers.postgres.migrate import lock_key, made, migrate, script
from headwater.brokers.postgres.sql import check_schema
from headwater.changes.installed import Installed, read_installed
from headwater.changes.probe import check_values
from headwater.changes.rules import Rule, check_rules
from headwater.changes.table import Connection, Table, read_table
from headwater.changes.triggers import Trigger, drop, triggers
from headwater.errors import BrokerUnavailable, ConfigurationError, InvalidInput

HOME: Final = "headwater"
"""The schema that is Headwater's own, unless another one is named."""

LOCK_TIMEOUT: Final = 2.0
"""Seconds for which a table's lock is waited for at a time. Meanwhile nobody else gets one that conflicts."""

PATIENCE: Final = 60.0
"""Seconds after which a table whose lock is never free is given up."""

_SESSION: Final = """
SELECT set_config(name, value, false) FROM (
    VALUES ('search_path', 'pg_catalog'), ('TimeZone', 'UTC')
) AS settings (name, value)
"""

_NAMESAKE: Final = """
SELECT FROM pg_catalog.pg_roles AS r WHERE r.rolname = %(name)s AND coalesce((
    SELECT option LIKE '%%"$user"%%' FROM pg_catalog.pg_db_role_setting AS s, unnest(s.setconfig) AS option
    WHERE s.setdatabase IN (0, (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database()))
        AND s.setrole IN (0, r.oid) AND option LIKE 'search_path=%%'
    ORDER BY s.setrole = 0, s.setdatabase = 0 LIMIT 1
), true)
"""

Say = Callable[[str], object]


class Step(NamedTuple):
    """What is done to one table, in one transaction.

    Attributes:
        table: as people read it.
        actions: what is done, a line for each trigger.
        statements: that do it.
    """

    table: str
    actions: tuple[str, ...]
    statements: tuple[sql.Composed, ...]


async def connect(address: Address) -> Connection:
    """A connection for everything in this room: in autocommit mode, with no search path but Postgres' own.

    Raises:
        ConfigurationError, BrokerUnavailable: there is no answer, or not to us.
    """
    try:
        connection = await psycopg.AsyncConnection.connect(
            autocommit=True, prepare_threshold=None, **{**address.parameters, "options": ""}
        )
        try:
            await connection.execute(_SESSION)
        except BaseException:
            await connection.close()
            raise
    except psycopg.Error as error:
        raise explain(error, address, opening=True) from error
    return connection


@asynccontextmanager
async def connected(address: Address) -> AsyncIterator[Connection]:
    """A connection for as long as the block lasts; and what Postgres says within it, in our words.

    Raises:
        ConfigurationError, BrokerUnavailable: there is no answer, or not to us, or one that nobody expected.
    """
    connection = await connect(address)
    try:
        yield connection
    except psycopg.Error as error:
        raise explain(error, address, opening=True) from error
    finally:
        await connection.close()


async def install(
    connection: Connection, rules: Iterable[Rule], *, home: str = HOME, say: Say = print, patience: float = PATIENCE
) -> int:
    """Make the schema and the triggers that are missing or differ, and take away those of rules that are gone; returns
    how many triggers were made or taken away.

    Args:
        connection: from `connect`.
        rules: all that there should be.
        home: the schema that is Headwater's own.
        say: gets a line for each thing that is done.
        patience: seconds to wait for the lock of one table, in several attempts.

    Raises:
        InvalidInput: a rule does not fit its table. Nothing was done.
        ConfigurationError: the role may not do it, the server is too old, or a role is named like the schema.
        BrokerUnavailable: a table is locked for too long. What was said to be done is done.
    """
    rules = check_rules(rules)
    await wanted(connection, rules, home)  # a rule that does not fit is to be found before anything is done
    await check_namesake(connection, home)
    with _explained():
        for name in await migrate(connection, home):
            say(f"schema {home}: {name}")
    return await _apply(connection, await plan(connection, rules, home), home, say, patience)


async def uninstall(
    connection: Connection, *, home: str = HOME, keep_log: bool = False, say: Say = print, patience: float = PATIENCE
) -> int:
    """Take away all triggers, and then the schema with the log in it, unless that is to be kept.

    Raises:
        ConfigurationError: the role may not do it; or something that is not ours is in the schema, or uses what is. Then
            the schema is as it was.
        BrokerUnavailable: a table is locked for too long.
    """
    done = await _apply(connection, await plan(connection, (), home), home, say, patience)
    if not keep_log and await is_ours(connection, home):
        await _patiently(connection, Step(f"schema {home}", (), tuple(_demolition(home))), home, say, patience)
        say(f"schema {home}: dropped")
    return done


def _demolition(home: str) -> Iterator[sql.Composed]:
    """The statements that take away what is ours, by name, and then the schema, if it is empty."""
    for kind, names in made().items():
        things = sql.SQL(", ").join(sql.Identifier(home, name) for name in names)
        yield sql.SQL(f"DROP {kind} IF EXISTS {{}}").format(things)
    yield sql.SQL("DROP SCHEMA {}").format(sql.Identifier(home))


async def check_namesake(connection: Connection, home: str) -> None:
    """Whether nobody is named like the schema. A name without a schema would mean something in ours to that role, whose
    search path begins with it.

    Raises:
        ConfigurationError: there is such a role.
    """
    if await (await connection.execute(_NAMESAKE, {"name": home})).fetchone() is not None:
        raise ConfigurationError(
            f"a role is named {home!r}, as the schema is: its tables would be made there, and ours stand before its own",
            fix='set its path without "$user", ALTER ROLE ... SET search_path = public, or use another schema, ?schema=',
        )


async def is_ours(connection: Connection, home: str) -> bool:
    """Whether the schema is there and Headwater has made it."""
    name = sql.Identifier(check_schema(home), "migration").as_string()
    return await (await connection.execute("SELECT to_regclass(%s) IS NOT NULL", (name,))).fetchone() == (True,)


async def wanted(connection: Connection, rules: Iterable[Rule], home: str) -> dict[str, Trigger]:
    """The triggers that the rules need, by name.

    Raises:
        InvalidInput: a rule does not fit its table, or a value of its filter is none.
    """
    tables: dict[tuple[str, str], Table] = {}
    found: dict[str, Trigger] = {}
    for rule in rules:
        place = (rule.schema, rule.table)
        if place not in tables:
            tables[place] = await read_table(connection, *place)
        try:
            made = list(triggers(rule, tables[place], home=home, version=connection.info.server_version))
        except InvalidInput as error:
            raise InvalidInput(f"rule {rule.name}: {error.what}", expected=error.expected, fix=error.fix) from None
        await check_values(connection, rule, tables[place])
        found |= {trigger.name: trigger for trigger in made}
    return found


async def plan(connection: Connection, rules: Sequence[Rule], home: str) -> list[Step]:
    """What has to be done to have exactly the triggers of these rules."""
    should = await wanted(connection, rules, home)
    present = await read_installed(connection, home)
    return [*_removals(home, should, present), *_additions(should, present)]


def _removals(home: str, should: Mapping[str, Trigger], present: Mapping[str, Installed]) -> Iterator[Step]:
    gone = [each for each in present.values() if each.name not in should or _is_elsewhere(each, should[each.name])]
    for place in dict.fromkeys(_place(each) for each in gone):
        here = [each for each in gone if _place(each) == place]
        yield Step(
            ".".join(place),
            tuple(f"drops {each.name}" if each.place else f"drops what is left of {each.name}" for each in here),
            tuple(statement for each in here for statement in drop(home, each.name, each.place)),
        )


def _place(each: Installed) -> tuple[str, str]:
    """The table that a trigger is on, or was when it was made."""
    return each.place or (each.schema, each.table)


def _is_elsewhere(each: Installed, trigger: Trigger) -> bool:
    """Whether a trigger is on another table than the one that should have it: both would call the same function."""
    return each.place is not None and each.place != (trigger.table.schema, trigger.table.name)


def _additions(should: Mapping[str, Trigger], present: Mapping[str, Installed]) -> Iterator[Step]:
    lacking = [
        trigger
        for trigger in should.values()
        if trigger.name not in present or not present[trigger.name].is_made_for(trigger)
    ]
    for table in dict.fromkeys(str(trigger.table) for trigger in lacking):
        here = [trigger for trigger in lacking if str(trigger.table) == table]
        yield Step(
            table,
            tuple(f"{'makes' if each.name not in present else 'mends'} {each.name}" for each in here),
            tuple(statement for each in here for statement in each.statements),
        )


async def _apply(connection: Connection, steps: Sequence[Step], home: str, say: Say, patience: float) -> int:
    for number, step in enumerate(steps, 1):
        await _patiently(connection, step, home, say, patience)
        for action in step.actions:
            say(f"{step.table}: {action} ({number}/{len(steps)})")
    return sum(len(step.actions) for step in steps)


async def _patiently(connection: Connection, step: Step, home: str, say: Say, patience: float) -> None:
    """One step, tried again while the table is locked."""
    deadline = time.monotonic() + patience
    while True:
        try:
            with _explained():
                return await _transact(connection, step, home)
        except psycopg.errors.LockNotAvailable:
            if time.monotonic() >= deadline:
                raise BrokerUnavailable(
                    f"{step.table} is in use by a transaction that does not end",
                    fix="look for it in pg_stat_activity, and install again",
                ) from None
        say(f"{step.table}: is in use, waiting")
        await asyncio.sleep(min(LOCK_TIMEOUT / 2, patience / 10))  # for those who were held up behind us


async def _transact(connection: Connection, step: Step, home: str) -> None:
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock(%s)", (lock_key(home, "install"),))
        await connection.execute("SELECT set_config('lock_timeout', %s, true)", (f"{LOCK_TIMEOUT}s",))
        for statement in step.statements:
            await connection.execute(statement)


@contextmanager
def _explained() -> Iterator[None]:
    """Turns what a role may not do into a sentence."""
    try:
        yield
    except (psycopg.errors.DependentObjectsStillExist, psycopg.errors.AmbiguousFunction) as error:
        raise ConfigurationError(
            f"something is not ours: {error.diag.message_primary}; {error.diag.message_detail or ''}",
            fix="move it to another schema, or drop it; then uninstall again",
        ) from error
    except psycopg.errors.InsufficientPrivilege as error:
        raise ConfigurationError(
            f"this role may not do it: {error.diag.message_primary}",
            expected="TRIGGER on each table, and CREATE on the database; to drop a trigger, to own its table",
            fix="see docs/howto/row-changes.md for the grants",
        ) from error


async def as_script(connection: Connection, rules: Iterable[Rule], *, home: str = HOME, begin: bool = True) -> str:
    """The SQL that `install` would run now, for a migration.

    Args:
        begin: with transactions; without, it has to be run in one, and leaves the settings of that one alone.
    """
    await check_namesake(connection, home)
    parts = [] if await is_ours(connection, home) else [_in_transaction(script(home), begin)]
    for step in await plan(connection, check_rules(rules), home):
        comment = "".join(f"-- {step.table}: {action}\n" for action in step.actions)
        text = "".join(f"{statement.as_string(connection).strip()};\n" for statement in step.statements)
        parts.append(comment + _in_transaction(_KEEP + text + _GIVE_BACK, begin))
    return "\n".join(parts) or "-- everything is there already\n"


_KEEP: Final = (
    "SELECT pg_catalog.set_config('headwater.search_path', pg_catalog.current_setting('search_path'), true);\n"
)
_GIVE_BACK: Final = (
    "SELECT pg_catalog.set_config('search_path', pg_catalog.current_setting('headwater.search_path'), true);\n"
)


def _in_transaction(text: str, begin: bool) -> str:
    return f"BEGIN;\nSET LOCAL lock_timeout = '{LOCK_TIMEOUT:g}s';\n{text.strip()}\nCOMMIT;\n" if begin else text
