"""Drives the load generator (loadgen.c, which documents the commands and what they measure).

Knows its line protocol. Knows no system and no scenario.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from bench.build import LOADGEN
from bench.process import GENERATOR_CORE, pinned


class LoadGeneratorFailed(Exception):
    """The load generator ended."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What one command measured. Times of a single delivery, connect or publish are in microseconds.

    Attributes:
        seconds: the command took this long.
        span: from the first publish to the last delivery.
        idle: share of the time in which there was nothing to do.
        bytes: read from the streams' sockets: heads, chunks and all.
        wrong: streams that did not receive every event of the command exactly once.
        gone: connections that the server closed or refused.
        rejected: answers that were no success; `status` is the last such.
        stuck: it gave up after half a minute in which nothing happened.
        last_id: the last `id:` the first stream received.
    """

    seconds: float
    span: float
    idle: float
    streams: int
    published: int
    answered: int
    deliveries: int
    bytes: int
    p50_us: float
    p99_us: float
    max_us: float
    wrong: int
    gone: int
    rejected: int
    status: int
    stuck: bool
    last_id: str

    def problem(self) -> str | None:
        """What went wrong, in a sentence, or None."""
        if self.rejected:
            return f"{self.rejected} requests were refused, the last with status {self.status}"
        if self.gone:
            return f"{self.gone} connections were closed by the server"
        if self.stuck:
            return f"nothing happened any more after {self.deliveries:,} deliveries"
        if self.wrong:
            return f"{self.wrong} of {self.streams} streams did not receive every event exactly once"
        return None


class Generator:
    """A running load generator for the server on one port, as a context manager."""

    def __init__(self, port: int, directory: Path) -> None:
        self._port = port
        self._directory = directory

    def __enter__(self) -> Generator:
        self._process = subprocess.Popen(
            pinned(GENERATOR_CORE, [str(LOADGEN), str(self._port)]),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def requests(self, texts: Iterable[bytes]) -> None:
        """What streams send from now on; the i-th sends the i-th request, round and round."""
        self._load("requests", b"".join(texts))

    def publish(self, template: bytes) -> None:
        """What publishing sends from now on: see `Publish.template`."""
        self._load("publish", template)

    def open(self, count: int, *, window: int, events: int = 0) -> Answer:
        """Open streams, `window` at once; each is open when `events` events, or the first line, have arrived."""
        return self._command(f"open {count} {window} {events}")

    def paced(self, events: int, *, interval: float, seconds: float) -> Answer:
        """Publish events `interval` seconds apart, one in flight, for at most `seconds`."""
        return self._command(f"paced {events} {interval * 1e6:.0f} {seconds}")

    def closed(self, in_flight: int, *, seconds: float) -> Answer:
        """Keep `in_flight` events on their way to every stream."""
        return self._command(f"closed {in_flight} {seconds}")

    def post(self, connections: int, *, batch: int = 1, events: int = 2_000_000_000, seconds: float) -> Answer:
        """Publish and wait for nothing but the answers."""
        return self._command(f"post {connections} {batch} {events} {seconds}")

    def listening(self, first: int, events: int, publish: Callable[[], object]) -> Answer:
        """Call `publish`, which has someone else publish events numbered from `first`, and wait for all of them. The
        load generator sleeps until they come, and leaves its core to whoever publishes."""
        self._tell(f"listen {first} {events}")
        publish()
        return self._answer(f"listen {first} {events}")

    def close(self) -> None:
        """Close all streams."""
        self._command("close")

    def _load(self, what: str, content: bytes) -> None:
        path = self._directory / f"{what}.txt"
        path.write_bytes(content)
        self._command(f"{what} {path}")

    def _command(self, line: str) -> Answer:
        self._tell(line)
        return self._answer(line)

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def _answer(self, line: str) -> Answer:
        assert self._process.stdout is not None
        answer = self._process.stdout.readline()
        if not answer:
            raise LoadGeneratorFailed(f"the load generator ended at {line!r}")
        return Answer(**json.loads(answer))
