"""Waiting for a condition that nobody announces: what another process or the kernel does.

Inside the process wait for the event itself; `until` is for the rest. It knows nothing of Headwater.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

PATIENCE = 30.0
"""Seconds after which a test gives up waiting. Only a failing test ever waits that long; a
machine with other work to do can take many seconds to start a server."""


async def until(condition: Callable[[], bool], what: str, *, patience: float = PATIENCE) -> None:
    """Return once `condition()` is true.

    Args:
        condition: cheap, and free of side effects.
        what: completes "waited for ..." in the failure.
        patience: seconds.

    Raises:
        AssertionError: it did not become true in time.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + patience
    pause = 0.001
    while not condition():
        if loop.time() > deadline:
            raise AssertionError(f"waited {patience:g} s for {what}")
        await asyncio.sleep(pause)
        pause = min(pause * 2, 0.05)
