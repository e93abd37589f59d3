"""The builder: has agents work on every room that is being built, also on those which an earlier one left unfinished.

One for an installation. It runs inside the application, or as a process of its own (`python -m examples.rooms.work`) with
nodes that only serve. It hears of new rooms from the log. Knows the register, pipelines and logs; must not know HTTP.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec

from examples.rooms.logs import AgentType, Level, Publishes, RoomLogs
from examples.rooms.pipeline import Pipeline
from examples.rooms.register import CHANNEL, Register, Room, Status, record
from examples.rooms.settings import Settings
from headwater import Hub, Subscription
from headwater.errors import Draining, Unavailable
from headwater.hub import After

log = logging.getLogger("examples.rooms")

PATIENCE = 60.0
"""Seconds to wait for news of the rooms before looking again."""


class Builder:
    """Builds rooms as long as its lifespan lasts.

    Args:
        hub: running while this is; follows the rooms.
        register: of the rooms.
        events: where the agents publish: the hub, or a publisher.
        settings: how rooms are worked on.
    """

    def __init__(self, hub: Hub, register: Register, events: Publishes, settings: Settings) -> None:
        self._hub = hub
        self._register = register
        self._events = events
        self._logs = RoomLogs(events)
        self._settings = settings
        self._turns = asyncio.Semaphore(settings.at_once)
        self._building: dict[str, asyncio.Task[None]] = {}

    @asynccontextmanager
    async def lifespan(self, app: object = None) -> AsyncIterator[None]:
        """Build; at the end stop at once. What is unfinished then is the next one's."""
        watching = asyncio.create_task(self._watch(), name="rooms")
        try:
            yield
        finally:
            tasks = [watching, *self._building.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self) -> None:
        while True:
            try:
                rooms, cursor = await self._register.unfinished()
                for room in rooms:
                    self._begin(room)
                await self._hub.poll(Subscription(channels=(CHANNEL,), start=After(cursor)), PATIENCE)
            except Draining:
                return
            except Unavailable as error:
                await asyncio.sleep(error.retry_after or 1.0)

    def _begin(self, room: Room) -> None:
        if room.id not in self._building:
            task = asyncio.create_task(self._build(room), name=f"room {room.id}")
            self._building[room.id] = task
            task.add_done_callback(lambda _: self._building.pop(room.id))

    async def _build(self, room: Room) -> None:
        async def finished(agent: AgentType) -> None:
            nonlocal room
            room = msgspec.structs.replace(room, finished=(*room.finished, agent))
            await record(self._events, room)

        async with self._turns:
            await self._forget()
            try:
                folder = self._settings.folder_of(room.id)
                done = await Pipeline(room, folder, self._logs, self._settings, finished).run()
            except Exception:
                log.exception("building a room failed", extra={"room": room.id})
                await self._logs.insist(
                    room.id, AgentType.ORCHESTRATOR, Level.ERROR, "Something unexpected happened", {"state": "failed"}
                )
                done = False
            status = Status.READY if done else Status.FAILED
            await record(self._events, msgspec.structs.replace(room, status=status))

    async def _forget(self) -> None:
        """Remove what was made in rooms that are no more."""
        rooms = await self._register.rooms()
        await asyncio.to_thread(self._remove_others, set(rooms))

    def _remove_others(self, ids: set[str]) -> None:
        for folder in self._settings.built.glob("*"):
            if folder.name not in ids:
                shutil.rmtree(folder, ignore_errors=True)
