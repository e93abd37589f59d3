"""The running application: its database, the hub on it, and the worker beside it.

Knows how the parts are put together; must not know HTTP.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

from examples.projects.changes import RULES
from examples.projects.settings import ROOT, Settings
from examples.projects.store import Store
from headwater import Hub, Principal
from headwater.brokers.postgres import PostgresBroker
from headwater.errors import BrokerUnavailable, HeadwaterError, NotAllowed, Unavailable

SERVER: Final = Path(__file__).parent / "postgres.py"
PATIENCE: Final = 8.0
"""Seconds for which a request waits for a database that is being started."""

PARTING: Final = 1.5
"""Seconds that processes of ours get to end; they do so by themselves if it takes longer."""

log = logging.getLogger("examples.projects")


class Projects:
    """All projects of one installation, at any of its nodes.

    Args:
        settings: where the database is, what there is to index.
        options: of the hub.

    Attributes:
        own_database: the URL of the database that this application has started for itself; empty if it has not.
    """

    def __init__(self, settings: Settings, **options: Any) -> None:
        self.own_database = ""
        self._options = options
        self._settings = settings
        self._running: tuple[Hub, Store] | None = None
        self._starting: asyncio.Event | None = None  # set when that is over, well or not

    async def running(self) -> tuple[Hub, Store]:
        """The hub, whose log is in the database, and what else is there. Waits for a database that is being started.

        Raises:
            Unavailable: there is none.
        """
        if self._running is None and self._starting is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE):
                    await self._starting.wait()
        if self._running is None:
            raise Unavailable("the projects have no database", fix="the server's log says why", retry_after=5)
        return self._running

    def check(self, project: str, caller: Principal) -> str:
        """The channel of a project that the caller may read. Whether there are others is nobody's business.

        Raises:
            NotAllowed: there is none of that name for them.
        """
        channel = f"project:{project}"
        if project not in self._settings.projects or not caller.may_subscribe(channel):
            raise NotAllowed("the token does not grant this project", expected="a project of the caller's own")
        return channel

    def count(self) -> int:
        """Open streams."""
        return 0 if self._running is None else self._running[0].count()

    @property
    def channels(self) -> list[str]:
        """Of all projects."""
        return [f"project:{name}" for name in self._settings.projects]

    def names(self, caller: Principal) -> list[str]:
        """The projects of a caller."""
        return [name for name in self._settings.projects if caller.may_subscribe(f"project:{name}")]

    async def state(self, project: str) -> dict[str, Any]:
        """What a page shows of a project, and where it streams from after that.

        `seen` are the positions after `cursor` of events whose rows the state shows already: they were committed a moment ago
        and had no position yet.
        """
        hub, store = await self.running()
        state, snapshot = await store.state(project)
        assert isinstance(hub.broker, PostgresBroker)
        seen = await hub.broker.repeated(snapshot)
        return {"project": project, "cursor": snapshot.cursor, "seen": [str(each) for each in seen], **state}

    async def begin(self, project: str) -> dict[str, Any]:
        """Have a project's folder indexed; the job."""
        _, store = await self.running()
        return await store.begin(project, self._settings.projects[project])

    async def decide(self, project: str, proposal: str, status: str | None) -> None:
        """Accept or reject a proposal; or delete it. Raises NotFound."""
        _, store = await self.running()
        await store.decide(project, proposal, status)

    @asynccontextmanager
    async def lifespan(self, app: object = None) -> AsyncIterator[None]:
        """Run all of it until the block ends.

        Raises:
            BrokerUnavailable: there is no database.
        """
        self._settings.prepared()
        async with AsyncExitStack() as stack:
            url = self._settings.database or await stack.enter_async_context(self._server())
            store, hub = Store(url), Hub(url, changes=RULES, **self._options)
            await store.prepare()
            await stack.enter_async_context(hub.lifespan())
            if self._settings.works:
                await stack.enter_async_context(self._worker(url))
            self._running = hub, store
            try:
                yield
            finally:
                self._running = None

    @asynccontextmanager
    async def beside(self, app: object = None) -> AsyncIterator[None]:
        """The same beside other applications, which do not wait for this one's database, and run also if there is none."""
        over, self._starting = asyncio.Event(), asyncio.Event()
        task = asyncio.create_task(self._until(over), name="projects")
        try:
            yield
        finally:
            over.set()
            if self._running is None:  # it is still being started, which is soon over, or takes long
                await asyncio.wait([task], timeout=PARTING / 2)
                if self._running is None:
                    task.cancel()
            await asyncio.wait([task])

    async def _until(self, over: asyncio.Event) -> None:
        assert self._starting is not None
        try:
            async with self.lifespan():
                self._starting.set()
                await over.wait()
        except HeadwaterError as error:
            log.error("there are no projects: %s", error)
        except Exception:
            log.exception("there are no projects")
        finally:
            self._starting.set()

    @asynccontextmanager
    async def _server(self) -> AsyncIterator[str]:
        """A PostgreSQL of our own, which ends when we do, however that happens."""
        process = await _start(SERVER, self._settings.folder / "postgres", stdout=PIPE)
        try:
            assert process.stdout is not None
            self.own_database = (await process.stdout.readline()).decode().strip()
            if not self.own_database:
                raise BrokerUnavailable("PostgreSQL does not start", fix="set DATABASE_URL to one that runs")
            yield self.own_database
        finally:
            self.own_database = ""
            await _part(process)

    @asynccontextmanager
    async def _worker(self, url: str) -> AsyncIterator[None]:
        """A worker, and another one whenever one has ended."""
        task = asyncio.create_task(self._work(url), name="worker")
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _work(self, url: str) -> None:
        arguments = ("-m", "examples.projects.worker", "--attached", "--pace", str(self._settings.pace))
        while True:
            process = await _start(*arguments, DATABASE_URL=url)
            try:
                log.warning("the worker has ended with code %d", await process.wait())
            finally:
                await _part(process)
            await asyncio.sleep(1)


async def _start(*arguments: str | Path, stdout: int | None = None, **env: str) -> Process:
    """Start Python with its stdin open for as long as we live. Ctrl-C is for us, who then end it."""
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        stdin=PIPE,
        stdout=stdout,
        env={**os.environ, "PYTHONPATH": paths, **env},
        start_new_session=True,
    )


async def _part(process: Process) -> None:
    """Close its stdin, and give it time to end."""
    assert process.stdin is not None
    process.stdin.close()
    with suppress(TimeoutError):
        async with asyncio.timeout(PARTING):
            await process.wait()
