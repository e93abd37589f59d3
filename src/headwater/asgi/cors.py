"""Which pages of other origins may use the hub from a browser: cross-origin resource sharing.

Pure. Follows the Fetch standard (https://fetch.spec.whatwg.org/#http-cors-protocol). Knows origins and headers; must not
know routes or tokens.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final
from urllib.parse import urlsplit

from headwater.auth.configuration import is_loopback
from headwater.errors import ConfigurationError, NotAllowed

REQUEST_HEADERS: Final = (
    "Accept",
    "Authorization",
    "Cache-Control",
    "Content-Type",
    "Idempotency-Key",
    "Last-Event-ID",
)
"""What a page may send. Last-Event-ID and Authorization are not safelisted: a client that resumes always asks first."""

EXPOSED_HEADERS: Final = ("Retry-After", "WWW-Authenticate")
"""What a page may read of an answer, besides the safelisted Content-Type: why it was refused and when to come back."""

MAX_AGE: Final = 7200
"""Seconds for which a browser may remember a preflight's answer; Chromium remembers none for longer."""

_ORIGIN = re.compile(r"https?://[^\s/?#@*]+\Z", re.IGNORECASE)

Headers = list[tuple[bytes, bytes]]


class Cors:
    """The origins that may use the hub.

    Args:
        origins: `https://app.example`, one for each; or `*` alone, which lets every page in, without cookies.
        local: also let every page in that this machine serves (any port of localhost), with cookies: for development.

    Raises:
        ConfigurationError: an entry is no origin, or `*` is not alone.
    """

    def __init__(self, origins: Collection[str] = (), *, local: bool = False) -> None:
        self.origins = frozenset(_checked(origin) for origin in origins)
        self._anyone = "*" in self.origins
        self._local = local
        if self._anyone and len(self.origins) > 1:
            raise ConfigurationError("the allowed origins are * and others", expected="* alone, or a list of origins")

    @property
    def is_on(self) -> bool:
        """Whether any other origin is let in: then every answer depends on the Origin header."""
        return bool(self.origins) or self._local

    def allows(self, origin: str) -> bool:
        """Whether pages of `origin` (as browsers write it) may read answers."""
        return self._anyone or self.names(origin)

    def names(self, origin: str) -> bool:
        """Whether `origin` itself is meant by the configuration: what is let in by `*` is not, and gets no cookies."""
        return origin in self.origins - {"*"} or (self._local and is_local(host_of(origin)))

    def headers(self, origin: str | None) -> Headers:
        """What an answer to a request with this Origin header gets."""
        if not self.is_on:
            return []
        found: Headers = [(b"vary", b"Origin")]
        if origin is None or not self.allows(origin):
            return found
        found.append((b"access-control-expose-headers", ", ".join(EXPOSED_HEADERS).encode()))
        return found + self._allowed(origin)

    def preflight(self, origin: str, methods: Collection[str]) -> Headers:
        """What the answer to a preflight request gets.

        Raises:
            NotAllowed: pages of this origin are not let in. The answer has no CORS headers, so a browser stops there.
        """
        if not self.allows(origin):
            raise NotAllowed(
                f"pages of {origin[:200]!r} may not use this hub",
                expected="an allowed origin",
                fix="add it to HEADWATER_CORS_ORIGINS",
            )
        return [
            (b"access-control-allow-methods", ", ".join(sorted(methods)).encode()),
            (b"access-control-allow-headers", ", ".join(REQUEST_HEADERS).encode()),
            (b"access-control-max-age", str(MAX_AGE).encode()),
        ]

    def _allowed(self, origin: str) -> Headers:
        # Never `*` with credentials: browsers refuse it, and it would let any page read what cookies open.
        if not self.names(origin):
            return [(b"access-control-allow-origin", b"*")]
        return [
            (b"access-control-allow-origin", origin.encode("latin-1")),
            (b"access-control-allow-credentials", b"true"),
        ]


def _checked(origin: str) -> str:
    if origin == "*" or (_ORIGIN.match(origin) and host_of(origin)):
        return origin.lower()
    raise ConfigurationError(f"{origin!r} is not an origin", expected="https://host, http://host:port, or *")


def host_of(origin: str) -> str:
    """The host in an origin or a Host header, in lower case and without its port; empty if there is none."""
    try:
        return urlsplit(origin if "//" in origin else f"//{origin}").hostname or ""
    except ValueError:
        return ""


def is_local(host: str) -> bool:
    """Whether a host always means this machine: a loopback address, localhost or a name below it (RFC 6761)."""
    return is_loopback(host) or host.endswith(".localhost")
