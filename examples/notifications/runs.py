"""Runs of workflows: begun, done step by step, and told of when they begin and end.

Functions that run inside a transaction, and the runner that calls them. Knows workflows and users; must not know HTTP.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable
from enum import StrEnum
from typing import Any, Final

import msgspec

from examples.notifications import inbox
from examples.notifications.events import EVERYONE, READ, SSEEventType, now
from examples.notifications.inbox import Level, Text
from examples.notifications.outbox import MAX_PAUSE, Ledger, tell
from examples.notifications.settings import Settings
from examples.notifications.workflows import WORKFLOWS, Bench, WorkflowFailed
from headwater.errors import NotFound

log = logging.getLogger("examples.notifications")

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS runs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    workflow TEXT NOT NULL, title TEXT NOT NULL, status TEXT NOT NULL, startedBy TEXT NOT NULL, startedAt TEXT NOT NULL,
    finishedAt TEXT, durationMs INTEGER, steps TEXT NOT NULL, result TEXT, error TEXT
) STRICT;
"""

LISTED: Final = 20
KEPT: Final = 200
"""Runs that are kept."""


class Status(StrEnum):
    """How a run stands."""

    STARTED = "started"
    COMPLETED = "completed"
    FAILED = "failed"


class Done(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A step that was done: what it found."""

    title: str
    note: str
    duration_ms: int


class Run(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One run of a workflow.

    Attributes:
        steps: those that were done.
        result: of one that is completed.
        error: of one that has failed.
    """

    id: str
    workflow: str
    title: str
    status: Status
    started_by: str
    started_at: str
    finished_at: str | None = None
    duration_ms: int | None = None
    steps: tuple[Done, ...] = ()
    result: str | None = None
    error: str | None = None


def start(connection: sqlite3.Connection, workflow: str, by: str) -> tuple[Run, bool]:
    """The run that is under way, or a new one; and whether it is new."""
    sql = "SELECT * FROM runs WHERE workflow = ? AND status = ?"
    if row := connection.execute(sql, (workflow, Status.STARTED)).fetchone():
        return _run(row), False
    sql = """INSERT INTO runs (workflow, title, status, startedBy, startedAt, steps) VALUES (?, ?, ?, ?, ?, '[]')
        RETURNING *"""
    values = (workflow, WORKFLOWS[workflow].title, Status.STARTED, by, now())
    (row,) = connection.execute(sql, values).fetchall()
    connection.execute("DELETE FROM runs WHERE id <= ? AND status <> ?", (row["id"] - KEPT, Status.STARTED))
    run = _run(row)
    tell(connection, EVERYONE, SSEEventType.WORKFLOW_STARTED, run, READ)
    return run, True


def finish(connection: sqlite3.Connection, run: Run, kept: int) -> None:
    """Keep how a run went, tell those who may read it, and notify who has started it."""
    row = msgspec.to_builtins(run)
    values = {**row, "steps": msgspec.json.encode(run.steps).decode()}
    connection.execute(
        """UPDATE runs SET status = :status, finishedAt = :finishedAt, durationMs = :durationMs, steps = :steps,
            result = :result, error = :error WHERE id = :id""",
        values,
    )
    has_failed = run.status is Status.FAILED
    type = SSEEventType.WORKFLOW_FAILED if has_failed else SSEEventType.WORKFLOW_COMPLETED
    tell(connection, EVERYONE, type, run, READ)
    text = Text(
        title=f"{run.title}: {run.status}",
        message=run.error or run.result or "",
        level=Level.ERROR if has_failed else Level.SUCCESS,
    )
    inbox.send(connection, None, [run.started_by], text, kept)


def unfinished(connection: sqlite3.Connection) -> list[Run]:
    """Runs that have not ended, oldest first."""
    return [_run(row) for row in connection.execute("SELECT * FROM runs WHERE status = 'started' ORDER BY id")]


def newest(connection: sqlite3.Connection) -> list[Run]:
    """The newest runs, newest first."""
    return [_run(row) for row in connection.execute("SELECT * FROM runs ORDER BY id DESC LIMIT ?", (LISTED,))]


def _run(row: sqlite3.Row) -> Run:
    fields: dict[str, Any] = {name: row[name] for name in row.keys()}  # noqa: SIM118 (a Row iterates over values)
    return msgspec.convert({**fields, "id": str(row["id"]), "steps": msgspec.json.decode(row["steps"])}, Run)


class Runner:
    """What runs.

    Args:
        ledger: where runs are kept, and told from.
        settings: the folders, and how fast it goes.
    """

    def __init__(self, ledger: Ledger, settings: Settings) -> None:
        self._ledger = ledger
        self._settings = settings
        self._tasks: set[asyncio.Task[None]] = set()  # there are never more than there are workflows

    async def open(self) -> None:
        """Say of every run that a crash has interrupted that it has failed."""
        for run in await self._ledger.read(unfinished):
            await self._end(run, Status.FAILED, "the server was restarted", None)

    async def aclose(self) -> None:
        """Stop what runs; it has failed from the next start on."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def starting(self, workflow: str, by: str, fresh: list[Run]) -> Callable[[sqlite3.Connection], Run]:
        """The transaction that starts a run; one that is new is added to `fresh`, for `perform`.

        Raises:
            NotFound: there is no such workflow.
        """
        if workflow not in WORKFLOWS:
            raise NotFound(f"there is no workflow {workflow[:60]!r}", expected=f"one of {', '.join(WORKFLOWS)}")

        def work(connection: sqlite3.Connection) -> Run:
            run, is_new = start(connection, workflow, by)
            if is_new:
                fresh.append(run)
            return run

        return work

    def perform(self, run: Run) -> None:
        """Do the work, in the background."""
        task = asyncio.create_task(self._perform(run), name=f"workflow {run.workflow}")
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a run could not be told of", exc_info=error)

    async def _perform(self, run: Run) -> None:
        bench = Bench(self._settings.files, self._settings.archives)
        begun = time.perf_counter()
        done: list[Done] = []
        status, outcome = Status.FAILED, ""
        try:
            for step in WORKFLOWS[run.workflow].steps:
                await asyncio.sleep(self._settings.pace)
                at = time.perf_counter()
                outcome = await asyncio.to_thread(step.work, bench)
                done.append(Done(title=step.title, note=outcome, duration_ms=_since(at)))
            status = Status.COMPLETED
        except WorkflowFailed as error:
            outcome = str(error)
        except OSError as error:
            log.warning("a workflow could not do its work: %s", error)
            outcome = f"the files cannot be used: {error.strerror}"
        except Exception:
            log.exception("a workflow failed")
            outcome = "something unexpected happened"
        outcome = outcome.encode(errors="replace").decode()  # names of files need not be text
        await self._keep(msgspec.structs.replace(run, steps=tuple(done)), status, outcome, _since(begun))

    async def _keep(self, run: Run, status: Status, outcome: str, duration_ms: int) -> None:
        """Say that a run has ended, however often it takes: until then nobody can start another."""
        pause = 0.1
        while True:
            try:
                return await self._end(run, status, outcome, duration_ms)
            except Exception:
                log.exception("a run could not be told of, and is tried again")
            await asyncio.sleep(pause)
            pause = min(pause * 2, MAX_PAUSE)

    async def _end(self, run: Run, status: Status, outcome: str, duration_ms: int | None) -> None:
        has_failed = status is Status.FAILED
        ended = msgspec.structs.replace(
            run,
            status=status,
            finished_at=now(),
            duration_ms=duration_ms,
            result=None if has_failed else outcome,
            error=outcome if has_failed else None,
        )
        await self._ledger.change(finish, ended, self._settings.kept)


def _since(begun: float) -> int:
    return round(1000 * (time.perf_counter() - begun))
