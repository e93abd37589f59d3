"""`headwater pg`: installs the triggers of row changes, looks after them and takes them away.

Knows flags and settings, and how to print; what is done is in `headwater.changes`, which is imported when it is needed,
because it needs the database's driver.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from headwater.changes.declared import rules_from
from headwater.changes.rules import Rule
from headwater.cli.settings import Settings, load
from headwater.cli.terminal import visible
from headwater.errors import ConfigurationError

if TYPE_CHECKING:
    from headwater.changes.table import Connection

Command = Callable[..., Any]
Work = Callable[["Connection", tuple[Rule, ...], str], Awaitable["_T"]]
_T = TypeVar("_T")


@click.group()
def pg() -> None:
    """Row changes of a PostgreSQL database as events."""


def _options(command: Command) -> Command:
    """The flags that every one of them has."""
    options = [
        click.option("--database", help="postgresql:// URL. [HEADWATER_DATABASE, or the log if that is one]"),
        click.option("--changes", help="Rules: a .toml file, or module:name. [HEADWATER_CHANGES]"),
        click.option(
            "--config", type=click.Path(dir_okay=False, path_type=Path), help="Settings file. [headwater.toml]"
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@pg.command()
@_options
@click.option("--wait", default=60.0, show_default=True, type=click.FloatRange(0), help="Seconds for a table's lock.")
def install(wait: float, **flags: Any) -> None:
    """Make the schema and the triggers that are missing or differ; take away those of rules that are gone."""

    async def work(connection: Connection, rules: tuple[Rule, ...], home: str) -> int:
        from headwater.changes.install import install

        return await install(connection, rules, home=home, say=_say, patience=wait)

    done = _run(work, flags)
    _say(f"triggers made or taken away: {done}" if done else "everything was there already")


@pg.command()
@_options
@click.option("--keep-log", is_flag=True, help="Take away the triggers only; the log and the outbox stay.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--wait", default=60.0, show_default=True, type=click.FloatRange(0), help="Seconds for a table's lock.")
def uninstall(keep_log: bool, yes: bool, wait: float, **flags: Any) -> None:
    """Take away all triggers, and the schema with the log and everything in it."""
    if not yes:
        what = "all triggers" if keep_log else "all triggers, and the log with every event in it"
        click.confirm(f"Take away {what}?", abort=True, err=True)

    async def work(connection: Connection, rules: tuple[Rule, ...], home: str) -> int:
        from headwater.changes.install import uninstall

        return await uninstall(connection, home=home, keep_log=keep_log, say=_say, patience=wait)

    _say(f"triggers taken away: {_run(work, flags)}")


@pg.command()
@_options
def status(**flags: Any) -> None:
    """Say what is installed, who leads and what waits."""

    async def work(connection: Connection, rules: tuple[Rule, ...], home: str) -> list[str]:
        from headwater.changes.status import describe

        return await describe(connection, rules, home)

    for line in _run(work, flags):
        _say(line)


@pg.command()
@_options
def doctor(**flags: Any) -> None:
    """Find what keeps row changes from becoming events; end with status 1 if anything must be mended."""

    async def work(connection: Connection, rules: tuple[Rule, ...], home: str) -> Any:
        from headwater.changes.doctor import examine

        return await examine(connection, rules, home)

    findings = _run(work, flags)
    for finding in findings:
        _say(f"{finding.grade:5} {finding.text}")
    bad = sum(finding.grade == "bad" for finding in findings)
    _say(f"{bad} to mend" if bad else "nothing to mend")
    sys.exit(1 if bad else 0)


@pg.command()
@_options
@click.option("--no-begin", is_flag=True, help="Without transactions, for a tool that runs it in one.")
def sql(no_begin: bool, **flags: Any) -> None:
    """Print the SQL that `install` would run now, for a migration."""

    async def work(connection: Connection, rules: tuple[Rule, ...], home: str) -> str:
        from headwater.changes.install import as_script

        return await as_script(connection, rules, home=home, begin=not no_begin)

    click.echo(_run(work, flags), nl=False)


def _run(work: Work[_T], flags: dict[str, Any]) -> _T:
    """Connect as the settings and the flags say, and do it."""
    settings = load({}, os.environ, flags["config"])
    sys.path.insert(0, os.getcwd())  # where the rules may be
    changes = flags["changes"] or settings.changes
    return asyncio.run(_connected(work, flags["database"] or _database(settings), rules_from(changes, "[[changes]]")))


async def _connected(work: Work[_T], url: str, rules: tuple[Rule, ...]) -> _T:
    try:
        from headwater.brokers.postgres.address import parse
        from headwater.changes.install import connected
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"this needs {error.name}, which is not installed", fix="install it with: pip install 'headwater[postgres]'"
        ) from error
    address = parse(url)
    async with connected(address) as connection:
        return await work(connection, rules, address.options.schema)


def _database(settings: Settings) -> str:
    if settings.database is not None:
        return settings.database
    if settings.broker.startswith(("postgresql:", "postgres:")):
        return settings.broker
    raise ConfigurationError("no database is named", expected="--database or HEADWATER_DATABASE, a postgresql:// URL")


def _say(text: str) -> None:
    click.echo(visible(text))
