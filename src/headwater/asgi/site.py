"""What the handlers of one application share, and what each of them gets: `Site`, `Call`, `Route`.

Values only. Knows the parts of this package; must not know which routes there are or what they do.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import StrEnum
from typing import Final

import msgspec
from prometheus_client import CollectorRegistry
from starlette.responses import Response
from starlette.types import Receive, Scope

from headwater.asgi.access import Caller, Gate
from headwater.asgi.body import check_length, read_body
from headwater.asgi.cors import Cors
from headwater.asgi.dashboard.board import Board
from headwater.asgi.limits import Limiter
from headwater.asgi.pages import Pages
from headwater.auth import TicketOffice
from headwater.channels import Principal
from headwater.errors import HeadwaterError, NotAllowed
from headwater.hub import Hub
from headwater.single_flight import SingleFlight

ADMIN: Final = "headwater.admin"
"""The permission that the administrative routes ask for."""


class Site(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """One application's parts, the same for every request.

    Attributes:
        hub: the hub that everything goes to.
        limiter: counts what callers use.
        gate: finds out who is asking.
        office: issues tickets.
        cors: which other origins are let in.
        pages: files for people's browsers.
        registry: what /metrics shows.
        probes: shares and keeps the outcome of readiness probes; None is a success.
        board: what the dashboard is fed by.
        document: the OpenAPI document, as JSON.
        body_time: seconds that a request's body may take.
    """

    hub: Hub
    limiter: Limiter
    gate: Gate
    office: TicketOffice
    cors: Cors
    pages: Pages
    registry: CollectorRegistry
    probes: SingleFlight[HeadwaterError | None]
    board: Board
    document: bytes
    body_time: float


class Call(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """One request, for its handler.

    Attributes:
        site: the application's parts.
        scope, receive: ASGI's.
        query: its fields, decoded, in order.
        rest: what the path has in place of the route's parameter; empty without one.
        caller: who is asking; None on routes that are open to everyone.
    """

    site: Site
    scope: Scope
    receive: Receive
    query: Sequence[tuple[str, str]]
    rest: str = ""
    caller: Caller | None = None

    @property
    def principal(self) -> Principal:
        """Who is asking, on a route that asks for it."""
        assert self.caller is not None
        return self.caller.principal

    def field(self, name: str, default: str = "") -> str:
        """The first value of a query field."""
        return next((value for key, value in self.query if key == name), default)

    async def body(self) -> bytes:
        """The request's body, within the limits; raises as `read_body`."""
        limit = self.site.limiter.limits.max_body_bytes
        check_length(self.scope, limit)
        return await read_body(self.receive, limit, self.site.body_time)

    def require_admin(self) -> None:
        """Refuse callers who may not administer.

        Raises:
            NotAllowed: they may not.
        """
        if not self.principal.may_see(frozenset({ADMIN})):
            raise NotAllowed("this needs an administrator", expected=f"a token with the permission {ADMIN}")


class Access(StrEnum):
    """Who may call a route."""

    ANYONE = "anyone"
    CALLER = "caller"  # whoever a token, cookie or ticket names
    ADMIN = "admin"  # of those, who holds the permission `headwater.admin`


Handler = Callable[[Call], Awaitable[Response]]


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """One operation: what answers to a method on a path.

    Attributes:
        method: GET also answers HEAD.
        path: from the application's root; may end in one parameter in braces, which takes the rest of the path, slashes
            included.
        handler: makes the response.
        access: who may call it.
        name: its `operationId`.
        summary: what it does, in a few words.
    """

    method: str
    path: str
    handler: Handler
    access: Access
    name: str
    summary: str


def json_response(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A response of JSON that belongs to this moment and this caller."""
    return Response(
        msgspec.json.encode(value),
        status_code=status,
        media_type="application/json",
        headers={"cache-control": "no-store", **(headers or {})},
    )
