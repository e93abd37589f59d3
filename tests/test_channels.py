"""Channel names, patterns, permissions and what a principal may do."""

from __future__ import annotations

import time
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.channels import (
    ANYONE,
    EVERYTHING,
    Principal,
    check_channel,
    check_pattern,
    check_permission,
    check_permissions,
    matches,
)
from headwater.errors import InvalidChannel, InvalidInput

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.:/@="
names = st.text(LETTERS, min_size=1, max_size=200)
short_names = st.text("ab:", min_size=1, max_size=10)
patterns = st.lists(st.sampled_from(["a", "b", ":", "*", "**"]), min_size=1, max_size=8).map("".join)


def reference(pattern: str, name: str) -> bool:
    """What a pattern means, letter by letter, with no thought for speed."""

    @cache
    def rest(i: int, j: int) -> bool:
        if i == len(pattern):
            return j == len(name)
        if pattern[i] != "*":
            return j < len(name) and pattern[i] == name[j] and rest(i + 1, j + 1)
        stars = len(pattern[i:]) - len(pattern[i:].lstrip("*"))
        if rest(i + stars, j):
            return True
        return j < len(name) and (stars > 1 or name[j] != ":") and rest(i, j + 1)

    return rest(0, 0)


# Names


@given(names)
def test_a_name_of_the_grammar_is_returned(name: str) -> None:
    """Every name of 1 to 200 letters, digits and _ - . : / @ = is legal and comes back as it is."""
    assert check_channel(name) is name
    assert check_channel("$" + name[1:] + "x", own=True).startswith("$")


@given(st.text(max_size=5), st.characters(exclude_characters=LETTERS), st.text(max_size=5))
def test_any_other_character_is_refused(before: str, other: str, after: str) -> None:
    """One character outside the grammar makes a name illegal: digits of other scripts, line ends and spaces too."""
    with pytest.raises(InvalidChannel):
        check_channel(before + other + after)


@pytest.mark.parametrize("name", ["", "x" * 201, "a\n", "a b", "é", "٣", "a*", "$", "a$b", None, 7, b"a", ["a"]])
@pytest.mark.parametrize("own", [False, True])
def test_what_is_no_name_is_refused(name: Any, own: bool) -> None:
    """Empty, over-long, or of another type: refused, whoever asks; and the message stays short."""
    with pytest.raises(InvalidChannel) as caught:
        check_channel(name, own=own)
    assert len(str(caught.value)) < 300


def test_a_huge_name_makes_a_short_error() -> None:
    """A hostile name of a megabyte is not repeated in the error."""
    with pytest.raises(InvalidChannel) as caught:
        check_channel("é" * (1 << 20))
    assert len(str(caught.value)) < 300


def test_own_channels_are_for_headwater() -> None:
    """A name that begins with `$` is refused by name, unless the caller is Headwater itself."""
    with pytest.raises(InvalidChannel, match="begins with \\$"):
        check_channel("$stats")
    assert check_channel("$stats", own=True) == "$stats"


# Permissions


@pytest.mark.parametrize("name", ["rooms.read", "a", "!", "~" * 200, "tenant:7/rooms#read"])
def test_a_permission_is_visible_ascii(name: str) -> None:
    """Any 1 to 200 visible ASCII characters name a permission."""
    assert check_permission(name) == name


@pytest.mark.parametrize("name", ["", "a b", "a\n", "\t", "é", "x" * 201, "a\x7f", "\u0661", None, 1, b"a"])
def test_what_is_no_permission_is_refused(name: Any) -> None:
    """White space would split a `scope` claim; anything else that is not visible ASCII invites look-alikes."""
    with pytest.raises(InvalidInput, match="permission"):
        check_permission(name)


def test_permissions_become_a_set() -> None:
    """Any collection of names becomes a set; order and repetition mean nothing."""
    assert check_permissions(["b", "a", "b"]) == frozenset({"a", "b"})
    assert check_permissions(iter(())) == frozenset()


@pytest.mark.parametrize("names", ["rooms.read", "", None, 5])
def test_one_text_is_no_set_of_permissions(names: Any) -> None:
    """A single text is refused: its characters are names that nobody meant."""
    with pytest.raises(InvalidInput, match="a set or list"):
        check_permissions(names)


# Patterns


@pytest.mark.parametrize("pattern", ["a", "*", "**", "room:*", "room:**", "a*b", "$**", "$stats", "a:*:b:**", "*" * 8])
def test_a_pattern_is_a_name_with_stars(pattern: str) -> None:
    """A channel name with up to eight stars anywhere is a pattern."""
    assert check_pattern(pattern) is pattern


@pytest.mark.parametrize("pattern", ["", "a b", "x" * 201, "*" * 9, "a$", "a\n", "é*", "[a-z]", None, 3])
def test_what_is_no_pattern_is_refused(pattern: Any) -> None:
    """Nothing else is: no other wildcards, no more than eight stars, no `$` but at the start."""
    with pytest.raises(InvalidChannel, match="at most 8 stars"):
        check_pattern(pattern)


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("room:42", "room:42", True),
        ("room:42", "room:421", False),
        ("room:*", "room:42", True),
        ("room:*", "room:42:log", False),
        ("room:**", "room:42:log", True),
        ("*", "a", True),
        ("*", "a:b", False),
        ("**", "a:b", True),
        ("*:log", "room:log", True),
        ("room:*:log", "room:42:log", True),
        ("**a*b", "a:ab", True),
        ("a.c", "abc", False),
        ("a:*b*", "a:xbyb", True),
        ("**", "$stats", False),
        ("*", "$stats", False),
        ("$**", "$stats", True),
        ("$**", "stats", False),
        ("$stats", "$stats", True),
    ],
)
def test_what_a_pattern_covers(pattern: str, name: str, expected: bool) -> None:
    """A star stays within its segment, two do not, and none reaches Headwater's own channels by accident."""
    assert matches(pattern, name) is expected


@given(patterns, short_names)
def test_patterns_mean_what_the_letters_say(pattern: str, name: str) -> None:
    """The fast matcher and the plain reading of a pattern never disagree."""
    assert matches(pattern, name) == reference(pattern, name)


@given(st.text("ab:*", min_size=1, max_size=12), short_names)
def test_runs_of_stars_mean_two(pattern: str, name: str) -> None:
    """Three stars or more mean what two mean."""
    assert matches(pattern, name) == reference(pattern, name)


@pytest.mark.parametrize(
    "pattern",
    ["*a*a*a*a*a*a*a*ab", "**a**a**a**ab", "**a*a*a*a*a*a*b", "*" * 8 + "b", "a*a*a*a*a*a*a*a*b", "**aa*aa**aab"],
)
def test_hostile_patterns_cost_nothing(pattern: str) -> None:
    """The patterns that ruin backtracking matchers take no more than a moment on the longest of names."""
    began = time.process_time()
    for name in ("a" * 200, "a:" * 100, "aaa:" * 50, "a" * 199 + "c"):
        assert matches(pattern, name) is False
    assert time.process_time() - began < 0.5


# Principals


def test_what_a_principal_may_do() -> None:
    """Each grant allows its own direction only, and nothing is allowed without one."""
    principal = Principal(id="ann", subscribe=("room:*", "user:ann"), publish=("room:42",))
    assert principal.may_subscribe("room:42")
    assert principal.may_subscribe("user:ann")
    assert not principal.may_subscribe("user:bob")
    assert principal.may_publish("room:42")
    assert not principal.may_publish("room:43")
    assert not ANYONE.may_subscribe("room:42")
    assert not ANYONE.may_publish("room:42")


def test_a_principal_sees_what_it_holds_all_permissions_for() -> None:
    """Holding one of two is not enough; an event that asks for none is for everyone."""
    principal = Principal(permissions=frozenset({"a", "b"}))
    assert principal.may_see(frozenset())
    assert principal.may_see(frozenset({"a", "b"}))
    assert not principal.may_see(frozenset({"a", "c"}))
    assert ANYONE.may_see(frozenset())
    assert not ANYONE.may_see(frozenset({"a"}))


def test_development_mode_may_everything_but_write_own_channels() -> None:
    """The caller of development mode reads and writes all channels and reads Headwater's own."""
    assert EVERYTHING.may_subscribe("$stats")
    assert EVERYTHING.may_subscribe("a:b")
    assert EVERYTHING.may_publish("a:b")
    assert not EVERYTHING.may_publish("$stats")


def test_a_principal_takes_any_collection() -> None:
    """An application may pass lists and sets; what is kept is frozen, so that nobody can change a grant later."""
    held = {"a"}
    principal = Principal(permissions=held, subscribe=["x"], publish=iter(["y"]))  # type: ignore[arg-type]
    held.add("b")
    assert principal == Principal(permissions=frozenset({"a"}), subscribe=("x",), publish=("y",))


@pytest.mark.parametrize(
    "kwargs",
    [
        {"permissions": "rooms.read"},
        {"permissions": ["a b"]},
        {"permissions": None},
        {"subscribe": "**"},
        {"subscribe": ["a b"]},
        {"publish": "**"},
        {"publish": [None]},
        {"publish": 7},
    ],
)
def test_a_principal_with_malformed_grants_cannot_exist(kwargs: dict[str, Any]) -> None:
    """A mistake in a grant is an error when the principal is built. A text in place of a list is one: `"**"`, taken letter by
    letter, would be two grants of `*`."""
    with pytest.raises(InvalidInput):
        Principal(**kwargs)


@pytest.mark.parametrize("required", [set(), {"a"}, {"a", "b"}, {"*"}])
def test_who_holds_the_star_sees_everything(required: set[str]) -> None:
    """`*` stands for every permission, wherever it comes from; development mode's caller holds it."""
    for principal in (
        Principal(permissions=frozenset({"*"})),
        Principal(permissions=frozenset({"x", "*"})),
        EVERYTHING,
    ):
        assert principal.may_see(frozenset(required))
        assert frozenset(required) <= principal.permissions
    assert not ANYONE.may_see(frozenset({"*"}))


def test_the_star_is_no_pattern() -> None:
    """Only by itself: a permission that holds a star is a name like any other."""
    assert not Principal(permissions=frozenset({"rooms.*"})).may_see(frozenset({"rooms.read"}))


def test_principals_are_equal_by_what_they_hold() -> None:
    """Views are shared by equal sets; who sees everything never shares one with somebody who does not."""
    assert Principal(permissions=frozenset({"*"})) == Principal(permissions=frozenset({"*"}))
    assert EVERYTHING.permissions != Principal(permissions=frozenset({"headwater.admin"})).permissions


@pytest.mark.parametrize("time", [-1, float("nan"), float("inf"), 1e308, 253402300800])
def test_an_end_is_a_time_that_can_be_written(time: float) -> None:
    """Unix time of four-digit years; everything else would break a timer or a date later, where it could not be answered."""
    with pytest.raises(InvalidInput, match="year 10000"):
        Principal(expires_at=time)
    assert Principal(expires_at=253402300799).expires_at
    assert Principal(expires_at=0).expires_at == 0
