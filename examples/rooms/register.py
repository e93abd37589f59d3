"""The rooms there are, as the log tells it: every change is an event that holds all of a room, so the newest one counts.

Whoever reads the log knows the rooms: this process, another node, one that is started next year on what is left of them.
Nothing is kept elsewhere. Knows the broker's reading side; must not know agents' work or HTTP.
"""

from __future__ import annotations

import asyncio
from enum import StrEnum

import msgspec

from examples.rooms.logs import Publishes, insist
from headwater import Event, Hub, Position
from headwater.errors import PositionLost

CHANNEL = "rooms"


class Status(StrEnum):
    """Where a room is in its life."""

    BUILDING = "building"
    READY = "ready"
    FAILED = "failed"


class Room(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A room.

    Attributes:
        id: in its URL.
        title: for people.
        words: that have to appear in its story.
        status: where it is.
        created_at: ISO 8601 in UTC.
        finished: agents that are done.
    """

    id: str
    title: str
    words: tuple[str, ...]
    status: Status
    created_at: str
    finished: tuple[str, ...] = ()


async def record(log: Publishes, room: Room) -> None:
    """Write down how a room is now; waits while the log cannot be written."""
    await insist(log, CHANNEL, "room", room)


class Register:
    """What this process has read of the rooms. Each question reads on to the log's end first, so that a room that another
    node has just made is known here.

    Args:
        hub: running while this is asked.
        kept: rooms; beyond it the oldest finished ones are forgotten.
    """

    def __init__(self, hub: Hub, kept: int) -> None:
        self._hub = hub
        self._kept = kept
        self._rooms: dict[str, Room] = {}  # in the order in which they were made
        self._at: Position | None = None  # through which we have read
        self._reading = asyncio.Lock()

    async def rooms(self) -> dict[str, Room]:
        """All rooms by their ids, oldest first.

        Raises:
            Unavailable: the log cannot be read.
        """
        async with self._reading:
            await self._read_on()
            return dict(self._rooms)

    async def unfinished(self) -> tuple[list[Room], str]:
        """The rooms that are being built, oldest first, and the cursor of the place up to which this is true."""
        async with self._reading:
            at = await self._read_on()
            return [room for room in self._rooms.values() if room.status is Status.BUILDING], str(at)

    async def _read_on(self) -> Position:
        broker = self._hub.broker
        head = await broker.head()
        at = self._at
        if at is None or at.epoch != head.epoch or at.seq > head.seq:  # the log is another one than before
            at = await self._begin()
        while at.seq < head.seq:
            try:
                page = await broker.read([CHANNEL], at.seq, head.seq)
            except PositionLost:  # we have not looked for so long that changes are gone by now
                at = await self._begin()
            else:
                for event in page.events:
                    self._take(event)
                self._at = at = page.end
        return at

    async def _begin(self) -> Position:
        self._rooms.clear()
        self._at = await self._hub.broker.horizon([CHANNEL])
        return self._at

    def _take(self, event: Event) -> None:
        room = msgspec.json.decode(event.data, type=Room)
        self._rooms[room.id] = room
        finished = [each.id for each in self._rooms.values() if each.status is not Status.BUILDING]
        for old in finished[: max(0, len(self._rooms) - self._kept)]:
            del self._rooms[old]
