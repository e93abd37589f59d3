"""Tokens: every way to sign one, every way to lie with one, and the ones we mint."""

from __future__ import annotations

import base64
import json
import math
from contextlib import suppress
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.auth.configuration import TokenSettings
from headwater.auth.jwks import KeySet
from headwater.auth.keys import Key, public_key
from headwater.auth.tokens import MAX_TOKEN_LENGTH, Verifier, mint
from headwater.channels import Principal
from headwater.errors import ConfigurationError, InvalidInput, NotAuthenticated
from tests.support.tokens import NOW, SECRET, forged, part, private_key, public_pem, signed


def verifier(**settings: Any) -> Verifier:
    """A verifier in the year of the test tokens; with the test secret unless another key is given."""
    if not settings.keys() & {"secret", "public_key", "jwks_url"}:
        settings["secret"] = SECRET
    return Verifier(TokenSettings(**settings), clock=lambda: NOW)


async def refusal(token: str, **settings: Any) -> str:
    """What its bearer is told; no longer than a sentence or two, and without any part of the token."""
    with pytest.raises(NotAuthenticated) as caught:
        await verifier(**settings).principal(token)
    told = str(caught.value)
    assert caught.value.code == "invalid_token"
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    assert len(told) < 300
    assert not any(len(piece) > 8 and piece in told for piece in token.split("."))
    return told


@pytest.mark.parametrize("algorithm", ["HS256", "HS384"])
async def test_a_shared_secret_verifies(algorithm: str) -> None:
    """With every hash that the secret is long enough for."""
    assert (await verifier().principal(signed(algorithm=algorithm))).id == "ada"


@pytest.mark.parametrize(
    ("kind", "algorithm"),
    [
        *[("RSA", name) for name in ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")],
        ("P-256", "ES256"),
        ("P-384", "ES384"),
        ("P-521", "ES512"),
        ("Ed25519", "EdDSA"),
    ],
)
async def test_a_public_key_verifies(kind: str, algorithm: str) -> None:
    """RSA, EC and Ed25519; and another key of the same kind does not."""
    settings = {"public_key": public_pem(kind)}
    assert (await verifier(**settings).principal(signed({}, kind, algorithm))).id == "ada"
    assert "signature does not match" in await refusal(signed({}, kind, algorithm, number=1), **settings)


async def test_a_token_without_a_valid_time_is_refused() -> None:
    """Claims are read after the signature, with the verifier's clock."""
    assert "expired" in await refusal(signed(exp=NOW - 1))
    assert "becomes valid" in await refusal(signed(nbf=NOW + 60))
    assert "another audience" in await refusal(signed(aud="other"), audience="hub")
    assert "another issuer" in await refusal(signed(iss="other"), issuer="id")


@pytest.mark.parametrize("alg", ["none", "None", "NONE", "nOnE", "", None, [], {}, ["HS256"], 5, "HS256 "])
@pytest.mark.parametrize("signature", ["", "AAAA"])
async def test_unsigned_tokens_are_refused(alg: Any, signature: str) -> None:
    """alg none in any spelling, or something that is no algorithm, with any signature."""
    token = f"{part({'alg': alg})}.{part({'exp': NOW + 60, 'sub': 'root'})}.{signature}"
    assert "token" in await refusal(token)
    assert "token" in await refusal(token, public_key=public_pem("RSA"))


@pytest.mark.parametrize("kind", ["RSA", "P-256", "Ed25519"])
async def test_a_public_key_is_never_an_hmac_secret(kind: str) -> None:
    """The classic key confusion: HS256 with the text of the public key, which everybody has."""
    pem = public_pem(kind)
    token = forged({"alg": "HS256"}, {"exp": NOW + 60, "sub": "root"}, pem.encode())
    assert "algorithm" in await refusal(token, public_key=pem)


async def test_other_algorithms_of_another_kind_of_key_are_refused() -> None:
    """The algorithms follow from the hub's key, not from the token's header."""
    assert "algorithm" in await refusal(signed({}, "P-256", "ES256"), public_key=public_pem("RSA"))
    assert "algorithm" in await refusal(signed({}, "P-384", "ES384"), public_key=public_pem("P-256"))
    assert "algorithm" in await refusal(signed({}, "RSA", "RS256"))
    assert "algorithm" in await refusal(forged({"alg": "HS512"}, {}), secret="x" * 63)


async def test_a_key_in_the_header_is_not_looked_at() -> None:
    """`jwk`, `jku` and `x5u` name a key of the sender's choice."""
    key = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(private_key("RSA", 1).public_key()))  # type: ignore[arg-type]
    header = {
        "jwk": key,
        "jku": "https://evil.example/jwks",
        "x5u": "https://evil.example/x5u",
        "kid": "../../dev/null",
    }
    token = jwt.api_jws.encode(b'{"exp": 1900000000}', private_key("RSA", 1), "RS256", header)
    assert "signature does not match" in await refusal(token, public_key=public_pem("RSA"))


async def test_a_critical_header_that_nobody_here_knows_is_refused() -> None:
    """Its issuer says that whoever does not understand it must not accept the token (RFC 7515, 4.1.11)."""
    claims = json.dumps({"sub": "ada", "exp": NOW + 60}).encode()
    token = jwt.api_jws.encode(claims, SECRET, "HS256", {"crit": ["policy"], "policy": "second factor"})
    assert "malformed" in await refusal(token)


@pytest.mark.parametrize("position", [0, 1, 2])
async def test_a_changed_token_is_refused(position: int) -> None:
    """Changing the header, the claims or the signature breaks it."""
    parts = signed().split(".")
    raw = bytearray(base64.urlsafe_b64decode(parts[position] + "=="))
    raw[len(raw) // 2] ^= 1
    parts[position] = part(bytes(raw))
    assert await refusal(".".join(parts))


async def test_a_token_has_a_bounded_length() -> None:
    """One at the bound is read, one over it is not even looked at."""
    spare = MAX_TOKEN_LENGTH - len(signed(pad=""))
    longest = signed(pad="x" * (spare * 3 // 4))
    assert MAX_TOKEN_LENGTH - 4 < len(longest) <= MAX_TOKEN_LENGTH
    assert await verifier().principal(longest)
    assert "10000000 characters" in await refusal("x" * 10_000_000)
    assert "8193 characters" in await refusal("." * 8193)


@pytest.mark.parametrize(
    ("token", "words"),
    [
        ("", "no JWT"),
        ("abc", "no JWT"),
        ("a.b", "no JWT"),
        ("a.b.c.d", "no JWT"),
        ("a.b.c.d.e", "encrypted"),
        ("..", "malformed"),
        ("é.é.é", "no JWT"),
        ("\ud800..", "no JWT"),
        ("!.!.!", "malformed"),
        (f"{part(b'null')}.{part({})}.AAAA", "malformed"),
        (f"{part(b'[1]')}.{part({})}.AAAA", "malformed"),
        (f"{part(b'not json')}.{part({})}.AAAA", "malformed"),
        (f"{part(b'[' * 4000)}.{part({})}.AAAA", "malformed"),
        (forged({"alg": "HS256", "kid": 5}, {}), "malformed"),
        (forged({"alg": "HS256", "crit": ["x"], "x": 1}, {}), "malformed"),
        (forged({"alg": "HS256", "b64": False, "crit": ["b64"]}, {"exp": NOW + 60}), "malformed"),
        (forged({"alg": "HS256"}, b"not json"), "no JSON object"),
        (forged({"alg": "HS256"}, [1]), "no JSON object"),
        (forged({"alg": "HS256"}, b"\xff\xfe"), "no JSON object"),
        (forged({"alg": "HS256"}, b'{"exp":' + b"[" * 5000), "no JSON object"),
        (forged({"alg": "HS256"}, b'{"exp": 1e999}'), "no "),
        (forged({"alg": "HS256"}, b'{"exp": NaN}'), "no JSON object"),
    ],
)
async def test_a_malformed_token_is_refused(token: str, words: str) -> None:
    """Whatever is sent as a token, the answer is a sentence and never an exception of a parser."""
    assert words in await refusal(token)


@given(st.text(max_size=200) | st.text(alphabet="ab.=-_", max_size=60))
async def test_any_text_is_refused(token: str) -> None:
    """No text that was not signed is a token."""
    with pytest.raises(NotAuthenticated):
        await verifier().principal(token)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(
    st.dictionaries(st.sampled_from(["alg", "kid", "crit", "b64", "typ", "jwk", "zip"]), _json, max_size=4),
    st.dictionaries(st.sampled_from(["exp", "sub", "aud", "headwater"]), _json, max_size=4),
)
async def test_any_header_and_claims_end_in_a_principal_or_a_refusal(
    header: dict[str, Any], claims: dict[str, Any]
) -> None:
    """Even with the right secret, nothing but these two comes out."""
    token = forged({"alg": "HS256", **header}, {"exp": NOW + 60, **claims})
    with suppress(NotAuthenticated):
        assert isinstance(await verifier().principal(token), Principal)


def test_a_verifier_needs_a_key() -> None:
    """Settings without one are a configuration error."""
    with pytest.raises(ConfigurationError, match="no key"):
        Verifier(TokenSettings())


def key_set(*kids: str) -> KeySet:
    """A key set that knows one RSA key by these names, from nowhere."""
    key = public_key(private_key("RSA").public_key())
    loaded: dict[str | None, tuple[Key, ...]] = dict.fromkeys(kids, (key,))
    return KeySet("https://id.example/jwks", load=lambda url, timeout: loaded)


async def test_a_key_set_verifies_by_kid() -> None:
    """The header's kid picks the key; the wrong one, a wrong algorithm and none of several are refused."""
    checker = Verifier(TokenSettings(jwks_url="https://id.example/jwks"), clock=lambda: NOW, keys=key_set("one", "two"))
    assert (await checker.principal(signed({}, "RSA", "RS256", kid="two"))).id == "ada"
    lies = {
        signed({}, "RSA", "RS256", kid="three"): "does not publish",
        signed({}, "RSA", "RS256"): "names no key",
        signed({}, "RSA", "RS256", number=1, kid="one"): "signature does not match",
        signed({}, kid="one"): "does not publish",
        f"{part({'alg': 'none', 'kid': 'one'})}.{part({'exp': NOW + 60})}.": "algorithm",
        f"{part({'kid': 'one'})}.{part({'exp': NOW + 60})}.AAAA": "algorithm",
        f"{part({'alg': ['RS256'], 'kid': 'one'})}.{part({})}.AAAA": "algorithm",
        f"{part({'alg': 'RS256', 'kid': ['one']})}.{part({})}.AAAA": "malformed",
    }
    for token, words in lies.items():
        with pytest.raises(NotAuthenticated, match=words):
            await checker.principal(token)


def test_a_jwks_url_makes_a_key_set() -> None:
    """Nothing is fetched until a token asks for it."""
    assert Verifier(TokenSettings(jwks_url="https://id.invalid/jwks"))


async def test_a_minted_token_is_accepted() -> None:
    """What `mint` writes, a verifier with the same settings reads."""
    token = mint(
        SECRET,
        sub="ada",
        subscribe=["room:*"],
        publish=["room:42"],
        permissions=["rooms.read"],
        ttl=90,
        algorithm="HS384",
        issuer="id",
        audience="hub",
        permissions_claim="may",
        grants_claim="grants",
        now=NOW,
    )
    settings = {"issuer": "id", "audience": "hub", "permissions_claim": "may", "grants_claim": "grants"}
    assert await verifier(**settings).principal(token) == Principal(
        id="ada",
        permissions=frozenset({"rooms.read"}),
        subscribe=("room:*",),
        publish=("room:42",),
        expires_at=NOW + 90,
    )


async def test_minting_needs_only_a_secret() -> None:
    """Without more the token names nobody, grants nothing, and is good for an hour from now."""
    principal = await Verifier(TokenSettings(secret=SECRET)).principal(mint(SECRET))
    assert principal.id is None
    assert principal.subscribe == principal.publish == ()
    assert principal.expires_at is not None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"sub": ""}, "sub is malformed"),
        ({"subscribe": ["room 1"]}, "channel pattern"),
        ({"publish": ["*" * 9]}, "channel pattern"),
        ({"permissions": ["a b"]}, "permission"),
        ({"ttl": 0}, "ttl"),
        ({"ttl": -5}, "ttl"),
        ({"ttl": math.inf}, "ttl"),
        ({"ttl": math.nan}, "ttl"),
        ({"ttl": 1e12}, "exp is no time"),
        ({"subscribe": [f"room:{number}" for number in range(1000)]}, "characters long"),
    ],
)
def test_nobody_is_handed_a_token_that_the_hub_would_refuse(arguments: dict[str, Any], words: str) -> None:
    """Bad input is an error when minting, not a 401 later."""
    with pytest.raises(InvalidInput, match=words):
        mint(SECRET, now=NOW, **arguments)


@pytest.mark.parametrize(
    ("secret", "algorithm"), [("short", "HS256"), (SECRET, "HS512"), (SECRET, "none"), (SECRET, "RS256")]
)
def test_minting_keeps_to_fit_secrets(secret: str, algorithm: str) -> None:
    """A secret that is too short, or an algorithm that is not of a shared secret, is refused."""
    with pytest.raises(ConfigurationError):
        mint(secret, algorithm=algorithm)
