"""Looking at the hub and into it."""

from __future__ import annotations

from typing import Any

import pytest

from headwater.asgi.admin import MAX_LISTED, MAX_QUERIES, prefixes
from headwater.asgi.site import ADMIN
from headwater.brokers import open_broker
from headwater.testing.asgi import open_stream, request
from tests.support.site import Service, bearer, serving


def administrator() -> dict[str, str]:
    """Headers with a token that may look at everything."""
    return bearer(permissions=[ADMIN])


async def listed(site: Service, query: str = "", **grants: Any) -> list[str]:
    """Names of the channels that a token with these grants is told of."""
    reply = await site.get(f"/channels?{query}", headers=bearer(**grants))
    assert reply.status == 200, reply
    return [channel["name"] for channel in reply.json()["channels"]]


async def test_a_channel_is_listed_with_what_it_has() -> None:
    """How much is retained, the newest event, and how many streams read it here."""
    async with serving() as site, open_stream(site.app, "/events?channel=a&channel=b") as stream:
        await stream.message()
        position = await site.hub.publish("a", data="xyz")
        (channel,) = (await site.get("/channels")).json()["channels"]
        assert channel.pop("time").endswith("Z")
        assert channel == {"name": "a", "events": 1, "bytes": 5, "last": str(position), "streams": 1}


async def test_only_what_may_be_read_is_listed() -> None:
    """By name, within the prefix; patterns with stars in the middle are applied exactly."""
    async with serving(dev=False) as site:
        for name in ("room:2", "room:1", "room:1:x", "user:7", "other", "room"):
            await site.hub.publish(name)
        assert await listed(site, subscribe=["room:*", "user:7"]) == ["room:1", "room:2", "user:7"]
        assert await listed(site, "prefix=room:1", subscribe=["**"]) == ["room:1", "room:1:x"]
        assert await listed(site, "prefix=user", subscribe=["room:*"]) == []
        assert await listed(site, subscribe=["*:1", "nothing"]) == ["room:1"]
        assert await listed(site, subscribe=[]) == []


async def test_the_hubs_own_channels_need_a_grant_of_their_own() -> None:
    """A wildcard does not cover them."""
    async with serving(dev=False) as site:
        assert (await site.get("/readyz")).status == 200
        assert await listed(site, subscribe=["**"]) == []
        assert await listed(site, "prefix=$", subscribe=["$**"]) == ["$probe"]


async def test_a_list_has_a_limit() -> None:
    """`more` says that there may be others."""
    async with serving() as site:
        for name in ("a", "b", "c"):
            await site.hub.publish(name)
        short, whole = (await site.get("/channels?limit=2")).json(), (await site.get("/channels?limit=3")).json()
        assert ([channel["name"] for channel in short["channels"]], short["more"]) == (["a", "b"], True)
        assert (len(whole["channels"]), whole["more"]) == (3, False)


async def test_a_list_that_the_broker_cut_says_so() -> None:
    """It looked at MAX_LISTED channels, and what it did not look at might be readable."""
    broker = open_broker("memory://")
    async with serving(dev=False, broker=broker) as site:
        for number in range(MAX_LISTED):
            await site.hub.publish(f"room:{number:04}:x")
        reply = await site.get("/channels", headers=bearer(subscribe=["room:*:y", "room:0007:x"]))
        assert [channel["name"] for channel in reply.json()["channels"]] == ["room:0007:x"]
        assert reply.json()["more"] is True


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=-1", "limit=1001", "limit=1e3", "limit=", "limit=" + "9" * 99, "prefix=a%20b", "prefix=%00"],
)
async def test_odd_limits_and_prefixes_are_refused(query: str) -> None:
    """Rather than taken for something else."""
    async with serving() as site:
        assert (await site.get(f"/channels?{query}")).status == 400


@pytest.mark.parametrize(
    ("patterns", "prefix", "found"),
    [
        (["**"], "", [""]),
        (["**"], "room:", ["room:"]),
        (["room:*", "user:7"], "", ["room:", "user:7"]),
        (["room:*", "room:1", "**"], "", [""]),
        (["room:*"], "room:1", ["room:1"]),
        (["room:1"], "room:1:x", []),
        (["user:*"], "room:", []),
        ([f"room:{number:02}" for number in range(MAX_QUERIES + 1)], "", ["room:"]),
    ],
)
def test_the_broker_is_asked_as_little_as_possible(patterns: list[str], prefix: str, found: list[str]) -> None:
    """One question for each of the longest prefixes that cover the patterns, or one for all if they are many."""
    assert prefixes(patterns, prefix) == found


@pytest.mark.parametrize(("method", "target"), [("GET", "/stats"), ("GET", "/streams"), ("DELETE", "/streams/1")])
async def test_administration_needs_the_permission(method: str, target: str) -> None:
    """401 for nobody, 403 for somebody; in development everybody may."""
    async with serving(dev=False) as site:
        assert (await request(site.app, method, target)).status == 401
        refused = await request(site.app, method, target, headers=bearer())
        assert (refused.status, refused.json()["expected"]) == (403, f"a token with the permission {ADMIN}")
        assert (await request(site.app, method, target, headers=administrator())).status in (200, 404)


async def test_statistics_are_the_hubs() -> None:
    """With the version, and how often each limit refused someone."""
    async with serving() as site:
        await site.hub.publish("a")
        await site.get("/nothing")
        stats = (await site.get("/stats")).json()
        assert (stats["published"], stats["rejections"]) == (1, {"Not found": 1})
        assert stats["refused"]["connect_rate"] == 0
        assert stats["version"]


async def test_an_administrator_sees_and_ends_streams() -> None:
    """Its client is told why; what is not open is not found."""
    async with serving(dev=False) as site:
        async with open_stream(site.app, "/events?channel=a", headers=bearer("eve")) as stream:
            await stream.message()
            (info,) = (await site.get("/streams", headers=administrator())).json()["streams"]
            assert (info["principal"], info["channels"], info["address"]) == ("eve", ["a"], "127.0.0.1")
            assert (await request(site.app, "DELETE", f"/streams/{info['id']}", headers=administrator())).status == 204
            assert '"admin"' in (await stream.message_of("closing")).data
        for gone in (str(info["id"]), "0", "x", "-1", "9" * 40, "1/2"):
            assert (await request(site.app, "DELETE", f"/streams/{gone}", headers=administrator())).status == 404
        assert (await site.get("/streams", headers=administrator())).json() == {"streams": [], "more": False}
