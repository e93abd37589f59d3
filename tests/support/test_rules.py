"""Tests of the house rules: each finds what breaks it and nothing else."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator

import pytest

from tests.support import rules


def complaints(rule: Callable[[ast.Module], Iterator[str]], source: str) -> list[str]:
    """What a rule says about a piece of source."""
    return list(rule(ast.parse(source)))


def function_of(lines: int, docstring: int = 0) -> str:
    """A function of so many lines, and a docstring of so many more."""
    words = ['    """', *["    words"] * (docstring - 2), '    """'] if docstring else []
    return "\n".join(["def f():", *words, *["    x"] * (lines - 1)])


def test_a_file_may_have_400_lines() -> None:
    """One more is too many."""
    assert list(rules.long_file("\n" * 400)) == []
    assert list(rules.long_file("\n" * 401)) == ["1: the file has 401 lines, over 400"]


def test_a_function_may_have_50_lines_and_a_docstring() -> None:
    """One more is too many; the docstring does not count, an async function does."""
    assert complaints(rules.long_functions, function_of(50, docstring=30)) == []
    assert complaints(rules.long_functions, "async " + function_of(51)) == ["1: f has 51 lines, over 50"]


def test_modules_and_tests_have_docstrings() -> None:
    """Other functions may go without."""
    good, bad = '"""Doc."""\ndef f(): ...', "class A:\n    def test_x(self): ..."
    assert complaints(rules.undocumented_module, good) == complaints(rules.undocumented_tests, good) == []
    assert complaints(rules.undocumented_module, bad) == ["1: the module has no docstring"]
    assert complaints(rules.undocumented_tests, bad) == ["2: test_x has no docstring"]


@pytest.mark.parametrize(
    "source",
    [
        "pytest.skip('no')",
        "@pytest.mark.skipif(True)\ndef f(): ...",
        "@pytest.mark.xfail\ndef f(): ...",
        "mark.flaky(3)",
        "from pytest import importorskip",
        "asyncio.sleep(0.1)",
        "sleep(2 * 3)",
        "time.sleep(-1)",
    ],
)
def test_skips_and_fixed_sleeps_are_found(source: str) -> None:
    """In every way of writing them."""
    assert len(complaints(rules.skipping_and_sleeping, source)) == 1


@pytest.mark.parametrize("source", ["asyncio.sleep(0)", "asyncio.sleep(pause)", "parser.skip(3)", "sleep()"])
def test_other_sleeps_are_not(source: str) -> None:
    """A step of the event loop and a computed pause are allowed, and so are other people's methods."""
    assert complaints(rules.skipping_and_sleeping, source) == []


@pytest.mark.parametrize(
    "source",
    [
        "seen = {}",
        "seen: list[int] = []",
        "if True:\n    seen = set()",
        "lock = asyncio.Lock()",
        "class A:\n    lock = threading.Lock()",
        "def f(lock=asyncio.Lock()): ...",
        "PENDING = deque()",
        "events = prometheus_client.Counter('a', 'b')",
        "def f():\n    global x",
        "@functools.cache\ndef f(): ...",
        "@lru_cache(maxsize=None)\ndef f(): ...",
    ],
)
def test_state_at_the_top_of_a_module_is_found(source: str) -> None:
    """Whatever changes, belongs to a loop or grows without bound."""
    assert len(complaints(rules.module_state, source)) == 1


@pytest.mark.parametrize(
    "source",
    [
        "TABLE = {1: 2}",
        "table: Final = {1: 2}",
        "__all__ = ['a']",
        "pair = (1, 2)",
        "def f():\n    seen = {}\n    lock = asyncio.Lock()",
        "make = lambda: asyncio.Lock()",
        "@lru_cache(maxsize=9)\ndef f(): ...",
        "logger = logging.getLogger('a')",
        "count: int",
    ],
)
def test_constants_and_local_state_are_not(source: str) -> None:
    """Tables, loggers, bounded caches, and what a function makes for itself."""
    assert complaints(rules.module_state, source) == []
