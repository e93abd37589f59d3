"""What every test run shares: reproducible property tests, and an order that can be shuffled to prove that none matters."""

from __future__ import annotations

import os
import random
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from tests.support.redis import SharedServers

# Helpers that tests share fail with as much detail as the tests themselves.
pytest.register_assert_rewrite("headwater.testing")
pytest.register_assert_rewrite(*(f"tests.{path.name}" for path in Path(__file__).parent.iterdir() if path.is_dir()))

own_coverage = None
# Before options are parsed, because other conftests import what is to be measured. A worker of pytest-xdist has no command
# line of its own: it is told by the environment, which the processes of its tests must not inherit.
if os.environ.pop("OWN_COVERAGE", None) or "--own-coverage" in sys.argv:
    from tests.support.own_coverage import OwnCoverage

    own_coverage = OwnCoverage()
    if "--own-coverage" in sys.argv:
        os.environ["OWN_COVERAGE"] = "1"

# The suite gives the same verdict on the same code, so its random inputs are the same each time; `make fuzz` looks for
# new ones. No deadline: a busy machine is not a defect.
settings.register_profile("suite", derandomize=True, deadline=None, database=None)
settings.register_profile(
    "fuzz",
    max_examples=int(os.environ.get("FUZZ_EXAMPLES", "3000")),
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "suite"))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--shuffle` and `--own-coverage`."""
    parser.addoption(
        "--own-coverage",
        action="store_true",
        help="fail if a module is not covered wholly, branches included, by its own test files",
    )
    parser.addoption(
        "--shuffle",
        nargs="?",
        type=int,
        const=0,
        metavar="SEED",
        help="run the tests in a random order; the seed is printed and repeats the order",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Choose the seed if the caller did not."""
    if own_coverage is not None:
        config.pluginmanager.register(own_coverage)
    if config.option.shuffle == 0:
        # through the environment, so that workers of pytest-xdist have the same
        config.option.shuffle = int(os.environ.setdefault("SHUFFLE_SEED", str(random.randrange(1, 1_000_000))))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the seed, so that an order which fails can be had again."""
    if seed := config.option.shuffle:
        terminalreporter.write_line(f"The order was shuffled; --shuffle={seed} repeats it.")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Refuse names that differ from run to run, then shuffle if asked to: the files, and the tests within each file, so
    that module-scoped fixtures are still made once."""
    if unsteady := [item.nodeid for item in items if " at 0x" in item.nodeid]:
        raise pytest.UsageError("a memory address is part of a test's name:\n" + "\n".join(unsteady))
    if not (seed := config.option.shuffle):
        return
    generator = random.Random(seed)
    groups: dict[str, list[pytest.Item]] = {}
    for item in items:
        groups.setdefault(item.nodeid.partition("::")[0], []).append(item)
    files = list(groups.values())
    generator.shuffle(files)
    for group in files:
        generator.shuffle(group)
    items[:] = [item for group in files for item in group]


@pytest.fixture(scope="session")
def redis_servers() -> Iterator[SharedServers]:
    """Redis servers for tests that do them no harm; `redis_servers.url()` is a log of the test's own."""
    from tests.support.redis import shared_servers  # not before what is to be measured and rewritten

    with shared_servers() as servers:
        yield servers


@pytest.fixture(autouse=True)
def _signal_handlers_are_left_alone() -> Iterator[None]:
    """A handler that outlives its test would deal with the next test's signals, and with a person's Ctrl-C.

    One kind is forgiven, and removed: asyncio's for SIGINT. A fixture is set up and torn down in two runs of the loop, so
    what it saved in the first, an application's lifespan puts back after the second."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    left = {number: signal.getsignal(number) for number in before}
    for number, handler in before.items():
        signal.signal(number, handler)
    if "Runner._on_sigint" in repr(left[signal.SIGINT]):
        left[signal.SIGINT] = before[signal.SIGINT]
    assert left == before, "the test left a signal handler behind"
