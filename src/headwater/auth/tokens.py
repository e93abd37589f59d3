"""Verifying tokens, and minting them.

A `Verifier` turns a compact JWS (RFC 7519) into a `Principal` or says why not; it never repeats the token. Knows keys and
claims through their modules; must not know requests, where a token was found, or what it is used for.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from typing import Any, Final

import jwt
import msgspec

from headwater.auth.claims import principal_of, refused
from headwater.auth.configuration import TokenSettings
from headwater.auth.jwks import KeySet
from headwater.auth.keys import ALGORITHMS, Key, pem_key, secret_bytes, secret_key
from headwater.channels import Principal
from headwater.errors import ConfigurationError, InvalidInput, NotAuthenticated

MAX_TOKEN_LENGTH: Final = 8192
"""Characters; servers and proxies commonly take no header longer than this."""


class Verifier:
    """Turns tokens into principals.

    Args:
        settings: which tokens are accepted.
        clock: Unix time in seconds.
        keys: the issuer's key set, where its cache is to behave in another way; by default one for `settings.jwks_url`.

    Raises:
        ConfigurationError: the settings have no key.
    """

    def __init__(
        self, settings: TokenSettings, *, clock: Callable[[], float] = time.time, keys: KeySet | None = None
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._source = keys or _source(settings)
        # Its own registry: what is not in it, `none` above all, cannot be reached by any header.
        self._jws = jwt.PyJWS(algorithms=list(ALGORITHMS))

    async def principal(self, token: str) -> Principal:
        """Who the token names and what it grants.

        Raises:
            NotAuthenticated: with `invalid_token` and the reason.
            Unavailable: the issuer's keys cannot be had, so nobody can tell.
        """
        _check_shape(token)
        try:
            key = await self._key_of(token)
            payload = self._jws.decode_complete(token, key.material, sorted(key.algorithms))["payload"]
        except jwt.PyJWTError as error:
            raise _explained(error) from None
        return principal_of(_claims(payload), self._settings, self._clock())

    async def _key_of(self, token: str) -> Key:
        if isinstance(self._source, Key):
            return self._source
        header = self._jws.get_unverified_header(token)
        algorithm = header.get("alg")
        if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
            raise jwt.InvalidAlgorithmError
        return await self._source.find(header.get("kid"), algorithm)


def _source(settings: TokenSettings) -> Key | KeySet:
    if settings.secret is not None:
        return secret_key(settings.secret)
    if settings.public_key is not None:
        return pem_key(settings.public_key)
    if settings.jwks_url is not None:
        return KeySet(settings.jwks_url)
    raise ConfigurationError("there is no key to check tokens with", expected="a secret, a public key or a JWKS URL")


def _check_shape(token: str) -> None:
    """Refuse what cannot be a token before anything parses it."""
    if len(token) > MAX_TOKEN_LENGTH:
        raise refused(f"the token is {len(token)} characters long", expected=f"at most {MAX_TOKEN_LENGTH}")
    dots = token.count(".")
    if dots == 4:
        raise refused("the token is encrypted (JWE)", expected="a signed one (JWS)")
    if dots != 2 or not token.isascii():
        raise refused("the token is no JWT", expected="three parts of base64url text, separated by dots")


def _claims(payload: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(payload, type=dict[str, Any])
    except (msgspec.MsgspecError, RecursionError):
        raise refused("the token's claims are no JSON object") from None


def _explained(error: jwt.PyJWTError) -> NotAuthenticated:
    """The library's error in our words: its own may repeat parts of the token."""
    if isinstance(error, jwt.InvalidSignatureError):
        return refused("the token's signature does not match", fix="see that issuer and hub use the same key")
    if isinstance(error, jwt.InvalidAlgorithmError):
        return refused("the token is signed with an algorithm that does not go with the hub's key")
    return refused("the token's header or encoding is malformed")


def mint(
    secret: str | bytes,
    *,
    sub: str | None = None,
    subscribe: Iterable[str] = (),
    publish: Iterable[str] = (),
    permissions: Iterable[str] = (),
    ttl: float = 3600.0,
    algorithm: str = "HS256",
    issuer: str | None = None,
    audience: str | None = None,
    permissions_claim: str = "permissions",
    grants_claim: str = "headwater",
    now: float | None = None,
) -> str:
    """A token that a `Verifier` with the same secret and names accepts: for development, services and tests.

    Args:
        secret: at least as long as the algorithm's hash.
        sub: who it names; None names nobody.
        subscribe: patterns of channels it may read.
        publish: patterns of channels it may write.
        permissions: names of what it may see.
        ttl: seconds for which it is valid; more than 0.
        algorithm: HS256, HS384 or HS512.
        issuer: its `iss`.
        audience: its `aud`.
        permissions_claim, grants_claim: as in `TokenSettings`.
        now: Unix time in seconds; the clock's by default.

    Raises:
        ConfigurationError: the secret is too short, or the algorithm is not one of the three.
        InvalidInput: a pattern, permission, `sub` or `ttl` is malformed.
    """
    if algorithm not in ("HS256", "HS384", "HS512"):
        raise ConfigurationError(f"tokens cannot be minted with {algorithm!r}", expected="HS256, HS384 or HS512")
    if not 0 < ttl < math.inf:
        raise InvalidInput(f"a ttl of {ttl!r}", expected="seconds, more than 0")
    key = secret_bytes(secret, algorithm)
    issued_at = time.time() if now is None else now
    claims: dict[str, Any] = {
        "sub": sub,
        "iss": issuer,
        "aud": audience,
        "iat": int(issued_at),
        "exp": round(issued_at + ttl, 3),
        permissions_claim: list(permissions),
        grants_claim: {"subscribe": list(subscribe), "publish": list(publish)},
    }
    claims = {name: value for name, value in claims.items() if value is not None}
    settings = TokenSettings(
        issuer=issuer, audience=audience, permissions_claim=permissions_claim, grants_claim=grants_claim
    )
    return _checked(jwt.encode(claims, key, algorithm), claims, settings, issued_at)


def _checked(token: str, claims: dict[str, Any], settings: TokenSettings, now: float) -> str:
    """The token, if the hub would accept it: nobody is handed one that it refuses."""
    try:
        _check_shape(token)
        principal_of(claims, settings, now)
    except NotAuthenticated as error:
        raise InvalidInput(error.what, expected=error.expected) from None
    return token
