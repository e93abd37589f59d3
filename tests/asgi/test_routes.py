"""The route table and how a path is found in it."""

from __future__ import annotations

import pytest

from headwater.asgi.routes import ROUTES, Router
from headwater.asgi.site import Access
from headwater.errors import NotFound
from tests.support.site import serving

ROUTER = Router(ROUTES)


def test_the_table_is_unambiguous() -> None:
    """Each method on a path, and each name, once."""
    assert len({(route.method, route.path) for route in ROUTES}) == len(ROUTES)
    assert len({route.name for route in ROUTES}) == len(ROUTES)


def test_what_is_open_to_everyone_is_a_short_list() -> None:
    """Whoever adds a route has to think of it here."""
    assert {route.path for route in ROUTES if route.access is Access.ANYONE} == {
        *("/metrics", "/healthz", "/readyz", "/playground", "/dashboard", "/client.js", "/assets/{file}"),
        *("/openapi.json", "/"),
    }


@pytest.mark.parametrize(
    ("path", "name", "rest"),
    [
        ("/events", "subscribe", ""),
        ("/channels", "listChannels", ""),
        ("/channels/a", "subscribeOne", "a"),
        ("/channels/a/b:c", "subscribeOne", "a/b:c"),
        ("/channels//", "subscribeOne", "/"),
        ("/", "getHome", ""),
    ],
)
def test_a_path_finds_its_route(path: str, name: str, rest: str) -> None:
    """A parameter takes the rest of the path, slashes included. HEAD is answered by GET."""
    place = ROUTER.find(path)
    for method in ("GET", "HEAD"):
        route = place.get(method)
        assert route is not None
        assert (route.name, place.rest) == (name, rest)


@pytest.mark.parametrize(
    "path", ["/events/", "/channels/", "/event", "/EVENTS", "//events", "/streams/", "/../events", "/" + "x" * 300]
)
def test_other_paths_lead_nowhere(path: str) -> None:
    """Also almost right ones: a redirect would hide the mistake and drop a POST's body. The path is cut in the message."""
    with pytest.raises(NotFound, match="nothing lives at") as caught:
        ROUTER.find(path)
    assert len(caught.value.what) < 230


def test_a_place_knows_its_methods() -> None:
    """HEAD comes with GET, OPTIONS with everything."""
    assert ROUTER.find("/events").methods == {"GET", "HEAD", "POST", "OPTIONS"}
    assert ROUTER.find("/tickets").methods == {"POST", "OPTIONS"}
    assert ROUTER.find("/tickets").get("HEAD") is None
    assert ROUTER.find("/streams/1").methods == {"DELETE", "OPTIONS"}


async def test_routes_that_only_hand_out_files() -> None:
    """Each answers."""
    async with serving() as site:
        statuses = {
            path: (await site.get(path)).status
            for path in ("/", "/playground", "/dashboard", "/client.js", "/assets/icon.svg", "/openapi.json")
        }
        assert set(statuses.values()) == {200, 303}
