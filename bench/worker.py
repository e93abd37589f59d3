"""Python processes of the suite's own: publishers, subscribers, nodes without streams. Asked one thing at a time.

Both ends of the line protocol are here: `Worker` is the suite's, `obey` the process's. A command and its answer are one
line of JSON each. Knows processes; knows nothing of what is measured.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any

from bench.process import GENERATOR_CORE, cpu_ns, pinned

Answer = Mapping[str, Any]
Command = Callable[..., Awaitable[Answer]]


class WorkerFailed(Exception):
    """A worker could not do what it was asked to, or ended."""


class Worker:
    """A running worker, as a context manager.

    Args:
        module: what to run; it calls `obey`.
        arguments: for it.
        core: that it is pinned to.
    """

    def __init__(self, module: str, *arguments: str, core: int = GENERATOR_CORE) -> None:
        self._module = module
        self._command = pinned(core, [sys.executable, "-m", module, *arguments])

    def __enter__(self) -> Worker:
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def cpu_ns(self) -> int:
        """CPU time used so far, in nanoseconds."""
        return cpu_ns(self._process.pid)

    def ask(self, command: str, **values: Any) -> Answer:
        """Have it done and wait for the answer.

        Raises:
            WorkerFailed: it was not done.
        """
        self.tell(command, **values)
        return self.answer()

    def tell(self, command: str, **values: Any) -> None:
        """Have it done; to be followed by `answer`."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"command": command, **values}) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._ended() from None

    def answer(self) -> Answer:
        """What came of the last command.

        Raises:
            WorkerFailed: it was not done.
        """
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise self._ended()
        answer: Answer = json.loads(line)
        if "error" in answer:
            raise WorkerFailed(f"{self._module}: {answer['error']}")
        return answer

    def _ended(self) -> WorkerFailed:
        _output, errors = self._process.communicate()
        return WorkerFailed(
            f"{self._module} ended: {' / '.join(errors.strip().splitlines()[-2:]) or 'it said nothing'}"
        )


async def obey(commands: Mapping[str, Command]) -> None:
    """Do what standard input says until it ends. What a command raises is its answer."""
    while line := await asyncio.to_thread(sys.stdin.readline):
        values = json.loads(line)
        try:
            answer = await commands[values.pop("command")](**values)
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)
