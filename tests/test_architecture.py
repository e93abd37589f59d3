"""The shape of the house, checked: which way imports point, how long things are, what may not be there at all.

A rule that needs an exception gets it here, by name and with its reason.
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests.support import rules
from tests.support.mirror import UNMIRRORED, mirrors_of, needs_mirror
from tests.support.source import (
    ROOT,
    cycles,
    files,
    files_in,
    imports_of,
    is_standard,
    modules,
    shown,
    tree_of,
)

ROOMS = (
    *("errors", "single_flight", "channels", "event", "wire", "brokers", "changes", "auth", "stream", "hub", "asgi"),
    *("server", "client", "publishing", "testing", "", "cli", "__main__"),
)
"""From the ground up: a module imports only from its own room and from those before it. The room without a name is the
package itself, which holds the public names."""

ONLY = {
    "client": {"errors", "channels", "event", "wire"},
    "publishing": {"errors", "channels", "event", "brokers", "client"},
}
"""Rooms that see less than what lies below them: clients and publishers are for processes that have no hub."""

THIRD_PARTY = {
    "msgspec": {"*"},
    "starlette": {"asgi", "server", "testing", "cli"},
    "uvicorn": {"server", "cli"},
    "httptools": {"server"},
    "uvloop": {"server", "cli"},
    "jwt": {"auth"},
    "cryptography": {"auth"},
    "click": {"cli"},
    "prometheus_client": {"asgi"},
    "httpx2": {"client"},
    "hiredis": {"brokers.redis"},
    "psycopg": {"brokers.postgres", "changes"},
}
"""Which rooms (or modules) may import which foreign package."""

BROUGHT = {
    "cryptography": "the crypto extra of PyJWT is this package",
    "pydantic": "FastAPI's models are its models",
}
"""Packages that are imported and come with another by its own promise."""

MAY_SLEEP = {
    "tests/support/waiting.py": "the one place that polls",
    "tests/hub/": "time leaps there: a loop with nothing to do moves its own clock, so sleeping takes no time",
}


LONG_FILES = {
    "js/headwater.js": "the browser's core is one module without imports, because the wheel serves it as it is"
}
"""Files of over 400 lines."""


def room_of(module: str) -> str:
    """The room a module is in."""
    return module.removeprefix("headwater").lstrip(".").partition(".")[0]


@lru_cache(maxsize=1024)
def headwater_imports(module: str) -> frozenset[str]:
    """The modules of ours that a module imports."""
    known = set(modules())
    return frozenset(name for name in imports_of(tree_of(modules()[module]), known) if name in known)


def assert_none(wrong: Iterable[object]) -> None:
    """Fail with everything that is wrong, one to a line."""
    if lines := sorted(map(str, wrong)):
        pytest.fail("\n".join(lines), pytrace=False)


def every(rule: Callable[[ast.Module], Iterator[str]], paths: Iterable[Path]) -> list[str]:
    """All complaints of a rule about Python files, each with its place."""
    return [f"{shown(path)}:{complaint}" for path in paths for complaint in rule(tree_of(path))]


@pytest.mark.parametrize("module", sorted(modules()))
def test_imports_point_one_way(module: str) -> None:
    """A module imports only from its own room and from the rooms below it."""
    room = room_of(module)
    below = ONLY.get(room) or set(ROOMS[: ROOMS.index(room)])
    wrong = {name for name in headwater_imports(module) if room_of(name) not in below | {room}}
    assert_none(wrong)


def test_modules_do_not_import_in_circles() -> None:
    """There is an order in which the modules can be read, within each room too."""
    assert_none(cycles({module: set(headwater_imports(module)) for module in modules()}))


def test_brokers_do_not_know_each_other() -> None:
    """A broker stands on the protocol and on what all of them share."""
    brokers = {name for name in modules() if name.startswith("headwater.brokers.")}
    shared = {"headwater.brokers.base", "headwater.brokers.shared"}
    kind = {name: name.split(".")[2].partition("_")[0] for name in brokers - shared}
    wrong = {
        (name, other) for name in kind for other in headwater_imports(name) if kind.get(other, kind[name]) != kind[name]
    }
    assert_none(wrong)


@pytest.mark.parametrize("module", sorted(modules()))
def test_foreign_packages_stay_in_their_rooms(module: str) -> None:
    """Each is imported only where it belongs, so that it can be replaced there."""
    place = module.removeprefix("headwater").lstrip(".")
    wrong = []
    for name in imports_of(tree_of(modules()[module])):
        package = name.partition(".")[0]
        if package != "headwater" and not is_standard(name):
            allowed = THIRD_PARTY.get(package, set())
            if not ({"*", place, room_of(module)} & allowed or any(place.startswith(f"{each}.") for each in allowed)):
                wrong.append(name)
    assert_none(wrong)


def test_files_are_short() -> None:
    """No file of code is over 400 lines."""
    suffixes = (".py", ".js", ".mjs", ".ts", ".sql", ".css")
    code = files_in("src", "tests", "examples", "bench", "torture", "js", suffixes=suffixes)
    long = {shown(path): complaint for path in code for complaint in rules.long_file(path.read_text())}
    links = {shown(path) for path in code if path.is_symlink()}
    assert_none(f"{name}:{complaint}" for name, complaint in long.items() if name not in LONG_FILES.keys() | links)
    assert LONG_FILES.keys() <= long.keys(), "an exception that is not needed any more"


def test_functions_are_short() -> None:
    """No function is over 50 lines."""
    assert_none(every(rules.long_functions, files_in("src", "tests", "examples", "bench", "torture")))


def test_modules_and_tests_say_what_they_are() -> None:
    """Every module and every test function has a docstring."""
    assert_none(every(rules.undocumented_module, files_in("src", "tests", "examples", "bench", "torture")))
    assert_none(every(rules.undocumented_tests, files_in("tests")))


def test_tests_neither_skip_nor_sleep() -> None:
    """A missing service fails the suite, and nothing waits for a fixed time."""
    paths = [path for path in files_in("tests") if not shown(path).startswith(tuple(MAY_SLEEP))]
    assert_none(every(rules.skipping_and_sleeping, paths))


def test_modules_keep_no_state() -> None:
    """State lives in the broker, the hub and the stream, and nowhere at the top of a module."""
    assert_none(every(rules.module_state, files_in("src")))


def test_every_module_has_its_test_file() -> None:
    """tests/ mirrors src/: `a/b.py` is tested by `a/test_b.py`."""
    missing = [module for module in modules() if needs_mirror(module) and not mirrors_of(module)]
    assert_none(missing)


def test_exceptions_are_still_needed() -> None:
    """An exception for something that is gone is gone, too."""
    assert {f"headwater.{name}" for name in UNMIRRORED} <= set(modules())
    assert {room for room in ROOMS if room} >= {room_of(module) for module in modules()} - {""}


FOREIGN_PLACE = re.compile(
    r"(?<![\w./~-])/(?:work|root)/\w|https?://[\w.-]*\b(?:pypi|pythonhosted|npmjs|debian|crates|golang)\.(?:org|com|io)\b"
)
LOCK_FILES = {"package-lock.json", "npm-shrinkwrap.json", "yarn.lock", "pnpm-lock.yaml", "uv.lock", "poetry.lock"}


def test_no_file_names_a_place_that_only_one_machine_has() -> None:
    """No absolute paths of somebody's machine, no addresses of package registries."""
    found = []
    for path in files():
        text = path.read_bytes().decode(errors="replace")
        found += [f"{shown(path)}: {match[0]}" for match in FOREIGN_PLACE.finditer(text)]
    assert_none(found)


def test_there_are_no_lock_files() -> None:
    """They record download addresses; constraints.txt pins the versions."""
    assert_none([shown(path) for path in files() if path.name in LOCK_FILES or path.suffix == ".lock"])


def test_every_dependency_is_pinned() -> None:
    """constraints.txt holds each direct dependency at one version and nothing but versions."""
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert_none([line for line in lines if not re.fullmatch(r"[\w.-]+==[\w.]+(; .+)?", line)])
    pinned = {normal(line.partition("==")[0]) for line in lines}
    assert direct_dependencies() - pinned == set()


def test_every_import_is_declared() -> None:
    """What any Python file of ours imports stands in pyproject.toml, so that a fresh machine has it."""
    ours = {path.name for path in ROOT.iterdir()} | {"headwater"}
    owners = packages_distributions()
    wrong = []
    for path in (path for path in files() if path.suffix == ".py"):
        for name in {each.partition(".")[0] for each in imports_of(tree_of(path))} - ours - set(BROUGHT):
            packages = {normal(package) for package in owners.get(name, [name])}
            if not is_standard(name) and not packages & direct_dependencies():
                wrong.append(f"{shown(path)} imports {name}")
    assert_none(wrong)


@lru_cache(maxsize=1)
def direct_dependencies() -> frozenset[str]:
    """The names in pyproject.toml, extras and groups included."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    lists = [
        project["project"]["dependencies"],
        *project["project"].get("optional-dependencies", {}).values(),
        *project["dependency-groups"].values(),
    ]
    names = {re.split(r"[\[<>=!~; ]", each)[0] for group in lists for each in group}
    return frozenset(normal(name) for name in names) - {"headwater"}


def normal(name: str) -> str:
    """A distribution's name as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()
