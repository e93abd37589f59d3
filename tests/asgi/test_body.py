"""Reading bodies: whole, bounded, in time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import pytest
from starlette.requests import ClientDisconnect

from headwater.asgi.body import MediaType, check_length, media_type_of, read_body
from headwater.errors import InvalidInput, RequestTimeout, TooLarge


def receiving(pieces: Iterable[bytes], *, whole: bool = True) -> Callable[[], Awaitable[dict[str, Any]]]:
    """An ASGI `receive` that gives these pieces, and then the end of the body, or the client's going away."""
    waiting = list(pieces)

    async def receive() -> dict[str, Any]:
        if not waiting:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": waiting.pop(0), "more_body": bool(waiting) or not whole}

    return receive


def headers(**values: str) -> dict[str, Any]:
    """A scope with headers."""
    return {"headers": [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in values.items()]}


async def test_a_body_is_read_whole() -> None:
    """However it comes, and at exactly the limit."""
    assert await read_body(receiving([b"ab", b"", b"cd"]), 4, 1) == b"abcd"
    assert await read_body(receiving([b""]), 4, 1) == b""


async def test_no_limit_is_no_limit() -> None:
    """0 lets any size pass."""
    assert len(await read_body(receiving([b"x" * 1000] * 100), 0, 1)) == 100_000


async def test_reading_stops_at_the_limit() -> None:
    """As soon as more has come than may, the body is refused; the rest is not even asked for."""
    pieces = [b"xxx", b"xxx", b"never read"]
    receive = receiving(pieces)
    with pytest.raises(TooLarge, match="at most 4 bytes"):
        await read_body(receive, 4, 1)
    assert (await receive())["body"] == b"never read"


async def test_a_client_that_goes_away_is_no_error_of_ours() -> None:
    """Its disconnect is passed on as such."""
    with pytest.raises(ClientDisconnect):
        await read_body(receiving([b"half"], whole=False), 100, 1)


async def test_a_body_must_come_in_time() -> None:
    """All of it: a byte now and then does not start the clock anew."""

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(0)
        return {"type": "http.request", "body": b"", "more_body": True}

    with pytest.raises(RequestTimeout, match=r"within 0\.01 s"):
        await read_body(receive, 100, 0.01)


@pytest.mark.parametrize("length", ["-1", "1.5", "", "\u0661", "1, 1", "0x10"])
def test_a_content_length_is_a_number(length: str) -> None:
    """Anything else is refused before the body is read."""
    with pytest.raises(InvalidInput, match="is no number"):
        check_length({"headers": [(b"content-length", length.encode())]}, 100)


def test_a_body_that_says_it_is_too_large_is_not_read() -> None:
    """Content-Length alone is enough to refuse; none, or one within the limit, says nothing."""
    for fine in ({}, {"content_length": "100"}):
        check_length(headers(**fine), 100)
    check_length(headers(content_length="101"), 0)
    for large in ("101", "9" * 5000):
        with pytest.raises(TooLarge):
            check_length(headers(content_length=large), 100)
    with pytest.raises(TooLarge):
        check_length(headers(content_length="9" * 19), 0)


@pytest.mark.parametrize(
    ("value", "media"),
    [
        ("application/json", MediaType("application/json", "")),
        ("Application/JSON; charset=UTF-8", MediaType("application/json", "utf-8")),
        ('text/plain; charset="latin-1"', MediaType("text/plain", "latin-1")),
        ("", MediaType("", "")),
        (";;;", MediaType("", "")),
    ],
)
def test_a_content_type_is_an_essence_and_a_charset(value: str, media: MediaType) -> None:
    """Case and further parameters do not matter."""
    assert media_type_of(headers(content_type=value)) == media


def test_no_content_type_is_an_empty_one() -> None:
    """A request need not say what its body is."""
    assert media_type_of({"headers": []}) == MediaType("", "")
