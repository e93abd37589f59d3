"""A server under test: started on its own core, asked by the kernel what it used, stopped.

Knows processes and /proc; Linux only. Knows nothing of HTTP.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType

START_SECONDS = 30.0
STOP_SECONDS = 5.0
SERVER_CORE = 0
GENERATOR_CORE = 1
_TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")


class ServerFailed(Exception):
    """A server did not start, or ended by itself."""


def pinned(core: int, command: Sequence[str]) -> list[str]:
    """The command on one core. On a machine with a single core both processes share it, and the report says so."""
    return ["taskset", "--cpu-list", str(core), *command] if (os.cpu_count() or 1) > 1 else [*command]


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """A running server and everything it started, as a context manager.

    Args:
        command: what to run, listening on `port`.
        log: where its output goes.
        core: that it is pinned to.

    Raises:
        ServerFailed: on entering, if it does not accept connections within 30 seconds.
    """

    def __init__(
        self, command: Sequence[str], port: int, log: Path, environment: Mapping[str, str], core: int = SERVER_CORE
    ) -> None:
        self.port = port
        self._command = pinned(core, command)
        self._log = log
        self._environment = {**os.environ, **environment}

    def __enter__(self) -> Server:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=self._environment
            )
        try:
            self._wait_until_listening()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            for pid in reversed([*self._tree()]):
                os.kill(pid, 9)
            self._process.wait()

    def _wait_until_listening(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise ServerFailed(f"ended with status {self._process.returncode}: {self._last_words()}")
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise ServerFailed(f"did not listen within {START_SECONDS:.0f} s: {self._last_words()}")

    def _last_words(self) -> str:
        return " / ".join(self._log.read_text(errors="replace").strip().splitlines()[-3:]) or "it said nothing"

    def _tree(self) -> Iterator[int]:
        pending = [self._process.pid]
        while pending:
            pid = pending.pop()
            yield pid
            for task in Path(f"/proc/{pid}/task").iterdir():
                pending.extend(int(child) for child in (task / "children").read_text().split())

    def cpu_ns(self) -> int:
        """CPU time used so far by all its processes and threads, in nanoseconds, kernel time included."""
        return sum(cpu_ns(pid) for pid in self._tree())

    def rss_bytes(self) -> int:
        """Resident memory of all its processes now. Pages that they share count once for each, before and after alike."""
        return sum(_rss_bytes(pid) for pid in self._tree())


def cpu_ns(pid: int) -> int:
    """CPU time used so far by the threads of one process, in nanoseconds, kernel time included."""
    try:  # exact, where the kernel keeps it; utime and stime count ticks of 10 ms
        return sum(int(task.read_text().split()[0]) for task in Path(f"/proc/{pid}/task").glob("*/schedstat"))
    except OSError:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) * _TICK_NS


def _rss_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Rss:"):
            return int(line.split()[1]) * 1024
    return 0
