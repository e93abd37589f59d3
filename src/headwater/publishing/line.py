"""The way to the log in one event loop: opened when it is first needed, and again after it was closed or failed to open.

Knows a sink and the loop it runs in; must not know threads, or what a sink does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from headwater.event import Draft
from headwater.publishing.sinks import Sink


class Line:
    """One sink, shared by everything that publishes in this loop.

    Args:
        make: makes a sink; called for each attempt at opening one, because a broker is opened once.
    """

    def __init__(self, make: Callable[[], Sink]) -> None:
        self._make = make
        self._opening: asyncio.Task[Sink] | None = None
        self._sending = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def send(self, drafts: Sequence[Draft]) -> tuple[str, ...]:
        """Publish all drafts or none; return their ids.

        Raises:
            What opening the sink raises, and what its `append` does.
        """
        self._sending += 1
        self._idle.clear()
        try:
            sink = await self._opened()
            return await sink.append(drafts)
        finally:
            self._sending -= 1
            if not self._sending:
                self._idle.set()

    async def _opened(self) -> Sink:
        """The open sink. Whoever comes while it is being opened waits for the same attempt and hears of the same failure: one
        after the other, a hundred publishers in an outage would each wait as long as all before them together."""
        if self._opening is None:
            self._opening = asyncio.create_task(self._open())
            self._opening.add_done_callback(self._forget_failure)
        return await asyncio.shield(self._opening)

    async def _open(self) -> Sink:
        sink = self._make()
        await sink.open()
        return sink

    def _forget_failure(self, opening: asyncio.Task[Sink]) -> None:
        if (opening.cancelled() or opening.exception()) and self._opening is opening:
            self._opening = None

    async def aclose(self) -> None:
        """Wait for what is being sent, then disconnect. What is sent afterwards opens the line again."""
        await self._idle.wait()
        opening, self._opening = self._opening, None
        if opening is None:
            return
        opening.cancel()  # if it is still going on, nobody waits for it any more
        await asyncio.wait([opening])
        if not opening.cancelled() and not opening.exception():
            await opening.result().aclose()
