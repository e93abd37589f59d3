"""Claims: what makes a principal, and what is refused with which words."""

from __future__ import annotations

import math
import re
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.auth.claims import principal_of
from headwater.auth.configuration import TokenSettings
from headwater.channels import Principal
from headwater.errors import NotAuthenticated

NOW = 1_800_000_000.0


def read(claims: dict[str, Any], **settings: Any) -> Principal:
    """The principal of claims that expire in a minute."""
    return principal_of({"exp": NOW + 60, **claims}, TokenSettings(**settings), NOW)


def refusal(claims: dict[str, Any], **settings: Any) -> str:
    """What the caller is told instead."""
    with pytest.raises(NotAuthenticated) as caught:
        read(claims, **settings)
    assert caught.value.code == "invalid_token"
    assert caught.value.status == 401
    return str(caught.value)


def test_a_full_token_becomes_a_principal() -> None:
    """Every claim has its place."""
    grants = {"subscribe": ["room:*", "user:7"], "publish": ["room:42"]}
    assert read({"sub": "ada", "permissions": ["rooms.read", "x"], "headwater": grants, "iat": NOW}) == Principal(
        id="ada",
        permissions=frozenset({"rooms.read", "x"}),
        subscribe=("room:*", "user:7"),
        publish=("room:42",),
        expires_at=NOW + 60,
    )


def test_a_bare_token_grants_nothing() -> None:
    """With no more than an exp it names nobody and grants nothing; null counts as left out."""
    nothing = Principal(expires_at=NOW + 60)
    assert read({}) == nothing
    assert read(dict.fromkeys(["sub", "permissions", "scope", "headwater", "aud", "nbf"])) == nothing
    assert read({"headwater": {"subscribe": None, "else": 1}}) == nothing


@pytest.mark.parametrize(
    ("claims", "permissions"),
    [
        ({"scope": "rooms.read  rooms.write"}, {"rooms.read", "rooms.write"}),
        ({"scope": ["rooms.read"]}, {"rooms.read"}),
        ({"scope": ""}, set()),
        ({"permissions": "rooms.read rooms.write"}, {"rooms.read", "rooms.write"}),
        ({"permissions": ["a"], "scope": "openid profile"}, {"a"}),
        ({"permissions": [], "scope": "openid profile"}, set()),
        ({"permissions": None, "scope": "openid"}, {"openid"}),
    ],
)
def test_permissions_come_from_one_claim(claims: dict[str, Any], permissions: set[str]) -> None:
    """From `permissions` if there is one, else from `scope`; a list, or text with spaces between."""
    assert read(claims).permissions == permissions


def test_claims_may_have_other_names() -> None:
    """The three names are settings."""
    claims = {"https://id.example/may": ["a"], "scp": "b", "grants": {"publish": ["c"]}, "headwater": 5}
    settings = {"permissions_claim": "https://id.example/may", "scope_claim": "scp", "grants_claim": "grants"}
    assert read(claims, **settings).permissions == {"a"}
    assert read(claims, **settings).publish == ("c",)
    del claims["https://id.example/may"]
    assert read(claims, **settings).permissions == {"b"}


@pytest.mark.parametrize(
    ("claims", "words"),
    [
        ({"exp": None}, "has no exp"),
        ({"exp": NOW - 90}, "expired 90 s ago"),
        ({"exp": NOW}, "expired 0 s ago"),
        ({"exp": str(int(NOW) + 60)}, "exp is no time"),
        ({"exp": True}, "exp is no time"),
        ({"exp": [NOW + 60]}, "exp is no time"),
        ({"exp": math.inf}, "exp is no time"),
        ({"exp": math.nan}, "exp is no time"),
        ({"exp": -1}, "exp is no time"),
        ({"exp": (NOW + 60) * 1000}, "exp is no time"),
        ({"exp": 10**400}, "exp is no time"),
        ({"nbf": NOW + 6}, "becomes valid in 6 s"),
        ({"nbf": "now"}, "nbf is no time"),
        ({"sub": 7}, "sub is malformed"),
        ({"sub": ["ada"]}, "sub is malformed"),
        ({"sub": ""}, "sub is malformed"),
        ({"sub": "x" * 256}, "sub is malformed"),
        ({"sub": "ada\nlevel=error"}, "sub is malformed"),
        ({"sub": "ada\ud800"}, "sub is malformed"),
        ({"permissions": {"a": 1}}, "permissions is malformed.*list"),
        ({"permissions": ["a", 5]}, "permissions is malformed.*list"),
        ({"permissions": 5}, "permissions is malformed.*list"),
        ({"permissions": ["rooms read"]}, "permission 'rooms read' is malformed.*without spaces"),
        ({"permissions": [""]}, "permission '' is malformed"),
        ({"permissions": ["x" * 201]}, "permission 'xxx"),
        ({"scope": 5}, "scope is malformed"),
        ({"headwater": []}, "headwater is malformed"),
        ({"headwater": "room:*"}, "headwater is malformed"),
        ({"headwater": {"subscribe": "room:*"}}, r"headwater\.subscribe is malformed.*list"),
        ({"headwater": {"publish": [1]}}, r"headwater\.publish is malformed.*list"),
        ({"headwater": {"publish": ["room 1"]}}, "channel pattern 'room 1' is malformed"),
        ({"headwater": {"subscribe": ["*" * 9]}}, "at most 8 stars"),
        ({"headwater": {"subscribe": ["(a+)+$"]}}, "is malformed"),
        ({"headwater": {"subscribe": ["x" * 201]}}, "is malformed"),
        ({"aud": "hub"}, "made for an audience.*HEADWATER_JWT_AUDIENCE"),
        ({"aud": 5}, "aud is malformed"),
        ({"aud": ["hub", 5]}, "aud is malformed"),
    ],
)
def test_a_bad_claim_is_named(claims: dict[str, Any], words: str) -> None:
    """Whatever is wrong with a token, its bearer is told which claim it is and what was expected."""
    assert re.search(words, refusal(claims))


def test_a_long_value_stays_a_short_error() -> None:
    """A hostile claim does not become a page of error text."""
    assert len(refusal({"headwater": {"publish": ["?" * 8000]}})) < 400


def test_the_leeway_is_for_nbf() -> None:
    """An issuer's clock may be ahead by the leeway; a token ends when it says, as its streams do."""
    assert read({"nbf": NOW + 5})
    assert read({"nbf": NOW + 30}, leeway=30.0)
    assert "becomes valid" in refusal({"nbf": NOW + 0.5}, leeway=0.0)
    assert "expired" in refusal({"exp": NOW - 1}, leeway=30.0)


@pytest.mark.parametrize(
    ("claims", "words"),
    [
        ({"iss": "https://id.example"}, None),
        ({}, "names no issuer"),
        ({"iss": "https://id.example/"}, "another issuer"),
        ({"iss": ["https://id.example"]}, "another issuer"),
    ],
)
def test_a_configured_issuer_is_required(claims: dict[str, Any], words: str | None) -> None:
    """It has to be exactly the one."""
    if words is None:
        assert read(claims, issuer="https://id.example")
    else:
        assert words in refusal(claims, issuer="https://id.example")


@pytest.mark.parametrize(
    ("claims", "words"),
    [
        ({"aud": "hub"}, None),
        ({"aud": ["other", "hub"]}, None),
        ({}, "names no audience"),
        ({"aud": []}, "names no audience"),
        ({"aud": "hub2"}, "another audience"),
        ({"aud": ["Hub"]}, "another audience"),
        ({"aud": {"hub": 1}}, "malformed"),
    ],
)
def test_a_configured_audience_is_required(claims: dict[str, Any], words: str | None) -> None:
    """It has to be named, alone or among others."""
    if words is None:
        assert read(claims, audience="hub")
    else:
        assert words in refusal(claims, audience="hub")


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.dictionaries(
        st.sampled_from(["sub", "exp", "nbf", "iss", "aud", "permissions", "scope", "headwater"]), _values, max_size=5
    ),
    st.booleans(),
)
def test_any_claims_are_a_principal_or_refused(claims: dict[str, Any], strict: bool) -> None:
    """Whatever an issuer writes, reading it ends in a principal or in NotAuthenticated and in nothing else."""
    settings = TokenSettings(issuer="a", audience="b") if strict else TokenSettings()
    with suppress(NotAuthenticated):
        assert principal_of({"exp": NOW + 60, **claims}, settings, NOW).expires_at
