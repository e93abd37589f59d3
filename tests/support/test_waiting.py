"""Tests of the support for waiting."""

from __future__ import annotations

import pytest

from tests.support.waiting import until


async def test_until_returns_once_the_condition_holds() -> None:
    """The condition is asked again until it is true, and no more after that."""
    answers = iter([False, False, True])
    await until(lambda: next(answers), "the third answer")
    assert list(answers) == []


async def test_until_says_what_it_waited_for() -> None:
    """When patience ends the failure names the condition."""
    with pytest.raises(AssertionError, match=r"waited 0\.01 s for nothing"):
        await until(lambda: False, "nothing", patience=0.01)
