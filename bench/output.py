"""What a run leaves behind: a JSON file, a plot, and the section of docs/benchmarks.md that shows the last full run.

Knows files and how results are told. Knows nothing of measuring.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from bench.build import SOURCES
from bench.marks import renewed
from bench.plot import plot
from bench.report import report
from bench.results import Results, bars, rows
from bench.simulation import page as scaling
from bench.simulation.costs import Costs
from bench.simulation.costs import as_json as costs_as_json

OUT = SOURCES / "out"
DOCS = SOURCES.parent / "docs"
LAST_RUN = "the last run"

_WHERE = ("date", "commit", "cpu", "kernel", "python")


def as_json(results: Results, about: dict[str, str]) -> str:
    """Everything, for machines: what was concluded first, then every round."""
    everything = {
        "machine": about,
        "notes": results.notes,
        "bars": [asdict(bar) for bar in bars(results)],
        "summary": {streams: [asdict(row) for row in rows(results, streams)] for streams in results.fan_out},
        "fan_out": {
            streams: [{name: asdict(numbers) for name, numbers in found.items()} for found in rounds]
            for streams, rounds in results.fan_out.items()
        },
        "storm": {name: asdict(found) for name, found in results.storm.items()},
        "publishing": {name: asdict(found) for name, found in results.publishing.items()},
        "groups": {name: asdict(found) for name, found in results.groups.items()},
        "latency": asdict(results.latency) if results.latency else None,
        "work": asdict(results.work) if results.work else None,
        "throughput": asdict(results.throughput) if results.throughput else None,
        "freshness": asdict(results.freshness) if results.freshness else None,
        "sequencing": asdict(results.sequencing) if results.sequencing else None,
    }
    return json.dumps(everything, indent=1) + "\n"


def as_text(results: Results, about: dict[str, str], minutes: float) -> str:
    """Everything, for people."""
    where = f"{about['date']}, commit {about['commit']}, {about['cpu']}, {about['kernel']}, Python {about['python']}"
    versions = ", ".join(f"{name} {value}" for name, value in about.items() if name not in _WHERE)
    return f"{where}; {versions}. The run took {minutes:.1f} minutes.\n\n{report(results)}"


def as_plot(results: Results, about: dict[str, str]) -> str:
    """Everything that makes a picture."""
    return plot(
        results, f"{about['date'][:10]} on {about['cpu']}: the server on one core, the load generator on another."
    )


def write(results: Results, about: dict[str, str], costs: Costs | None, directories: Sequence[Path]) -> None:
    """The JSON file and the plot, into each directory; the costs too, if there are any."""
    for directory in directories:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "benchmarks.json").write_text(as_json(results, about))
        (directory / "benchmarks.svg").write_text(as_plot(results, about))
        if costs:
            (directory / scaling.COSTS).write_text(costs_as_json(costs, about))


def renew_pages(about: dict[str, str], costs: Costs | None, text: str) -> None:
    """Show the run in docs/benchmarks.md, and what follows from it in docs/scaling.md.

    Raises:
        PageBroken: one of them has lost its marks.
    """
    page = DOCS / "benchmarks.md"
    page.write_text(renewed(page.read_text(), LAST_RUN, text))
    if costs:
        scaling.write(costs, about, DOCS)
