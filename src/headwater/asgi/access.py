"""Who is asking: from a request's credentials to a principal.

Wires together what `auth` offers, and guards development mode, where no credentials are needed. Knows ASGI scopes; must not
know routes, channels or what a principal may do.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import NamedTuple

from starlette.requests import cookie_parser

from headwater.asgi.cors import Cors, host_of, is_local
from headwater.asgi.request import Scope, header_of
from headwater.auth import Credentials, TicketOffice, Verifier, find_token
from headwater.channels import EVERYTHING, Principal
from headwater.errors import ConfigurationError, NotAllowed, NotAuthenticated


class Caller(NamedTuple):
    """Who is asking, and how they proved it."""

    principal: Principal
    credentials: Credentials


class Gate:
    """Lets callers in.

    Args:
        verifier: checks tokens; may be None in development mode only.
        office: redeems tickets.
        cors: whose origins may use the cookie.
        cookie_name: of the cookie that may hold a token; None looks at none.
        dev: whoever sends no credentials may do everything.

    Raises:
        ConfigurationError: there is neither a verifier nor development mode.
    """

    def __init__(
        self, verifier: Verifier | None, office: TicketOffice, cors: Cors, *, cookie_name: str | None, dev: bool
    ) -> None:
        if verifier is None and not dev:
            raise ConfigurationError(
                "there is nothing to check tokens with", expected="a Verifier, or development mode", fix="pass dev=True"
            )
        self._verifier = verifier
        self._office = office
        self._cors = cors
        self._cookie_name = cookie_name
        self._dev = dev

    async def identify(self, scope: Scope, query: Sequence[tuple[str, str]]) -> Caller:
        """Who sent the request.

        Raises:
            NotAuthenticated: nobody we know. NotAllowed: somebody else's page made a browser send it. InvalidInput: it
            carries several credentials. Unavailable: nobody can tell now.
        """
        credentials = self._find(scope, query)
        if credentials.ticket is not None:
            return Caller(await self._office.redeem(credentials.ticket), credentials)
        if credentials.token is not None and self._verifier is not None:
            return Caller(await self._verifier.principal(credentials.token), credentials)
        if not self._dev:
            raise NotAuthenticated(
                "no token was sent",
                expected="Authorization: Bearer, or ?ticket= bought with POST /tickets",
                fix="get a token from the application that this hub belongs to",
            )
        self._check_page(scope)
        return Caller(EVERYTHING, credentials)

    async def principal_of(self, token: str) -> Principal:
        """Who a token names, for somebody who asks about it. In development mode, where tokens are not looked at, everybody.

        Raises:
            NotAuthenticated: the hub would not accept it. Unavailable: nobody can tell now.
        """
        return EVERYTHING if self._verifier is None else await self._verifier.principal(token)

    def _find(self, scope: Scope, query: Sequence[tuple[str, str]]) -> Credentials:
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
        wanted = self._cookie_name
        cookies = cookie_parser("; ".join(value for name, value in headers if name == "cookie")) if wanted else {}
        return find_token(
            headers,
            query,
            cookies,
            method=scope["method"],
            cookie_name=wanted,
            allowed_origins=self._cors.origins,
        )

    def _check_page(self, scope: Scope) -> None:
        """In development mode there is no token that a foreign page would have to know, so refuse foreign pages: those
        whose origin says so, and those that had their own name point to this machine (DNS rebinding), which have to send
        that name as Host. A name without a dot is nobody's on the internet."""
        host = host_of(header_of(scope, b"host") or "")
        origin = header_of(scope, b"origin")
        if "." in host and not is_local(host) and not _is_address(host):
            raise NotAllowed(f"development mode does not answer as {host[:200]!r}", expected="localhost or 127.0.0.1")
        if origin is not None and host_of(origin) != host and not self._cors.allows(origin):
            raise NotAllowed(
                f"a page of {origin[:200]!r} may not use a hub in development mode",
                expected="a page that this machine serves",
                fix="add its origin to HEADWATER_CORS_ORIGINS",
            )


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
