"""Key sets: when the provider is asked, what happens while it does not answer, and what is read from its answer."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from headwater.auth.jwks import FetchFailed, Keys, KeySet, parse
from headwater.auth.keys import Key, public_key
from headwater.errors import ConfigurationError, NotAuthenticated, Unavailable
from tests.support.tokens import jwk, private_key
from tests.support.waiting import until

URL = "https://id.example/jwks"
LIFESPAN, GRACE, COOL_DOWN = 300.0, 3600.0, 10.0


def rsa_key(number: int = 0) -> Key:
    """A key to be found."""
    return public_key(private_key("RSA", number).public_key())


class Provider:
    """An identity provider that answers as it is told, and counts the questions."""

    def __init__(self, **keys: Key) -> None:
        self.keys = keys
        self.asked = 0
        self.failure: str | None = None
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.now = 1000.0

    def load(self, url: str, timeout: float) -> Keys:
        """Stands in for `fetch`, in the worker thread."""
        self.asked += 1
        assert self.may_answer.wait(10)
        if self.failure is not None:
            raise FetchFailed(self.failure)
        return {kid: (key,) for kid, key in self.keys.items()}

    def key_set(self, **settings: Any) -> KeySet:
        """A key set that asks here."""
        return KeySet(
            URL,
            **{
                "lifespan": LIFESPAN,
                "grace": GRACE,
                "cool_down": COOL_DOWN,
                "load": self.load,
                "clock": lambda: self.now,
                **settings,
            },
        )


def settled(keys: KeySet) -> Callable[[], bool]:
    """Whether no request is under way."""
    return lambda: keys._request is None or keys._request.done()


async def test_keys_are_fetched_when_first_needed_and_then_kept() -> None:
    """A thousand tokens make one request, and it is made when the first of them comes."""
    provider = Provider(one=rsa_key())
    keys = provider.key_set()
    assert provider.asked == 0
    for _ in range(1000):
        assert await keys.find("one", "RS256") is provider.keys["one"]
    assert provider.asked == 1


async def test_simultaneous_askers_share_one_request() -> None:
    """Fifty tokens at once at the start make one request."""
    provider = Provider(one=rsa_key())
    provider.may_answer.clear()
    keys = provider.key_set()
    askers = [asyncio.create_task(keys.find("one", "RS256")) for _ in range(50)]
    await until(lambda: provider.asked == 1, "the request")
    provider.may_answer.set()
    assert await asyncio.gather(*askers) == [provider.keys["one"]] * 50
    assert provider.asked == 1


async def test_an_asker_that_leaves_takes_nothing_along() -> None:
    """Cancelling the one who began the request leaves it to the others."""
    provider = Provider(one=rsa_key())
    provider.may_answer.clear()
    keys = provider.key_set()
    first = asyncio.create_task(keys.find("one", "RS256"))
    await until(lambda: provider.asked == 1, "the request")
    second = asyncio.create_task(keys.find("one", "RS256"))
    first.cancel()
    await asyncio.wait({first})
    provider.may_answer.set()
    assert await second is provider.keys["one"]
    assert provider.asked == 1


async def test_a_rotation_is_noticed_at_once() -> None:
    """A token with a new kid makes the hub ask again, once it has cooled down."""
    provider = Provider(old=rsa_key())
    keys = provider.key_set()
    await keys.find("old", "RS256")
    provider.keys = {"new": rsa_key(1)}
    provider.now += COOL_DOWN
    assert await keys.find("new", "RS256") is provider.keys["new"]
    with pytest.raises(NotAuthenticated, match="does not publish"):
        await keys.find("old", "RS256")
    assert provider.asked == 2


async def test_forged_kids_cannot_make_us_hammer_the_provider() -> None:
    """Ten thousand unknown kids within one cool-down make no request at all after the first answer, and over ten of them
    one each; good tokens are not disturbed."""
    provider = Provider(one=rsa_key())
    keys = provider.key_set()
    await keys.find("one", "RS256")
    for number in range(10_000):
        if number % 1000 == 999:
            provider.now += COOL_DOWN
        with pytest.raises(NotAuthenticated, match="does not publish"):
            await keys.find(f"forged {number}", "RS256")
        if number % 100 == 0:
            assert await keys.find("one", "RS256")
    assert provider.asked == 11


async def test_old_keys_serve_while_new_ones_are_fetched() -> None:
    """Past the lifespan nobody waits: the set is renewed in the background."""
    provider = Provider(one=rsa_key())
    keys = provider.key_set()
    old = await keys.find("one", "RS256")
    provider.now += LIFESPAN + 1
    provider.may_answer.clear()
    provider.keys = {"one": rsa_key(1)}
    assert await keys.find("one", "RS256") is old
    assert await keys.find("one", "RS256") is old
    provider.may_answer.set()
    await until(settled(keys), "the renewal")
    assert await keys.find("one", "RS256") is provider.keys["one"]
    assert provider.asked == 2


async def test_the_last_good_set_outlives_an_outage_for_a_while(caplog: pytest.LogCaptureFixture) -> None:
    """While the provider is away known keys go on serving, one request is tried per cool-down and logged, and after the
    grace nothing is accepted any more until the provider is back."""
    provider = Provider(one=rsa_key())
    keys = provider.key_set()
    await keys.find("one", "RS256")
    provider.failure = "the answer was 500"
    provider.now += LIFESPAN
    for _ in range(5):
        provider.now += COOL_DOWN
        for _ in range(10):
            assert await keys.find("one", "RS256")
        await until(settled(keys), "the renewal")
    assert provider.asked == 6
    assert caplog.text.count("could not be fetched: the answer was 500") == 5
    provider.now += GRACE
    with pytest.raises(Unavailable):
        await keys.find("one", "RS256")
    provider.failure = None
    provider.now += COOL_DOWN
    assert await keys.find("one", "RS256")


async def test_without_any_keys_the_answer_is_503() -> None:
    """If no set was ever had nobody can tell a good token from a bad one: the caller is told to come back after the
    cool-down, and is not told what is wrong inside."""
    provider = Provider()
    provider.failure = "connect to 10.0.0.7 refused"
    keys = provider.key_set()
    for wait in (COOL_DOWN, 7.0):
        provider.now += COOL_DOWN - wait
        with pytest.raises(Unavailable) as caught:
            await keys.find("one", "RS256")
        assert caught.value.retry_after == wait
        assert caught.value.status == 503
        assert "10.0.0.7" not in str(caught.value)
    assert provider.asked == 1
    provider.failure = None
    provider.keys = {"one": rsa_key()}
    provider.now += 7.0
    assert await keys.find("one", "RS256")


async def test_an_unknown_kid_during_an_outage_is_503() -> None:
    """It may be a key that the provider has only just made, so it is not called forged."""
    provider = Provider(one=rsa_key())
    keys = provider.key_set()
    await keys.find("one", "RS256")
    provider.failure = "the answer was 500"
    provider.now += COOL_DOWN
    with pytest.raises(Unavailable):
        await keys.find("two", "RS256")
    assert await keys.find("one", "RS256")


async def test_a_request_that_takes_too_long_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    """However slowly the provider drips, the asker waits no longer than the timeout. A later answer is nobody's."""
    provider = Provider(one=rsa_key())
    provider.may_answer.clear()
    before = set(threading.enumerate())
    keys = provider.key_set(timeout=0.01)
    with pytest.raises(Unavailable):
        await keys.find("one", "RS256")
    (waiting,) = (each for each in set(threading.enumerate()) - before if each.name == "headwater-jwks")
    provider.may_answer.set()
    waiting.join()
    await asyncio.sleep(0)  # the loop hears of it
    assert "no answer within 0.01 s" in caplog.text


async def test_a_token_without_a_kid_needs_one_fitting_key() -> None:
    """Where only one key has the token's algorithm it is that one; else the kid is missed."""
    provider = Provider(rsa=rsa_key(), ec=public_key(private_key("P-256").public_key()))
    keys = provider.key_set()
    assert await keys.find(None, "ES256") is provider.keys["ec"]
    with pytest.raises(NotAuthenticated, match="none of the issuer's keys"):
        await keys.find(None, "EdDSA")
    provider.keys["rsa2"] = rsa_key(1)
    provider.now += COOL_DOWN
    with pytest.raises(NotAuthenticated):
        await keys.find(None, "EdDSA")
    with pytest.raises(NotAuthenticated, match="several of the issuer's keys"):
        await keys.find(None, "RS256")


async def test_a_key_serves_only_its_own_algorithms() -> None:
    """An RSA key is not found for an HMAC or EC token that names it."""
    keys = Provider(one=rsa_key()).key_set()
    for algorithm in ("HS256", "ES256"):
        with pytest.raises(NotAuthenticated):
            await keys.find("one", algorithm)


def test_an_unsafe_address_is_refused() -> None:
    """A key set cannot be built for an address in the clear."""
    with pytest.raises(ConfigurationError, match="not encrypted"):
        KeySet("http://id.example/jwks")


def key_text(*members: Any) -> bytes:
    """A set, as it comes over the wire."""
    return json.dumps({"keys": members, "more": 1}).encode()


def test_a_set_is_read_by_kid() -> None:
    """Keys without a kid, and several with the same one, are all there."""
    keys = parse(key_text(jwk("RSA", "one"), jwk("P-256", "one"), jwk("Ed25519")))
    assert {kid: [sorted(key.algorithms)[0] for key in group] for kid, group in keys.items()} == {
        "one": ["PS256", "ES256"],
        None: ["EdDSA"],
    }


def test_unfit_keys_are_left_out_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A symmetric key in a set is never used, and the good ones beside it are."""
    caplog.set_level(logging.WARNING, "headwater.auth")
    keys = parse(key_text({"kty": "oct", "k": "c2VjcmV0", "kid": "sym"}, jwk("RSA", "one"), 5))
    assert list(keys) == ["one"]
    assert "Of 3 keys 2 cannot be used: key 1 is symmetric" in caplog.text
    assert "c2VjcmV0" not in caplog.text


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "no JWK set"),
        (b"<html>", "no JWK set"),
        (b"\xff", "no JWK set"),
        (b"[]", "no JWK set"),
        (b"{}", "no JWK set"),
        (b'{"keys": {}}', "no JWK set"),
        (b"[" * 100_000, "no JWK set"),
        (b'{"keys": []}', "none of the 0 keys can be used$"),
        (key_text({"kty": "oct", "k": "AAAA"}), "none of the 1 keys can be used: key 1 is symmetric"),
    ],
)
def test_what_is_no_key_set_is_a_failed_fetch(body: bytes, reason: str) -> None:
    """An error page, another document, or a set without a usable key: the last good set stays."""
    with pytest.raises(FetchFailed, match=reason):
        parse(body)


async def test_a_provider_that_hangs_holds_up_nobody_else() -> None:
    """The loop's own threads are few, and they are waited for when it ends: one that waits for a provider would keep
    others' work from beginning, and the process from ending."""
    provider = Provider(one=rsa_key())
    provider.may_answer.clear()
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    keys = provider.key_set(timeout=0.01)
    with pytest.raises(Unavailable):
        await keys.find("one", "RS256")
    assert await asyncio.to_thread(lambda: "done") == "done"
    provider.may_answer.set()


def test_an_answer_may_come_when_the_loop_is_gone() -> None:
    """Then it is nobody's."""
    provider = Provider(one=rsa_key())
    provider.may_answer.clear()
    before = set(threading.enumerate())

    async def ask() -> None:
        with pytest.raises(Unavailable):
            await provider.key_set(timeout=0.01).find("one", "RS256")

    asyncio.run(ask())
    (waiting,) = set(threading.enumerate()) - before
    provider.may_answer.set()
    waiting.join()
