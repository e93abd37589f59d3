"""Whether each module is covered wholly, branches included, by its own test files and no others: `pytest --own-coverage`.

Covered by accident, while something else is tested, is not tested. A run notes for every line which test file ran it; each
module is then judged by its own files' share. Knows coverage.py and pytest; which files are whose says `mirror`.

With pytest-xdist (`-n 2 --dist loadfile`) each worker measures, and sends the controller what it has; the controller judges.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import coverage
import pytest

from tests.support.mirror import mirrors_of, needs_mirror
from tests.support.source import ROOT, modules, shown

NOT_WHOLE: dict[str, str] = {}
"""Modules that need not be covered wholly by their own test files, and why."""

RACES = 2
"""Lines and branches of a module that may be missing from one run: where two things happen at once, which of them comes first
is not the test's to say, and a run in which it went the usual way only is no failure. They are shown all the same."""

_SENT = "own_coverage"


class Missing(NamedTuple):
    """What a module's own test files do not run.

    Attributes:
        lines: as ranges; empty if all are run.
        branches: lines that are left in one direction only.
        total: of lines and branches.
    """

    lines: str
    branches: list[int]
    total: int

    def __str__(self) -> str:
        parts = [f"lines {self.lines}"] if self.lines else []
        parts += [f"branches at {', '.join(map(str, self.branches))}"] if self.branches else []
        return "; ".join(parts)


class OwnCoverage:
    """A pytest plugin that measures, reports at the end, and fails the run if a module is not covered wholly.

    Only modules all of whose test files took part are judged, so it works for any part of the suite.
    """

    def __init__(self) -> None:
        self._measurement = coverage.Coverage(data_file=None, config_file=str(ROOT / "pyproject.toml"))
        # A controller of pytest-xdist runs nothing itself: what it judges comes from its workers.
        self._measurement.set_option("run:disable_warnings", ["module-not-imported", "no-data-collected"])
        self._files: set[Path] = set()
        self._judged: list[str] = []
        self._faults: dict[str, Missing] = {}
        self._measurement.start()

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Note which files take part."""
        self._files = {item.path for item in session.items}

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Name the file while its test runs, with its fixtures. What collecting runs has no name and counts for all: it is
        what importing a module executes."""
        self._measurement.switch_context(shown(item.path))
        yield
        self._measurement.switch_context("")

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object | None) -> None:
        """Take what a worker has measured. One that crashed has sent nothing, and its crash fails the run."""
        if sent := getattr(node, "workeroutput", {}).get(_SENT):
            files, data = sent
            self._files |= set(map(Path, files))
            measured = coverage.CoverageData(no_disk=True)
            measured.loads(base64.b85decode(data))
            self._measurement.get_data().update(measured)

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Judge; a fault fails a run that has passed so far."""
        self._measurement.stop()
        if (output := getattr(session.config, "workeroutput", None)) is not None:
            data = base64.b85encode(self._measurement.get_data().dumps()).decode()
            output[_SENT] = (sorted(map(str, self._files)), data)
            return
        self._judged = [
            module for module in modules() if needs_mirror(module) and self._files >= set(mirrors_of(module))
        ]
        self._judged = [module for module in self._judged if mirrors_of(module) and module not in NOT_WHOLE]
        self._faults = {module: missing for module in self._judged if (missing := self._missing(module)).total}
        if any(missing.total > RACES for missing in self._faults.values()) and exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say which modules are not covered wholly, and where."""
        if self._faults:
            terminalreporter.section("not covered wholly by their own tests", red=True)
        for module, missing in self._faults.items():
            terminalreporter.write_line(f"{module}: {missing}")
        whole = len(self._judged) - len(self._faults)
        terminalreporter.write_line(f"{whole} of {len(self._judged)} modules are covered wholly by their own tests")

    def _missing(self, module: str) -> Missing:
        path = str(modules()[module])
        own = "|".join(re.escape(shown(test)) for test in mirrors_of(module))
        self._measurement.get_data().set_query_contexts([f"^({own})?$"])
        _, _, _, missing, formatted = self._measurement.analysis2(path)
        exits = sorted(self._measurement.branch_stats(path).items())
        partial = [line for line, (all_, taken) in exits if taken < all_ and line not in missing]
        return Missing(formatted, partial, len(missing) + len(partial))
