"""Token settings, and what a hub may start with."""

from __future__ import annotations

import math
from typing import Any

import pytest

from headwater.auth.configuration import TokenSettings, check_jwks_url, check_secure, is_loopback
from headwater.errors import ConfigurationError
from tests.support.tokens import SECRET, public_pem

JWKS = "https://id.example/jwks.json"


@pytest.mark.parametrize("key", [{"secret": SECRET}, {"public_key": public_pem("P-256")}, {"jwks_url": JWKS}])
def test_any_one_key_will_do(key: dict[str, Any]) -> None:
    """A secret, a public key or a JWKS URL is a key."""
    assert TokenSettings(**key).has_key


def test_settings_may_have_no_key() -> None:
    """In development there is none."""
    assert not TokenSettings().has_key


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"secret": SECRET, "jwks_url": JWKS}, "secret and jwks_url.*one of them"),
        ({"secret": "short"}, "5 bytes long"),
        ({"public_key": "nonsense"}, "cannot be read"),
        ({"jwks_url": "http://id.example/jwks.json"}, "not encrypted"),
        ({"leeway": -1.0}, "leeway"),
        ({"leeway": math.nan}, "leeway"),
        ({"leeway": math.inf}, "leeway"),
        ({"audience": ""}, "audience is empty"),
        ({"issuer": ""}, "issuer is empty"),
        ({"grants_claim": ""}, "grants_claim is empty"),
        ({"grants_claim": "scope"}, "a claim of its own"),
        ({"grants_claim": "permissions"}, "a claim of its own"),
        ({"permissions_claim": "exp"}, "something else in every token"),
        ({"grants_claim": "sub"}, "something else in every token"),
    ],
)
def test_unsafe_and_malformed_settings_are_refused(settings: dict[str, Any], reason: str) -> None:
    """What is wrong is said when the settings are built, before anything starts."""
    with pytest.raises(ConfigurationError, match=reason):
        TokenSettings(**settings)


def test_settings_do_not_show_the_secret() -> None:
    """Their text has everything else."""
    shown = repr(TokenSettings(secret=SECRET, audience="hub"))
    assert SECRET not in shown
    assert "secret='[redacted]'" in shown
    assert "audience='hub'" in shown
    assert "secret=None" in repr(TokenSettings())


@pytest.mark.parametrize(
    "url",
    [
        JWKS,
        "https://id.example:8443/jwks",
        "http://localhost:9000/jwks",
        "http://127.0.0.1/jwks",
        "http://[::1]:80/jwks",
    ],
)
def test_keys_come_encrypted_or_from_this_machine(url: str) -> None:
    """These addresses are accepted."""
    assert check_jwks_url(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "id.example/jwks",
        "ftp://id.example/jwks",
        "file:///etc/passwd",
        "https://",
        "https://user:password@id.example/jwks",
        "https://id.example:port/jwks",
        "https://[::1/jwks",
        "http://localhost.example/jwks",
        "http://10.0.0.1/jwks",
        "http://127.0.0.1.example/jwks",
    ],
)
def test_other_key_addresses_are_refused(url: str) -> None:
    """No other scheme, no password, and nothing on a network in the clear; a password is not repeated."""
    with pytest.raises(ConfigurationError, match="JWKS URL") as caught:
        check_jwks_url(url)
    assert "password@" not in str(caught.value)


@pytest.mark.parametrize(
    ("host", "is_local"),
    [
        ("localhost", True),
        ("LOCALHOST", True),
        ("127.0.0.1", True),
        ("127.8.9.1", True),
        ("::1", True),
        ("[::1]", True),
        ("0.0.0.0", False),
        ("::", False),
        ("", False),
        ("10.0.0.1", False),
        ("localhost.example", False),
        ("hub", False),
        ("0", False),
    ],
)
def test_loopback_is_this_machine_only(host: str, is_local: bool) -> None:
    """Names are not looked up, and every address that others might reach counts as reachable."""
    assert is_loopback(host) is is_local


@pytest.mark.parametrize("settings", [None, TokenSettings()])
def test_without_a_key_nothing_starts(settings: TokenSettings | None) -> None:
    """The error names the three keys and the way out."""
    with pytest.raises(ConfigurationError, match=r"no key.*HEADWATER_JWT_SECRET.*--dev"):
        check_secure(settings, dev=False, host="127.0.0.1")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.0.2.1", "hub.example"])
@pytest.mark.parametrize("settings", [None, TokenSettings(secret=SECRET)])
def test_development_stays_on_this_machine(host: str, settings: TokenSettings | None) -> None:
    """--dev with a host that others reach is refused, with a key as without one."""
    with pytest.raises(ConfigurationError, match="reached from other machines"):
        check_secure(settings, dev=True, host=host)


def test_a_secure_hub_starts() -> None:
    """With a key anywhere; in development on loopback."""
    check_secure(TokenSettings(secret=SECRET), dev=False, host="0.0.0.0")
    check_secure(None, dev=True, host="127.0.0.1")
    check_secure(TokenSettings(secret=SECRET), dev=True, host="localhost")
