"""Tests of the mapping from modules to their tests."""

from __future__ import annotations

from tests.support.mirror import mirrors_of, needs_mirror
from tests.support.source import shown


def test_a_module_has_the_tests_of_its_name() -> None:
    """The file of the same name, wherever the module lives."""
    assert "tests/test_event.py" in [shown(path) for path in mirrors_of("headwater.event")]


def test_the_longest_name_wins() -> None:
    """`test_single_flight.py` is the test of `single_flight` alone, whatever else is called `single`."""
    owners = [name for name in ("headwater.single_flight", "headwater.errors", "headwater.wire") if mirrors_of(name)]
    files = [shown(path) for name in owners for path in mirrors_of(name)]
    assert len(files) == len(set(files))


def test_what_only_gathers_names_needs_no_test() -> None:
    """A package without functions and a module of protocols have no behaviour to test."""
    assert not needs_mirror("headwater.brokers.base")
    assert needs_mirror("headwater.event")
