"""A Redis of the suite's own: started on one core, asked what it did, stopped.

Knows redis-server and INFO. Knows nothing of logs or nodes.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis

from bench.build import BUILD
from bench.process import Server, ServerFailed, free_port

INSTALL = "redis-server is not installed; install it with: apt-get install redis-server"


class Redis:
    """A running Redis: `url` for others, and what it has done so far."""

    def __init__(self, server: Server) -> None:
        self.url = f"redis://127.0.0.1:{server.port}"
        self._server = server
        self._client = redis.Redis(port=server.port)

    def cpu_ns(self) -> int:
        """CPU time of all its threads, in nanoseconds."""
        return self._server.cpu_ns()

    def traffic(self) -> tuple[int, int]:
        """Bytes sent to and received from all clients so far."""
        stats = self._info("stats")
        return int(stats["total_net_output_bytes"]), int(stats["total_net_input_bytes"])

    def connections(self) -> int:
        """How many clients are connected, the one that asks among them."""
        return int(self._info("clients")["connected_clients"])

    def script_us(self) -> float:
        """Microseconds spent in scripts so far, as Redis itself counts them."""
        stats = self._info("commandstats")
        return sum(float(stats.get(f"cmdstat_{name}", {}).get("usec", 0)) for name in ("eval", "evalsha", "fcall"))

    @contextmanager
    def writing_to_disk(self) -> Iterator[None]:
        """Have every change written to the append-only file, synced once a second."""
        self._client.config_set("appendonly", "yes")
        while any(self._info("persistence")[f"aof_rewrite_{state}"] for state in ("in_progress", "scheduled")):
            time.sleep(0.05)  # it writes what it has in another process first
        try:
            yield
        finally:
            self._client.config_set("appendonly", "no")

    def _info(self, section: str) -> dict[str, Any]:
        found: dict[str, Any] = self._client.info(section)
        return found

    def close(self) -> None:
        """Let go of the connection."""
        self._client.close()


@contextmanager
def running_redis(core: int) -> Iterator[Redis]:
    """A fresh Redis with nothing in it, which writes nothing to disk.

    Raises:
        ServerFailed: it is not installed, or did not start.
    """
    program = shutil.which("redis-server")
    if program is None:
        raise ServerFailed(INSTALL)
    BUILD.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=BUILD, prefix="redis-") as name:
        directory, port = Path(name), free_port()
        options = ["--port", str(port), "--bind", "127.0.0.1", "--dir", name, "--save", "", "--appendonly", "no"]
        with Server([program, *options], port, directory / "server.log", {}, core) as server:
            running = Redis(server)
            try:
                yield running
            finally:
                running.close()
