"""Keys that verify tokens, and which algorithms each of them may verify.

The algorithms follow from the key alone, never from the token: a public key cannot be used as an HMAC secret (key
confusion), and `none` does not exist here. Knows PEM, JWK and key sizes; must not know claims or where keys come from.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import jwt
import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from headwater.errors import ConfigurationError

HMAC_BITS: Final = {"HS256": 256, "HS384": 384, "HS512": 512}
"""The algorithms of a shared secret, with the secret's least length in bits: that of the hash (RFC 7518, 3.2)."""

RSA_ALGORITHMS: Final = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
RSA_LEAST_BITS: Final = 2048  # RFC 7518, 3.3
RSA_MOST_BITS: Final = 8192  # beyond it one verification takes milliseconds of the event loop
CURVES: Final = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}

ALGORITHMS: Final = frozenset({*HMAC_BITS, *RSA_ALGORITHMS, *CURVES.values(), "EdDSA"})
"""Everything Headwater can verify."""


class UnfitKey(Exception):
    """This key cannot verify tokens; the message says why. Becomes the caller's own kind of error."""


class Key(msgspec.Struct, frozen=True):
    """What a signature is checked with.

    Attributes:
        material: as PyJWT takes it.
        algorithms: all it may verify.
    """

    material: Any
    algorithms: frozenset[str]

    def __repr__(self) -> str:
        return f"Key({', '.join(sorted(self.algorithms))})"


def secret_bytes(secret: str | bytes, algorithm: str = "HS256") -> bytes:
    """The secret as bytes, if it is fit for `algorithm`.

    Raises:
        ConfigurationError: it is shorter than the algorithm's hash, or it is the text of a public key.
    """
    raw = secret.encode() if isinstance(secret, str) else secret
    least = HMAC_BITS[algorithm] // 8
    if len(raw) < least:
        raise ConfigurationError(
            f"the JWT secret is {len(raw)} bytes long",
            expected=f"at least {least} for {algorithm} (RFC 7518, 3.2)",
            fix="make one with: openssl rand -base64 48",
        )
    try:
        jwt.get_algorithm_by_name(algorithm).prepare_key(raw)
    except jwt.InvalidKeyError:
        raise ConfigurationError(
            "the JWT secret is the text of a public key, certificate or JWK, which anybody may know",
            expected="random text that only the hub and the issuer know",
            fix="give a public key as HEADWATER_JWT_PUBLIC_KEY",
        ) from None
    return raw


def secret_key(secret: str | bytes) -> Key:
    """A shared secret: verifies with each HMAC whose hash is no longer than the secret.

    Raises:
        ConfigurationError: see `secret_bytes`.
    """
    raw = secret_bytes(secret)
    return Key(raw, frozenset(name for name, bits in HMAC_BITS.items() if len(raw) * 8 >= bits))


def pem_key(pem: str) -> Key:
    """A public key in PEM.

    Raises:
        ConfigurationError: it is something else, or a key of a kind or size that is not accepted.
    """
    if "PRIVATE KEY" in pem:
        raise ConfigurationError(
            "the JWT public key is a private key; the hub does not need it and should not have it",
            fix="write its public half with: openssl pkey -in private.pem -pubout",
        )
    try:
        return public_key(load_pem_public_key(pem.encode()))
    except (ValueError, UnsupportedAlgorithm):
        reason = "cannot be read"
    except UnfitKey as error:
        reason = str(error)
    raise ConfigurationError(
        f"the JWT public key {reason}", expected="RSA, EC (P-256, P-384, P-521) or Ed25519 in PEM (BEGIN PUBLIC KEY)"
    )


def public_key(material: object) -> Key:
    """A loaded public key with its algorithms.

    Raises:
        UnfitKey: its kind or size is not accepted.
    """
    if isinstance(material, rsa.RSAPublicKey):
        if not RSA_LEAST_BITS <= material.key_size <= RSA_MOST_BITS:
            raise UnfitKey(f"is RSA with {material.key_size} bits, not {RSA_LEAST_BITS} to {RSA_MOST_BITS}")
        return Key(material, RSA_ALGORITHMS)
    if isinstance(material, ec.EllipticCurvePublicKey):
        algorithm = CURVES.get(material.curve.name)
        if algorithm is None:
            raise UnfitKey(f"is on the curve {material.curve.name}")
        return Key(material, frozenset({algorithm}))
    if isinstance(material, ed25519.Ed25519PublicKey):
        return Key(material, frozenset({"EdDSA"}))
    raise UnfitKey("is of a kind that signs no tokens")


_Text = Annotated[str, msgspec.Meta(max_length=2048)]  # the modulus of the longest RSA key accepted has 1366


class _Jwk(msgspec.Struct, frozen=True, kw_only=True):
    """The members of a JWK that are read here, typed, so that nothing behind this sees a number where text belongs."""

    kty: _Text
    kid: _Text | None = None
    use: _Text | None = None
    key_ops: tuple[str, ...] | None = None
    alg: _Text | None = None
    crv: _Text | None = None
    n: _Text | None = None
    e: _Text | None = None
    x: _Text | None = None
    y: _Text | None = None
    d: _Text | None = None


def jwk_key(raw: msgspec.Raw | bytes) -> tuple[str | None, Key]:
    """Read one key of a JWK set.

    Returns:
        Its `kid` and the key.

    Raises:
        UnfitKey: it is malformed, symmetric, private, meant for something else than signatures, or of a kind or size that
            is not accepted.
    """
    try:
        jwk = msgspec.json.decode(raw, type=_Jwk)
    except (msgspec.MsgspecError, RecursionError):
        raise UnfitKey("is malformed") from None
    _check_jwk(jwk)
    members = {name: value for name in ("kty", "crv", "n", "e", "x", "y") if (value := getattr(jwk, name)) is not None}
    try:
        key = public_key(jwt.PyJWK(members).key)
    except (jwt.PyJWTError, ValueError):
        raise UnfitKey("is malformed") from None
    if jwk.alg is None:
        return jwk.kid, key
    if jwk.alg not in key.algorithms:
        raise UnfitKey(f"is for {jwk.alg[:20]!r}")
    return jwk.kid, Key(key.material, frozenset({jwk.alg}))


def _check_jwk(jwk: _Jwk) -> None:
    if jwk.kty == "oct":
        raise UnfitKey("is symmetric: whoever can read the set could sign tokens with it")
    if jwk.kty not in ("RSA", "EC", "OKP"):
        raise UnfitKey(f"is of the kind {jwk.kty[:20]!r}")
    if jwk.d is not None:
        raise UnfitKey("is private: whoever can read the set could sign tokens with it")
    if jwk.use not in (None, "sig"):
        raise UnfitKey("is not for signatures")
    if jwk.key_ops is not None and "verify" not in jwk.key_ops:
        raise UnfitKey("is not for verifying")
