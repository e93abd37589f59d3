"""Processes of a run: started in groups of their own, output kept in files, ended whatever happens.

Knows how nodes and workers are started and how they say that they are ready; must not know what they are started for.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import msgspec

ROOT: Final = Path(__file__).parents[1]
START_WITHIN: Final = 60.0
STOP_WITHIN: Final = 30.0
_COMPLAINTS: Final = ("Traceback", '"level":"error"', "was never awaited", "was never retrieved")
_FAILED_START: Final = '"message":"startup failed'
_ENDED_START: Final = "Application startup failed"
_LISTENS = re.compile(r"Headwater \S+ on http://127\.0\.0\.1:(\d+)")


class Failed(Exception):
    """A process did not do what the run needs of it."""


def environment(extra: Mapping[str, str]) -> dict[str, str]:
    """This process's variables without any settings of Headwater's, and some more."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("HEADWATER_")}
    return {**ours, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}", "PYTHONUNBUFFERED": "1", **extra}


class Node:
    """`headwater serve`, which can be stopped, killed, frozen and started again.

    Args:
        number: which node.
        broker: URL of the log.
        settings: environment variables.
        log: file for its output, of all its lives.

    Attributes:
        port: where it listens; None while it does not run.
    """

    def __init__(self, number: int, broker: str, settings: Mapping[str, str], log: Path) -> None:
        self.number = number
        self.port: int | None = None
        self.log = log
        self._environment = environment({**settings, "HEADWATER_BROKER": broker})
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def has_crashed(self) -> bool:
        """It has ended, and nobody asked it to."""
        return self._process is not None and self._process.poll() is not None

    @property
    def resident(self) -> int:
        """Bytes of memory that it has; 0 while it does not run."""
        if self._process is None or self._process.poll() is not None:
            return 0
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return 1024 * int(status.partition("VmRSS:")[2].split()[0])

    async def start(self) -> None:
        """Start it, and return when it listens.

        Raises:
            Failed: it ended, or did not listen in time; with the end of its output.
        """
        self._launch()
        try:
            async with asyncio.timeout(START_WITHIN):
                while (port := await asyncio.to_thread(self._listening)) is None:
                    if self.has_crashed:
                        raise Failed(f"node {self.number} ended instead of starting:\n{tail(self.log)}")
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise Failed(f"node {self.number} did not listen within {START_WITHIN:g} s:\n{tail(self.log)}") from None
        self.port = port

    async def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it: a signal to it, then the end of everything it started.

        Raises:
            Failed: it did not end in time; it is killed all the same.
        """
        process, self._process, self.port = self._process, None, None
        if process is None:
            return
        process.send_signal(how)
        try:
            await asyncio.to_thread(process.wait, STOP_WITHIN)
        except subprocess.TimeoutExpired:
            raise Failed(f"node {self.number} did not end within {STOP_WITHIN:g} s of {how.name}") from None
        finally:
            end_group(process.pid)
            await asyncio.to_thread(process.wait)

    def freeze(self) -> None:
        """Stop the process without ending it."""
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """End `freeze`."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    def _launch(self) -> None:
        program = Path(sys.executable).parent / "headwater"
        with self.log.open("ab") as log:
            self._seen = log.tell()
            self._process = subprocess.Popen(
                [program, "serve", "--port", "0"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
                cwd=self.log.parent,  # where there is no headwater.toml
                start_new_session=True,
            )

    def _listening(self) -> int | None:
        with self.log.open("rb") as log:
            log.seek(self._seen)
            match = _LISTENS.search(log.read().decode(errors="replace"))
        return int(match[1]) if match else None


class Worker:
    """A Python process of ours that takes orders on its input and reports on its output, both as lines of JSON.

    Args:
        module: to run.
        start: the first line.
        report: type of the reports.
        log: file for what it complains about.

    Attributes:
        reported: the latest report; None before the first.
        is_over: its output has ended.
    """

    def __init__(self, module: str, start: msgspec.Struct, report: type[Any], log: Path) -> None:
        self.reported: Any = None
        self.is_over = False
        self.log = log
        self._module = module
        self._start = start
        self._decoder = msgspec.json.Decoder(report)
        self._news = asyncio.Event()  # set, and replaced, with each report and at the end
        self._process: Process | None = None

    async def start(self) -> None:
        """Start it, and return with its first report."""
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", self._module),
                stdin=PIPE,
                stdout=PIPE,
                stderr=log,
                env=environment({}),
                cwd=ROOT,
                start_new_session=True,
            )
        assert self._process.stdout is not None
        self._reading = asyncio.create_task(self._read(self._process.stdout))
        self.order(self._start)
        await self.until(lambda report: True, START_WITHIN)

    def order(self, order: msgspec.Struct) -> None:
        """Send a line; one that no longer listens is not told."""
        stdin = self._process.stdin if self._process is not None else None
        if stdin is not None and not stdin.is_closing():
            stdin.write(msgspec.json.encode(order) + b"\n")

    async def until(self, condition: Callable[[Any], bool], within: float) -> bool:
        """Wait for a report that fulfils a condition; whether one came within so many seconds.

        Raises:
            Failed: the process ended without one; with the end of what it complained about.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                while self.reported is None or not condition(self.reported):
                    if self.is_over:
                        raise Failed(f"{self._module} ended:\n{tail(self.log)}")
                    await self._news.wait()
                return True
        return False

    async def stop(self) -> None:
        """Let it end by itself: its input is closed.

        Raises:
            Failed: it did not; it is killed all the same.
        """
        assert self._process is not None, "it was never started"
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            async with asyncio.timeout(STOP_WITHIN):
                code = await self._process.wait()
        except TimeoutError:
            raise Failed(f"{self._module} did not end within {STOP_WITHIN:g} s") from None
        finally:
            await self.kill()
        if code:
            raise Failed(f"{self._module} ended with status {code}:\n{tail(self.log)}")

    async def kill(self) -> None:
        """End it now. Idempotent; also if it was never started."""
        if self._process is not None:
            end_group(self._process.pid)
            await self._process.wait()
            await self._reading

    async def _read(self, output: asyncio.StreamReader) -> None:
        async for line in output:
            self.reported = self._decoder.decode(line)
            self._announce()
        self.is_over = True
        self._announce()

    def _announce(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()


def end_group(group: int) -> None:
    """Kill every process of a group; it may have ended before."""
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def tail(path: Path, lines: int = 15) -> str:
    """The end of a file of output."""
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])


def complaints(logs: Sequence[Path]) -> list[str]:
    """What processes printed that they should not have: tracebacks and errors, each with what follows its first line. That a
    node did not start while its store was away is none; whoever runs it starts it again."""
    found = []
    for path in logs:
        lines = path.read_text(errors="replace").splitlines()
        is_starting = False
        for number, line in enumerate(lines):
            is_starting = is_starting or _FAILED_START in line
            if not is_starting and any(word in line for word in _COMPLAINTS):
                found.append(f"{path.name}: " + " / ".join(each[:1500] for each in lines[number : number + 3]))
            is_starting = is_starting and _ENDED_START not in line
    return found
