"""Where a request carries its credentials, and how they stay out of logs.

Pure: headers, query and cookies in, credentials out. Must not know what a token says or whether it is valid.

A request proves who is asking in one of four ways:

1. `Authorization: Bearer <token>` (the scheme in any case; another scheme is someone else's and is not looked at);
2. `?token=<token>`, for clients that cannot set headers, such as a browser's EventSource;
3. `?ticket=<ticket>`, bought with a token, so that the token itself stays out of URLs;
4. a cookie, if the hub is configured with its name.

The first three are explicit: two of them that differ are refused, since the caller must have meant one. A cookie comes
along by itself, so it counts only if there is no explicit credential, and only if the request comes from a page that may
use it (see `_check_origin`): otherwise any page on the web could publish in its visitor's name.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from enum import StrEnum
from typing import Final
from urllib.parse import urlsplit

import msgspec

from headwater.errors import InvalidInput, NotAllowed

_SAFE_METHODS: Final = frozenset({"GET", "HEAD"})
_OWN_SITES: Final = frozenset({"same-origin", "none"})
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


class Source(StrEnum):
    """Where credentials were found."""

    HEADER = "header"
    QUERY = "query"
    COOKIE = "cookie"


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """What a request carries, unverified. At most one of token and ticket is set; with neither the caller is anonymous.

    Attributes:
        token: for `Verifier.principal`.
        ticket: for `TicketOffice.redeem`.
        source: where it was found.
    """

    token: str | None = None
    ticket: str | None = None
    source: Source | None = None

    def __repr__(self) -> str:
        kind = "token" if self.token is not None else "ticket" if self.ticket is not None else "nothing"
        return f"Credentials({kind}{f' from {self.source}' if self.source else ''})"


NO_CREDENTIALS: Final = Credentials()
"""An anonymous caller's."""


def find_token(
    headers: Iterable[tuple[str, str]],
    query: Iterable[tuple[str, str]],
    cookies: Mapping[str, str],
    *,
    method: str,
    cookie_name: str | None = None,
    allowed_origins: Collection[str] = (),
) -> Credentials:
    """The credentials of a request; see the module's text for the order.

    Args:
        headers: all of them, names in any case.
        query: all parameters, decoded.
        cookies: by name.
        method: of the request, in capitals.
        cookie_name: the cookie that may hold a token; None looks at none.
        allowed_origins: other origins (`https://app.example`) whose pages may use the cookie. A `*` among them allows
            none: any page at all is just what the check is against.

    Raises:
        InvalidInput: two different credentials, or an empty one.
        NotAllowed: there is only a cookie, and the request comes from a page that may not use it.
    """
    lines = [(name.lower(), value) for name, value in headers]
    found = [*_bearers(lines), *_parameters(query)]
    if len({(one.token, one.ticket) for one in found}) > 1:
        raise InvalidInput(
            "the request carries different credentials", expected="one of an Authorization header, ?token= and ?ticket="
        )
    if found:
        return found[0]
    token = cookies.get(cookie_name) if cookie_name else None
    if not token:
        return NO_CREDENTIALS
    _check_origin(lines, method, allowed_origins)
    return Credentials(token=token, source=Source.COOKIE)


def _bearers(lines: list[tuple[str, str]]) -> Iterable[Credentials]:
    for name, value in lines:
        scheme, _, token = value.strip().partition(" ")
        if name == "authorization" and scheme.lower() == "bearer":
            yield Credentials(token=_given(token.strip(), "the Authorization header"), source=Source.HEADER)


def _parameters(query: Iterable[tuple[str, str]]) -> Iterable[Credentials]:
    for name, value in query:
        if name == "token":
            yield Credentials(token=_given(value, "?token="), source=Source.QUERY)
        elif name == "ticket":
            yield Credentials(ticket=_given(value, "?ticket="), source=Source.QUERY)


def _given(value: str, where: str) -> str:
    if not value:
        raise InvalidInput(f"{where} is empty", expected="a token or ticket, or none of it for an anonymous request")
    return value


def _check_origin(lines: list[tuple[str, str]], method: str, allowed: Collection[str]) -> None:
    """Refuse a cookie that another site's page made the browser send.

    Browsers send `Origin` with every cross-origin fetch and EventSource and with every POST. They leave it out of a
    same-origin GET, and of the GET of an image or a link, which `Sec-Fetch-Site` then tells apart; a client that sends
    neither is no browser of this decade, and no page steers it.
    """
    origins = [value for name, value in lines if name == "origin"]
    if not origins and method in _SAFE_METHODS:
        if all(value in _OWN_SITES for name, value in lines if name == "sec-fetch-site"):
            return
        raise NotAllowed("the cookie came along with a request from another site", fix="send the token itself")
    if not origins:
        raise NotAllowed(
            "a request with a cookie has no Origin header", fix="send the token in an Authorization header"
        )
    hosts = [value for name, value in lines if name == "host"]
    if len(origins) != 1 or not (origins[0] in set(allowed) - {"*"} or _is_same_host(origins[0], hosts)):
        raise NotAllowed(
            "the cookie came along with a request from another origin",
            expected="a page of this host or of an allowed origin",
            fix="add the page's origin to HEADWATER_CORS_ORIGINS",
        )


def _is_same_host(origin: str, hosts: list[str]) -> bool:
    """Whether an origin names the host that was asked. The scheme is not compared, because behind a proxy that ends TLS
    only the proxy knows it."""
    try:
        parts = urlsplit(origin)
        own = urlsplit(f"//{hosts[0]}") if len(hosts) == 1 else None
        default = _DEFAULT_PORTS.get(parts.scheme)
        if own is None or default is None or not parts.hostname:
            return False
        return (parts.hostname, parts.port or default) == (own.hostname, own.port or default)
    except ValueError:
        return False


def _spelt(name: str) -> str:
    """A pattern for a parameter's name however each of its letters is percent-encoded, and however often."""
    return "".join(f"(?:{letter}|%(?:25)*{ord(letter):x}|%(?:25)*{ord(letter.upper()):x})" for letter in name)


_PARAMETER = re.compile(rf"((?:{_spelt('token')}|{_spelt('ticket')})(?:=|%(?:25)*3d))[^\s&#;\"'<>]*", re.IGNORECASE)
_BEARER = re.compile(r"(\bbearer\s+)[^\s,;\"'<>]+", re.IGNORECASE)
_JWT = re.compile(r"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]*\.[A-Za-z0-9_-]*\.[A-Za-z0-9_-]*")
REDACTED: Final = "[redacted]"


def redact(text: str) -> str:
    """The text as it may be logged: the values of parameters whose names end in `token` or `ticket`, bearer tokens, and
    whatever looks like a JWT are replaced. A parameter is recognised however it is percent-encoded, so also inside a URL
    that is itself the value of a parameter. Takes time in proportion to the text."""
    text = _PARAMETER.sub(rf"\1{REDACTED}", text)
    return _JWT.sub(REDACTED, _BEARER.sub(rf"\1{REDACTED}", text))
