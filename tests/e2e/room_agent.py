"""An agent as a process of its own, which says things in a room, straight to Redis: `URL ROOM sync|async FROM TO PAUSE`.

Before it says number PAUSE it waits for a line of input, so that something can be made to happen while it speaks.
"""

from __future__ import annotations

import asyncio
import sys
import time

import headwater
from examples.rooms.logs import AgentLog, AgentType, Level, RoomLogs, channel, now
from headwater.errors import Unavailable


def plainly(url: str, room: str, numbers: range, pause: int) -> None:
    """From plain functions, as a worker or a view does. What is refused during an outage is said again, under its key."""
    with headwater.publisher(url) as events:
        for number in numbers:
            if number == pause:
                sys.stdin.readline()
            line = AgentLog(
                timestamp=now(), agent_type=AgentType.STORY, level=Level.INFO, message=f"sync {number}", metadata=None
            )
            while True:
                try:
                    events.publish_sync(channel(room), "log", line, idempotency_key=f"{room} sync {number}")
                except Unavailable as error:
                    time.sleep(error.retry_after or 0.5)
                else:
                    break


async def with_coroutines(url: str, room: str, numbers: range, pause: int) -> None:
    """From coroutines, with what the rooms' own agents use."""
    async with headwater.publisher(url) as events:
        for number in numbers:
            if number == pause:
                await asyncio.to_thread(sys.stdin.readline)
            await RoomLogs(events).insist(room, AgentType.CODE, Level.SUCCESS, f"async {number}", {"number": number})


if __name__ == "__main__":
    url, room, way, begin, end, pause = sys.argv[1:]
    numbers = range(int(begin), int(end))
    if way == "sync":
        plainly(url, room, numbers, int(pause))
    else:
        asyncio.run(with_coroutines(url, room, numbers, int(pause)))
    print("said")
