"""What there is in development only: three users, and tokens of theirs for pages of this machine.

Knows permissions; must not know what they are good for.
"""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from examples.notifications.bodies import Route
from examples.notifications.events import ANNOUNCE, READ, RUN, SEND
from examples.notifications.settings import Settings
from examples.notifications.users import User
from examples.shared.access import check_local
from examples.shared.web import answer
from headwater import Hub
from headwater.auth import mint
from headwater.errors import NotFound

ROLES: Final = {"ada": (SEND, READ, RUN, ANNOUNCE), "ben": (SEND, READ, RUN), "cleo": ()}
"""What each of them may do."""

USERS: Final = (
    User(id="ada", name="Ada Moreau", about="Keeps the lights on"),
    User(id="ben", name="Ben Okafor", about="Runs the archive"),
    User(id="cleo", name="Cleo Lindqvist", about="Reads everything"),
)


def development(hub: Hub, settings: Settings, path: str) -> APIRouter:
    """The routes below `path`; none at all if this is not development."""
    routes = APIRouter(route_class=Route, include_in_schema=False)
    if not settings.is_dev:
        return routes

    @routes.post(f"{path}/dev/token/{{user}}")
    async def token(user: str, request: Request, ttl: Annotated[int, Query(ge=1, le=3600)] = 3600) -> Response:
        check_local(request)
        return answer({"token": mint(settings.secret, sub=user, permissions=_role(user), ttl=float(ttl))})

    @routes.post(f"{path}/dev/cut/{{user}}")
    async def cut(user: str, request: Request) -> Response:
        check_local(request)
        _role(user)
        return answer({"closed": await hub.revoke(user)})

    return routes


def _role(user: str) -> tuple[str, ...]:
    if user not in ROLES:
        raise NotFound(f"there is no user {user[:40]!r}", expected=f"one of {', '.join(ROLES)}")
    return ROLES[user]
