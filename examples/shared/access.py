"""Who is calling: tokens in, principals out, as a FastAPI dependency; and tokens for pages in development.

Knows Headwater's token rules and requests; must not know what an application lets anyone do.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable
from functools import cached_property

from fastapi import APIRouter, Request, Response

from examples.shared.settings import Settings
from headwater import Principal
from headwater.auth import TokenSettings, Verifier, find_token, mint
from headwater.errors import NotAllowed, NotAuthenticated

LIFETIME = 3600.0
"""Seconds for which a development token is valid."""


class Access:
    """Lets callers in. Use a bound method as dependency: `caller: Principal = Depends(access.principal)`.

    Args:
        settings: the secret, whether this is development, and the origins whose pages may use the cookie.
        cookie: that may hold the token, too; none if it is empty.
    """

    def __init__(self, settings: Settings, *, cookie: str = "") -> None:
        self._settings = settings
        self._cookie = cookie

    @cached_property
    def _verifier(self) -> Verifier:
        # Not before the first request: to import an application must not make folders and secrets.
        return Verifier(TokenSettings(secret=self._settings.secret))

    async def principal(self, request: Request) -> Principal:
        """Who the request's token names: `Authorization: Bearer`, or `?token=` where headers cannot be set, or the cookie.

        Raises:
            NotAuthenticated: there is no valid token.
            NotAllowed: there is only the cookie, and another site's page has sent it.
        """
        credentials = find_token(
            request.headers.items(),
            request.query_params.multi_items(),
            request.cookies,
            method=request.method,
            cookie_name=self._cookie or None,
            allowed_origins=self._settings.origins,
        )
        if credentials.token is None:
            raise NotAuthenticated("no token was sent", expected="Authorization: Bearer <token>, or ?token=")
        return await self._verifier.principal(credentials.token)

    def holding(self, permission: str) -> Callable[[Request], Awaitable[Principal]]:
        """A dependency that lets in only who holds a permission. It raises NotAuthenticated and NotAllowed."""

        async def dependency(request: Request) -> Principal:
            principal = await self.principal(request)
            if permission not in principal.permissions:
                raise NotAllowed("the token does not grant this", expected=f"the permission {permission}")
            return principal

        return dependency

    def dev_token(
        self, path: str, *, sub: str = "visitor", permissions: tuple[str, ...] = (), subscribe: tuple[str, ...] = ()
    ) -> APIRouter:
        """In development a route by which pages of this machine get a token with these permissions and channels; else none
        at all. They get it as the cookie, too, if there is one."""
        router = APIRouter(include_in_schema=False)
        if self._settings.is_dev:

            @router.post(path)
            async def token(request: Request, response: Response) -> dict[str, str]:
                check_local(request)
                secret = self._settings.secret
                token = mint(secret, sub=sub, permissions=permissions, subscribe=subscribe, ttl=LIFETIME)
                if self._cookie:
                    response.set_cookie(
                        self._cookie, token, int(LIFETIME), path="/api", httponly=True, samesite="strict"
                    )
                return {"token": token}

        return router


def check_local(request: Request) -> None:
    """Refuse whoever is not on this machine, and names that others made point to it (DNS rebinding).

    Raises:
        NotAllowed: the caller or the host asked for is another one.
    """
    host, caller = request.url.hostname or "", request.client.host if request.client else ""
    if not _is_loopback(caller) or not (host == "localhost" or _is_loopback(host)):
        raise NotAllowed(
            "development tokens are for pages of this machine",
            expected="a request to localhost from localhost",
            fix="set HEADWATER_JWT_SECRET and have the application you belong to issue tokens",
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
