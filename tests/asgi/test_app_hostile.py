"""What strangers try: each gets the documented error, and the hub is as it was before."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from headwater.asgi.limits import Limits
from headwater.asgi.problems import Problem
from headwater.testing.asgi import open_stream, request
from tests.support.site import Service, bearer, serving, token
from tests.support.tokens import NOW, SECRET, forged, signed

PREFIX = "urn:headwater:problem:"


@pytest.fixture
async def site() -> AsyncIterator[Service]:
    """A hub that checks tokens, with one event in its log."""
    async with serving(dev=False, limits=Limits(max_body_bytes=100_000), body_time=0.05) as service:
        await service.hub.publish("room:1", data="kept")
        yield service


async def refused(site: Service, method: str, target: str, status: int, kind: str, **options: Any) -> Problem:
    """Send what must be refused as this kind of problem; checks its form, and that only the count of refusals moved."""
    before, count = await site.state(), sum(site.hub.rejections.values())
    reply = await request(site.app, method, target, **options)
    assert (reply.status, reply.headers["content-type"]) == (status, "application/problem+json"), reply
    problem = msgspec.json.decode(reply.body, type=Problem)
    assert (problem.status, problem.type) == (status, PREFIX + kind), problem
    assert len(problem.detail) < 1000, "a huge input must not become a huge answer"
    assert ("www-authenticate" in reply.headers) == (status in (401, 403))
    assert ("retry-after" in reply.headers) == (status in (429, 503))
    assert await site.state() == before
    assert sum(site.hub.rejections.values()) == count + 1
    return problem


def altered(value: str, at: int) -> str:
    """A token with one character changed."""
    return value[:at] + ("A" if value[at] != "A" else "B") + value[at + 1 :]


NONE_ALG = forged({"alg": "none", "typ": "JWT"}, {"sub": "eve", "exp": 2**40}, b"").rpartition(".")[0] + "."
BAD_TOKENS = {
    "expired": signed({"exp": time.time() - 60}),
    "no expiry": signed({"exp": None}),
    "expires in text": signed({"exp": "tomorrow"}),
    "expires never": signed({"exp": 1e300}),
    "negative expiry": signed({"exp": -1}),
    "not yet": signed({"exp": NOW, "nbf": time.time() + 3600}),
    "none": NONE_ALG,
    "none in capitals": forged({"alg": "NoNe"}, {"sub": "eve", "exp": NOW}),
    "another secret": forged({"alg": "HS256"}, {"sub": "eve", "exp": NOW}, b"another secret of at least 32 bytes"),
    "another algorithm": signed({"exp": NOW}, "RSA", "RS256"),
    "wrong audience": signed({"exp": NOW, "aud": "another-service"}),
    "grants that are no list": signed({"exp": NOW, "headwater": {"subscribe": "**"}}),
    "a pattern that is none": signed({"exp": NOW, "headwater": {"subscribe": ["a\nb"]}}),
    "claims that are no object": forged({"alg": "HS256"}, [1]),
    "claims that are no JSON": forged({"alg": "HS256"}, b"{{{"),
    "an encrypted one": "a.b.c.d.e",
    "no token at all": "rubbish",
    "a huge one": "a" * 9000 + ".b.c",
}


@pytest.mark.parametrize("name", BAD_TOKENS)
@pytest.mark.parametrize("where", ["header", "query"])
async def test_bad_tokens_open_nothing(site: Service, name: str, where: str) -> None:
    """401 with `invalid_token`, and the token is not repeated."""
    bad = BAD_TOKENS[name]
    for method, path in (("GET", "/events?channel=room:1"), ("POST", "/channels/room:1"), ("GET", "/stats")):
        joint = "&" if "?" in path else "?"
        target = path if where == "header" else f"{path}{joint}token={bad}"
        headers = {"authorization": f"Bearer {bad}"} if where == "header" else {}
        problem = await refused(site, method, target, 401, "not-authenticated", headers=headers)
        assert bad not in problem.detail


async def test_an_altered_token_opens_nothing(site: Service) -> None:
    """Whichever part was changed."""
    good = token()
    for at in (5, len(good) // 2, good.rindex(".") + 3):
        headers = {"authorization": f"Bearer {altered(good, at)}"}
        await refused(site, "GET", "/events?channel=room:1", 401, "not-authenticated", headers=headers)


async def test_tickets_are_not_replayed_forged_or_taken_for_tokens(site: Service) -> None:
    """Each of these is 401."""
    ticket = (await site.post("/tickets", headers=bearer())).json()["ticket"]
    for query in (
        f"ticket={altered(ticket, 60)}",
        f"token={ticket}",
        "ticket=rubbish",
        "ticket=" + "A" * 9000,
        "ticket=%C3%A9",
        f"ticket={token()}",
    ):
        await refused(site, "GET", f"/events?channel=room:1&{query}", 401, "not-authenticated")
    assert (
        await site.get(f"/events?channel=room:1&ticket={ticket}", headers={"accept": "application/json"})
    ).status == 200
    await refused(site, "GET", f"/events?channel=room:1&ticket={ticket}", 401, "not-authenticated")


@pytest.mark.parametrize("query", ["token=", "ticket=", f"token={token('eve')}"])
async def test_contradicting_credentials_are_refused(site: Service, query: str) -> None:
    """Rather than one of them chosen."""
    await refused(site, "GET", f"/events?channel=room:1&{query}", 400, "invalid-input", headers=bearer())


@pytest.mark.parametrize("number", ["-1", "0", "1e9", "0x10", "NaN", "Infinity", "9" * 30, "1.5", "١٢", "%00", "+1"])
@pytest.mark.parametrize(("field", "kind"), [("last", "invalid-cursor"), ("since", "invalid-cursor")])
async def test_odd_numbers_are_refused(site: Service, field: str, kind: str, number: str) -> None:
    """Negative, enormous, or numbers in somebody's alphabet only."""
    quoted = number.encode().decode("latin-1") if number.isascii() else "%D9%A1"
    await refused(site, "GET", f"/events?channel=room:1&{field}={quoted}", 400, kind, headers=bearer())


@pytest.mark.parametrize("wait", ["-1", "1e9", "NaN", "9" * 30, "--", "%D9%A1"])
async def test_odd_waits_are_refused(site: Service, wait: str) -> None:
    """A poll cannot be made to wait for ever, or backwards."""
    headers = {**bearer(), "accept": "application/json"}
    await refused(site, "GET", f"/events?channel=room:1&wait={wait}", 400, "invalid-input", headers=headers)


@pytest.mark.parametrize("breaker", ["\r", "\n", "\r\n", "\0", "\x1f", "\x7f", "\x85", "\u2028"])
async def test_nothing_breaks_out_of_its_line(site: Service, breaker: str) -> None:
    """In a channel, a type, a permission or a key. What is not a line end on the wire may stand in a type."""
    forged_type = f"x{breaker}data: forged"
    on_wire = breaker in "\u2028\x85"
    for event, kind in (
        ({"channel": f"room:1{breaker}id: 9"}, "invalid-channel"),
        ({"channel": "room:1", "permissions": [f"p{breaker}q"]}, "invalid-event"),
        *([] if on_wire else [({"channel": "room:1", "type": forged_type}, "invalid-event")]),
        ({"channel": "room:1", "idempotency_key": f"k{breaker}"}, "invalid-event"),
    ):
        await refused(site, "POST", "/events", 400, kind, headers=bearer(), json=event)


async def test_text_cannot_forge_frames(site: Service) -> None:
    """Whatever line ends it has, each line of it is a data line."""
    evil = "x\n\nevent: closing\rdata: {}\r\n\r\nid: 0\u2028\x85end"
    assert (
        await site.post("/channels/room:1", headers={**bearer(), "content-type": "text/plain"}, body=evil.encode())
    ).status == 201
    (event,) = (await site.poll("/events?channel=room:1&last=1", headers=bearer()))["events"]
    assert event["data"] == evil.replace("\r\n", "\n").replace("\r", "\n")
    lines = (await _stream_text(site)).split("\n")
    assert {line.partition(":")[0] for line in lines if line} <= {"id", "event", "data", "retry"}


async def _stream_text(site: Service) -> str:
    async with open_stream(site.app, "/events?channel=room:1&last=1", headers=bearer()) as stream:
        await stream.message_of("message")
        return stream.body.decode()


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        (b"\x00" * 100, 400, "invalid-input"),
        (b"[" * 50_000, 400, "invalid-input"),
        (b'{"channel":"room:1","data":' + b'{"a":' * 5_000 + b"1" + b"}" * 5_000 + b"}", 400, "invalid-input"),
        (b"[" + b'{"channel":"room:1"},' * 2_000 + b'{"channel":"room:1"}]', 413, "too-large"),
        (b" " * 100_001, 413, "too-large"),
        (json.dumps({"channel": "x" * 90_000}).encode(), 400, "invalid-channel"),
        (json.dumps({"channel": "room:1", "y" * 90_000: 1}).encode(), 400, "invalid-input"),
    ],
)
async def test_hostile_bodies(site: Service, body: bytes, status: int, kind: str) -> None:
    """Deep, wide, long and empty ones."""
    headers = {**bearer(), "content-type": "application/json"}
    await refused(site, "POST", "/events", status, kind, headers=headers, body=body)


@pytest.mark.parametrize("length", ["-5", "1e3", "99999999999999999999999", "five", ""])
async def test_lying_content_lengths(site: Service, length: str) -> None:
    """Refused before a byte is read."""
    status, kind = (413, "too-large") if length.isdigit() else (400, "invalid-input")
    await refused(
        site, "POST", "/channels/room:1", status, kind, headers={**bearer(), "content-length": length}, body=b"x"
    )


async def test_a_trickling_body_is_given_up(site: Service) -> None:
    """Slow loris: the request ends after its time, and its connection with it."""

    async def never() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    await refused(site, "POST", "/channels/room:1", 408, "request-timeout", headers=bearer(), body=never())


async def test_odd_methods_and_paths(site: Service) -> None:
    """Found or not, they change nothing."""
    await refused(site, "TRACE", "/events", 405, "method-not-allowed")
    await refused(site, "get", "/events?channel=room:1", 405, "method-not-allowed")
    await refused(site, "X" * 5000, "/events", 405, "method-not-allowed")
    for path in ("/%00", "/..%2f..%2fetc", "/" + "a" * 5000, "/events%0d%0aset-cookie:x", "/channels/"):
        await refused(site, "GET", path, 404, "not-found")


async def test_reserved_channels_are_not_for_strangers(site: Service) -> None:
    """A wildcard grant neither reads nor writes them."""
    await refused(site, "GET", "/events?channel=$probe", 403, "not-allowed", headers=bearer())
    await refused(site, "POST", "/channels/$probe", 400, "invalid-channel", headers=bearer(), body=b"x")
    await refused(site, "POST", "/channels/$probe", 400, "invalid-channel", headers=bearer(publish=["$**"]), body=b"x")


async def test_the_secret_is_nowhere(site: Service) -> None:
    """Neither in the API's description nor in what administrators see."""
    headers = bearer(permissions=["headwater.admin"])
    for target in ("/openapi.json", "/stats", "/metrics", "/streams"):
        assert SECRET.encode() not in (await site.get(target, headers=headers)).body
