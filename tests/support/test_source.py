"""Tests of the view on the repository's source."""

from __future__ import annotations

import ast

import pytest

from tests.support.source import cycles, files_in, imports_of, modules

SOURCE = """
from __future__ import annotations
import os, a.b
from pkg import inner, name
if TYPE_CHECKING:
    import never
else:
    import otherwise
def f():
    import deferred
"""


def test_imports_are_found_wherever_they_run() -> None:
    """Deferred ones too, those for type checkers not; a name that is a module is named as one."""
    found = list(imports_of(ast.parse(SOURCE), {"pkg.inner"}))
    assert found == ["__future__", "os", "a.b", "pkg.inner", "pkg", "otherwise", "deferred"]


def test_relative_imports_are_refused() -> None:
    """They would hide the direction of an import."""
    with pytest.raises(AssertionError, match="write the whole name"):
        list(imports_of(ast.parse("from . import a")))


def test_cycles_are_found() -> None:
    """Each group once, however long the way around."""
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": {"e"}, "e": set(), "f": {"f"}}
    assert cycles(graph) == [["a", "b", "c"], ["f"]]


def test_modules_have_dotted_names() -> None:
    """A package stands for its `__init__`."""
    assert {"headwater", "headwater.brokers", "headwater.brokers.base", "headwater.event"} <= set(modules())
    assert files_in("src", suffixes=(".typed",))
