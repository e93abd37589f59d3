"""An application under load: connections of pgbench that repeat one transaction, for as long as they are let.

Each changes a row of a table of its own. To hold it up, that table is locked: transactions end, and the next ones wait at
their first statement. So several applications take turns of a fraction of a second, all on connections that are long open,
and nothing of what one does falls into the time of another.
"""

from __future__ import annotations

import time
from typing import NamedTuple, Self

import psycopg

from bench.postgres.server import CLIENTS, Commits, Postgres
from bench.process import ServerFailed, cpu_ns

LEAD = 0.06
"""Seconds of each turn that do not count: until the hub relays what is published as fast as it comes."""

_PATIENCE = 30.0  # seconds until everything runs
_WARM = 50  # transactions of each connection before the first turn
_CONNECTED = "SELECT pid FROM pg_stat_activity WHERE application_name = %s"


class _Mark(NamedTuple):
    """What has happened so far: when, how many transactions, and how much CPU they took."""

    time: float
    commits: int
    cpu_ns: int


class Application:
    """A context manager; while it is open, the transaction is made in turns only.

    Args:
        table: that each transaction changes one row of, by adding 1 to `n`.
        script: of pgbench: the transaction.

    Raises:
        ServerFailed: on entering and in a turn, if a transaction fails.
    """

    def __init__(self, postgres: Postgres, table: str, script: str) -> None:
        self._postgres = postgres
        self._table = table
        self._script = script
        self._pids: list[int] = []

    def __enter__(self) -> Self:
        self._gate: psycopg.Connection[tuple[object, ...]] = psycopg.connect(self._postgres.url)
        self._process = self._postgres.pgbench(self._table, self._script)
        try:
            deadline = time.monotonic() + _PATIENCE
            while self._mark().commits < _WARM * CLIENTS:
                self._check()
                if time.monotonic() > deadline:
                    raise ServerFailed(f"pgbench has not made {_WARM * CLIENTS} transactions after {_PATIENCE:.0f} s")
                time.sleep(0.01)
        except BaseException:
            self.__exit__()
            raise
        self._pids = [int(str(pid)) for (pid,) in self._postgres.run(_CONNECTED, self._table)]
        self._close_gate()
        return self

    def __exit__(self, *_: object) -> None:
        with self._process:  # which waits for its end
            self._process.kill()
        while self._postgres.run(f"SELECT pg_terminate_backend(pid) FROM ({_CONNECTED}) AS connected", self._table):
            time.sleep(0.005)  # those who wait must not go on when the lock is gone
        self._gate.close()

    def turn(self, seconds: float) -> Commits:
        """Make transactions for so long."""
        self._gate.rollback()
        time.sleep(LEAD)
        began = self._mark()
        time.sleep(seconds)
        ended = self._mark()
        self._check()
        self._close_gate()
        commits = max(1, ended.commits - began.commits)
        return Commits(commits / (ended.time - began.time), (ended.cpu_ns - began.cpu_ns) / commits / 1e3)

    def _close_gate(self) -> None:
        """Returns when the transactions under way have ended. Those who wait hold no lock and have changed nothing."""
        self._gate.execute(f"LOCK TABLE {self._table} IN SHARE MODE".encode())

    def _mark(self) -> _Mark:
        commits = self._postgres.number(f"SELECT sum(n) FROM {self._table}")
        return _Mark(time.monotonic(), commits, sum(map(cpu_ns, self._pids)))

    def _check(self) -> None:
        if self._process.poll() is not None:
            assert self._process.stderr is not None
            errors = self._process.stderr.read()
            raise ServerFailed(f"pgbench failed: {' / '.join(errors.strip().splitlines()[-2:]) or 'it said nothing'}")
