"""The command, `python -m bench`: measures, shows tables, writes files, and on a full run renews docs/benchmarks.md."""

from __future__ import annotations

import argparse
import platform
import sys
import time
from pathlib import Path

from bench import machine, output
from bench.build import BuildFailed, build_programs
from bench.costs import costs_of
from bench.results import Results, bars
from bench.scenarios import QUICK, Plan
from bench.simulation.costs import Costs, CostsMissing
from bench.suite import POSTGRES, REDIS, Order, Suite
from bench.systems import SYSTEMS

QUIET = 0.03
"""Share of all cores' time that other processes may use before the report mentions it."""


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    """What the command line asks for."""
    names = [*(system.name for system in SYSTEMS), REDIS, POSTGRES]
    parser = argparse.ArgumentParser(prog="python -m bench", description="Headwater and its neighbours, side by side.")
    parser.add_argument("--quick", action="store_true", help="one short round with 1,000 subscribers, about a minute")
    parser.add_argument("--only", default="", metavar="NAMES", help=f"some of {','.join(names)}")
    parser.add_argument("--subscribers", default="", metavar="NUMBERS", help="default 1000,5000")
    parser.add_argument("--rounds", type=int, metavar="N", help="of the fan-out; default 3")
    parser.add_argument("--out", type=Path, default=output.OUT, help="for the JSON and the plot; default bench/out")
    parser.add_argument("--no-docs", action="store_true", help="leave docs/ alone, which a full run renews")
    found = parser.parse_args(given)
    unknown = set(filter(None, found.only.split(","))) - set(names)
    if unknown:
        parser.error(f"no such system: {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    return found


def order(found: argparse.Namespace, most_streams: int) -> Order:
    """What is to be measured."""
    numbers = found.subscribers or ("1000" if found.quick else "1000,5000")
    return Order(
        names=frozenset(filter(None, found.only.split(","))),
        subscribers=tuple(int(text) for text in numbers.split(",")),
        rounds=found.rounds or (1 if found.quick else 3),
        most_streams=most_streams,
        plan=QUICK if found.quick else Plan(),
    )


def costs_or_note(results: Results) -> Costs | None:
    """What the simulation needs; None, and a note if everything was measured and yet makes no sense."""
    try:
        return costs_of(results)
    except CostsMissing as error:
        if results.fan_out and results.work:
            results.notes.append(f"There are no new costs for docs/scaling.md: {error}.")
        return None


def main() -> int:
    """Run. Returns 1 if a promise is broken or a measurement failed."""
    found = arguments()
    if platform.system() != "Linux":
        raise SystemExit("the benchmarks need Linux: epoll, /proc and CPU pinning")
    started = time.monotonic()
    try:
        build_programs()
    except BuildFailed as error:
        raise SystemExit(str(error)) from None

    def say(step: str, outcome: str) -> None:
        print(f"{time.monotonic() - started:5.0f} s  {step:62} {outcome}", file=sys.stderr, flush=True)

    company = machine.Company()
    results = Suite(order(found, machine.most_streams()), say).run()
    about = machine.describe()
    if company.share() > QUIET:
        about["others"] = f"used {company.share():.0%} of its cores"
        note = f"The machine was not quiet: other processes {about['others']}."
        results.notes.append(f"{note} Rates and latencies are worse than they could be.")
    costs = costs_or_note(results)
    text = output.as_text(results, about, (time.monotonic() - started) / 60)
    full = not (found.quick or found.only or found.subscribers or found.no_docs)
    output.write(results, about, costs, [found.out, output.DOCS] if full else [found.out])
    if full:
        output.renew_pages(about, costs, text)
    print(f"\n{text}\n\nThe files are in {found.out}{', and docs/ is renewed' if full else ''}.")
    return 0 if all(bar.met for bar in bars(results)) and not results.failures else 1


if __name__ == "__main__":
    sys.exit(main())
