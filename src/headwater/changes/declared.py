"""Rules as they are declared outside of code: in a TOML file, or as a name in a Python module.

    [[changes]]
    table = "jobs"
    event = "UPDATE"
    when_changed = ["progress_updated_at"]
    channel = "project:{project_id}"
    type = "progress_update"
    data = ["id", "status", "progress"]

Knows how a declaration is written; what is right in a rule is said in `rules`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from headwater.changes.rules import Rule, check_rules
from headwater.errors import ConfigurationError, InvalidInput

KEY: Final = "changes"
NAMES: Final = tuple(sorted(field.name for field in fields(Rule) if field.init))
_EXPECTED: Final = "a .toml file with [[changes]], or module:name of a list of rules"


def load_rules(source: str) -> tuple[Rule, ...]:
    """The rules in a place.

    Args:
        source: the name of a file that ends in `.toml`, or `module:name` of rules in Python.

    Raises:
        ConfigurationError: there are none, or one is malformed. Says where.
    """
    if source.endswith(".toml"):
        return rules_from(_tables(Path(source)), source)
    found = _named(source)
    if not isinstance(found, list | tuple) or not all(isinstance(rule, Rule) for rule in found):
        raise ConfigurationError(f"{source} is no list of rules", expected=_EXPECTED)
    return _together(found, source)


def rules_from(tables: object, where: str) -> tuple[Rule, ...]:
    """The rules of `[[changes]]`.

    Args:
        tables: as they were read; or the name of a place, as for `load_rules`.
        where: from which file, for errors.

    Raises:
        ConfigurationError: one is malformed.
    """
    if isinstance(tables, str):
        return load_rules(tables)
    if not isinstance(tables, list | tuple) or not all(isinstance(table, Mapping) for table in tables):
        raise ConfigurationError(f"{KEY} in {where} is no list of rules", expected=f"[[{KEY}]] before each rule")
    return _together([_rule(table, f"{where}, rule {number}") for number, table in enumerate(tables, 1)], where)


def _together(rules: Iterable[Rule], where: str) -> tuple[Rule, ...]:
    try:
        return check_rules(rules)
    except InvalidInput as error:
        raise ConfigurationError(f"{where}: {error.what}", expected=error.expected, fix=error.fix) from None


def _tables(path: Path) -> object:
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}", expected="a TOML file") from None
    return found.get(KEY, ())


def _rule(table: Mapping[str, Any], where: str) -> Rule:
    if unknown := sorted(set(table) - set(NAMES)):
        raise ConfigurationError(
            f"{where} sets {unknown[0]!r}, which no rule has", expected=f"one of {', '.join(NAMES)}"
        )
    if missing := sorted({"table", "channel"} - set(table)):
        raise ConfigurationError(f"{where} has no {missing[0]}", expected="a table and a channel")
    given = dict(table)
    if isinstance(given.get("data"), str):
        given["data"] = _named(given["data"])
    try:
        return Rule(**given)
    except InvalidInput as error:
        raise ConfigurationError(f"{where}: {error.what}", expected=error.expected, fix=error.fix) from None


def _named(source: str) -> Any:
    """What `module:name` names."""
    module, colon, name = source.partition(":")
    if not (colon and module and name):
        raise ConfigurationError(f"{source[:80]!r} names nothing", expected=_EXPECTED)
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigurationError(f"{source[:80]!r} cannot be imported: {error}", expected=_EXPECTED) from None
