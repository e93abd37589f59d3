"""Retention as text: `24h,10000;room:**=1h,100,16MiB;total=1GiB`.

Rules are separated by semicolons and tried in the order written; a rule without a pattern is for all channels and belongs
at the end. In a rule, a plain number is a count of events, a number with s, m, h or d an age, one with KiB, MiB or GiB a
size. Pure.
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from headwater.brokers.base import Retention, Rule
from headwater.channels import check_pattern
from headwater.errors import ConfigurationError

_AGES: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_SIZES: Final = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_BOUND = re.compile(r"([0-9]{1,12})(s|m|h|d|KiB|MiB|GiB)?\Z", re.ASCII)
_EXPECTED = "rules such as 24h,10000 or room:**=1h,100,16MiB, and total=1GiB, separated by semicolons"


def retention_from_text(text: Any) -> Retention:
    """Read retention rules. What a rule does not bound is not bounded; channels that no rule matches get the default one.

    Raises:
        ConfigurationError: they cannot be read.
    """
    if not isinstance(text, str):
        raise ConfigurationError(f"retention is {text!r}", expected=_EXPECTED)
    rules: list[Rule] = []
    total = Retention().total_bytes
    for part in filter(None, (part.strip() for part in text.split(";"))):
        pattern, equals, bounds = part.rpartition("=")
        if pattern == "total":
            total = _bound(bounds)[1]
        else:
            rules.append(_rule(pattern.strip() if equals else "**", bounds))
    return Retention(rules=(*rules, Rule()), total_bytes=total)


def _rule(pattern: str, bounds: str) -> Rule:
    found: dict[str, int] = {}
    for bound in bounds.split(","):
        kind, value = _bound(bound.strip())
        if kind in found:
            raise ConfigurationError(f"retention gives two bounds of {kind} in {bounds!r}", expected=_EXPECTED)
        found[kind] = value
    rule = Rule(pattern=check_pattern(pattern), count=None, age=None, bytes=None)
    return msgspec.structs.replace(rule, **found)


def _bound(text: str) -> tuple[str, int]:
    match = _BOUND.match(text)
    if match is None:
        raise ConfigurationError(f"retention has the bound {text!r}", expected=_EXPECTED)
    number, unit = int(match[1]), match[2]
    if unit in _AGES:
        return "age", number * _AGES[unit]
    if unit in _SIZES:
        return "bytes", number * _SIZES[unit]
    return "count", number
