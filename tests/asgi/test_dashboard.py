"""What the dashboard is fed by and what it asks for: samples, lists, one stream, one channel."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from headwater.asgi.dashboard.board import Board, kind_of, node_of
from headwater.asgi.dashboard.looking import MAX_SHOWN
from headwater.asgi.limits import Limiter, Limits
from headwater.asgi.site import ADMIN
from headwater.brokers import open_broker
from headwater.brokers.memory import MemoryBroker
from headwater.errors import BrokerUnavailable, Draining, Unavailable
from headwater.event import Position
from headwater.hub import Hub
from headwater.hub.sampling import EVERY, Sample
from headwater.testing.asgi import Reply, StreamReply, open_stream, request
from tests.support.site import Service, bearer, serving
from tests.support.waiting import until

OWN = {"headers": {"accept": "application/json"}}


def administrator(**grants: Any) -> dict[str, str]:
    """Headers with a token that may look at everything."""
    return bearer("root", permissions=[ADMIN, *grants.pop("permissions", ())], **grants)


def tick(hub: Hub, count: int = 1) -> None:
    """Let seconds pass for the sampler."""
    for _ in range(count):
        hub.sampler.tick(hub.sampler._at + EVERY, hub.latency)


async def sample_of(stream: StreamReply) -> Any:
    """The next sample of a stream."""
    return json.loads((await stream.message_of("sample")).data)


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "/dashboard/events"),
        ("GET", "/dashboard/streams"),
        ("GET", "/dashboard/streams/1"),
        ("GET", "/dashboard/channels"),
        ("GET", "/dashboard/channels/a"),
        ("POST", "/dashboard/explain"),
    ],
)
async def test_the_dashboard_needs_the_permission(method: str, target: str) -> None:
    """401 for nobody, 403 for somebody who may read and publish everything; the page itself is for anyone."""
    async with serving(dev=False) as site:
        assert (await request(site.app, method, target)).status == 401
        refused = await request(site.app, method, target, headers=bearer())
        assert (refused.status, refused.json()["expected"]) == (403, f"a token with the permission {ADMIN}")
        assert (await site.get("/dashboard")).status == 200


# The samples


async def test_a_dashboard_begins_with_what_was() -> None:
    """Samples from before anybody looked come first, then one a second; resumed by id, none comes twice."""
    async with serving() as site:
        tick(site.hub, 3)
        async with open_stream(site.app, "/dashboard/events") as stream:
            assert json.loads((await stream.message()).data)["channels"] == ["$stats"]
            for _ in range(3):
                assert (await sample_of(stream))["refused"] is None
            await site.hub.publish("a")
            tick(site.hub)
            latest = await sample_of(stream)
            assert latest["sample"]["statistics"]["published"] == 1
            assert latest["refused"]["connect_rate"] == 0
            last = stream.decoder.last_event_id
        tick(site.hub)
        async with open_stream(site.app, "/dashboard/events", headers={"last-event-id": last}) as stream:
            assert (await sample_of(stream))["sample"]["time"] >= latest["sample"]["time"]
            assert (await site.poll(f"/dashboard/events?since={last}"))["events"][0]["type"] == "sample"


async def test_watching_is_not_watched() -> None:
    """A dashboard's own stream is no stream of the hub's; it has its place in the limits."""
    async with serving(limits=Limits(max_streams=1)) as site:
        async with open_stream(site.app, "/dashboard/events") as stream:
            await stream.message()
            assert site.hub.count() == 0
            assert (await site.get("/events?channel=a")).status == 503
        async with open_stream(site.app, "/events?channel=a") as stream:
            await stream.message()
            assert site.hub.count() == 1


async def test_the_broker_is_asked_while_somebody_looks() -> None:
    """Where the log is, how far this node is behind it, and how long the answer took; nothing, while nobody looks."""
    async with serving() as site:
        async with open_stream(site.app, "/dashboard/events") as stream:
            await stream.message()
            await site.hub.publish("a")
            pulse = None
            while pulse is None:
                tick(site.hub)
                pulse = (await sample_of(stream))["pulse"]
            assert (pulse["answers"], pulse["behind"]) == (True, 0)
            assert pulse["head"] == str(await site.hub.broker.head())
            assert pulse["ms"] >= 0
        tick(site.hub)
        await asyncio.sleep(0)
        assert (await site.poll("/dashboard/events?since=all"))["events"][-1]["data"]["pulse"] is None


async def test_the_broker_is_asked_for_a_page_that_polls() -> None:
    """Where streams do not get through, a dashboard polls, and is told the same."""
    async with serving() as site:
        last, pulse = (await site.poll("/dashboard/events?since=now"))["cursor"], None
        own = await site.app._site.board.open()  # type: ignore[attr-defined]

        def is_held() -> bool:
            return own.registry.channels["$stats"].arrival is not None

        while pulse is None:
            asking = asyncio.create_task(site.poll(f"/dashboard/events?since={last}&wait=5"))
            await until(is_held, "a poll that is held")
            tick(site.hub)
            answer = await asking
            last, pulse = answer["cursor"], answer["events"][0]["data"]["pulse"]
        assert pulse["answers"]


async def test_a_revoked_administrator_is_shown_no_more() -> None:
    """The streams of dashboards end with the others of a principal; other principals' go on."""
    async with serving(dev=False) as site:
        both = [open_stream(site.app, "/dashboard/events", headers=bearer(who, permissions=[ADMIN])) for who in "ab"]
        async with both[0] as revoked, both[1] as other:
            await revoked.message()
            await other.message()
            assert await site.hub.revoke("a") == 1
            assert "revoked" in (await revoked.message_of("closing")).data
            tick(site.hub)
            await sample_of(other)


class Mute(MemoryBroker):
    """A broker that cannot say where its log is, or has begun another that nobody knows of."""

    is_silent = False

    async def head(self) -> Position:
        if self.is_silent:
            raise BrokerUnavailable("gone")
        return Position("zz", 9)


async def test_a_broker_that_does_not_answer_shows() -> None:
    """And the samples go on; a log that this node has not heard of yet is nothing that it could be behind."""
    broker = Mute()
    async with serving(broker=broker) as site, open_stream(site.app, "/dashboard/events") as stream:
        await stream.message()
        seen = []
        for silent in (False, True):
            broker.is_silent = silent
            for _ in range(3):
                tick(site.hub)
                seen.append((await sample_of(stream))["pulse"])
        assert seen[2]["head"] == "zz-9"
        assert (seen[2]["behind"], seen[-1]) == (
            0,
            {"answers": False, "head": None, "here": None, "behind": 0, "ms": None},
        )


async def test_dashboards_end_with_the_hub() -> None:
    """They are told so, like everybody; and the next life of the hub has a log of its own."""
    hub = Hub(open_broker("memory://"))
    board = Board(hub, Limiter(Limits()))
    with pytest.raises(Unavailable):
        await board.open()
    await hub.start()
    first, again = await asyncio.gather(board.open(), board.open())
    assert first is again is await board.open()
    tick(hub)
    await hub.drain(0)
    with pytest.raises(Draining):
        await board.open()
    await hub.stop()
    assert hub.sampler.watchers == []
    await hub.start()
    assert await board.open() is not first
    tick(hub)
    await hub.stop()


async def test_the_stream_of_a_dashboard_is_drained() -> None:
    """Its last frame says why."""
    async with serving() as site, open_stream(site.app, "/dashboard/events") as stream:
        await stream.message()
        await site.hub.drain(1)
        assert "drain" in (await stream.message_of("closing")).data
        assert (await site.get("/dashboard/events")).status == 503


async def test_a_sample_for_a_log_that_ended_goes_nowhere() -> None:
    """It may have been on its way when the hub stopped."""
    hub = Hub(open_broker("memory://"))
    board = Board(hub, Limiter(Limits()))
    await hub.start()
    own = await board.open()
    sample = Sample(time=0, seconds=1.0, p50_ms=None, p99_ms=None, statistics=hub.statistics())
    before = await own.broker.head()
    await board._tell(Hub(open_broker("memory://")), sample)
    assert await own.broker.head() == before
    await hub.stop()


def test_a_node_says_who_it_is() -> None:
    """And what kind of log it shares; a broker of somebody else's goes by its name."""
    assert node_of(MemoryBroker()).broker == "memory"
    assert node_of(MemoryBroker()).can == ("renew",)
    assert kind_of(open_broker("sqlite:///x.db")) == "sqlite"
    assert kind_of(Mute()) == "Mute"


# Lists


@asynccontextmanager
async def crowd(site: Service, *readers: tuple[str, str]) -> Any:
    """Streams of these principals on these channels."""
    async with asyncio.TaskGroup() as group:
        ends = asyncio.Event()

        async def read(name: str, channel: str, ready: asyncio.Event) -> None:
            headers = bearer(name)
            async with open_stream(site.app, f"/events?channel={channel}", headers=headers) as stream:
                await stream.message()
                ready.set()
                await ends.wait()

        for name, channel in readers:
            ready = asyncio.Event()
            group.create_task(read(name, channel, ready))
            await ready.wait()
        try:
            yield
        finally:
            ends.set()


def ids(reply: Reply) -> Iterator[str]:
    """Whose streams a reply lists."""
    assert reply.status == 200, reply
    return (row["principal"] for row in reply.json()["streams"])


async def test_streams_are_found() -> None:
    """In some order, by a search or a channel, only the first; an answer is shared for a second."""
    async with serving(dev=False) as site, crowd(site, ("ada", "a"), ("eve", "b"), ("bob", "a")):
        boss = {"headers": administrator()}
        assert list(ids(await site.get("/dashboard/streams?order=newest", **boss))) == ["bob", "eve", "ada"]
        assert list(ids(await site.get("/dashboard/streams?order=oldest&limit=1", **boss))) == ["ada"]
        assert list(ids(await site.get("/dashboard/streams?channel=a", **boss))) == ["ada", "bob"]
        assert list(ids(await site.get("/dashboard/streams?search=EV", **boss))) == ["eve"]
        one = await site.get("/dashboard/streams", **boss)
        assert (one.json()["matching"], one.json()["total"]) == (3, 3)
        assert one.body == (await site.get("/dashboard/streams", **boss)).body
        assert one.headers["headwater-node"].endswith(f"/{os.getpid()}")


async def test_channels_are_found() -> None:
    """Those that are read here first, then others that have events."""
    async with serving(dev=False) as site, crowd(site, ("ada", "a"), ("eve", "b"), ("bob", "a")):
        boss = {"headers": administrator()}
        await site.hub.publish("b")
        await site.hub.publish("c:1")
        rows = (await site.get("/dashboard/channels", **boss)).json()["channels"]
        assert [(row["name"], row["readers"], row["events"]) for row in rows] == [
            ("b", 1, 1),
            ("a", 2, None),
            ("c:1", 0, 1),
        ]
        assert rows[0]["pace"] == 0.1
        (row,) = (await site.get("/dashboard/channels?prefix=c&order=name", **boss)).json()["channels"]
        assert (row["name"], row["followed"]) == ("c:1", False)


@pytest.mark.parametrize(
    "query",
    ["order=best", "limit=0", "limit=101", "limit=x", "search=" + "x" * 201, "channel=" + "x" * 201],
)
async def test_odd_questions_are_refused(query: str) -> None:
    """Rather than taken for something else."""
    async with serving() as site:
        assert (await site.get(f"/dashboard/streams?{query}")).status == 400


# One of them


async def test_a_stream_is_looked_at() -> None:
    """Whose it is, where it is, how it is connected, and when its token ends."""
    async with serving(dev=False) as site, crowd(site, ("ada", "a")):
        boss = {"headers": administrator()}
        await site.hub.publish("a")
        (row,) = (await site.get("/dashboard/streams", **boss)).json()["streams"]
        found = (await site.get(f"/dashboard/streams/{row['id']}", **boss)).json()
        assert (found["info"]["principal"], found["info"]["channels"]) == ("ada", ["a"])
        assert found["cursor"] == str(await site.hub.broker.head())
        assert found["began"] == site.hub.cursor(0)
        assert (found["transport"], found["heartbeat"], found["catching_up"]) == ("asgi", 15.0, None)
        assert 0 < found["expires_in"] <= 60
        for gone in ("99", "x", "9" * 40, "-1"):
            assert (await site.get(f"/dashboard/streams/{gone}", **boss)).status == 404


def words(event: Mapping[str, Any]) -> tuple[Any, ...]:
    """What is shown of an event."""
    return event["permissions"], event["type"], event["data"], event["bytes"]


async def test_a_channel_is_looked_at() -> None:
    """What the log has of it and who reads it. An event's type and data are shown to those who might read them: not even an
    administrator without its permission is."""
    async with serving(dev=False) as site, crowd(site, ("ada", "a")):
        await site.hub.publish("a", "old", {"n": 1})
        await site.hub.publish("a", "secret", "x", permissions=["top"])
        await site.hub.publish("a", data="x" * MAX_SHOWN)
        for grants, seen in (({}, (2, 1)), ({"permissions": ["top"]}, (3, 1)), ({"subscribe": ["b"]}, (0, 0))):
            reply = await site.get("/dashboard/channels/a", headers=administrator(**grants))
            found = reply.json()
            shown = [event for event in found["recent"] if event["data"] is not None]
            assert (len(shown), found["first"]["data"] is not None) == (seen[0], bool(seen[1]))
            assert found["granted"] is (grants != {"subscribe": ["b"]})
        found = (await site.get("/dashboard/channels/a", headers=administrator(permissions=["top"]))).json()
        assert words(found["recent"][1]) == (["top"], "secret", '"x"', 3)
        assert words(found["recent"][2]) == words(found["first"]) == ([], "old", '{"n":1}', 7)
        assert (found["recent"][0]["bytes"], len(found["recent"][0]["data"])) == (MAX_SHOWN + 2, MAX_SHOWN)
        assert (found["events"], found["readers"], found["followed"], found["ring"]) == (3, 1, True, 3)
        assert found["streams"]["matching"] == 1
        empty = (await site.get("/dashboard/channels/nothing", headers=administrator())).json()
        assert (empty["events"], empty["bytes"], empty["first"], empty["recent"]) == (0, 0, None, [])
        assert (await site.get("/dashboard/channels/%20", headers=administrator())).status == 400
