"""Retention rules as text."""

from __future__ import annotations

import pytest

from headwater.brokers.base import Retention, Rule
from headwater.cli.retention import retention_from_text
from headwater.errors import ConfigurationError, InvalidChannel

NOTHING = Rule(count=None, age=None, bytes=None)


def test_rules_are_read_in_order_and_the_default_comes_last() -> None:
    """Ages, counts and sizes are told apart by their units; a rule without a pattern is for every channel."""
    found = retention_from_text("room:**=1h,100,16MiB; 24h,10000 ;total=2GiB")
    assert found == Retention(
        rules=(
            Rule(pattern="room:**", count=100, age=3600, bytes=16 << 20),
            Rule(pattern="**", count=10_000, age=86400, bytes=None),
            Rule(),
        ),
        total_bytes=2 << 30,
    )


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [("90s", "age", 90), ("15m", "age", 900), ("30d", "age", 2592000), ("7", "count", 7), ("64KiB", "bytes", 65536)],
)
def test_a_rule_bounds_only_what_it_names(text: str, field: str, value: int) -> None:
    """What a rule leaves out is not bounded by it."""
    rule = retention_from_text(text).rules[0]
    assert getattr(rule, field) == value
    assert [getattr(rule, name) for name in ("count", "age", "bytes") if name != field] == [None, None]


def test_a_channel_name_may_hold_an_equals_sign() -> None:
    """The last equals sign separates the pattern from its bounds."""
    assert retention_from_text("a=b:*=1h").rules[0].pattern == "a=b:*"


@pytest.mark.parametrize("text", ["1w", "room:*=", "1h,2h", "total=1x", "-1", "1.5h", "24h,,7", 24, None])
def test_what_cannot_be_read_is_refused(text: object) -> None:
    """Unknown units, two bounds of a kind, and values that are no text are errors that show a right one."""
    with pytest.raises(ConfigurationError, match="24h,10000"):
        retention_from_text(text)


def test_a_malformed_pattern_is_refused() -> None:
    """A pattern obeys the grammar of grants."""
    with pytest.raises(InvalidChannel):
        retention_from_text("ro om=1h")
