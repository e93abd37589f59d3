"""The builder as a process of its own: `python -m examples.rooms.work`.

Its agents publish straight to the log, without any hub in between; nodes of the application (`ROOMS_BUILDS=false`) stream
what they say. Knows how the parts are put together; must not know HTTP.
"""

from __future__ import annotations

import asyncio
import logging
import signal

import headwater
from examples.rooms.builder import Builder
from examples.rooms.register import Register
from examples.rooms.settings import Settings
from headwater import Hub

log = logging.getLogger("examples.rooms")


async def work(settings: Settings) -> None:
    """Build rooms until SIGTERM or SIGINT."""
    stopped, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    settings.prepared()
    hub = Hub(settings.broker_url)
    await hub.start()  # to hear of new rooms; it has no streams
    try:
        async with headwater.publisher(settings.broker_url) as events:
            async with Builder(hub, Register(hub, settings.kept), events, settings).lifespan():
                log.info("building rooms")
                await stopped.wait()
    finally:
        await hub.stop()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    asyncio.run(work(Settings.from_env("ROOMS")))
