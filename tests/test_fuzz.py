"""The fuzz harness in its short form: a second of broken input in every run of the suite."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fuzz import fuzz_wire

HARNESS = Path(__file__).parents[1] / "fuzz" / "fuzz_wire.py"


def test_only_documented_errors_escape() -> None:
    """A second of mutated streams, texts, cursors and names brings out no error that is not documented."""
    done = subprocess.run(
        [sys.executable, HARNESS, "--seconds", "1", "--seed", "1"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "nothing but documented errors" in done.stdout


def test_a_failure_can_be_found_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a target lets through comes out with the seed, the round and the input that did it."""

    def broken(data: bytes, source: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(fuzz_wire, "TARGETS", (broken,))
    with pytest.raises(ZeroDivisionError) as caught:
        fuzz_wire.fuzz(seconds=60, seed=7)
    assert caught.value.__notes__[0].startswith("broken, seed 7, round 0, input b")
