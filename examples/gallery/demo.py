"""The demo: somebody who uses the applications gently, so that a visitor finds them at work.

It is a client like any other: it has a token and calls the documented routes, only without a socket. It does nothing while
no stream is open. Knows the applications' routes; must not know their modules.

What it plays: three services of this machine that operations watches; now and then one of them really stops listening, the
next test finds out, an incident is opened, looked into, and resolved once the service is back. Meanwhile agents build a
room, two sides debate, a worker indexes folders, and people are notified of this and that.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from itertools import cycle
from typing import Any, Final

from headwater import Hub
from headwater.errors import HeadwaterError
from headwater.testing.asgi import App, request

log = logging.getLogger("examples.gallery")

SERVICES: Final = ("Shop", "Search", "Payments")
STEPS_UP: Final = 9
"""Steps between two outages. The first comes sooner: whoever has just started the gallery wants to see something."""

ROOM_PAUSE: Final = 15
"""Steps between two rooms, which is somewhat longer than one takes to be built."""

DEBATE_PAUSE: Final = 90
"""Steps between two debates, likewise."""


LOOK: Final = 1.0
"""Seconds between looks for somebody who looks on elsewhere."""

INDEX_PAUSE: Final = 20
"""Steps between two folders that are indexed."""

NEWS_PAUSE: Final = 6
"""Steps between two notifications."""

NEWS: Final = (
    ("ada", "info", "New Task", "Review the release notes before five"),
    ("ben", "success", "Invoice 1042 was paid", "Two days early, which is new"),
    ("cleo", "info", "You were mentioned", "“Cleo has the numbers for that”, in the minutes of today"),
    ("ada", "warning", "The certificate expires in 14 days", "It renews itself in seven, if it can"),
    ("ben", "error", "Import of prices.csv has stopped", "Line 412: a price is missing"),
    ("cleo", "success", "Your request was approved", "Four days in March. Ben takes the phone"),
)
"""Whom the demo tells of what: receiver, level, title, message."""

WORKFLOWS: Final = ("archive", "verify", "report", "verify")
"""What it runs, one after each round of news. The last one fails: the report is newer than the archive."""


class Refused(Exception):
    """An application did not do what the demo asked for."""


class Caller:
    """Calls routes of an application in this process.

    Args:
        app: the application.
        token: makes a bearer token.
    """

    def __init__(self, app: App, token: Callable[[], str]) -> None:
        self._app = app
        self._token = token

    async def __call__(self, method: str, path: str, body: Any = None) -> Any:
        """What the route answers, from JSON.

        Raises:
            Refused: it was an error.
        """
        headers = {"authorization": f"Bearer {self._token()}"}
        options = {} if body is None else {"json": body}
        reply = await request(self._app, method, path, headers=headers, **options)
        if reply.status >= 400:
            raise Refused(f"{method} {path}: {reply.status} {reply.body[:200].decode(errors='replace')}")
        return reply.json() if reply.body else None


class Service:
    """Something that listens on this machine, until it does not."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.id = ""
        self._port = 0
        self._server: asyncio.Server | None = None

    async def start(self) -> int:
        """Listen, on the same port each time; returns it."""
        self._server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", self._port)
        self._port = int(self._server.sockets[0].getsockname()[1])
        return self._port

    async def stop(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._server = None


class Demo:
    """Everything that happens by itself.

    Args:
        hub: tells whether anybody looks on.
        call: calls the applications.
        pace: seconds between two steps.
        others: tells how many look on elsewhere.
    """

    def __init__(self, hub: Hub, call: Caller, pace: float, others: Callable[[], int] = int) -> None:
        self._hub = hub
        self._others = others
        self._call = call
        self._pace = pace
        self._opened = asyncio.Event()
        hub.on_connect(lambda info: self._opened.set())

    @asynccontextmanager
    async def lifespan(self, app: object = None) -> AsyncIterator[None]:
        """Play until the block ends. Within the applications' lifespans."""
        tasks = [
            asyncio.create_task(self._again_and_again(act))
            for act in (self._operate, self._build, self._debate, self._index, self._notify)
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _again_and_again(self, act: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await act()
            except (Refused, HeadwaterError, OSError) as error:
                log.warning("the demo was interrupted: %s", error)
            except Exception:
                log.exception("the demo stumbled")
            await self._step(5)

    async def _step(self, count: int = 1) -> None:
        """Let some time pass; more of it if nobody looks on."""
        await asyncio.sleep(self._pace * count)
        while not (self._hub.count() or self._others()):
            self._opened.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK):  # nobody tells of the others
                    await self._opened.wait()

    # -- rooms and debates -----------------------------------------------------------------------------------------------

    async def _build(self) -> None:
        """Open a room, and another one when it has been finished for a while."""
        while True:
            await self._call("POST", "/api/v1/rooms", {})
            await self._step(ROOM_PAUSE)

    async def _debate(self) -> None:
        """Hold the debates that have a script, one after the other."""
        for script in cycle(await self._call("GET", "/api/debate-scripts")):
            await self._call("POST", "/api/debates", {"script": script})
            await self._step(DEBATE_PAUSE)

    # -- projects --------------------------------------------------------------------------------------------------------

    async def _index(self) -> None:
        """Have the folders indexed, one after the other, and decide on what is proposed."""
        for project in cycle(await self._call("GET", "/api/projects")):
            path = f"/api/projects/{project}"
            await self._call("POST", f"{path}/jobs")
            while (state := await self._call("GET", path))["jobs"][0]["status"] in ("queued", "running"):
                await self._step()
            await self._decide(path, state["proposals"])
            await self._step(INDEX_PAUSE)

    async def _decide(self, path: str, proposals: list[dict[str, Any]]) -> None:
        """Delete what was decided on the last time, so that it is proposed again, and decide on some of the rest."""
        for proposal in proposals:
            target = f"{path}/proposals/{proposal['proposalId']}"
            if proposal["status"] != "pending":
                await self._call("DELETE", target)
            elif not 0.5 < proposal["confidence"] < 0.85:
                status = "accepted" if proposal["confidence"] > 0.5 else "rejected"
                await self._call("POST", target, {"status": status})
            await self._step()

    # -- notifications ---------------------------------------------------------------------------------------------------

    async def _notify(self) -> None:
        """Tell people of this and that; after each round a workflow is run, and everybody is told of some maintenance."""
        await self._call("PATCH", "/api/v1/users/me", {"name": "Demo", "about": "Plays by itself"})
        for workflow in cycle(WORKFLOWS):
            for to, level, title, message in NEWS:
                body = {"to": to, "level": level, "title": title, "message": message}
                await self._call("POST", "/api/v1/notifications", body)
                await self._step(NEWS_PAUSE)
            run = await self._call("POST", f"/api/v1/workflows/{workflow}/runs")
            while run["status"] == "started":
                await self._step()
                runs = (await self._call("GET", "/api/v1/workflows"))["runs"]
                run = next(each for each in runs if each["id"] == run["id"])
            if workflow == "report":
                news = {"title": "The index is being rebuilt", "message": "Searching may be slow", "minutes": 1}
                await self._call("POST", "/api/v1/maintenance", news)
            await self._step(NEWS_PAUSE)

    # -- operations ------------------------------------------------------------------------------------------------------

    async def _operate(self) -> None:
        async with AsyncExitStack() as stack:
            services = [Service(name) for name in SERVICES]
            for service in services:
                stack.push_async_callback(service.stop)
                await self._register(service)
            for number, victim in enumerate(cycle(services)):
                for step in range(STEPS_UP if number else len(services)):
                    await self._test(services[step % len(services)])
                    await self._step()
                await self._fail(victim)
                await self._call("POST", f"/api/v1/automations/{('back-up', 'verify-backup')[number % 2]}/run")
                await self._step()

    async def _register(self, service: Service) -> None:
        """Listen, and have operations know where: the port is another one after each start."""
        place = {"host": "127.0.0.1", "port": await service.start()}
        for server in await self._call("GET", "/api/v1/servers"):
            if server["name"] == service.name:
                service.id = server["id"]
                await self._call("PATCH", f"/api/v1/servers/{service.id}", place)
                return
        service.id = (await self._call("POST", "/api/v1/servers", {"name": service.name, **place}))["id"]

    async def _test(self, service: Service) -> None:
        await self._call("POST", f"/api/v1/servers/{service.id}/test")

    async def _fail(self, service: Service) -> None:
        """One outage, from beginning to end."""
        await service.stop()
        await self._test(service)
        await self._step()
        new = {"title": f"{service.name} does not answer", "severity": "HIGH"}
        incident = f"/api/v1/incidents/{(await self._call('POST', '/api/v1/incidents', new))['id']}"
        await self._step()
        await self._call("POST", f"{incident}/status", {"status": "INVESTIGATING"})
        await self._call("POST", "/api/v1/automations/check-servers/run")
        await self._step(2)
        await self._call("PATCH", incident, {"title": f"{service.name} does not answer: restarted"})
        await service.start()
        await self._test(service)
        await self._step()
        await self._call("POST", f"{incident}/status", {"status": "RESOLVED"})
        await self._call("POST", "/api/v1/broadcasts", {"message": f"{service.name} is back"})
