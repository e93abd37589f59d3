"""The command's arguments, and what it prints."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from torture.__main__ import again, arguments, headline, main, plan_of, scenario_of
from torture.judging import SHOWN, Outcome, told
from torture.oracle import Violation
from torture.plan import Plan
from torture.scenarios import Away, Rolling, Storm


def test_the_plan_is_what_was_asked_for() -> None:
    """With most publishers straight at the log, and the others through the nodes."""
    plan = plan_of(arguments(["--seed", "7", "--nodes", "2", "--publishers", "8", "--duration", "5"]))
    assert (plan.seed, plan.nodes, plan.publishers, plan.straight, plan.duration) == (7, 2, 8, 6, 5.0)
    assert plan_of(arguments(["--publishers", "1"])).straight == 1


def test_scenarios_are_chosen() -> None:
    """A storm unless something else is asked for; in the others nobody leaves by himself."""
    for words, kind, stay in ([], Storm, 8.0), (["--rolling", "2"], Rolling, 0.0), (["--outage", "9"], Away, 0.0):
        found = arguments(words)
        assert isinstance(scenario_of(found), kind)
        assert plan_of(found).stay == stay


def test_a_run_can_be_repeated() -> None:
    """What is printed as its command gives the same plan."""
    found = arguments(["--broker", "sqlite", "--seed", "7", "--rate", "12.5", "--rolling", "3", "--lossy"])
    words = again(found).split()
    assert words[0] == "scripts/torture"
    assert arguments(words[1:]) == found


@pytest.mark.parametrize(
    ("words", "what"),
    [([], "60 s of faults"), (["--rolling", "2"], "2 rolling restarts"), (["--outage", "8"], "the store away for 8 s")],
)
def test_the_headline_says_what_comes(words: list[str], what: str) -> None:
    """Before it takes its time."""
    assert headline(arguments([*words, "--seed", "3"])) == (
        f"redis, seed 3: {what}; 3 nodes, 200 streams over 50 channels, 4 publishers"
    )


@pytest.mark.parametrize("words", ["--nodes 0", "--broker mongodb", "--rolling x"])
def test_nonsense_is_refused(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With the usage."""
    with pytest.raises(SystemExit):
        arguments(words.split())
    assert "usage: scripts/torture" in capsys.readouterr().err


def test_records_of_two_runs_are_not_mixed(tmp_path: Path) -> None:
    """A folder to keep them in must be empty."""
    (tmp_path / "streams.jsonl").touch()
    with pytest.raises(SystemExit, match="is not empty"):
        main(["--keep", str(tmp_path)])


def test_an_outcome_is_told() -> None:
    """What happened, how much of it, and every kind of violation; the first of them one by one."""
    outcome = Outcome(events=1200, acknowledged=1100, refusals=3, delivered=9000, calm_after=1.5)
    outcome.faults = Counter({"cut": 2, "drop": 1})
    outcome.connections = Counter({"left": 2000})
    text = told(outcome, Plan(streams=40))
    assert "3: 2 cut, 1 drop" in text
    assert "1,200 events in the log, 1,100 of them acknowledged; 3 attempts failed" in text
    assert "9,000 events to 40 streams" in text
    assert text.endswith("0 lost, 0 doubled, 0 reordered, 0 foreign, 0 reset")
    outcome.violations = [Violation(kind="lost", what=f"number {number}") for number in range(SHOWN + 5)]
    outcome.violations.append(Violation(kind="crashed", what="node 1"))
    text = told(outcome, Plan())
    assert "25 lost, 0 doubled, 0 reordered, 0 foreign, 0 reset, 1 crashed" in text
    assert "! lost: number 19\n  ! and 6 more" in text
