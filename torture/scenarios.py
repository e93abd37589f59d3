"""What is done to a world: a storm of faults, one rolling restart after the other, or an outage of the store.

Each scenario breaks things and leaves the healing and the judging to whoever called it; what it alone can judge it returns.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Final

from torture.judging import streamed
from torture.oracle import Violation
from torture.returns import herds, returns
from torture.schedule import Fault
from torture.world import World

BACK_WITHIN: Final = 20.0
"""Seconds in which all streams must be open again after a restart of one node."""


async def storm(world: World, faults: Sequence[Fault]) -> None:
    """Let the faults happen, each at its time, for as long as the plan says."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    async with asyncio.TaskGroup() as happening:
        for fault in faults:
            await asyncio.sleep(max(0.0, begun + fault.at - loop.time()))
            await world.check_alive()
            happening.create_task(world.inflict(fault))
        await asyncio.sleep(max(0.0, begun + world.plan.duration - loop.time()))


async def rolling(world: World, restarts: int) -> None:
    """Restart one node after the other, each when all streams are open."""
    for number in range(restarts):
        index = number % world.plan.nodes
        await world.inflict(Fault(at=time.monotonic(), kind="node terminated", target="node", index=index))
        if not await world.streams.until(lambda report: report.open == world.plan.streams, BACK_WITHIN):
            what = f"{world.streams.reported.open} of {world.plan.streams} streams were open {BACK_WITHIN:g} s after"
            world.violations.append(Violation(kind="stuck", what=f"{what} restart {number} of node {index}"))


def judge_returns(world: World) -> list[Violation]:
    """Whether those whom a restart sent away came back one by one."""
    return [Violation(kind="herd", what=what) for what in herds(returns(streamed(world.folder)))]
