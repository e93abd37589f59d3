"""Addresses, tokens, and what answers and errors mean."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

import headwater.client.http as module
from headwater.client.http import (
    Credentials,
    Interrupted,
    endpoint,
    interruptions,
    new_client,
    problem,
    read_body,
    refusal,
)
from headwater.client.reconnect import Ending, Why
from headwater.errors import InvalidInput, ProtocolError, RequestRefused, Unreachable
from tests.client.scripted import Answer, answer, serving, silence, stream

# Addresses


@pytest.mark.parametrize(
    ("url", "used"),
    [
        ("http://localhost:8000", "http://localhost:8000/events"),
        ("https://hub.example/", "https://hub.example/events"),
        ("https://hub.example/?tenant=7", "https://hub.example/events?tenant=7"),
        ("https://hub.example/api/rooms/42/logs?level=info", "https://hub.example/api/rooms/42/logs?level=info"),
        ("HTTP://Hub.Example/events", "http://hub.example/events"),
    ],
)
def test_a_url_without_a_path_is_a_hubs(url: str, used: str) -> None:
    """A host alone means the hub's own route; any path is kept."""
    assert str(endpoint(url)) == used


@pytest.mark.parametrize("url", ["", "hub.example", "/events", "ftp://hub.example", "http://", "http://a\nb", None, 7])
def test_what_is_no_url_is_refused(url: Any) -> None:
    """Before anything is sent."""
    with pytest.raises(InvalidInput, match="the URL"):
        endpoint(url)


# Tokens


async def test_no_token_is_no_header() -> None:
    """Without a token nothing is sent, and there is nothing to renew."""
    credentials = Credentials(None)
    assert await credentials.headers() == {}
    assert not credentials.can_refresh


async def test_a_fixed_token_stays() -> None:
    """A text is sent as it is, and cannot expire."""
    credentials = Credentials("abc.def")
    credentials.expire()
    assert await credentials.headers() == {"Authorization": "Bearer abc.def"}
    assert not credentials.can_refresh


async def _eventually(token: str) -> str:
    return token


@pytest.mark.parametrize("make", [lambda token: token, _eventually])
async def test_a_function_is_asked_when_needed(make: Callable[[str], Any]) -> None:
    """A function, asynchronous or not, is called for the first request and after the token has expired."""
    tokens = iter(["one", "two"])
    credentials = Credentials(lambda: make(next(tokens)))
    assert credentials.can_refresh
    assert [await credentials.headers() for _ in range(2)] == [{"Authorization": "Bearer one"}] * 2
    credentials.expire()
    assert await credentials.headers() == {"Authorization": "Bearer two"}


@pytest.mark.parametrize("token", ["", "a b", "a\n", "geheim\u00e9", b"abc", 5])
async def test_a_malformed_token_is_refused_and_not_repeated(token: Any) -> None:
    """A token that would break out of its header is refused; the error does not show it."""
    with pytest.raises(InvalidInput, match="the token is malformed") as caught:
        Credentials(token)
    assert "geheim" not in str(caught.value)
    with pytest.raises(InvalidInput, match="the token is malformed"):
        await Credentials(lambda: token).headers()


# Errors of httpx2


@pytest.mark.parametrize(
    "error",
    [
        httpx2.ConnectError("refused"),
        httpx2.ReadError(""),
        httpx2.ReadTimeout(""),
        httpx2.RemoteProtocolError("bad chunk"),
        httpx2.DecodingError("bad gzip"),
    ],
)
def test_network_errors_interrupt(error: Exception) -> None:
    """What the network or the peer did is an end that may be followed by another attempt; its words are kept."""
    with pytest.raises(Interrupted, match=type(error).__name__) as caught, interruptions(Why.LOST, lambda: 7.0):
        raise error
    assert caught.value.ending == Ending(why=Why.LOST, lasted=7.0)
    assert isinstance(caught.value.error, Unreachable)
    assert str(error) in str(caught.value)


@pytest.mark.parametrize(("why", "means"), [(Why.LOST, Why.SILENT), (Why.UNREACHABLE, Why.UNREACHABLE)])
def test_a_timeout_is_silence(why: Why, means: Why) -> None:
    """An open connection without bytes is silent; an attempt without an answer is unreachable."""
    with pytest.raises(Interrupted, match="no byte came in time") as caught, interruptions(why):
        raise TimeoutError
    assert caught.value.ending == Ending(why=means)


@pytest.mark.parametrize(
    "error",
    [
        httpx2.LocalProtocolError("illegal header value b'secret'"),
        httpx2.TooManyRedirects("too many"),
        UnicodeEncodeError("ascii", "secret", 0, 1, "no"),
    ],
)
def test_hopeless_errors_are_final(error: Exception) -> None:
    """What would fail again in the same way is not tried again, and header values are not repeated."""
    with pytest.raises(ProtocolError) as caught, interruptions(Why.LOST):
        raise error
    assert "secret" not in str(caught.value)


def test_other_errors_pass() -> None:
    """Whatever is no matter of the network is left alone."""
    with pytest.raises(ZeroDivisionError), interruptions(Why.LOST):
        raise ZeroDivisionError


# Refusals


async def refused(given: Answer, now: float = 0.0) -> Interrupted:
    """What a client makes of an answer."""
    async with serving(given) as server, new_client() as client:
        response = await client.send(client.build_request("GET", server.url), stream=True)
        interrupted = await refusal(response, lambda: now)
        assert response.is_closed
    return interrupted


async def test_a_refusal_tells_what_the_hub_told() -> None:
    """The problem's title and detail, the status, and how long to wait."""
    body = json.dumps({"title": "Too many requests", "detail": "10 per second", "status": 429}).encode()
    interrupted = await refused(answer(429, body, content_type="application/problem+json", retry_after="7"))
    assert interrupted.ending == Ending(why=Why.REFUSED, status=429, retry_after=7.0)
    assert isinstance(interrupted.error, RequestRefused)
    assert (interrupted.error.status, interrupted.error.retry_after) == (429, 7.0)
    assert str(interrupted.error) == "429 Too many requests: 10 per second"


async def test_dates_are_seen_from_the_server() -> None:
    """A `Retry-After` date is compared with the server's own clock if it tells the time, else with ours."""
    later = "Fri, 31 Dec 1999 23:59:59 GMT"
    interrupted = await refused(answer(503, retry_after=later, date="Fri, 31 Dec 1999 23:59:49 GMT"), now=0.0)
    assert interrupted.ending.retry_after == 10.0
    interrupted = await refused(answer(503, retry_after=later), now=946684794.0)
    assert interrupted.ending.retry_after == 5.0


async def test_an_endless_refusal_is_cut_short() -> None:
    """An error page of any size costs no memory."""
    interrupted = await refused(answer(500, b" " * 1_000_000))
    assert str(interrupted) == "500 Internal Server Error"


async def test_a_refusal_that_breaks_is_a_refusal() -> None:
    """The status counts, even if the body never comes whole."""

    async def broken(reader: Any, writer: Any) -> bool:
        writer.write(b"HTTP/1.1 500 Whatever\r\nContent-Length: 5000\r\n\r\n{")
        return False

    assert str(await refused(broken)) == "500 Internal Server Error"


async def test_a_refusal_that_hangs_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that does not come is not waited for."""
    monkeypatch.setattr(module, "_PROBLEM_WITHIN", 0.01)

    async def hanging(reader: Any, writer: Any) -> bool:
        writer.write(b"HTTP/1.1 404 Whatever\r\nContent-Length: 5000\r\n\r\n")
        return await silence(reader, writer)

    assert str(await refused(hanging)) == "404 Not Found"


@pytest.mark.parametrize(
    ("body", "line"),
    [
        (b"", "403 Forbidden"),
        (b"<html>", "403 Forbidden"),
        (b"\xff", "403 Forbidden"),
        (b"[]", "403 Forbidden"),
        (b"{}", "403 Forbidden"),
        (b'{"title":5,"detail":null}', "403 Forbidden"),
        pytest.param(b"[" * 100_000, "403 Forbidden", id="deep"),
        (b'{"title":"Not allowed"}', "403 Not allowed"),
        (b'{"detail":"no grant"}', "403 no grant"),
    ],
)
def test_a_problem_in_one_line(body: bytes, line: str) -> None:
    """What the hub said, or the status alone where it said nothing."""
    assert problem(403, body) == line


def test_a_long_problem_is_cut() -> None:
    """No peer fills a log with one error; an unknown status has no name."""
    assert len(problem(599, json.dumps({"detail": "x" * 5000}).encode())) < 1010
    assert problem(599, b"") == "599"


async def test_a_body_is_read_up_to_a_bound() -> None:
    """Reading stops soon after the bound."""
    async with serving(stream(*[b"x" * 1000] * 50, end="hold")) as server, new_client() as client:
        response = await client.send(client.build_request("GET", server.url), stream=True)
        assert 3000 <= len(await read_body(response, 3000)) <= 50_000
        await response.aclose()


def test_the_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without httpx2 the error says what to install."""
    monkeypatch.setitem(sys.modules, "httpx2", None)
    monkeypatch.delitem(sys.modules, "headwater.client.http")
    with pytest.raises(ImportError, match=r"headwater\[client\]"):
        importlib.import_module("headwater.client.http")
