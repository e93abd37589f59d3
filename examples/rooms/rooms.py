"""The rooms: made, kept, worked on, and brought to an end after a restart.

Knows the store, pipelines and logs; must not know HTTP.
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from examples.rooms import store
from examples.rooms.agents.deploy import FILES, PACKAGE
from examples.rooms.logs import AgentType, Level, RoomLogs, now
from examples.rooms.pipeline import Pipeline
from examples.rooms.settings import Settings
from examples.rooms.store import Room, Status
from examples.shared.database import Database
from headwater import Hub
from headwater.errors import InvalidInput, NotFound, TooManyRequests

log = logging.getLogger("examples.rooms")

MAX_TITLE = 60
MAX_WORDS = 6
_WORD = re.compile(r"[^\W\d_]{1,24}(-[^\W\d_]{1,24})?\Z")

TITLES = (
    "Ashgrove Hall",
    "The House on Weir Lane",
    "Candlemas Cottage",
    "Old Station No. 9",
    "Fernhollow",
    "Gull Manor",
)


class Rooms:
    """All rooms of one installation.

    Args:
        hub: running while this is; its log holds the rooms' logs.
        settings: where they are kept and how they are worked on.
    """

    def __init__(self, hub: Hub, settings: Settings) -> None:
        self.logs = RoomLogs(hub)
        self.emit_log = self.logs.emit_log
        self._settings = settings
        self._database = Database(settings.folder / "rooms.db", store.SCHEMA)
        self._turns = asyncio.Semaphore(settings.at_once)
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def lifespan(self, app: object = None) -> AsyncIterator[None]:
        """Open the store and go on with every room that was being built; stop working at the end. Within the hub's."""
        self._settings.prepared()
        await self._database.open()
        try:
            for room in await self._database.run(store.unfinished):
                self._work(room)
            yield
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self._database.aclose()

    async def create(self, title: str | None = None, words: Sequence[str] = ()) -> Room:
        """A new room, in which the agents begin to work.

        Raises:
            InvalidInput: the title or a word is malformed. TooManyRequests: too many rooms are waiting already.
        """
        if len(self._tasks) >= self._settings.at_once + self._settings.waiting:
            raise TooManyRequests(f"{len(self._tasks)} rooms are being built", fix="try again soon", retry_after=10)
        room = Room(
            id=secrets.token_hex(6),
            title=check_title(secrets.choice(TITLES) if title is None else title),
            words=check_words(words),
            status=Status.BUILDING,
            created_at=now(),
        )
        await self._database.run(store.insert, room)
        for forgotten in await self._database.run(store.forget, self._settings.kept):
            await asyncio.to_thread(shutil.rmtree, self._folder(forgotten), ignore_errors=True)
        self._work(room)
        return room

    async def get(self, room_id: str) -> Room:
        """A room.

        Raises:
            NotFound: there is none of that id.
        """
        room = await self._database.run(store.get, room_id)
        if room is None:
            raise NotFound(f"there is no room {room_id[:60]!r}", fix="GET /api/v1/rooms lists them")
        return room

    async def newest(self, limit: int = 50) -> list[Room]:
        """The newest rooms, newest first."""
        return await self._database.run(store.newest, limit)

    async def file(self, room_id: str, name: str) -> Path:
        """A file that the agents made.

        Raises:
            NotFound: there is no such room, or no such file in it yet.
        """
        path = self._folder((await self.get(room_id)).id) / name
        if name not in (*FILES, PACKAGE) or not await asyncio.to_thread(path.is_file):
            raise NotFound(
                f"the room has no {name[:60]!r}", expected=f"one of {', '.join((*FILES, PACKAGE))}, when made"
            )
        return path

    def _folder(self, room_id: str) -> Path:
        return self._settings.folder / "built" / room_id

    def _work(self, room: Room) -> None:
        task = asyncio.create_task(self._build(room), name=f"room {room.id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _build(self, room: Room) -> None:
        finished = partial(self._finish_agent, room.id)
        async with self._turns:
            try:
                done = await Pipeline(room, self._folder(room.id), self.logs, self._settings, finished).run()
            except Exception:
                log.exception("building a room failed", extra={"room": room.id})
                await self.logs.insist(
                    room.id, AgentType.ORCHESTRATOR, Level.ERROR, "Something unexpected happened", {"state": "failed"}
                )
                done = False
            await self._database.run(store.set_status, room.id, Status.READY if done else Status.FAILED)

    async def _finish_agent(self, room_id: str, agent: AgentType) -> None:
        await self._database.run(store.finish_agent, room_id, agent)


def check_title(title: str) -> str:
    """Raises InvalidInput unless a title is short and printable."""
    if not (0 < len(title) <= MAX_TITLE and title.isprintable() and title.strip()):
        raise InvalidInput(f"the title {title[:80]!r} is malformed", expected=f"1 to {MAX_TITLE} printable characters")
    return title


def check_words(words: Sequence[str]) -> tuple[str, ...]:
    """Raises InvalidInput unless these are a few words."""
    if len(words) > MAX_WORDS or not all(_WORD.match(word) for word in words):
        raise InvalidInput(
            f"the words {list(words)!r:.80} are malformed", expected=f"up to {MAX_WORDS} words of letters"
        )
    return tuple(words)
