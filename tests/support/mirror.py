"""Which test files belong to which module: tests/ mirrors src/, file by file.

The architecture test asks whether each module has some, `scripts/own-coverage` whether they cover it wholly.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

from tests.support.source import ROOT, SOURCE, files_in, modules, tree_of

UNMIRRORED = {
    "brokers.base": "protocols and values only; every broker's test runs the contract suite against it",
    "testing.contract": "tests themselves, for brokers; every broker's test runs them",
    "__main__": "hands over to the command, as the tests that start `python -m headwater` show",
}
"""Modules and packages without test files of their own, and why."""


def needs_mirror(module: str) -> bool:
    """Whether a module has behaviour of its own: an `__init__` that only gathers names has none."""
    path = modules()[module]
    functions = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    behaves = path.name != "__init__.py" or any(isinstance(node, functions) for node in tree_of(path).body)
    name = module.removeprefix("headwater.")
    return behaves and not any(name == excepted or name.startswith(f"{excepted}.") for excepted in UNMIRRORED)


def mirrors_of(module: str) -> list[Path]:
    """A module's test files: those of `a/b.py` are `a/test_b.py` and `a/test_b_<part>.py`, those of `a/__init__.py` are
    `a/test_init.py`. The parts of a folder within a room (`brokers/sqlite/`) may also share its `brokers/test_sqlite.py`.
    """
    path = modules()[module].relative_to(SOURCE / "headwater")
    own = _tests_of(path.parent, "init" if path.stem == "__init__" else path.stem)
    return own + (_tests_of(path.parent.parent, path.parent.name) if len(path.parts) > 2 else [])


def _tests_of(folder: Path, stem: str) -> list[Path]:
    siblings = {other.stem for other in (SOURCE / "headwater" / folder).iterdir()} | {"init"}
    in_folder = (test for test in files_in("tests") if test.parent == ROOT / "tests" / folder)
    return [test for test in in_folder if _owner(test.stem, siblings | {stem}) == stem]


def _owner(test: str, stems: set[str]) -> str | None:
    """Whose test this is: of the names that fit, the longest."""
    fitting = (stem for stem in stems if re.fullmatch(rf"test_{re.escape(stem)}(_.+)?", test))
    return max(fitting, key=len, default=None)
