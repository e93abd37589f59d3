"""The rooms as callers know them: made, looked up, listed, and what was made in them.

Knows the register and the folder with what agents made; must not know agents' work or HTTP.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Sequence
from pathlib import Path

from examples.rooms.agents.deploy import FILES, PACKAGE
from examples.rooms.logs import RoomLogs, now
from examples.rooms.register import CHANNEL, Register, Room, Status
from examples.rooms.settings import Settings
from headwater import Hub
from headwater.errors import InvalidInput, NotFound, TooManyRequests

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
    """All rooms of one installation, at any of its nodes.

    Args:
        hub: running while this is; its log holds the rooms and their logs.
        settings: how many rooms there may be, and where what is made in them lies.
    """

    def __init__(self, hub: Hub, settings: Settings) -> None:
        self.register = Register(hub, settings.kept)
        self.emit_log = RoomLogs(hub).emit_log
        self._hub = hub
        self._settings = settings

    async def create(self, title: str | None = None, words: Sequence[str] = ()) -> Room:
        """A new room. The builder hears of it from the log, wherever it runs, and has the agents begin.

        Raises:
            InvalidInput: the title or a word is malformed. TooManyRequests: too many rooms are waiting already.
        """
        room = Room(
            id=secrets.token_hex(6),
            title=check_title(secrets.choice(TITLES) if title is None else title),
            words=check_words(words),
            status=Status.BUILDING,
            created_at=now(),
        )
        building, _ = await self.register.unfinished()
        if len(building) >= self._settings.at_once + self._settings.waiting:
            raise TooManyRequests(f"{len(building)} rooms are being built", fix="try again soon", retry_after=10)
        await self._hub.publish(CHANNEL, "room", room)
        return room

    async def get(self, room_id: str) -> Room:
        """A room.

        Raises:
            NotFound: there is none of that id.
        """
        room = (await self.register.rooms()).get(room_id)
        if room is None:
            raise NotFound(f"there is no room {room_id[:60]!r}", fix="GET /api/v1/rooms lists them")
        return room

    async def newest(self, limit: int = 50) -> list[Room]:
        """The newest rooms, newest first."""
        return [*(await self.register.rooms()).values()][: -limit - 1 : -1]

    async def file(self, room_id: str, name: str) -> Path:
        """A file that the agents made.

        Raises:
            NotFound: there is no such room, or no such file in it yet.
        """
        path = self._settings.folder_of((await self.get(room_id)).id) / name
        if name not in (*FILES, PACKAGE) or not await asyncio.to_thread(path.is_file):
            raise NotFound(
                f"the room has no {name[:60]!r}", expected=f"one of {', '.join((*FILES, PACKAGE))}, when made"
            )
        return path


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
