"""The repository as data: its files, and its Python modules as syntax trees.

Knows git's idea of which files there are and Python's idea of modules and imports. It judges nothing; `rules` does.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src"


@lru_cache(maxsize=1)
def files() -> tuple[Path, ...]:
    """Every file that is in the repository or would be with the next commit: tracked, or new and not ignored."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    paths = (ROOT / name for name in sorted(set(listed.split("\0"))) if name)
    return tuple(path for path in paths if path.is_file())


@lru_cache(maxsize=64)
def files_in(*folders: str, suffixes: tuple[str, ...] = (".py",)) -> tuple[Path, ...]:
    """The files below top-level folders that end in one of `suffixes`."""
    begins = tuple(f"{ROOT / folder}/" for folder in folders)
    return tuple(path for path in files() if path.suffix in suffixes and str(path).startswith(begins))


def shown(path: Path) -> str:
    """A path as it may stand in a message."""
    return path.relative_to(ROOT).as_posix()


@lru_cache(maxsize=1024)
def tree_of(path: Path) -> ast.Module:
    """The syntax tree of a Python file."""
    return ast.parse(path.read_text(), filename=shown(path))


@lru_cache(maxsize=1)
def modules() -> Mapping[str, Path]:
    """The package's modules: dotted names, a package standing for its `__init__`."""
    return MappingProxyType({module_name(path): path for path in files_in("src")})


def module_name(path: Path) -> str:
    """The dotted name of a file below src."""
    return ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")


def imports_of(tree: ast.AST, known: frozenset[str] | set[str] = frozenset()) -> Iterator[str]:
    """The dotted names that a tree imports, also within functions, but not only for type checkers. `from a import b` is
    `a.b` if that is one of the `known` modules, else `a`."""
    for node in ast.iter_child_nodes(tree):
        match node:
            case ast.If(test=ast.Name("TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING")):
                yield from imports_of(ast.Module(node.orelse, []), known)
            case ast.Import(names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=str(module), names=names, level=0):
                for alias in names:
                    name = f"{module}.{alias.name}"
                    yield name if name in known else module
            case ast.ImportFrom():
                raise AssertionError(f"line {node.lineno}: a relative import; write the whole name")
            case _:
                yield from imports_of(node, known)


def is_standard(name: str) -> bool:
    """Whether a dotted name belongs to Python's own library."""
    return name.partition(".")[0] in sys.stdlib_module_names


def cycles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Groups of modules that import one another (strongly connected components of more than one)."""
    reach: dict[str, set[str]] = {}
    for start in graph:
        seen: set[str] = set()
        stack = [start]
        while stack:
            new = graph.get(stack.pop(), set()) - seen
            seen |= new
            stack.extend(new)
        reach[start] = seen
    groups = {frozenset(b for b in reach[a] if a in reach.get(b, set())) for a in graph if a in reach[a]}
    return sorted(sorted(group) for group in groups)
