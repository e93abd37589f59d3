"""How tokens are checked, as data, and what a hub may start with.

Pure: no I/O and no environment; `cli` turns flags and variables into these. Must not know requests.
"""

from __future__ import annotations

import ipaddress
import math
from urllib.parse import urlsplit

import msgspec

from headwater.auth.keys import pem_key, secret_key
from headwater.errors import ConfigurationError

DEFAULT_LEEWAY = 5.0
"""Seconds by which machines that keep time are seldom apart."""

_REGISTERED = ("sub", "exp", "nbf", "iat", "iss", "aud")


class TokenSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Which tokens are accepted and where they say what.

    Attributes:
        secret: shared with the issuer, for HS256 (at least 32 bytes), HS384 (48) and HS512 (64).
        public_key: the issuer's, in PEM: RSA, EC or Ed25519.
        jwks_url: where the issuer publishes its keys; https, or http on this machine. One of these three, or none of
            them in development.
        issuer: what `iss` must be; None accepts any.
        audience: what `aud` must be or contain. None accepts only tokens that have no `aud`: one made for another service
            must not open this one (RFC 7519, 4.1.3).
        leeway: seconds by which the issuer's clock may be ahead of ours, for `nbf`. `exp` is taken as it is, because a
            stream must not outlive its token.
        permissions_claim: the claim with the permissions, a list or space-separated text.
        scope_claim: the claim read instead if a token has no permissions claim.
        grants_claim: the claim with `{"subscribe": [patterns], "publish": [patterns]}`.

    Raises:
        ConfigurationError: on building, if anything of it is missing, malformed or unsafe.
    """

    secret: str | bytes | None = None
    public_key: str | None = None
    jwks_url: str | None = None
    issuer: str | None = None
    audience: str | None = None
    leeway: float = DEFAULT_LEEWAY
    permissions_claim: str = "permissions"
    scope_claim: str = "scope"
    grants_claim: str = "headwater"

    def __post_init__(self) -> None:
        given = [name for name in ("secret", "public_key", "jwks_url") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ConfigurationError(f"tokens are to be checked with {' and '.join(given)}", expected="one of them")
        if self.secret is not None:
            secret_key(self.secret)
        if self.public_key is not None:
            pem_key(self.public_key)
        if self.jwks_url is not None:
            check_jwks_url(self.jwks_url)
        if not 0 <= self.leeway < math.inf:
            raise ConfigurationError(f"the leeway is {self.leeway!r}", expected="seconds, 0 or more")
        for name in ("issuer", "audience", "permissions_claim", "scope_claim", "grants_claim"):
            if getattr(self, name) == "":
                raise ConfigurationError(f"{name} is empty", expected="a name", fix="leave it out to have the default")
        if self.grants_claim in (self.permissions_claim, self.scope_claim):
            raise ConfigurationError(f"grants_claim is {self.grants_claim!r}", expected="a claim of its own")
        for name in (self.permissions_claim, self.scope_claim, self.grants_claim):
            if name in _REGISTERED:
                raise ConfigurationError(f"a claim is named {name!r}, which means something else in every token")

    @property
    def has_key(self) -> bool:
        """Whether there is anything to check a token with."""
        return self.secret is not None or self.public_key is not None or self.jwks_url is not None

    def __repr__(self) -> str:
        shown = {name: getattr(self, name) for name in self.__struct_fields__ if name != "secret"}
        secret = "'[redacted]'" if self.secret is not None else "None"
        return f"TokenSettings(secret={secret}, {', '.join(f'{name}={value!r}' for name, value in shown.items())})"


def check_secure(settings: TokenSettings | None, *, dev: bool, host: str) -> None:
    """Refuse to start a hub that anybody could use from elsewhere.

    Args:
        settings: how tokens are checked.
        dev: development mode, in which every caller may do everything.
        host: what the hub will listen on.

    Raises:
        ConfigurationError: there is no key and no development mode, or development mode and a host that other machines
            reach.
    """
    if dev and not is_loopback(host):
        raise ConfigurationError(
            f"--dev lets every caller do everything, and {host or 'every address'} can be reached from other machines",
            expected="--dev on 127.0.0.1, ::1 or localhost",
            fix="leave out --host, or configure a key and leave out --dev",
        )
    if not dev and not (settings and settings.has_key):
        raise ConfigurationError(
            "no key is configured, so no token could be checked",
            expected="one of HEADWATER_JWT_SECRET, HEADWATER_JWT_PUBLIC_KEY, HEADWATER_JWKS_URL",
            fix="set one, or start with --dev on your own machine",
        )


def check_jwks_url(url: str) -> str:
    """Return `url` if keys may be fetched from it.

    Raises:
        ConfigurationError: it is no URL, carries a password, or is neither https nor on this machine.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in ("https", "http") or parts.username is not None:
        raise ConfigurationError("the JWKS URL is malformed", expected="https://host/path, without user and password")
    if parts.scheme == "http" and not is_loopback(host):
        raise ConfigurationError(
            f"the JWKS URL {url} is not encrypted, so anybody on the way could put in a key of their own",
            expected="https, or http on this machine",
        )
    return url


def is_loopback(host: str) -> bool:
    """Whether `host` can be reached from this machine only. Names other than localhost are not looked up: what they mean
    may change."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.removeprefix("[").removesuffix("]")).is_loopback
    except ValueError:
        return False
