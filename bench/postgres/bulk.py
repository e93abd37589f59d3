"""The command, `scripts/bench bulk`: very many rows change, in large transactions, and one stream must see each change once
and in order, while the hub's memory stays as it was.

The hub, the server and the application are processes of their own; the stream is read here. Nothing waits for anything: the
application writes as fast as the server takes it, and the hub follows.
"""

from __future__ import annotations

import argparse
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, replace

from bench.postgres.sequencing import CHANGE
from bench.postgres.server import Postgres, hub, running_postgres
from bench.process import Server, ServerFailed
from bench.scenarios import ScenarioFailed, running

STUCK = 60.0
"""Seconds without a single event after which the run has failed."""

_MARK = b'data: {"t":"'
_NUMBER = slice(len(_MARK) + 27, len(_MARK) + 37)
_MIB = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Bulk:
    """What came of it.

    Attributes:
        rows: changed, each in turn, and each seen by the stream once and in order.
        each: in one transaction.
        seconds: until the stream had all; `written` until the application had committed all.
        behind: the most rows that were committed and not seen yet.
        before, most: resident memory of the hub in bytes, before, and the most of it that was seen.
    """

    rows: int
    each: int
    seconds: float
    written: float
    behind: int
    before: int
    most: int


class Reading:
    """A stream, read in a thread. `seen` rows have come, in order."""

    def __init__(self, port: int) -> None:
        self.seen = 0
        self.problem: str | None = None
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.sendall(
            b"GET /events?channel=bench HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n"
        )
        self._first = self._socket.recv(65536)  # the head: from now on the stream is open
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        rest = self._first
        with suppress(OSError):
            while data := self._socket.recv(1 << 18):
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    self._take(line)
        self.problem = self.problem or "the stream ended"

    def _take(self, line: bytes) -> None:
        if line.startswith(_MARK):
            number = int(line[_NUMBER])
            if number != self.seen + 1 and self.problem is None:
                self.problem = f"row {number} came after row {self.seen}"
            self.seen = number
        elif line.startswith(b"event: reset"):
            self.problem = "the stream was told to start over"

    def close(self) -> None:
        """Stop reading."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()


class Writing:
    """The application: it changes rows 1 to `rows`, `each` of them in one transaction, in a thread. `written` are committed,
    the last one after so many `seconds`."""

    def __init__(self, postgres: Postgres, rows: int, each: int) -> None:
        self.written = 0
        self.seconds = 0.0
        self.problem: str | None = None
        self._thread = threading.Thread(target=self._write, args=(postgres, rows, each), daemon=True)
        self._thread.start()

    def _write(self, postgres: Postgres, rows: int, each: int) -> None:
        began = time.monotonic()
        try:
            for last in range(each, rows + each, each):
                upto = min(last, rows)
                postgres.run(f"{CHANGE} AND id > %s", 1, upto, self.written)
                self.written = upto
        except Exception as error:
            self.problem = f"the application could not write: {error}"
        self.seconds = time.monotonic() - began

    def close(self) -> None:
        """Wait for the end of it."""
        self._thread.join()


def bulk(rows: int, each: int, say: Callable[[str], object], pause: float = 1.0) -> Bulk:
    """Do it.

    Args:
        rows, each: see `Bulk`.
        say: gets a line about how it goes, every `pause` seconds.

    Raises:
        ScenarioFailed: a row was missing, came twice or out of order, or nothing came any more.
        ServerFailed: a process did not start.
    """
    with running_postgres(max_wal_size="4GB") as postgres:
        postgres.run("TRUNCATE watched")
        postgres.run("INSERT INTO watched SELECT i, '', '', repeat('x', 65) FROM generate_series(1, %s) AS i", rows)
        postgres.run("ANALYZE watched")
        system = hub(postgres)
        # A stream that falls behind reads what it missed from the log, which must have it then.
        system = replace(system, environment={**system.environment, "HEADWATER_RETENTION": "1h;total=4GiB"})
        with running(system) as (server, _generator), closing(Reading(server.port)) as stream:
            memory = server.rss_bytes()
            nothing = Bulk(rows=rows, each=each, seconds=0, written=0, behind=0, before=memory, most=memory)
            return _watched(server, stream, postgres, nothing, say, pause)


def _watched(
    server: Server, stream: Reading, postgres: Postgres, found: Bulk, say: Callable[[str], object], pause: float
) -> Bulk:
    began = moved = time.monotonic()
    seen = 0
    with closing(Writing(postgres, found.rows, found.each)) as application:
        while stream.seen < found.rows:
            time.sleep(pause)
            memory, now = server.rss_bytes(), time.monotonic()
            if stream.seen > seen:
                moved, seen = now, stream.seen
            behind = max(found.behind, application.written - seen)
            found = replace(found, most=max(found.most, memory), behind=behind, seconds=now - began)
            say(f"{now - began:5.0f} s  {application.written:11,} written  {seen:11,} seen  {memory / _MIB:6.0f} MiB")
            if problem := stream.problem or application.problem:
                raise ScenarioFailed(problem)
            if now - moved > STUCK:
                raise ScenarioFailed(f"nothing came any more after row {seen:,}")
    if stream.problem:
        raise ScenarioFailed(stream.problem)
    return replace(found, written=application.seconds)


def told(found: Bulk) -> str:
    """The result in a few lines."""
    return (
        f"{found.rows:,} rows, {found.each:,} in a transaction: written in {found.written:.1f} s, all seen once and in order "
        f"after {found.seconds:.1f} s, {found.rows / found.seconds:,.0f} a second.\n"
        f"The stream was at most {found.behind:,} rows behind. The hub had {found.before / _MIB:.0f} MiB before, and at most "
        f"{found.most / _MIB:.0f} MiB."
    )


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(prog="scripts/bench bulk", description="Very many changes of rows, seen in order.")
    parser.add_argument("--rows", type=int, default=1_000_000, help="default 1000000")
    parser.add_argument("--each", type=int, default=10_000, help="of them in one transaction; default 10000")
    return parser.parse_args(given)


def main() -> int:
    """Run; 1 if a row was lost, doubled or out of order."""
    asked = arguments()
    try:
        print(told(bulk(asked.rows, asked.each, lambda line: print(line, file=sys.stderr, flush=True))))
    except (ScenarioFailed, ServerFailed) as error:
        print(f"failed: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
