"""The route table: every operation, as data. Requests are dispatched by it and the OpenAPI document is made from it.

Knows the handlers; must not know how a request gets to them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from starlette.responses import RedirectResponse, Response

from headwater.asgi import admin, health, metrics, publish, subscribe, tickets
from headwater.asgi.dashboard import explaining, looking
from headwater.asgi.site import Access, Call, Route
from headwater.errors import NotFound

FILES: Final = (
    *("style.css", "parts.js", "client.js", "icon.svg"),
    *("playground.html", "playground.js", "playground.css"),
    *("dashboard.html", "dashboard.js", "dashboard.css", "dashboard-figures.js", "dashboard-charts.js"),
    *("dashboard-lists.js", "dashboard-look.js", "dashboard-explain.js", "dashboard-session.js"),
)
"""Files of `headwater/web` that are served."""


async def home(call: Call) -> Response:
    """A person who opens the hub in a browser gets the playground."""
    return RedirectResponse("playground", status_code=303)


async def playground(call: Call) -> Response:
    """The playground's page."""
    return call.site.pages.response("playground.html", call.scope)


async def dashboard(call: Call) -> Response:
    """The dashboard's page."""
    return call.site.pages.response("dashboard.html", call.scope)


async def client(call: Call) -> Response:
    """The browser client."""
    return call.site.pages.response("client.js", call.scope)


async def asset(call: Call) -> Response:
    """What a page needs besides itself."""
    return call.site.pages.response(call.rest, call.scope)


async def openapi(call: Call) -> Response:
    """This table, as OpenAPI."""
    return Response(call.site.document, media_type="application/json", headers={"cache-control": "no-cache"})


def _route(method: str, path: str, handler: object, access: Access, name: str, summary: str) -> Route:
    return Route(method=method, path=path, handler=handler, access=access, name=name, summary=summary)  # type: ignore[arg-type] # the table is easier to read without a cast in each line


_ANYONE, _CALLER, _ADMIN = Access.ANYONE, Access.CALLER, Access.ADMIN

ROUTES: Final = tuple(
    _route(*row)
    for row in (
        ("GET", "/events", subscribe.subscribe, _CALLER, "subscribe", "Stream or poll channels"),
        ("POST", "/events", publish.publish, _CALLER, "publish", "Publish events"),
        ("GET", "/channels", admin.channels, _CALLER, "listChannels", "List the channels that you may read"),
        ("GET", "/channels/{channel}", subscribe.subscribe_one, _CALLER, "subscribeOne", "Stream or poll one channel"),
        ("POST", "/channels/{channel}", publish.publish_one, _CALLER, "publishOne", "Publish one event to a channel"),
        ("POST", "/tickets", tickets.buy, _CALLER, "buyTicket", "Buy a ticket for ?ticket="),
        ("GET", "/stats", admin.stats, _ADMIN, "getStatistics", "The hub's numbers, as JSON"),
        ("GET", "/streams", admin.streams, _ADMIN, "listStreams", "List open streams"),
        ("DELETE", "/streams/{id}", admin.close_stream, _ADMIN, "closeStream", "End a stream"),
        (
            "GET",
            "/dashboard/events",
            looking.events,
            _ADMIN,
            "watch",
            "Stream or poll a sample of the numbers a second",
        ),
        ("GET", "/dashboard/streams", looking.streams, _ADMIN, "surveyStreams", "The first of many streams"),
        ("GET", "/dashboard/streams/{id}", looking.stream, _ADMIN, "lookAtStream", "One stream"),
        ("GET", "/dashboard/channels", looking.channels, _ADMIN, "surveyChannels", "The first of many channels"),
        ("GET", "/dashboard/channels/{channel}", looking.channel, _ADMIN, "lookAtChannel", "One channel"),
        ("POST", "/dashboard/explain", explaining.explain, _ADMIN, "explain", "Why somebody gets an event or not"),
        ("GET", "/metrics", metrics.metrics, _ANYONE, "getMetrics", "The hub's numbers, for Prometheus"),
        ("GET", "/healthz", health.alive, _ANYONE, "isAlive", "Whether the process answers"),
        ("GET", "/readyz", health.ready, _ANYONE, "isReady", "Whether published events would arrive"),
        ("GET", "/playground", playground, _ANYONE, "getPlayground", "A page to try the hub with"),
        ("GET", "/dashboard", dashboard, _ANYONE, "getDashboard", "A page to see the hub at work with"),
        ("GET", "/client.js", client, _ANYONE, "getClient", "The browser client, an ES module"),
        ("GET", "/assets/{file}", asset, _ANYONE, "getAsset", "Styles and scripts of the pages"),
        ("GET", "/openapi.json", openapi, _ANYONE, "getOpenapi", "This description"),
        ("GET", "/", home, _ANYONE, "getHome", "To the playground"),
    )
)
"""All operations, the ones that people look for first on top."""


class Place(NamedTuple):
    """What answers at a path: routes by method, HEAD and OPTIONS not among them, and the path's parameter."""

    routes: dict[str, Route]
    rest: str

    def get(self, method: str) -> Route | None:
        """The route for a method."""
        return self.routes.get("GET" if method == "HEAD" else method)

    @property
    def methods(self) -> set[str]:
        """Everything that is answered here."""
        return {*self.routes, "OPTIONS"} | ({"HEAD"} if "GET" in self.routes else set())


class Router:
    """Finds what answers at a path."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._exact: dict[str, dict[str, Route]] = {}
        self._prefixed: dict[str, dict[str, Route]] = {}
        for route in routes:
            prefix, brace, _ = route.path.partition("{")
            table = self._prefixed if brace else self._exact
            table.setdefault(prefix, {})[route.method] = route

    def find(self, path: str) -> Place:
        """What answers at `path`, which begins with a slash.

        Raises:
            NotFound: nothing does.
        """
        if (routes := self._exact.get(path)) is not None:
            return Place(routes, "")
        for prefix, routes in self._prefixed.items():
            if path.startswith(prefix) and len(path) > len(prefix):
                return Place(routes, path[len(prefix) :])
        raise NotFound(f"nothing lives at {path[:200]!r}", fix="see /openapi.json for what there is")
