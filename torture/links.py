"""The network between a store and its users: a proxy for each of them, and what can befall it.

Knows proxies. Must not know what is behind them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from tests.support.proxy import Direction, Proxy, proxying
from torture.schedule import Fault

_STALLED: Final[dict[str, Direction | None]] = {"stall": None, "stall up": "up", "stall down": "down"}


class Links:
    """A way to the store for each of its users.

    Args:
        proxies: in front of the store.
    """

    def __init__(self, proxies: list[Proxy]) -> None:
        self._proxies = proxies

    def port(self, link: int) -> int:
        """Where the store is for a user."""
        return self._proxies[link].port

    async def heal(self) -> None:
        """Undo whatever may be left of faults that were interrupted."""
        for link in self._proxies:
            link.resume()
            link.slow()
            await link.restore()

    async def inflict(self, fault: Fault) -> None:
        """Let a fault begin and end; returns when it is over."""
        link = self._proxies[fault.index]
        match fault.kind:
            case "cut":
                await link.cut()
                await asyncio.sleep(fault.length)
                await link.restore()
            case "drop":
                await link.drop()
            case "stall" | "stall up" | "stall down":
                link.stall(_STALLED[fault.kind])
                await asyncio.sleep(fault.length)
                link.resume()
            case "answers lost":  # what is asked arrives and is done, and whoever asked cannot know
                link.stall("down")
                await asyncio.sleep(fault.length)
                await link.drop()
                link.resume()
            case "delay":
                link.slow(delay=0.01 + 0.2 * fault.dice)
                await asyncio.sleep(fault.length)
                link.slow()
            case "trickle":
                link.slow(delay=0.001, piece=1 + int(200 * fault.dice))
                await asyncio.sleep(fault.length)
                link.slow()
            case "half close up":
                link.half_close("up")
            case "half close down":
                link.half_close("down")
            case _:
                raise AssertionError(f"no such fault: {fault.kind}")


@asynccontextmanager
async def linking(port: int, count: int) -> AsyncIterator[Links]:
    """So many ways to a port of this machine."""
    async with AsyncExitStack() as stack:
        yield Links([await stack.enter_async_context(proxying(port)) for _ in range(count)])
