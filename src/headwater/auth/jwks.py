"""An identity provider's public keys: fetched, cached, renewed, and kept when the provider is away.

`KeySet` decides when to ask and what to do without an answer; `fetch` is the one place with network I/O, in a thread of
its own because the standard library has no asynchronous HTTP client and this needs no dependency for it. Knows JWK sets;
must not know tokens.
"""

from __future__ import annotations

import asyncio
import logging
import math
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from threading import Thread, Timer
from typing import IO, Any, Final
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import (
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
    build_opener,
)

import msgspec

from headwater.auth.claims import refused
from headwater.auth.configuration import check_jwks_url, is_loopback
from headwater.auth.keys import Key, UnfitKey, jwk_key
from headwater.errors import Unavailable

log = logging.getLogger("headwater.auth")

MAX_BYTES: Final = 1 << 20
"""Of a key set; the largest public ones are about 20 KB."""

Keys = dict[str | None, tuple[Key, ...]]
"""By `kid`. Several keys may share one, if their algorithms differ (RFC 7517, 4.5)."""


class FetchFailed(Exception):
    """The set could not be had; the message says why."""


class KeySet:
    """The keys at a URL.

    - Keys are asked for when the first token needs one, and again in the background once they are `lifespan` old.
    - A token with an unknown `kid` asks for them at once, which is how a rotation is noticed.
    - No two requests begin within `cool_down`, whatever tokens come: forged ones cannot make the hub hammer the provider.
      Nor are two under way at the same time.
    - While the provider does not answer, the last good set serves until it is `lifespan + grace` old.

    Belongs to one event loop at a time. What it holds is bounded by the size of one set.

    Args:
        url: https, or http on this machine.
        lifespan: seconds. A key that the provider withdraws is accepted for that long.
        grace: seconds more while the provider does not answer.
        cool_down: seconds between the beginnings of two requests.
        timeout: seconds for one request.
        clock: monotonic seconds.
        load: gets the keys, in a thread; `fetch` by default.

    Raises:
        ConfigurationError: the URL is malformed or not encrypted.
    """

    def __init__(
        self,
        url: str,
        *,
        lifespan: float = 300.0,
        grace: float = 3600.0,
        cool_down: float = 10.0,
        timeout: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
        load: Callable[[str, float], Keys] | None = None,
    ) -> None:
        self._url = check_jwks_url(url)
        self._lifespan = lifespan
        self._grace = grace
        self._cool_down = cool_down
        self._timeout = timeout
        self._clock = clock
        self._load = load or fetch
        self._keys: Keys | None = None
        self._fetched_at = 0.0
        self._asked_at = -math.inf
        self._failed = True  # until there is a first answer
        self._request: asyncio.Task[None] | None = None

    async def find(self, kid: str | None, algorithm: str) -> Key:
        """The key that a token names.

        Args:
            kid: from the token's header; None if it names none, which is enough where only one key fits.
            algorithm: the token's `alg`.

        Raises:
            NotAuthenticated: the set has no such key.
            Unavailable: the set could not be had, so nobody can tell.
        """
        age = self._age()
        if age > self._lifespan + self._grace:
            await self._renew()
        elif age > self._lifespan:
            self._ask()
        if self._age() > self._lifespan + self._grace:
            raise self._unavailable()
        fitting = self._fitting(kid, algorithm)
        if not fitting:
            await self._renew()
            fitting = self._fitting(kid, algorithm)
        return self._only(fitting, kid)

    def _age(self) -> float:
        return math.inf if self._keys is None else self._clock() - self._fetched_at

    def _fitting(self, kid: str | None, algorithm: str) -> list[Key]:
        keys = self._keys or {}
        candidates = [key for group in keys.values() for key in group] if kid is None else keys.get(kid, ())
        return [key for key in candidates if algorithm in key.algorithms]

    def _only(self, fitting: list[Key], kid: str | None) -> Key:
        if len(fitting) == 1:
            return fitting[0]
        if not fitting and self._failed:
            raise self._unavailable()
        if kid is None:
            number = "none" if not fitting else "several"
            raise refused(f"the token names no key (kid), and {number} of the issuer's keys may be meant")
        raise refused("the token is signed with a key (kid) that its issuer does not publish")

    def _unavailable(self) -> Unavailable:
        # Why is for the operator, in the log: it may name hosts that callers need not know.
        return Unavailable(
            "the token's signature cannot be checked, because the issuer's keys could not be fetched",
            fix="try again later; the hub's log says why",
            retry_after=max(1.0, self._asked_at + self._cool_down - self._clock()),
        )

    async def _renew(self) -> None:
        """Wait for an answer, if one may be asked for. Whether there are keys afterwards is another question."""
        if request := self._ask():
            # Cancelling one who waits leaves the request to the others, and its answer to those who come later.
            await asyncio.wait((request,))

    def _ask(self) -> asyncio.Task[None] | None:
        """The request under way, or a new one unless the last has just been made."""
        if self._request is not None and not self._request.done():
            return self._request
        now = self._clock()
        if now - self._asked_at < self._cool_down:
            return None
        self._asked_at = now
        self._request = asyncio.create_task(self._receive())
        return self._request

    async def _receive(self) -> None:
        try:
            async with asyncio.timeout(self._timeout):
                self._keys = await _in_thread(lambda: self._load(self._url, self._timeout))
        except (FetchFailed, TimeoutError) as error:
            self._failed = True
            reason = str(error) or f"no answer within {self._timeout:g} s"
            log.warning("The keys at %s could not be fetched: %s", self._url, reason)
        else:
            self._fetched_at, self._failed = self._clock(), False


async def _in_thread(work: Callable[[], Keys]) -> Keys:
    """What `work` returns or raises, in a thread that nobody has to wait for: not those who need the loop's few threads for
    something else, nor the end of the process."""
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[Keys] = loop.create_future()

    def settle(result: Keys | Exception) -> None:
        if outcome.done():
            return  # nobody waits any more
        if isinstance(result, Exception):
            outcome.set_exception(result)
        else:
            outcome.set_result(result)

    def run() -> None:
        result: Keys | Exception
        try:
            result = work()
        except Exception as error:
            result = error
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(settle, result)

    Thread(target=run, name="headwater-jwks", daemon=True).start()
    return await outcome


class _NoRedirects(HTTPRedirectHandler):
    """A redirect could lead to a place that is not encrypted; the operator can name the final address."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> Request | None:
        return None


def fetch(url: str, timeout: float) -> Keys:
    """The keys at `url`. Blocks.

    Args:
        url: checked by `check_jwks_url`.
        timeout: seconds until the answer's head must be there, and again for its body.

    Raises:
        FetchFailed: no answer, not 200, too large, too slow, no key set, or no key in it that can be used.
    """
    request = Request(url, headers={"Accept": "application/jwk-set+json, application/json", "User-Agent": "headwater"})
    connections = _Connections()
    late = FetchFailed(f"no answer within {timeout:g} s")
    try:
        with connections.cut_after(timeout), _opener(url, connections).open(request, timeout=timeout) as response:
            body = _read(response, time.monotonic() + timeout)
    except HTTPError as error:
        error.close()
        raise FetchFailed(f"the answer was {error.code}") from None
    except (OSError, HTTPException, ValueError) as error:
        raise late if connections.are_cut else FetchFailed(f"{type(error).__name__}: {error}") from None
    if connections.are_cut:  # which the client may have taken for the end of a short answer
        raise late
    return parse(body)


class _Connections:
    """Makes connections for urllib, and can cut those whose answer has not begun."""

    def __init__(self) -> None:
        self.are_cut = False
        self._made: list[HTTPConnection] = []

    def http(self, host: str, **options: Any) -> HTTPConnection:
        """As `HTTPConnection`."""
        self._made.append(made := HTTPConnection(host, **options))
        return made

    def https(self, host: str, **options: Any) -> HTTPSConnection:
        """As `HTTPSConnection`."""
        self._made.append(made := HTTPSConnection(host, **options))
        return made

    @contextmanager
    def cut_after(self, seconds: float) -> Iterator[None]:
        """Cut them unless the block ends before. A socket's own timeout begins anew with every byte."""
        timer = Timer(seconds, self.cut)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def cut(self) -> None:
        """End them, whatever the other thread does with them."""
        for made in self._made:
            if made.sock is not None:  # else it has none yet, or has handed it to the body
                self.are_cut = True
                with suppress(OSError):
                    socket.socket.shutdown(made.sock, socket.SHUT_RDWR)  # not TLS's own, which is not for two threads


class _Plain(HTTPHandler):
    def __init__(self, connections: _Connections) -> None:
        super().__init__()
        self._connections = connections

    def http_open(self, req: Request) -> HTTPResponse:
        """Through a connection that can be cut."""
        return self.do_open(self._connections.http, req)


class _Encrypted(HTTPSHandler):
    def __init__(self, connections: _Connections) -> None:
        super().__init__()
        self._connections = connections

    def https_open(self, req: Request) -> HTTPResponse:
        """Through a connection that can be cut."""
        context = ssl.create_default_context()
        return self.do_open(self._connections.https, req, context=context)


def _opener(url: str, connections: _Connections) -> OpenerDirector:
    handlers: list[Any] = [_NoRedirects(), _Plain(connections), _Encrypted(connections)]
    if is_loopback(urlsplit(url).hostname or ""):
        handlers.append(ProxyHandler({}))  # a proxy's own loopback is another machine
    return build_opener(*handlers)


def _read(response: HTTPResponse, deadline: float) -> bytes:
    body = bytearray()
    while part := response.read1(65536):
        body += part
        if len(body) > MAX_BYTES:
            raise FetchFailed(f"the answer is larger than {MAX_BYTES} bytes")
        if time.monotonic() > deadline:
            raise FetchFailed("the answer comes too slowly")
    return bytes(body)


class _Set(msgspec.Struct, frozen=True):
    keys: list[msgspec.Raw]


def parse(body: bytes) -> Keys:
    """Read a JWK set (RFC 7517, 5). Keys that cannot be used are left out and logged, as the standard has it.

    Raises:
        FetchFailed: this is no key set, or no key in it can be used.
    """
    try:
        members = msgspec.json.decode(body, type=_Set).keys
    except (msgspec.MsgspecError, RecursionError):
        raise FetchFailed("the answer is no JWK set") from None
    keys: Keys = {}
    reasons = []
    for number, member in enumerate(members, 1):
        try:
            kid, key = jwk_key(member)
        except UnfitKey as error:
            reasons.append(f"key {number} {error}")
        else:
            keys[kid] = (*keys.get(kid, ()), key)
    if reasons:
        log.warning("Of %d keys %d cannot be used: %s", len(members), len(reasons), "; ".join(reasons[:5]))
    if not keys:
        raise FetchFailed(
            f"none of the {len(members)} keys can be used{': ' if reasons else ''}{'; '.join(reasons[:5])}"
        )
    return keys
