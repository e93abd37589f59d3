"""Tests of the hub run in a loop whose time leaps: what waits for seconds takes none."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from tests.hub.support import LeapingLoop

pytest.register_assert_rewrite("tests.hub.support", "tests.hub.scripted", "tests.hub.reader")


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], LeapingLoop]]:
    """The loop of every async test in this folder."""
    return {"leaping": LeapingLoop}
