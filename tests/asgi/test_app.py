"""From a request to its handler and back: order, sizes, headers, mounting, life."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from headwater.asgi import routes
from headwater.asgi.app import App, create_app, path_of
from headwater.asgi.limits import Limits
from headwater.asgi.site import Access, Route
from headwater.auth import TicketOffice
from headwater.brokers import open_broker
from headwater.errors import ConfigurationError
from headwater.hub import Hub
from headwater.testing.asgi import lifespan, open_stream, request
from tests.support.site import bearer, serving
from tests.support.tokens import SECRET

APP = "https://app.example"


# -- order -----------------------------------------------------------------------------------------------------------------


async def test_what_is_cheap_is_refused_first() -> None:
    """Path, method, size, credentials, rate, syntax, grants: of all that is wrong with a request, the first is told."""
    limits = Limits(max_url_bytes=200, connect_rate=1.0)
    known = bearer(subscribe=["b"])
    async with serving(dev=False, limits=limits) as site:
        for method, target, headers, status in (
            ("PUT", "/nothing?channel=%00" + "x" * 300, {}, 404),
            ("PUT", "/events?channel=%00" + "x" * 300, {}, 405),
            ("GET", "/events?channel=%00" + "x" * 300, {}, 413),
            ("GET", "/events?channel=%00", {}, 401),
            ("GET", "/events?channel=%00", known, 400),
            ("GET", "/events?channel=%00", known, 429),
        ):
            assert (await request(site.app, method, target, headers=headers)).status == status
        reply = await site.get("/events?channel=a", headers=known, client=("192.0.2.1", 1))
        assert reply.status == 403


@pytest.mark.parametrize(
    ("target", "headers"),
    [
        ("/events?channel=" + "a" * 20_000, {}),
        ("/channels/" + "a" * 20_000, {}),
        ("/events?channel=a", {"x-large": "x" * 70_000}),
        ("/events?channel=a", {f"x-{number}": "x" for number in range(10_000)}),
        ("/events?channel=a", {"content-length": "99999999999"}),
    ],
)
async def test_urls_and_headers_are_bounded(target: str, headers: dict[str, str]) -> None:
    """413 before anything else is looked at."""
    async with serving() as site:
        assert (await site.get(target, headers=headers)).status == 413


async def test_no_limit_lets_it_through() -> None:
    """0 switches the limits of sizes off."""
    async with serving(limits=Limits(max_url_bytes=0, max_header_bytes=0)) as site:
        headers = {"x-large": "x" * 70_000, "accept": "application/json"}
        assert (await site.get("/events?channel=a&x=" + "a" * 20_000, headers=headers)).status == 200


async def test_a_size_is_that_of_the_url_as_it_was_sent() -> None:
    """Where the server does not tell it, the decoded path has to do."""
    async with serving(limits=Limits(max_url_bytes=30)) as site:
        assert (await site.get("/channels/" + "%61" * 10)).status == 413
        reply = await site.get("/channels/" + "%61" * 10, raw_path=None, headers={"accept": "application/json"})
        assert reply.status == 200


# -- answers ---------------------------------------------------------------------------------------------------------------


async def test_a_wrong_method_is_told_the_right_ones() -> None:
    """405 with Allow, counted."""
    async with serving() as site:
        reply = await request(site.app, "PATCH", "/events")
        assert (reply.status, reply.headers["allow"]) == (405, "GET, HEAD, OPTIONS, POST")
        assert site.hub.rejections == {"Method not allowed": 1}


async def test_options_says_what_is_possible() -> None:
    """Without credentials; nothing lives at other paths for OPTIONS either."""
    async with serving(dev=False) as site:
        reply = await request(site.app, "OPTIONS", "/tickets")
        assert (reply.status, reply.headers["allow"], reply.body) == (204, "OPTIONS, POST", b"")
        assert (await request(site.app, "OPTIONS", "/nothing")).status == 404


@pytest.mark.parametrize("target", ["/healthz", "/playground", "/channels", "/nothing", "/events"])
async def test_head_is_get_without_its_body(target: str) -> None:
    """The same status and headers, also for errors."""
    async with serving() as site:
        get, head = await site.get(target), await request(site.app, "HEAD", target)
        assert (head.status, head.headers, head.body) == (get.status, get.headers, b"")


async def test_no_content_is_guessed() -> None:
    """What strangers publish is sent from the hub's origin: no browser may take it for something else than it is."""
    async with serving() as site:
        for target in ("/healthz", "/nothing", "/playground"):
            assert (await site.get(target)).headers["x-content-type-options"] == "nosniff"
        async with open_stream(site.app, "/events?channel=a") as stream:
            assert stream.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(("version", "connection"), [("1.1", "close"), ("1.0", "close"), ("2", None)])
async def test_a_body_that_is_not_read_ends_the_connection(version: str, connection: str | None) -> None:
    """What the client is still sending would be taken for its next request. HTTP/2 forbids the header."""
    async with serving(limits=Limits(max_body_bytes=5)) as site:
        reply = await site.post("/channels/a", body=b"too long", http_version=version)
        assert (reply.status, reply.headers.get("connection")) == (413, connection)
        fine = await site.post("/channels/a", body=b"fine", http_version=version)
        assert (fine.status, fine.headers.get("connection")) == (201, None)


async def test_a_slow_body_is_given_up() -> None:
    """408 after the time that a body may take, however alive the connection seems."""

    async def trickle() -> Any:
        yield b"{"
        while True:
            await asyncio.sleep(0)
            yield b""

    async with serving(body_time=0.02) as site:
        reply = await site.post("/channels/a", body=trickle())
        assert (reply.status, reply.json()["title"], reply.headers["connection"]) == (408, "Request timeout", "close")


# -- failures --------------------------------------------------------------------------------------------------------------


def failing(app: Any, handler: Any) -> None:
    """Make GET /healthz of an application do something else."""
    assert isinstance(app, App)
    route = Route(method="GET", path="/healthz", handler=handler, access=Access.ANYONE, name="x", summary="x")
    app._router = routes.Router([route])


async def test_what_nobody_expected_is_a_500_without_internals(caplog: pytest.LogCaptureFixture) -> None:
    """The log has all of it."""

    async def handler(call: Any) -> Any:
        raise KeyError("the secret")

    async with serving() as site:
        failing(site.app, handler)
        with caplog.at_level(logging.ERROR, "headwater"):
            reply = await site.get("/healthz")
        assert (reply.status, reply.json()["title"]) == (500, "Internal error")
        assert b"secret" not in reply.body
        assert "the secret" in caplog.text


async def test_what_fails_in_the_middle_of_an_answer_is_the_servers() -> None:
    """An answer that has begun cannot become another one; the server cuts it and logs why."""

    async def response(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})
        raise KeyError("half")

    async def handler(call: Any) -> Any:
        return response

    async with serving() as site:
        failing(site.app, handler)
        with pytest.raises(KeyError):
            await site.get("/healthz")


async def test_a_client_that_leaves_while_it_sends_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is published, nothing answered, nothing logged as an error."""
    sent = list[Any]()

    async def receive() -> Any:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    async with serving() as site:
        scope = {"type": "http", "method": "POST", "path": "/channels/a", "headers": [], "query_string": b""}
        await site.app(scope, receive, send)
        assert (sent, site.hub.published, caplog.records) == ([], 0, [])


# -- other origins ---------------------------------------------------------------------------------------------------------


async def test_pages_of_allowed_origins_may_read_everything() -> None:
    """Streams, answers and errors, so that a page can show why it was refused."""
    headers = {"origin": APP}
    async with serving(dev=False, cors_origins=[APP]) as site:
        refused = await site.get("/events?channel=a", headers=headers)
        assert refused.status == 401
        async with open_stream(site.app, "/events?channel=a", headers={**headers, **bearer()}) as stream:
            for got in (refused.headers, stream.headers):
                assert got["access-control-allow-origin"] == APP
                assert got["access-control-allow-credentials"] == "true"
                assert "Retry-After" in got["access-control-expose-headers"]
            assert stream.headers["vary"] == "Accept, Origin"
        other = await site.get("/events?channel=a", headers={"origin": "https://evil.example"})
        assert "access-control-allow-origin" not in other.headers


async def test_a_preflight_is_answered_without_credentials() -> None:
    """Browsers send none with it. Other origins are refused, with a sentence for the developer."""
    asks = {"origin": APP, "access-control-request-method": "POST", "access-control-request-headers": "authorization"}
    async with serving(dev=False, cors_origins=[APP]) as site:
        reply = await request(site.app, "OPTIONS", "/events", headers=asks)
        assert (reply.status, reply.headers["access-control-allow-origin"]) == (204, APP)
        assert "Last-Event-ID" in reply.headers["access-control-allow-headers"]
        assert "POST" in reply.headers["access-control-allow-methods"]
        refused = await request(site.app, "OPTIONS", "/events", headers={**asks, "origin": "https://evil.example"})
        assert refused.status == 403
        assert "HEADWATER_CORS_ORIGINS" in refused.json()["fix"]
        assert "access-control-allow-origin" not in refused.headers
        plain = await request(site.app, "OPTIONS", "/events", headers={"origin": APP})
        assert "access-control-allow-methods" not in plain.headers


async def test_a_cookie_works_for_pages_that_may_use_it() -> None:
    """The page's origin decides, for reading and for publishing."""
    cookie = {"cookie": f"session={bearer()['authorization'][7:]}"}
    async with serving(dev=False, cookie_name="session", cors_origins=[APP]) as site:
        for origin, status in ((APP, 201), ("https://evil.example", 403)):
            reply = await site.post(
                "/channels/a", headers={**cookie, "origin": origin, "content-type": "text/plain"}, body=b"x"
            )
            assert reply.status == status


# -- mounting and life -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "root", "found"),
    [
        ("/events", "", "/events"),
        ("/live/events", "/live", "/events"),
        ("/live/events", "/live/", "/events"),
        ("/events", "/live", "/events"),
        ("/lively", "/live", "/lively"),
        ("/live", "/live", "/"),
        ("", "", "/"),
    ],
)
def test_the_path_is_below_the_mount(path: str, root: str, found: str) -> None:
    """Whether the server includes the mount's path in it or not."""
    assert path_of({"path": path, "root_path": root}) == found


async def test_it_can_be_mounted_anywhere() -> None:
    """In another application, which then runs the hub; links stay right because they are relative."""
    hub = Hub(open_broker("memory://"))

    @asynccontextmanager
    async def life(app: object) -> Any:
        await hub.start()
        yield
        await hub.stop()

    outer = Starlette(routes=[Mount("/live", create_app(hub, dev=True))], lifespan=life)
    async with lifespan(outer):
        assert (await request(outer, "POST", "/live/channels/a", body=b"x")).status == 201
        async with open_stream(outer, "/live/events?channel=a&since=all") as stream:
            assert [(await stream.message()).type, (await stream.message()).data] == ["connected", "x"]
        assert (await request(outer, "GET", "/live/")).headers["location"] == "playground"
        assert (await request(outer, "GET", "/live/assets/style.css")).status == 200
        assert (await request(outer, "GET", "/live/nothing")).status == 404


async def test_the_hub_lives_as_long_as_the_application() -> None:
    """It starts before the first request and stops after the last."""
    async with serving() as site:
        assert (await site.get("/readyz")).status == 200
    assert (await site.get("/readyz")).status == 503


async def test_a_start_that_fails_is_told_to_the_server(caplog: pytest.LogCaptureFixture) -> None:
    """Which then exits, with the reason; and so is a stop that fails."""

    @asynccontextmanager
    async def broken(app: object) -> Any:
        raise ConfigurationError("no disk")
        yield

    @asynccontextmanager
    async def unstoppable(app: object) -> Any:
        yield
        raise ConfigurationError("no end")

    hub = Hub(open_broker("memory://"))
    with pytest.raises(RuntimeError, match="startup failed: no disk"):
        async with lifespan(create_app(hub, dev=True, lifespan=broken)):
            pass
    with pytest.raises(RuntimeError, match="shutdown failed: no end"):
        async with lifespan(create_app(hub, dev=True, lifespan=unstoppable)):
            pass
    assert "no disk" in caplog.text


async def test_websockets_are_turned_away() -> None:
    """There are none here."""
    sent = list[Any]()

    async def send(message: Any) -> None:
        sent.append(message)

    async with serving() as site:
        await site.app({"type": "websocket"}, asyncio.Future, send)
    assert sent == [{"type": "websocket.close", "code": 1000, "reason": "there are no WebSockets here"}]


async def test_unknown_protocols_are_left_alone() -> None:
    """A server may offer more than we know."""
    async with serving() as site:
        await site.app({"type": "telepathy"}, None, None)  # type: ignore[arg-type]


def test_without_keys_there_is_no_application() -> None:
    """Secure by default: development has to be asked for."""
    with pytest.raises(ConfigurationError, match="nothing to check tokens with"):
        create_app(Hub(open_broker("memory://")))


async def test_offices_may_be_shared() -> None:
    """Two processes with one secret take each other's tickets; two without do not."""
    async with (
        serving(dev=False, tickets=TicketOffice(SECRET)) as one,
        serving(dev=False, tickets=TicketOffice(SECRET)) as two,
    ):
        ticket = (await one.post("/tickets", headers=bearer())).json()["ticket"]
        assert (await two.get(f"/channels?ticket={ticket}")).status == 200
    async with serving(dev=False) as one, serving(dev=False) as two:
        ticket = (await one.post("/tickets", headers=bearer())).json()["ticket"]
        assert (await two.get(f"/channels?ticket={ticket}")).status == 401


async def test_development_lifts_the_limits_of_single_callers() -> None:
    """There is only one; the limits of the whole hub stay."""
    async with serving(limits=Limits(max_streams_per_address=1, publish_rate=1.0, connect_rate=1.0)) as site:
        async with open_stream(site.app, "/events?channel=a"), open_stream(site.app, "/events?channel=a") as second:
            assert second.status == 200
        assert [(await site.post("/channels/a", body=b"x")).status for _ in range(3)] == [201] * 3
