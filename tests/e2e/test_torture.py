"""The torture in its short forms: a storm of faults, a rolling restart, an outage; and whether it would notice anything."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

from tests.support.source import ROOT
from torture.__main__ import arguments, plan_of
from torture.judging import Outcome, judge
from torture.plan import Plan
from torture.scenarios import Away, Rolling, Scenario, Storm, run

STORM = Plan(seed=1, duration=10.0, streams=100, channels=20, publishers=3, straight=2, stay=4.0)
CALM = Plan(seed=1, streams=100, channels=20, publishers=3, straight=2, stay=0.0)


async def tortured(plan: Plan, folder: Path, scenario: Scenario) -> Outcome:
    """A run in which nothing may break."""
    outcome = await run(plan, "redis", folder, scenario)
    assert outcome.violations == []
    assert outcome.acknowledged > 0
    assert outcome.delivered > outcome.events
    return outcome


async def test_a_storm_of_faults_breaks_no_promise(tmp_path: Path) -> None:
    """A fault every second: each stream's record equals its part of the log, and everything acknowledged is there once."""
    outcome = await tortured(STORM, tmp_path, Storm())
    assert outcome.faults.total() >= 9
    assert outcome.connections["left"] > 100


async def test_rolling_restarts_lose_nothing_and_spread_the_returns(tmp_path: Path) -> None:
    """Each node is restarted under load: no event is lost or doubled, and nobody comes back with everybody else."""
    outcome = await tortured(CALM, tmp_path, Rolling(1))
    assert outcome.faults == {"node terminated": 3}
    assert outcome.connections["whole"] >= 100


async def test_an_outage_of_the_store_is_survived(tmp_path: Path) -> None:
    """Streams stay open and hear heartbeats, readiness follows, publishing is refused in time, and nothing is lost."""
    outcome = await tortured(CALM, tmp_path, Away(6.0, ways=("killed",)))
    assert outcome.faults == {"store killed": 1}
    assert outcome.connections.total() == 0


def test_the_command_says_how_it_went(tmp_path: Path) -> None:
    """Its last lines are the verdict and how to run it again. It kept its records: with one line taken out of them, they are
    no longer right."""
    words = "--broker sqlite --seed 5 --duration 3 --nodes 1 --streams 10 --channels 3 --publishers 1 --keep"
    kept = tmp_path / "kept"
    done = subprocess.run(
        [sys.executable, "-m", "torture", *words.split(), kept],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 lost, 0 doubled, 0 reordered" in done.stdout
    assert "again: scripts/torture --broker sqlite --seed 5 --duration 3 --nodes 1" in done.stdout
    assert done.stdout.endswith("Every promise was kept.\n")
    assert " published " in done.stderr
    without_one_event(kept / "streams.jsonl")
    plan = plan_of(arguments([*words.split(), str(kept)]))
    outcome = asyncio.run(judge(plan, f"sqlite:///{kept / 'log.db'}", kept))
    assert [violation.kind for violation in outcome.violations] == ["lost"]


def without_one_event(records: Path) -> None:
    """Take the line of an event out of the records."""
    lines = records.read_bytes().splitlines(keepends=True)
    lines.remove(next(line for line in lines if line.startswith(b'["seen"')))
    records.write_bytes(b"".join(lines))
