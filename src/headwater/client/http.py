"""What subscriber and publisher need of HTTP: addresses, tokens, requests, and what an answer means.

The only place besides `transports` and `publisher` that knows httpx2. It must not know events or cursors.
"""

from __future__ import annotations

import asyncio
import inspect
import random
import re
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import msgspec

from headwater.client.received import MALFORMED
from headwater.client.reconnect import Ending, Why, parse_date, parse_retry_after
from headwater.errors import ClientError, InvalidInput, ProtocolError, RequestRefused, Unreachable

try:
    import httpx2
except ImportError as error:
    raise ImportError("headwater.client needs httpx2: install headwater[client]") from error

ANSWER_WITHIN = 30.0
"""Seconds a hub has to begin its answer, unless the caller sets a shorter silence: the hub sends a first frame at once."""

CONNECT_WITHIN = 10.0
"""Seconds."""

_PROBLEM_WITHIN = 10.0  # seconds for an error's body to come
_MAX_PROBLEM = 64 * 1024  # bytes read of an error's body
_VISIBLE = re.compile(r"[\x21-\x7e]+\Z")

Token = str | Callable[[], str | Awaitable[str]] | None
"""A bearer token, or a function that returns the current one and is called again when the hub refuses it."""


class Runtime(msgspec.Struct, frozen=True, kw_only=True):
    """The world outside, so that tests can bring their own.

    Attributes:
        clock: seconds that only ever grow.
        wall: Unix time in seconds.
        sleep: wait so many seconds.
        random: a number from 0 to 1.
    """

    clock: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    random: Callable[[], float] = random.random


class Interrupted(Exception):
    """An attempt or a connection ended; what to do about it is for `reconnect.decide`.

    Attributes:
        ending: how.
        error: what to raise if it was the last one.
    """

    def __init__(self, ending: Ending, error: ClientError) -> None:
        super().__init__(str(error))
        self.ending = ending
        self.error = error


class Credentials:
    """The bearer token, fetched when it is needed and kept until the hub refuses it.

    Raises:
        InvalidInput: on building, or on use for a function's token: it cannot stand in a header.
    """

    def __init__(self, token: Token) -> None:
        self.can_refresh = callable(token)
        self._source = token
        self._current = None if callable(token) else _checked(token)

    async def headers(self) -> dict[str, str]:
        """The `Authorization` header, if there is a token. What a token function raises is raised here."""
        if self._current is None and callable(self._source):
            token = self._source()
            self._current = _checked(await token if inspect.isawaitable(token) else token)
        return {} if self._current is None else {"Authorization": f"Bearer {self._current}"}

    def expire(self) -> None:
        """Ask the function again for the next request. A fixed token stays."""
        if self.can_refresh:
            self._current = None


def _checked(token: Any) -> str | None:
    """The token, if it may stand in a header. It is not repeated in the error, which may end in a log."""
    if token is None or (isinstance(token, str) and _VISIBLE.match(token)):
        return token
    raise InvalidInput("the token is malformed", expected="visible ASCII characters, without the word Bearer")


def endpoint(url: str) -> httpx2.URL:
    """The address to use. One without a path means a hub's own `/events`.

    Raises:
        InvalidInput: it is no absolute http or https URL.
    """
    try:
        parsed = httpx2.URL(url)
    except (httpx2.InvalidURL, TypeError) as error:
        raise InvalidInput(f"the URL cannot be read: {error}", expected="http://host/events") from None
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise InvalidInput(f"the URL {url[:80]!r} names no host", expected="http://host/events")
    return parsed if parsed.path not in ("", "/") else parsed.copy_with(path="/events")


def new_client() -> httpx2.AsyncClient:
    """A client of our own. It sets no limit on reading: how long a stream may be silent is for the caller to say."""
    return httpx2.AsyncClient(timeout=httpx2.Timeout(CONNECT_WITHIN, read=None))


@contextmanager
def interruptions(why: Why, lasted: Callable[[], float | None] = lambda: None) -> Iterator[None]:
    """Turn what httpx2 raises within the block, and a timeout, into `Interrupted`, or into `ProtocolError` where trying
    again would be pointless.

    Args:
        why: what an error means here.
        lasted: seconds that the connection has been open.
    """
    try:
        yield
    except (httpx2.LocalProtocolError, UnicodeEncodeError):
        raise ProtocolError("a header of the request cannot be sent", fix="look at `headers` and the last id") from None
    except httpx2.TooManyRedirects as error:
        raise ProtocolError("the URL redirects in a circle", fix="check the URL") from error
    except httpx2.RequestError as error:
        what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        raise Interrupted(Ending(why=why, lasted=lasted()), Unreachable(what)) from error
    except TimeoutError as error:
        kind = Why.SILENT if why is Why.LOST else why
        raise Interrupted(Ending(why=kind, lasted=lasted()), Unreachable("no byte came in time")) from error


async def refusal(response: httpx2.Response, wall: Callable[[], float]) -> Interrupted:
    """What an error status means. Closes the response."""
    status = response.status_code
    now = parse_date(response.headers.get("Date"))  # the server's clock, because it wrote Retry-After
    retry_after = parse_retry_after(response.headers.get("Retry-After"), wall() if now is None else now)
    ending = Ending(why=Why.REFUSED, status=status, retry_after=retry_after)
    body = b""
    try:
        with suppress(httpx2.HTTPError, TimeoutError):
            async with asyncio.timeout(_PROBLEM_WITHIN):
                body = await read_body(response, _MAX_PROBLEM)
    finally:
        await response.aclose()
    return Interrupted(ending, RequestRefused(status, problem(status, body), retry_after=retry_after))


async def read_body(response: httpx2.Response, most: int) -> bytes:
    """The first `most` bytes of a body, or a few more."""
    body = bytearray()
    async for piece in response.aiter_bytes():
        body += piece
        if len(body) >= most:
            break
    return bytes(body)


def problem(status: int, body: bytes) -> str:
    """An error answer in one line: the title and detail of an RFC 9457 problem, or the status where there is none."""
    with suppress(*MALFORMED):
        fields = msgspec.json.decode(body)
        if isinstance(fields, Mapping):
            told = [fields[key] for key in ("title", "detail") if isinstance(fields.get(key), str)]
            if told:
                return f"{status} {': '.join(told)[:1000]}"
    return f"{status} {httpx2.codes.get_reason_phrase(status)}".strip()
