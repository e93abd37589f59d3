"""Keys and tokens for tests: real ones, and ones that lie.

Knows JWT as an attacker does, so it signs whatever it is told to; it knows nothing of Headwater.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from functools import lru_cache
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

SECRET: Final = "a secret of forty-eight bytes, for HS256 and 384!"
NOW: Final = 1_800_000_000.0
"""What the clock says in tests of tokens."""


Private = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey

_CURVES: Final[dict[str, tuple[ec.EllipticCurve, str]]] = {
    "P-256": (ec.SECP256R1(), "ES256"),
    "P-384": (ec.SECP384R1(), "ES384"),
    "P-521": (ec.SECP521R1(), "ES512"),
    "secp256k1": (ec.SECP256K1(), "ES256K"),
}


def private_key(kind: str, number: int = 0) -> Private:
    """A private key that stays the same while the tests run.

    Args:
        kind: RSA, RSA-1024, P-256, P-384, P-521, secp256k1, Ed25519 or Ed448.
        number: another number is another key.
    """
    return _generated(kind, number)


@lru_cache(maxsize=32)
def _generated(kind: str, number: int) -> Private:
    if kind.startswith("RSA"):
        return rsa.generate_private_key(65537, int(kind[4:] or 2048))
    if kind.startswith("Ed"):
        return ed25519.Ed25519PrivateKey.generate() if kind == "Ed25519" else ed448.Ed448PrivateKey.generate()
    return ec.generate_private_key(_CURVES[kind][0])


def public_pem(kind: str, number: int = 0) -> str:
    """The public half, as an operator has it in a file."""
    public = private_key(kind, number).public_key()
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def private_pem(kind: str) -> str:
    """The private half, which a hub should never be given."""
    return private_key(kind).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def jwk(kind: str, kid: str | None = None, *, number: int = 0, **members: Any) -> dict[str, Any]:
    """A public JWK; a member given as None is left out."""
    name = "RS256" if kind.startswith("RSA") else "EdDSA" if kind.startswith("Ed") else _CURVES[kind][1]
    algorithm: Any = jwt.get_algorithm_by_name(name)
    public = algorithm.to_jwk(private_key(kind, number).public_key(), as_dict=True)
    everything = {"use": "sig", **public, "kid": kid, **members}
    return {name: value for name, value in everything.items() if value is not None}


def signed(
    claims: dict[str, Any] | None = None,
    kind: str = "secret",
    algorithm: str = "HS256",
    *,
    number: int = 0,
    kid: str | None = None,
    **more: Any,
) -> str:
    """A token with an `exp` a minute from `NOW`, unless the claims say otherwise; a claim given as None is left out.

    Args:
        claims: added to the usual ones.
        kind: of the key, or "secret".
        algorithm: to sign with.
        number: of the key.
        kid: for the header.
        more: more claims.
    """
    everything = {"sub": "ada", "exp": NOW + 60, **(claims or {}), **more}
    body = {name: value for name, value in everything.items() if value is not None}
    key: Any = SECRET if kind == "secret" else private_key(kind, number)
    header = {"kid": kid} if kid is not None else None
    return jwt.api_jws.encode(json.dumps(body).encode(), key, algorithm, header)


def part(value: Any) -> str:
    """One part of a token: bytes as they are, anything else as JSON."""
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def forged(header: Any, payload: Any, key: bytes = SECRET.encode()) -> str:
    """A token with any header and payload at all, signed with HMAC-SHA256 whatever the header says."""
    message = f"{part(header)}.{part(payload)}"
    return f"{message}.{part(hmac.digest(key, message.encode(), hashlib.sha256))}"
