"""The whole hub as one ASGI application: `create_app(hub)`.

From a request to its handler and back: finds the route, checks sizes, finds out who asks, turns errors into problems, and
adds the headers that every answer needs. Can be mounted below any path. Knows the route table and ASGI; must not know
what handlers do.

The order in which a request is looked at: method, size, credentials, rate, syntax, grants. What is cheap to refuse is
refused first, and only who may do it learns what is wrong with how they asked for it.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Collection
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from headwater.asgi.access import Gate
from headwater.asgi.body import check_length
from headwater.asgi.cors import Cors, Headers
from headwater.asgi.dashboard.board import Board
from headwater.asgi.health import PROBE_TTL
from headwater.asgi.limits import Limiter, Limits, exceeds
from headwater.asgi.metrics import registry_of
from headwater.asgi.openapi import document
from headwater.asgi.pages import Pages
from headwater.asgi.problems import method_not_allowed, refuse
from headwater.asgi.request import header_of, query_of
from headwater.asgi.routes import FILES, ROUTES, Place, Router
from headwater.asgi.site import Access, Call, Route, Site
from headwater.auth import TicketOffice, Verifier
from headwater.errors import MethodNotAllowed, TooLarge
from headwater.hub import Hub
from headwater.single_flight import SingleFlight

log = logging.getLogger("headwater")

BODY_TIME: Final = 30.0
"""Seconds that a request's body may take: 4 MiB at 1 Mbit/s."""

_CLOSES: Final = frozenset({408, 413})  # statuses sent while the client may still be sending

Lifespan = Callable[[Any], AbstractAsyncContextManager[None]]


def create_app(
    hub: Hub,
    *,
    verifier: Verifier | None = None,
    limits: Limits = Limits(),  # noqa: B008 (frozen, so safe to share)
    cors_origins: Collection[str] = (),
    cookie_name: str | None = None,
    dev: bool = False,
    tickets: TicketOffice | None = None,
    lifespan: Lifespan | None = None,
    body_time: float = BODY_TIME,
) -> ASGIApp:
    """The hub's HTTP interface (docs/reference/http.md).

    Args:
        hub: started and stopped with the application's lifespan. A mounted application gets none: there the outer one
            must run the hub.
        verifier: checks tokens.
        limits: how much callers may use; development lifts those of single callers.
        cors_origins: other origins whose pages may use the hub, or `*` alone.
        cookie_name: a cookie that may hold a token.
        dev: callers without credentials may do everything, from pages of this machine. For a hub that listens on the
            loopback address only.
        tickets: issues and redeems tickets; processes that share one installation need offices with one secret.
        lifespan: runs the hub; by default `hub.start` and `hub.stop`.
        body_time: seconds that a request's body may take.

    Raises:
        ConfigurationError: there is neither a verifier nor `dev`, or an origin is malformed.
    """
    cors = Cors(cors_origins, local=dev)
    office = tickets or TicketOffice(secrets.token_bytes(32))
    limiter = Limiter(limits.for_development() if dev else limits)
    site = Site(
        hub=hub,
        limiter=limiter,
        gate=Gate(verifier, office, cors, cookie_name=cookie_name, dev=dev),
        office=office,
        cors=cors,
        pages=Pages(FILES),
        registry=registry_of(hub, limiter),
        probes=SingleFlight(ttl=PROBE_TTL),
        board=Board(hub, limiter),
        document=document(ROUTES, limiter.limits, cookie_name=cookie_name),
        body_time=body_time,
    )
    return App(site, lifespan or _run(hub))


def _run(hub: Hub) -> Lifespan:
    @asynccontextmanager
    async def lifespan(app: Any) -> Any:
        await hub.start()
        try:
            yield
        finally:
            await hub.stop()

    return lifespan


class App:
    """See `create_app`."""

    def __init__(self, site: Site, lifespan: Lifespan) -> None:
        self._site = site
        self._lifespan = lifespan
        self._router = Router(ROUTES)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        match scope["type"]:
            case "http":
                await self._serve(scope, receive, send)
            case "lifespan":
                await self._live(receive, send)
            case "websocket":
                await send({"type": "websocket.close", "code": 1000, "reason": "there are no WebSockets here"})

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        origin = header_of(scope, b"origin")
        sender = _Sender(scope, send, self._site.cors.headers(origin))
        try:
            response = await self._respond(scope, receive, sender)
            await response(scope, receive, sender)
        except ClientDisconnect:
            pass
        except Exception as error:
            if sender.is_started:  # the answer has begun, so nothing else can be said any more
                raise
            await refuse(self._site.hub, error)(scope, receive, sender)

    async def _respond(self, scope: Scope, receive: Receive, sender: _Sender) -> Response:
        place = self._router.find(path_of(scope))
        method = scope["method"]
        if method == "OPTIONS":
            return self._options(scope, place, sender)
        route = place.get(method)
        if route is None:
            self._site.hub.rejections[MethodNotAllowed.title] += 1
            return method_not_allowed(method, place.methods)
        self._check_size(scope)
        call = await self._call(scope, receive, route, place.rest)
        return await route.handler(call)

    async def _call(self, scope: Scope, receive: Receive, route: Route, rest: str) -> Call:
        query = query_of(scope)
        caller = None if route.access is Access.ANYONE else await self._site.gate.identify(scope, query)
        call = Call(site=self._site, scope=scope, receive=receive, query=query, rest=rest, caller=caller)
        if route.access is Access.ADMIN:
            call.require_admin()
        return call

    def _options(self, scope: Scope, place: Place, sender: _Sender) -> Response:
        """A preflight, or someone who asks what is possible here."""
        origin = header_of(scope, b"origin")
        if origin is not None and header_of(scope, b"access-control-request-method") is not None:
            sender.headers += self._site.cors.preflight(origin, place.methods)
        return Response(status_code=204, headers={"allow": ", ".join(sorted(place.methods))})

    def _check_size(self, scope: Scope) -> None:
        limits = self._site.limiter.limits
        size = len(scope.get("raw_path") or scope["path"].encode()) + len(scope.get("query_string", b""))
        if exceeds(size, limits.max_url_bytes):
            raise TooLarge(f"a URL of {size} bytes", expected=f"at most {limits.max_url_bytes}")
        size = sum(len(name) + len(value) + 4 for name, value in scope["headers"])
        if exceeds(size, limits.max_header_bytes):
            raise TooLarge(f"headers of {size} bytes", expected=f"at most {limits.max_header_bytes}")
        check_length(scope, limits.max_body_bytes)

    async def _live(self, receive: Receive, send: Send) -> None:
        """Run the hub from the server's startup message to its shutdown message."""
        await receive()
        phase = "startup"
        try:
            async with self._lifespan(self):
                await send({"type": "lifespan.startup.complete"})
                phase = "shutdown"
                await receive()
        except Exception as error:
            log.error("%s failed: %s", phase, error, exc_info=error)
            await send({"type": f"lifespan.{phase}.failed", "message": str(error)})
        else:
            await send({"type": "lifespan.shutdown.complete"})


def path_of(scope: Scope) -> str:
    """The path below where the application is mounted. Servers and frameworks include the mount's path or do not."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "").rstrip("/")
    if root and (path == root or path.startswith(f"{root}/")):
        path = path[len(root) :]
    return path or "/"


class _Sender:
    """`send` with the headers that every answer gets, and without the body where none may be."""

    def __init__(self, scope: Scope, send: Send, headers: Headers) -> None:
        self.headers: Headers = [(b"x-content-type-options", b"nosniff"), *headers]
        self.is_started = False
        self._send = send
        self._is_head = scope["method"] == "HEAD"
        self._is_http_1 = scope.get("http_version", "1.1").startswith("1")

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.is_started = True
            further = list(self.headers)
            if message["status"] in _CLOSES and self._is_http_1:
                # What the client still sends is not read: the connection cannot be used again.
                further.append((b"connection", b"close"))
            message = {**message, "headers": [*message.get("headers", ()), *further]}
        elif self._is_head:
            message = {**message, "body": b""}
        await self._send(message)
