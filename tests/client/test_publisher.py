"""Publishing over HTTP, tried again without publishing twice."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import unquote

import httpx2
import pytest

from headwater.client import Policy, Publisher
from headwater.errors import InvalidEvent, InvalidInput, ProtocolError, RequestRefused, Unreachable
from headwater.event import Draft
from tests.client.scripted import Answer, Scripted, World, answer, answer_json, hang_up, serving


def accepted(*ids: str) -> Answer:
    """The hub's answer to a publish."""
    return answer_json({"ids": list(ids)}, 201)


def publisher(server: Scripted, world: World | None = None, **kwargs: Any) -> Publisher:
    """A publisher to a scripted hub, in a world where waiting takes no time."""
    return Publisher(server.url, runtime=(world or World()).runtime, **kwargs)


async def test_an_event_is_published() -> None:
    """One event is one object with everything that was given, and the answer is its id."""
    async with serving(accepted("e-1")) as server, publisher(server, token="abc") as hub:
        id = await hub.publish("room:1", "log", {"m": "hi"}, permissions=["b", "a"], idempotency_key="order-7")
    assert id == "e-1"
    (asked,) = server.asked
    assert (asked.method, asked.target) == ("POST", "/events")
    assert asked.json() == {
        "channel": "room:1",
        "type": "log",
        "data": {"m": "hi"},
        "permissions": ["a", "b"],
        "idempotency_key": "order-7",
    }
    assert asked.headers["content-type"] == "application/json"
    assert asked.headers["authorization"] == "Bearer abc"


async def test_the_smallest_event() -> None:
    """What was not given is not sent, but for its default."""
    async with serving(accepted("e-1")) as server, publisher(server, headers={"X-Tenant": "7"}) as hub:
        await hub.publish("a")
    assert server.asked[0].json() == {"channel": "a", "type": "message", "data": None}
    assert server.asked[0].headers["x-tenant"] == "7"
    assert server.tokens == [None]


async def test_a_batch_is_one_request() -> None:
    """Several events travel together, because they are published together or not at all."""
    async with serving(accepted("e-1", "e-2")) as server, publisher(server) as hub:
        ids = await hub.publish_all([Draft.json("a", data=1), Draft.json("b", data=2)])
    assert ids == ("e-1", "e-2")
    assert [event["channel"] for event in server.asked[0].json()] == ["a", "b"]


async def test_an_empty_batch_is_nothing() -> None:
    """Nothing to publish needs no request."""
    async with serving() as server, publisher(server) as hub:
        assert await hub.publish_all([]) == ()
        assert server.asked == []


@pytest.mark.parametrize(
    ("drafts", "match"),
    [([Draft.json("a")] * 1001, "1001 events"), ([Draft(channel="a", data="hi", text=True)], "is text")],
)
async def test_what_does_not_fit_a_batch_is_refused(drafts: list[Draft], match: str) -> None:
    """Before anything is sent."""
    async with serving() as server, publisher(server) as hub:
        with pytest.raises(InvalidInput, match=match):
            await hub.publish_all(drafts)
        assert server.asked == []


async def test_a_malformed_event_is_not_sent() -> None:
    """The rules of events hold here, too."""
    async with serving() as server, publisher(server) as hub:
        with pytest.raises(InvalidEvent):
            await hub.publish("a", "reset")
        with pytest.raises(InvalidInput):
            await hub.publish_text("a", "hi", permissions="rooms.read")
        assert server.asked == []


async def test_text_is_published() -> None:
    """Plain text goes to the channel's own route, with its type and permissions, and with the caller's key or one made up."""
    async with serving(accepted("e-1"), accepted("e-2")) as server, publisher(server) as hub:
        assert await hub.publish_text("a:b/c=d", "h\u00e9llo\r\n", "note", permissions=["q", "p"]) == "e-1"
        assert await hub.publish_text("a", "", idempotency_key="order-7") == "e-2"
    first, second = server.asked
    assert (first.method, unquote(first.target)) == ("POST", "/channels/a:b/c=d")
    assert first.query == [("type", "note"), ("permission", "p"), ("permission", "q")]
    assert first.headers["content-type"] == "text/plain; charset=utf-8"
    assert first.body.decode() == "h\u00e9llo\n"
    assert (second.query, second.body) == ([("type", "message")], b"")
    assert second.headers["idempotency-key"] == "order-7"
    assert len(first.headers["idempotency-key"]) == 32


async def test_the_text_route_is_beside_the_publishers() -> None:
    """A hub below a path keeps its path."""
    async with serving(accepted("e-1")) as server:
        async with Publisher(f"{server.url}/live/events?x=1") as hub:
            await hub.publish_text("a", "hi")
    assert server.asked[0].target == "/live/channels/a"


# Trying again


@pytest.mark.parametrize("failure", [hang_up, answer(503, retry_after="2"), answer(500), answer(429), answer(408)])
async def test_a_failure_is_tried_again_with_the_same_key(failure: Answer) -> None:
    """Whether the hub had the event already or not: it knows the key, so the event is there once."""
    world = World()
    async with serving(failure, failure, accepted("e-1")) as server, publisher(server, world) as hub:
        assert await hub.publish("a") == "e-1"
    keys = [asked.headers["idempotency-key"] for asked in server.asked]
    assert len(keys) == 3
    assert len(set(keys)) == 1
    assert len(world.waits) == 2


async def test_each_publish_has_its_own_key() -> None:
    """Two events that look the same are two events."""
    async with serving(accepted("e-1"), accepted("e-2")) as server, publisher(server) as hub:
        await hub.publish("a")
        await hub.publish("a")
    assert server.asked[0].headers["idempotency-key"] != server.asked[1].headers["idempotency-key"]


async def test_it_gives_up() -> None:
    """After so many attempts the last failure is raised; the waits between them grew."""
    world = World()
    async with serving(*[hang_up] * 5) as server, publisher(server, world) as hub:
        with pytest.raises(Unreachable):
            await hub.publish("a")
        assert len(server.asked) == 5
    assert world.waits == [0.5, 1, 2, 4]


async def test_a_policy_may_be_given() -> None:
    """One attempt and no more."""
    async with serving(answer(503)) as server, publisher(server, policy=Policy(attempts=1)) as hub:
        with pytest.raises(RequestRefused, match="503"):
            await hub.publish("a")


@pytest.mark.parametrize("status", [204, 301, 400, 403, 404, 409, 413, 415])
async def test_a_refusal_is_final(status: int) -> None:
    """What the hub will not take it is not offered again."""
    async with serving(answer(status)) as server, publisher(server) as hub:
        with pytest.raises(RequestRefused) as caught:
            await hub.publish("a")
        assert caught.value.status == status
        assert len(server.asked) == 1


async def test_a_token_is_renewed_once() -> None:
    """A 401 asks the token function again; a second is final."""
    tokens = iter(["one", "two", "three", "four"])
    async with serving(answer(401), accepted("e-1"), answer(401), answer(401)) as server:
        async with publisher(server, token=lambda: next(tokens)) as hub:
            assert await hub.publish("a") == "e-1"
            with pytest.raises(RequestRefused, match="401"):
                await hub.publish("a")
    assert server.tokens == ["Bearer one", "Bearer two", "Bearer two", "Bearer three"]


async def test_a_fixed_token_is_not_renewed() -> None:
    """There is no other to try."""
    async with serving(answer(401)) as server, publisher(server, token="abc") as hub:
        with pytest.raises(RequestRefused, match="401"):
            await hub.publish("a")


@pytest.mark.parametrize(
    "script", [answer(200, b"<html>"), answer(201, b""), answer_json({"ids": "x"}), accepted(), accepted("a", "b")]
)
async def test_an_answer_that_is_no_hubs(script: Answer) -> None:
    """An answer without the right number of ids is an error: what took the event is no hub."""
    async with serving(script, script) as server, publisher(server) as hub:
        with pytest.raises(ProtocolError, match="check the URL"):
            await hub.publish("a")
        with pytest.raises(ProtocolError, match="check the URL"):
            await hub.publish_text("a", "hi")


async def test_half_an_answer_is_none() -> None:
    """An answer that breaks off is tried again."""

    async def broken(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        writer.write(b'HTTP/1.1 201 Whatever\r\nContent-Length: 50\r\n\r\n{"ids":')
        return False

    async with serving(broken, accepted("e-1")) as server, publisher(server) as hub:
        assert await hub.publish("a") == "e-1"


async def test_a_client_may_be_given() -> None:
    """It is used and left open; an own one is closed."""
    async with serving(accepted("e-1")) as server, httpx2.AsyncClient() as client:
        async with publisher(server, client=client) as hub:
            await hub.publish("a")
        assert not client.is_closed
    own = Publisher("http://localhost")
    await own.aclose()
    assert own._client.is_closed


@pytest.mark.parametrize(("url", "token"), [("hub", None), ("http://hub", "a b")])
def test_senseless_arguments_are_refused(url: str, token: str | None) -> None:
    """Before anything is sent."""
    with pytest.raises(InvalidInput):
        Publisher(url, token)
