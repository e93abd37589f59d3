"""Real servers in processes of their own, for tests that cross a socket.

Knows how each server is started, how it says that it is ready, and how to end it with everything it started. The port is
always the system's choice: read from what the server prints, or, for a server that does not print it, held by a socket
of ours that shares the port and does not listen.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import sys
from asyncio.subprocess import STDOUT, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Literal

from tests.support.source import ROOT
from tests.support.waiting import PATIENCE, until

Kind = Literal["headwater", "uvicorn", "hypercorn", "granian"]

_COMMANDS: dict[Kind, str] = {
    "headwater": "headwater run {app} --port 0",
    "uvicorn": "uvicorn {app} --port 0",
    "hypercorn": "hypercorn {app} --bind 127.0.0.1:0",
    "granian": "granian {app} --interface asgi --port {port}",
}
_READY: dict[Kind, str] = {"granian": r"Started worker"}
_ADDRESS = r"https?://(?:127\.0\.0\.1|localhost):([1-9]\d*)"


class Server:
    """A running server.

    Attributes:
        process: the one we started; it leads a process group of its own.
        port: where it listens, on 127.0.0.1.
        lines: all it has printed so far, stdout and stderr together, without line ends.
    """

    def __init__(self, process: Process, port: int, output: asyncio.StreamReader) -> None:
        self.process = process
        self.port = port
        self.lines: list[str] = []
        self._news = asyncio.Event()  # set, and replaced, with each line and at the end
        self._ended = False  # the output is complete
        self._reader = asyncio.create_task(self._read(output))

    @property
    def url(self) -> str:
        """The base URL, without a slash at its end."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def output(self) -> str:
        """All it has printed so far, as one text."""
        return "\n".join(self.lines)

    async def printed(self, pattern: str, *, patience: float = PATIENCE) -> re.Match[str]:
        """The first match of `pattern` in a line of the output, waiting for it if need be.

        Raises:
            AssertionError: it did not come within `patience` seconds, or before the process ended.
        """
        try:
            async with asyncio.timeout(patience):
                return await self._match(re.compile(pattern))
        except TimeoutError:
            raise AssertionError(f"waited {patience:g} s for {pattern!r} in:\n{self.output}") from None

    async def stop(self, how: signal.Signals = signal.SIGTERM, *, patience: float = PATIENCE) -> int:
        """Signal the process (not its group), wait for its end, and return its exit code.

        Raises:
            AssertionError: it did not end in time.
        """
        self.process.send_signal(how)
        return await self.exited(patience=patience)

    async def exited(self, *, patience: float = PATIENCE) -> int:
        """Wait until the process has ended by itself; its exit code.

        Raises:
            AssertionError: it did not end in time.
        """
        try:
            async with asyncio.timeout(patience):
                code = await self.process.wait()
        except TimeoutError:
            raise AssertionError(f"still running after {patience:g} s:\n{self.output}") from None
        return code

    async def kill(self) -> None:
        """End the process and everything in its group, at once. Idempotent."""
        with suppress(ProcessLookupError):  # the group may have ended before
            os.killpg(self.process.pid, signal.SIGKILL)
        await self.process.wait()
        await self._reader

    async def _read(self, output: asyncio.StreamReader) -> None:
        async for line in output:
            self.lines.append(line.decode(errors="replace").rstrip("\r\n"))
            self._announce()
        self._ended = True
        self._announce()

    def _announce(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()

    async def _match(self, pattern: re.Pattern[str]) -> re.Match[str]:
        seen = 0
        while True:
            for line in self.lines[seen:]:
                if match := pattern.search(line):
                    return match
            if self._ended:
                raise AssertionError(f"the server ended without printing {pattern.pattern!r}:\n{self.output}")
            seen = len(self.lines)
            await self._news.wait()


@asynccontextmanager
async def running(
    target: str | Sequence[str],
    *,
    server: Kind = "headwater",
    program: str = "headwater",
    args: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    cwd: Path = ROOT,
) -> AsyncIterator[Server]:
    """Run a server until the block ends; then its whole process group is killed.

    Args:
        target: an ASGI application as `module:name`, or the arguments of `program`, which must make it listen on
            127.0.0.1 and print its address (`--port 0` lets the system choose).
        server: what runs the application.
        program: what takes the arguments; one of our environment.
        args: more arguments, after those.
        env: variables added to ours, less all `HEADWATER_*`.
        cwd: the working folder; modules are found there and in the repository.

    Raises:
        AssertionError: it ended, or was not ready in time; with all it printed.
    """
    with _held_port() as holder:
        port = int(holder.getsockname()[1]) if server in _READY else 0
        words = _command(server, target, port) if isinstance(target, str) else [program, *target]
        running_server = await _start([*words, *args], port, _environment(cwd, env or {}), cwd)
        try:
            await _wait_ready(running_server, server)
            yield running_server
        finally:
            await running_server.kill()


def _command(server: Kind, app: str, port: int) -> list[str]:
    return _COMMANDS[server].format(app=app, port=port).split()


async def _start(words: Sequence[str], port: int, env: Mapping[str, str], cwd: Path) -> Server:
    """Start a command of our environment. Its output has a pipe of our own making: asyncio's would make the wait for the
    process last until its children have closed their copies, too."""
    read_end, write_end = os.pipe()
    output = asyncio.StreamReader(limit=1 << 20)  # the longest line
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(output), os.fdopen(read_end, "rb", 0))
    try:
        process = await asyncio.create_subprocess_exec(
            Path(sys.executable).parent / words[0],
            *words[1:],
            stdout=write_end,
            stderr=STDOUT,
            env=env,
            cwd=cwd,
            start_new_session=True,
        )
    finally:
        os.close(write_end)
    return Server(process, port, output)


def _held_port() -> socket.socket:
    """A socket that keeps a port for a server that shares it (SO_REUSEPORT). It takes no connections, as it does not
    listen."""
    holder = socket.socket()
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    holder.bind(("127.0.0.1", 0))
    return holder


def _environment(cwd: Path, extra: Mapping[str, str]) -> dict[str, str]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith("HEADWATER_")}
    return {**ours, "PYTHONPATH": f"{cwd}{os.pathsep}{ROOT}", "PYTHONUNBUFFERED": "1", **extra}


async def _wait_ready(server: Server, kind: Kind) -> None:
    if kind in _READY:
        await server.printed(_READY[kind])
    else:
        server.port = int((await server.printed(_ADDRESS))[1])
    await until(lambda: _accepts(server.port), f"port {server.port} to take connections")


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
