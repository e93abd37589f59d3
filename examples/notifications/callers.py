"""Who calls: a user, known from their first request on, who may do this or that and not too much of it.

Knows tokens, permissions and limits; must not know what routes do.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from fastapi import Request

from examples.notifications import users
from examples.notifications.outbox import Ledger
from examples.notifications.settings import Settings
from examples.notifications.users import User, check_id
from examples.shared.access import Access
from headwater import Limiter, Limits, Principal
from headwater.errors import NotAllowed

MAX_KNOWN: Final = 10_000
"""Users that are remembered; the others are looked up."""


class Callers:
    """Lets users in, as FastAPI's dependencies.

    Args:
        access: says whose token it is.
        ledger: has the users.
        settings: how much each of them may do.

    Attributes:
        limiter: counts everybody's streams.
    """

    def __init__(self, access: Access, ledger: Ledger, settings: Settings) -> None:
        self._access = access
        self._ledger = ledger
        self._known: set[str] = set()
        limits = Limits(
            connect_rate=settings.connect_rate,
            publish_rate=settings.send_rate,
            max_streams_per_principal=settings.max_streams,
        )
        self.limiter = Limiter(limits)

    async def principal(self, request: Request) -> Principal:
        """Who is asking.

        Raises:
            NotAuthenticated: there is no valid token. NotAllowed: it names no user.
        """
        principal = await self._access.principal(request)
        id = check_id(principal.id)
        if id not in self._known:
            await self._ledger.change(users.join, User(id=id, name=id[:60]))
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
            self._known.add(id)
        return principal

    async def user(self, request: Request) -> str:
        """The id of who is asking."""
        return check_id((await self.principal(request)).id)

    async def writer(self, request: Request) -> str:
        """The id of who wants to change something.

        Raises:
            TooManyRequests: they do so too often.
        """
        id = await self.user(request)
        self.limiter.publish(id, 1)
        return id

    def holding(self, permission: str) -> Callable[[Request], Awaitable[str]]:
        """A dependency: the id of who is asking, if they hold a permission. It raises NotAllowed."""

        async def dependency(request: Request) -> str:
            principal = await self.principal(request)
            if not principal.may_see(frozenset((permission,))):
                raise NotAllowed("the token does not grant this", expected=f"the permission {permission}")
            id = check_id(principal.id)
            if request.method != "GET":
                self.limiter.publish(id, 1)
            return id

        return dependency
