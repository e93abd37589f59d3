"""A network that goes wrong at random: faults, one after the other, on the connections through a proxy.

The dice are seeded, so that a run can be repeated, as far as anything can that depends on time.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from tests.support.proxy import Direction, Proxy

DIRECTIONS: tuple[Direction, ...] = ("up", "down")


class Faults:
    """What happens to a proxy's connections.

    Args:
        seed: of the dice.
        pause: seconds between two faults, at most.
        length: seconds that one lasts, at most.

    Attributes:
        counts: how often each has happened.
    """

    def __init__(self, proxy: Proxy, seed: int, *, pause: float, length: float) -> None:
        self.counts: Counter[str] = Counter()
        self._proxy = proxy
        self._dice = random.Random(seed)
        self._pause = pause
        self._length = length
        self._is_over = asyncio.Event()
        self._calm = asyncio.Lock()
        self._kinds: tuple[Callable[[], Awaitable[None]], ...] = (
            *(self.cut, self.drop, self.stall, self.delay, self.half_close, self.trickle),
        )

    async def run(self) -> None:
        """One fault after the other, until `end`; then the network is in order."""
        while not await self._wait(self._pause):
            async with self._calm:
                await self._happen(self._dice.choice(self._kinds))

    async def _happen(self, fault: Callable[[], Awaitable[None]]) -> None:
        self.counts[fault.__name__] += 1
        try:
            await fault()
        finally:
            self._proxy.resume()
            self._proxy.slow()
            await self._proxy.restore()

    def calm(self) -> AbstractAsyncContextManager[None]:
        """No faults for as long as the block runs, for what cannot be done through any. Connections may still be broken from
        before."""
        return self._calm

    def end(self) -> None:
        """No more faults."""
        self._is_over.set()

    async def _wait(self, most: float) -> bool:
        """For some time, or until the end; whether that has come."""
        try:
            await asyncio.wait_for(self._is_over.wait(), self._dice.uniform(0, most))
        except TimeoutError:
            return False
        return True

    async def cut(self) -> None:
        """Every connection is reset, and new ones are refused for a while."""
        await self._proxy.cut()
        await self._wait(self._length)

    async def drop(self) -> None:
        """Every connection is reset."""
        await self._proxy.drop()

    async def stall(self) -> None:
        """Nothing gets through, one way or both."""
        self._proxy.stall(self._dice.choice((None, *DIRECTIONS)))
        await self._wait(self._length)

    async def delay(self) -> None:
        """Everything takes longer."""
        self._proxy.slow(delay=self._dice.uniform(0, self._length / 10))
        await self._wait(self._length)

    async def half_close(self) -> None:
        """One side is told that nothing more will come."""
        self._proxy.half_close(self._dice.choice(DIRECTIONS))

    async def trickle(self) -> None:
        """A few bytes at a time."""
        self._proxy.slow(piece=self._dice.randrange(1, 20))
        await self._wait(self._length)


@asynccontextmanager
async def faulty(proxy: Proxy, seed: int, *, pause: float, length: float) -> AsyncIterator[Faults]:
    """Faults for as long as the block runs."""
    faults = Faults(proxy, seed, pause=pause, length=length)
    running = asyncio.create_task(faults.run())
    try:
        yield faults
    finally:
        faults.end()
        await running
