"""The orchestrator: which agent works when, how often it may try, and what is skipped after a restart.

        story ──┬── asset ──┬── deploy
                └── code  ──┘

Knows agents and the room's log; must not know databases or HTTP: what is done is reported to a callback.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from examples.rooms.agents.asset import draw_house
from examples.rooms.agents.code import write_program
from examples.rooms.agents.deploy import deploy
from examples.rooms.agents.job import Agent, AgentFailed, Job, Metadata
from examples.rooms.agents.story import write_story
from examples.rooms.logs import AgentType, Level, RoomLogs
from examples.rooms.register import Room
from examples.rooms.settings import Settings

STAGES: tuple[tuple[tuple[AgentType, Agent], ...], ...] = (
    ((AgentType.STORY, write_story),),
    ((AgentType.ASSET, draw_house), (AgentType.CODE, write_program)),
    ((AgentType.DEPLOY, deploy),),
)
"""Stages follow one another; the agents of one work at the same time."""


class Pipeline:
    """One room's way from a title to a package.

    Args:
        folder: the room's.
        finished: told of each agent that is done, before the log says so.
    """

    def __init__(
        self,
        room: Room,
        folder: Path,
        logs: RoomLogs,
        settings: Settings,
        finished: Callable[[AgentType], Awaitable[None]],
    ) -> None:
        self._room = room
        self._folder = folder
        self._logs = logs
        self._settings = settings
        self._finished = finished

    async def run(self) -> bool:
        """Do all that is left to do; whether it succeeded."""
        begun = time.perf_counter()
        self._folder.mkdir(parents=True, exist_ok=True)
        if self._room.finished:
            finished = list(self._room.finished)  # its end may have come between the work and the line about it
            restarted = f"The server was restarted; going on after {' and '.join(finished)}"
            await self._orchestrate(Level.WARN, restarted, {"finished": finished})
        else:
            await self._orchestrate(Level.INFO, f"Opening “{self._room.title}”", {"agents": 4, "stages": len(STAGES)})
        for stage in STAGES:
            if not await self._stage([each for each in stage if each[0] not in self._room.finished]):
                await self._orchestrate(Level.ERROR, "The room could not be finished", {"state": "failed"})
                return False
        seconds = round(time.perf_counter() - begun, 2)
        await self._orchestrate(Level.SUCCESS, f"Room ready in {seconds} s", {"state": "ready", "seconds": seconds})
        return True

    async def _stage(self, agents: list[tuple[AgentType, Agent]]) -> bool:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._agent(name, agent)) for name, agent in agents]
        return all(task.result() for task in tasks)

    async def _agent(self, name: AgentType, agent: Agent) -> bool:
        """Let an agent try until it succeeds, or has failed as often as it may; whether it succeeded."""
        begun = time.perf_counter()
        for attempt in range(1, self._settings.attempts + 1):
            await self._orchestrate(
                Level.INFO, f"Starting {name}", {"agent": name, "state": "running", "attempt": attempt}
            )
            try:
                outcome = await agent(self._job(name, attempt))
            except (AgentFailed, OSError) as error:
                await self._voice(name)(Level.ERROR, str(error), {"attempt": attempt})
                pause = self._settings.pace * 2**attempt
                left = self._settings.attempts - attempt
                again = f"{left} left, next in {pause:g} s" if left else "none left"
                await self._orchestrate(Level.WARN, f"{name} failed; attempts: {again}", {"agent": name})
                await asyncio.sleep(pause if left else 0)
            else:
                seconds = round(time.perf_counter() - begun, 2)
                await self._finished(name)
                await self._voice(name)(Level.SUCCESS, f"Finished {outcome['file']}", dict(outcome))
                await self._orchestrate(
                    Level.INFO, f"{name} took {seconds} s", {"agent": name, "state": "done", "seconds": seconds}
                )
                return True
        await self._orchestrate(Level.ERROR, f"Giving up on {name}", {"agent": name, "state": "failed"})
        return False

    def _job(self, name: AgentType, attempt: int) -> Job:
        return Job(room=self._room, folder=self._folder, attempt=attempt, say=self._voice(name))

    def _voice(self, name: AgentType) -> _Voice:
        return _Voice(self._logs, self._room.id, name, self._settings.pace)

    async def _orchestrate(self, level: Level, message: str, metadata: Metadata | None = None) -> None:
        await self._logs.insist(self._room.id, AgentType.ORCHESTRATOR, level, message, metadata)


class _Voice:
    """How an agent speaks: in its own name, and not faster than a visitor can follow."""

    def __init__(self, logs: RoomLogs, room_id: str, name: AgentType, pace: float) -> None:
        self._logs = logs
        self._room_id = room_id
        self._name = name
        self._pace = pace

    async def __call__(self, level: Level, message: str, metadata: Metadata | None = None) -> None:
        await self._logs.insist(self._room_id, self._name, level, message, metadata)
        await asyncio.sleep(self._pace)
