"""Who is told that streams open and end: the log, and the application's hooks.

Knows snapshots of streams; must not know the hub. A hook observes. What it raises is logged and changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from headwater.hub.statistics import StreamInfo
from headwater.stream import CloseReason

log = logging.getLogger("headwater")

Hook = Callable[..., Any]


class Observers:
    """The hooks of one hub.

    Args:
        spawn: runs what an async hook returns.
    """

    def __init__(self, spawn: Callable[[Coroutine[Any, Any, None]], object]) -> None:
        self.on_connect: list[Hook] = []
        self.on_disconnect: list[Hook] = []
        self._spawn = spawn

    def opened(self, snapshot: Callable[[], StreamInfo]) -> None:
        """A stream has opened."""
        # A snapshot costs something at thousands of connects a second; it is made only if someone looks.
        if self.on_connect or log.isEnabledFor(logging.INFO):
            info = snapshot()
            log.info("connect", extra={"stream": info})
            for hook in self.on_connect:
                self._call(hook, info)

    def closed(self, snapshot: Callable[[], StreamInfo], reason: CloseReason) -> None:
        """A stream has ended."""
        if self.on_disconnect or log.isEnabledFor(logging.INFO):
            info = snapshot()
            log.info("disconnect", extra={"stream": info, "reason": reason.value})
            for hook in self.on_disconnect:
                self._call(hook, info, reason.value)

    def _call(self, hook: Hook, *args: object) -> None:
        try:
            outcome = hook(*args)
        except Exception:
            log.exception("a hook failed")
        else:
            if asyncio.iscoroutine(outcome):
                self._spawn(outcome)
