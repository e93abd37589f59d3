"""What is done to a world: a storm of faults, one rolling restart after the other, or an outage of the store.

Each scenario breaks things, and judges afterwards what it alone can judge; `run` does everything around that, from the first
process to the verdict.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from pathlib import Path
from typing import Final, Protocol

from torture.judging import Outcome, judge, streamed
from torture.oracle import Violation
from torture.outage import Outage, judge_outage, outage
from torture.plan import Plan
from torture.returns import Return, fullest, herds, histogram, returns
from torture.schedule import Fault, schedule
from torture.world import World, running_world

BACK_WITHIN: Final = 20.0
"""Seconds in which all streams must be open again after a restart of one node."""


class Scenario(Protocol):
    """Something that happens to a world."""

    async def happen(self, world: World) -> None:
        """Break things; what is broken at the end is healed by the caller."""

    def judge(self, world: World, outcome: Outcome) -> None:
        """Add what is wrong, and what is worth knowing, to an outcome."""


class Storm:
    """A fault every second, for as long as the plan says."""

    async def happen(self, world: World) -> None:
        """See `Scenario`."""
        plan, loop = world.plan, asyncio.get_running_loop()
        begun = loop.time()
        async with asyncio.TaskGroup() as happening:
            for fault in schedule(plan.seed, plan.duration, world.kinds, world.counts):
                await asyncio.sleep(max(0.0, begun + fault.at - loop.time()))
                await world.check_alive()
                happening.create_task(world.inflict(fault))
            await asyncio.sleep(max(0.0, begun + plan.duration - loop.time()))

    def judge(self, world: World, outcome: Outcome) -> None:
        """Everything is in the records."""


class Rolling:
    """One node after the other is restarted, each when all streams are open.

    Args:
        rounds: how often each of them.
    """

    def __init__(self, rounds: int) -> None:
        self._rounds = rounds

    async def happen(self, world: World) -> None:
        """See `Scenario`."""
        await world.streams.until(lambda report: report.open == world.plan.streams, BACK_WITHIN)
        for number in range(self._rounds * world.plan.nodes):
            index = number % world.plan.nodes
            await world.inflict(Fault(at=time.monotonic(), kind="node terminated", target="node", index=index))
            if not await world.streams.until(lambda report: report.open == world.plan.streams, BACK_WITHIN):
                away = world.plan.streams - world.streams.reported.open
                what = f"{away} streams were not open {BACK_WITHIN:g} s after restart {number + 1}, of node {index}"
                world.violations.append(Violation(kind="stuck", what=what))

    def judge(self, world: World, outcome: Outcome) -> None:
        """Whether those who were sent away came back one by one."""
        found = returns(streamed(world.folder))
        outcome.violations += [Violation(kind="herd", what=what) for what in herds(found)]
        outcome.notes.append(_picture(found))


class Away:
    """The store is away.

    Args:
        length: seconds, each time.
        ways: in which it is; by default all that it has.
    """

    def __init__(self, length: float, ways: tuple[str, ...] = ()) -> None:
        self._length = length
        self._ways = ways
        self._seen: list[Outage] = []

    async def happen(self, world: World) -> None:
        """See `Scenario`."""
        for how in self._ways or world.store.outages:
            await world.streams.until(lambda report: report.open == world.plan.streams, BACK_WITHIN)
            self._seen.append(await outage(world, how, self._length))

    def judge(self, world: World, outcome: Outcome) -> None:
        """What was seen from outside."""
        for seen in self._seen:
            outcome.violations += judge_outage(seen, streamed(world.folder), heartbeat=world.plan.heartbeat)
            answers = ", ".join(f"{each.status} after {each.took:.1f} s" for each in seen.answers)
            outcome.notes.append(
                f"  store {seen.how} for {seen.over - seen.begun:.1f} s: every node not ready after {_told(seen.red_after)}, "
                f"ready {_told(seen.green_after)} after its return; publishing answered {answers}"
            )


async def run(
    plan: Plan,
    store: str,
    folder: Path,
    scenario: Scenario,
    around: Callable[[World], AbstractAsyncContextManager[None]] = lambda world: nullcontext(),
) -> Outcome:
    """One run, from the first process to the verdict.

    Args:
        store: see `running_store`.
        folder: for records and output; empty.
        around: is entered while things happen.
    """
    async with running_world(plan, store, folder) as world:
        async with around(world):
            await scenario.happen(world)
            calm_after = await world.settle()
        outcome = await judge(plan, world.store.url(), folder)
        outcome.calm_after = calm_after
        outcome.faults = world.faults
        world.note_complaints()
        outcome.violations += world.violations
        scenario.judge(world, outcome)
    return outcome


def _picture(found: list[Return]) -> str:
    """How long clients stayed away."""
    waits = [each.waited for each in found]
    counts = histogram(waits)
    most = max((count for _, count in counts), default=1)
    lines = [f"    {at:5.2f} s  {count:6,}  {'#' * (50 * count // most)}".rstrip() for at, count in counts]
    head = f"  {len(found):,} clients that were sent away came back, at most {fullest(waits):.0%} of them within 0.1 s:"
    return "\n".join([head, *lines])


def _told(seconds: float | None) -> str:
    return "never" if seconds is None else f"{seconds:.1f} s"
