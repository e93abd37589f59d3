"""Keys: which are accepted, and which algorithms each may verify."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.auth.keys import (
    ALGORITHMS,
    RSA_ALGORITHMS,
    UnfitKey,
    jwk_key,
    pem_key,
    public_key,
    secret_bytes,
    secret_key,
)
from headwater.errors import ConfigurationError
from tests.support.tokens import jwk, private_pem, public_pem


@pytest.mark.parametrize(
    ("length", "algorithms"),
    [
        (32, {"HS256"}),
        (47, {"HS256"}),
        (48, {"HS256", "HS384"}),
        (64, {"HS256", "HS384", "HS512"}),
        (500, {"HS256", "HS384", "HS512"}),
    ],
)
def test_a_secret_serves_the_hashes_it_is_long_enough_for(length: int, algorithms: set[str]) -> None:
    """RFC 7518, 3.2: a key of the hash's size or larger must be used."""
    assert secret_key("x" * length).algorithms == algorithms


@pytest.mark.parametrize("secret", ["", "secret", "x" * 31, b"\x00" * 31])
def test_a_short_secret_is_refused(secret: str | bytes) -> None:
    """The error says how long it is, how long it must be and how to make one, and not what it is."""
    with pytest.raises(ConfigurationError, match=rf"{len(secret)} bytes long.*at least 32 .*openssl rand") as caught:
        secret_key(secret)
    assert "xxx" not in str(caught.value)


def test_a_secret_is_counted_in_bytes() -> None:
    """Sixteen two-byte characters are thirty-two bytes."""
    assert len(secret_bytes("é" * 16)) == 32
    with pytest.raises(ConfigurationError, match="at least 64 for HS512"):
        secret_bytes("x" * 63, "HS512")


@pytest.mark.parametrize("secret", [public_pem("RSA"), public_pem("P-256"), json.dumps(jwk("RSA"))])
def test_a_public_key_is_no_secret(secret: str) -> None:
    """The text of a public key as an HMAC secret is the oldest key confusion there is."""
    with pytest.raises(ConfigurationError, match="anybody may know"):
        secret_key(secret)


@pytest.mark.parametrize(
    ("kind", "algorithms"),
    [
        ("RSA", RSA_ALGORITHMS),
        ("P-256", {"ES256"}),
        ("P-384", {"ES384"}),
        ("P-521", {"ES512"}),
        ("Ed25519", {"EdDSA"}),
    ],
)
def test_a_public_key_serves_the_algorithms_of_its_kind(kind: str, algorithms: set[str]) -> None:
    """From PEM and from a JWK alike, and never an HMAC."""
    assert pem_key(public_pem(kind)).algorithms == algorithms
    assert jwk_key(json.dumps(jwk(kind, "k")).encode())[1].algorithms == algorithms


def test_nothing_is_signed_with_none() -> None:
    """`none` is no algorithm here."""
    assert not {name for name in ALGORITHMS if name.lower() == "none"}


@pytest.mark.parametrize(
    ("pem", "reason"),
    [
        (private_pem("RSA"), "private key.*openssl pkey"),
        (public_pem("RSA-1024"), "RSA with 1024 bits"),
        (public_pem("secp256k1"), "curve secp256k1"),
        (public_pem("Ed448"), "signs no tokens"),
        ("", "cannot be read"),
        ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "cannot be read"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "cannot be read"),
        ("s3cret" * 10, "cannot be read"),
    ],
)
def test_an_unfit_pem_is_refused(pem: str, reason: str) -> None:
    """A private key, a weak one, one on another curve and plain text are configuration errors that say which it is."""
    with pytest.raises(ConfigurationError, match=reason) as caught:
        pem_key(pem)
    assert "s3cret" not in str(caught.value)


def test_a_key_does_not_show_its_material() -> None:
    """What ends up in a log or a traceback names the algorithms only."""
    assert repr(secret_key("s3cret" * 10)) == "Key(HS256, HS384)"


def test_only_public_keys_are_public_keys() -> None:
    """Anything else is unfit."""
    with pytest.raises(UnfitKey):
        public_key(object())


def test_a_jwk_may_name_its_algorithm() -> None:
    """Then it verifies that one alone."""
    kid, key = jwk_key(json.dumps(jwk("RSA", "k", alg="PS384")).encode())
    assert kid == "k"
    assert key.algorithms == {"PS384"}


def test_a_jwk_needs_no_kid_and_no_use() -> None:
    """Both are optional in the standard."""
    assert jwk_key(json.dumps(jwk("P-256", None, use=None, key_ops=["verify", "sign"])).encode())[0] is None


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"kty": "oct", "k": "AAAA"}, "symmetric"),
        (jwk("RSA", "k", kty="oct", k="AAAA"), "symmetric"),
        (jwk("P-256", "k", d="AAAA"), "private"),
        (jwk("RSA", "k", use="enc"), "not for signatures"),
        (jwk("RSA", "k", key_ops=["encrypt"]), "not for verifying"),
        (jwk("RSA", "k", alg="HS256"), "is for 'HS256'"),
        (jwk("RSA", "k", alg="none"), "is for 'none'"),
        (jwk("RSA", "k", alg="RSA-OAEP"), "is for 'RSA-OAEP'"),
        (jwk("P-256", "k", alg="ES384"), "is for 'ES384'"),
        (jwk("RSA-1024", "k"), "1024 bits"),
        (jwk("secp256k1", "k"), "secp256k1"),
        (jwk("Ed448", "k"), "malformed"),
        ({"kty": "AKP"}, "kind 'AKP'"),
        ({"kty": "RSA"}, "malformed"),
        (jwk("RSA", "k", n=5), "malformed"),
        (jwk("RSA", "k", n="A" * 5000), "malformed"),
        (jwk("RSA", "k", n="!!"), "malformed"),
        (jwk("P-256", "k", x="AAAA"), "malformed"),
        (jwk("P-256", "k", crv="P-1"), "malformed"),
        ({}, "malformed"),
        ([], "malformed"),
        ("key", "malformed"),
    ],
)
def test_an_unfit_jwk_is_refused(members: Any, reason: str) -> None:
    """Symmetric, private, weak, foreign and malformed keys verify nothing, and the reason is told."""
    with pytest.raises(UnfitKey, match=reason):
        jwk_key(json.dumps(members).encode())


def test_a_deep_jwk_is_malformed() -> None:
    """Nesting without end is no way to end the hub."""
    with pytest.raises(UnfitKey, match="malformed"):
        jwk_key(b'{"kty": "RSA", "x5c": ' + b"[" * 100_000)


@given(
    st.fixed_dictionaries(
        {"kty": st.sampled_from(["RSA", "EC", "OKP"])},
        optional={
            **{name: st.one_of(st.text(max_size=60), st.integers(), st.none()) for name in ("n", "e", "x", "y", "kid")},
            "crv": st.sampled_from(["P-256", "P-384", "P-521", "Ed25519", "Ed448", "X25519", "secp256k1", ""]),
            "alg": st.sampled_from(["RS256", "ES256", "EdDSA", "none"]),
        },
    )
)
def test_any_jwk_is_a_key_or_unfit(members: dict[str, Any]) -> None:
    """Whatever a set holds, reading it ends in a key or in UnfitKey and in nothing else."""
    try:
        _, key = jwk_key(json.dumps(members).encode())
    except UnfitKey:
        return
    assert key.algorithms <= ALGORITHMS
