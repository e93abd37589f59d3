"""What an agent gets: a room, a folder, its attempt, and a voice.

Must not know hubs or HTTP: an agent speaks through `Say`.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import msgspec

from examples.rooms.logs import Level
from examples.rooms.register import Room

Metadata = Mapping[str, Any]


class Say(Protocol):
    """Writes a line to the room's log, in the agent's name."""

    async def __call__(self, level: Level, message: str, metadata: Metadata | None = None) -> None: ...


class AgentFailed(Exception):
    """An agent could not do its work this time; another attempt may succeed."""


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt of one agent.

    Attributes:
        room: what was asked for.
        folder: the room's; agents leave their files there for those after them.
        attempt: counted from 1.
        say: writes to the room's log.
    """

    room: Room
    folder: Path
    attempt: int
    say: Say

    def dice(self, agent: str) -> random.Random:
        """Chance that falls the same way whenever this attempt is repeated, such as after a restart."""
        return random.Random(f"{self.room.id}/{agent}/{self.attempt}")


Agent = Callable[[Job], Awaitable[Metadata]]
"""Does the work; returns what is worth knowing about it. Raises AgentFailed."""


class Chamber(msgspec.Struct, frozen=True):
    """A place in the story: what it is called, who haunts it, and what lies there."""

    name: str
    ghost: str
    thing: str


class Story(msgspec.Struct, frozen=True):
    """What the story agent hands on."""

    title: str
    chambers: tuple[Chamber, ...]
    text: str


def read_story(folder: Path) -> Story:
    """The story in a room's folder."""
    return msgspec.json.decode((folder / "story.json").read_bytes(), type=Story)
