"""Automations: jobs run in the background, one of a kind at a time, saying what they do while they do it.

Knows the store, the bus and jobs; must not know HTTP.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from typing import Any, Final

from examples.operations import store
from examples.operations.bus import EventBus, SystemEvent, now
from examples.operations.jobs import JOBS, Desk, JobFailed
from examples.operations.servers import Servers
from examples.operations.settings import Settings
from examples.operations.store import Run, RunStatus
from examples.shared.database import Database
from headwater.errors import NotFound

log = logging.getLogger("examples.operations")

READ: Final = "automations.read"
RUN: Final = "automations.run"
LOGS: Final = "logs.read"


class Automations:
    """What runs, and what has run."""

    def __init__(self, bus: EventBus, database: Database, servers: Servers, settings: Settings) -> None:
        self._bus = bus
        self._database = database
        self._servers = servers
        self._settings = settings
        self._tasks: dict[str, asyncio.Task[None]] = {}  # by job: there are never more than there are jobs
        self._runs: dict[str, Run] = {}

    async def open(self) -> None:
        """Say of every run that a crash interrupted that it did not succeed."""
        for run in await self._database.run(store.unfinished):
            await self._end(run, RunStatus.FAILED, "the server was restarted", 0.0)

    async def aclose(self) -> None:
        """Stop what runs; it is FAILED from the next start on."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def all(self) -> list[dict[str, Any]]:
        """Every automation, with its last run."""
        last = await self._database.run(store.last_runs)
        return [
            {"name": name, "title": job.title, "description": job.description, "lastRun": last.get(name)}
            for name, job in JOBS.items()
        ]

    async def run(self, name: str) -> Run:
        """Begin a run; if one of this automation is under way, that one is returned.

        Raises:
            NotFound: there is no such automation.
        """
        if name not in JOBS:
            raise NotFound(f"there is no automation {name[:60]!r}", expected=f"one of {', '.join(JOBS)}")
        if name not in self._runs:
            run = self._runs[name] = Run(id=secrets.token_hex(6), automation=name, started_at=now())
            task = self._tasks[name] = asyncio.create_task(self._perform(run), name=f"automation {name}")
            task.add_done_callback(lambda task: self._ended(name, task))
        return self._runs[name]

    def _ended(self, name: str, task: asyncio.Task[None]) -> None:
        del self._tasks[name], self._runs[name]
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a run could not be told of", extra={"automation": name}, exc_info=error)

    async def _perform(self, run: Run) -> None:
        await self._database.run(store.insert, run)
        await self._database.run(store.forget, self._settings.kept)
        await self._bus.emit(type=SystemEvent.AUTOMATION_STARTED, data=_named(run), permissions=[READ])
        begun = time.perf_counter()
        try:
            result = await JOBS[run.automation].work(self._desk(run))
        except JobFailed as error:
            await self._end(run, RunStatus.FAILED, str(error), time.perf_counter() - begun)
        except Exception:
            log.exception("an automation failed", extra={"automation": run.automation, "run": run.id})
            await self._end(run, RunStatus.FAILED, "something unexpected happened", time.perf_counter() - begun)
        else:
            await self._end(run, RunStatus.COMPLETED, result, time.perf_counter() - begun)

    def _desk(self, run: Run) -> Desk:
        async def say(line: str) -> None:
            await self._log(run, "info", line)
            await asyncio.sleep(self._settings.pace)

        folder = self._settings.folder
        return Desk(servers=self._servers, database=folder / "operations.db", backups=folder / "backups", say=say)

    async def _end(self, run: Run, status: RunStatus, result: str, seconds: float) -> None:
        has_failed = status is RunStatus.FAILED
        await self._log(run, "error" if has_failed else "success", result)
        await self._database.run(store.edit, Run, run.id, {"status": status})
        outcome = {"error": result} if has_failed else {"result": result}
        await self._bus.emit(
            type=SystemEvent.AUTOMATION_FAILED if has_failed else SystemEvent.AUTOMATION_COMPLETED,
            data={**_named(run), **outcome, "durationMs": round(1000 * seconds)},
            permissions=[READ],
        )

    async def _log(self, run: Run, level: str, line: str) -> None:
        """Keep a line of a run's output, and tell those who may read logs."""
        await self._database.run(store.append_output, run.id, line)
        data = {"source": run.automation, "runId": run.id, "level": level, "message": line}
        await self._bus.emit(type=SystemEvent.LOG_ADDED, data=data, permissions=[LOGS])


def _named(run: Run) -> dict[str, Any]:
    return {"id": run.id, "automation": run.automation, "startedAt": run.started_at}
