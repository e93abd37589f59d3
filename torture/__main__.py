"""The command, `python -m torture`: breaks things under load and says whether a promise broke with them."""

from __future__ import annotations

import argparse
import asyncio
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from torture.judging import told
from torture.plan import Plan
from torture.processes import Failed
from torture.scenarios import Away, Rolling, Scenario, Storm, run
from torture.stores import STORES
from torture.world import World

T = TypeVar("T")


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(prog="scripts/torture", description=__doc__)
    parser.add_argument("--broker", choices=STORES, default="redis", help="the log; default redis")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of everything planned; default: the time")
    parser.add_argument("--duration", type=float, default=60.0, help="seconds of faults; default 60")
    for name, number in (("nodes", 3), ("streams", 200), ("channels", 50), ("publishers", 4)):
        parser.add_argument(f"--{name}", type=positive, default=number, help=f"default {number}")
    parser.add_argument("--rate", type=float, default=60.0, help="events a second, of all publishers; default 60")
    parser.add_argument(
        "--rolling", type=positive, metavar="N", help="instead of faults: N rolling restarts of the nodes"
    )
    parser.add_argument("--outage", type=float, metavar="SECONDS", help="instead of faults: the store away for so long")
    parser.add_argument(
        "--lossy", action="store_true", help="with faults that lose confirmed data: resets are right then"
    )
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep the records and the processes' output there")
    return parser.parse_args(given)


def positive(text: str) -> int:
    """A number of at least 1."""
    if (number := int(text)) < 1:
        raise ValueError
    return number


def plan_of(found: argparse.Namespace) -> Plan:
    """The run that the arguments describe."""
    return Plan(
        seed=found.seed,
        duration=found.duration,
        nodes=found.nodes,
        streams=found.streams,
        channels=found.channels,
        publishers=found.publishers,
        rate=found.rate,
        stay=0.0 if found.rolling or found.outage else 8.0,
        straight=found.publishers - found.publishers // 4,
        lossy=found.lossy,
    )


def again(found: argparse.Namespace) -> str:
    """The command that repeats a run."""
    names = ("broker", "seed", "duration", "nodes", "streams", "channels", "publishers", "rate", "rolling", "outage")
    given = {name: getattr(found, name) for name in names if getattr(found, name) is not None}
    flags = (
        f"--{name} {value:g}" if isinstance(value, float) else f"--{name} {value}" for name, value in given.items()
    )
    return " ".join(["scripts/torture", *flags, *(["--lossy"] if found.lossy else [])])


def headline(found: argparse.Namespace) -> str:
    """What is about to happen."""
    what = f"{found.duration:g} s of faults"
    if found.rolling:
        what = f"{found.rolling} rolling restarts"
    elif found.outage:
        what = f"the store away for {found.outage:g} s"
    load = f"{found.streams} streams over {found.channels} channels, {found.publishers} publishers"
    return f"{found.broker}, seed {found.seed}: {what}; {found.nodes} nodes, {load}"


@asynccontextmanager
async def progress(world: World) -> AsyncIterator[None]:
    """Say how it goes while the block lasts."""

    async def watch() -> None:
        begun = time.monotonic()
        while True:
            numbers = world.numbers
            broken = ", ".join(str(fault).partition(" s ")[2] for fault in world.happening) or "all is well"
            line = (
                f"{time.monotonic() - begun:5.0f} s  {numbers.published:7,} published  {numbers.delivered:9,} delivered  "
                f"{numbers.connections:6,} connections  {numbers.open:4} open  {broken}"
            )
            print(line, file=sys.stderr, flush=True)
            await asyncio.sleep(1 if sys.stderr.isatty() else 5)

    watching = asyncio.create_task(watch())
    try:
        yield
    finally:
        watching.cancel()


def scenario_of(found: argparse.Namespace) -> Scenario:
    """What is to happen."""
    if found.rolling:
        return Rolling(found.rolling)
    return Away(found.outage) if found.outage else Storm()


async def interruptibly(work: Coroutine[Any, Any, T]) -> T:
    """Do it; a signal to end cancels it, and whatever it has started is ended in order."""
    task, loop = asyncio.ensure_future(work), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    return await task


def main(given: list[str] | None = None) -> int:
    """Run. Returns 1 if a promise is broken, 130 after a signal; raises Failed if the run could not be had."""
    found = arguments(given)
    folder = found.keep or Path(tempfile.mkdtemp(prefix="headwater-torture-"))
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise SystemExit(f"{folder} is not empty: the records of two runs would be mixed")
    print(headline(found), file=sys.stderr)
    plan = plan_of(found)
    try:
        outcome = asyncio.run(interruptibly(run(plan, found.broker, folder, scenario_of(found), progress)))
    except asyncio.CancelledError:
        print(f"interrupted; the records so far are in {folder}")
        return 130
    print(f"{told(outcome, plan)}\n\nagain: {again(found)}")
    if outcome.violations:
        (folder / "violations.txt").write_text("".join(f"{each}\n" for each in outcome.violations))
        print(f"BROKEN: {len(outcome.violations)} violations; they, the records and the output are in {folder}")
        return 1
    if found.keep is None:
        shutil.rmtree(folder)
    print("Every promise was kept.")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failed as failed:
        print(f"the run could not be had: {failed}", file=sys.stderr)
        sys.exit(2)
