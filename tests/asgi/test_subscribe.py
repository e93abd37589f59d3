"""Who may read which channels, and what it costs them of their limits."""

from __future__ import annotations

import pytest

from headwater.asgi.limits import Limits
from headwater.asgi.subscribe import check_grants
from headwater.channels import Principal
from headwater.errors import NotAllowed
from headwater.testing.asgi import open_stream
from tests.support.site import bearer, serving
from tests.support.waiting import until


async def test_a_stream_begins_with_its_channels() -> None:
    """Each once, in the order asked for; events of several channels say which."""
    async with serving() as site, open_stream(site.app, "/events?channel=b&channel=a&channel=b") as stream:
        assert (stream.status, stream.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        assert stream.headers["cache-control"] == "no-cache, no-transform"
        assert '"channels":["b","a"]' in (await stream.message()).data
        await site.hub.publish("a", "log", 1)
        message = await stream.message()
        assert (message.type, message.data, message.channel) == ("log", "1", "a")


async def test_curl_streams_a_channel_by_its_path() -> None:
    """The path names it, with slashes if it has some; other fields of the query mean the same as with /events."""
    async with serving() as site:
        await site.hub.publish("a/b", data=1)
        async with open_stream(site.app, "/channels/a/b?since=all", headers={"accept": "*/*"}) as stream:
            assert [(await stream.message()).type, (await stream.message()).data] == ["connected", "1"]


@pytest.mark.parametrize("target", ["/events?channel=a&since=all", "/channels/a?since=all"])
async def test_a_poll_is_the_same_url(target: str) -> None:
    """With another Accept header."""
    async with serving() as site:
        await site.hub.publish("a", data=1)
        assert [event["data"] for event in (await site.poll(target))["events"]] == [1]


async def test_what_may_not_be_read_is_named_and_not_said_to_exist() -> None:
    """The problem is the same for a channel with events and one that never was."""
    async with serving(dev=False) as site:
        await site.hub.publish("secret", data=1)
        details = set()
        for channel in ("secret", "nothing"):
            reply = await site.get(f"/events?channel=room:1&channel={channel}", headers=bearer(subscribe=["room:*"]))
            assert (reply.status, reply.json()["title"]) == (403, "Not allowed")
            assert f"reading channel {channel}" in reply.json()["detail"]
            details.add(reply.json()["detail"].replace(channel, ""))
        assert len(details) == 1
        assert (await site.get("/channels/secret", headers=bearer(subscribe=["room:*"]))).status == 403


def test_every_channel_is_checked() -> None:
    """One that is not granted is enough."""
    principal = Principal(subscribe=("a", "b:*"))
    check_grants(principal, ["a", "b:1"])
    with pytest.raises(NotAllowed, match="channel b"):
        check_grants(principal, ["a", "b"])


@pytest.mark.parametrize("accept", ["text/event-stream", "application/json"])
async def test_events_with_permissions_are_for_those_who_hold_them(accept: str) -> None:
    """The same by stream and by poll."""
    async with serving(dev=False) as site:
        await site.hub.publish("a", data="hidden", permissions=["p", "q"])
        await site.hub.publish("a", data="shown", permissions=["p"])
        headers = {"accept": accept, **bearer(permissions=["p"])}
        async with open_stream(site.app, "/events?channel=a&since=all", headers=headers) as stream:
            while b"shown" not in stream.body:
                assert await stream.read()
            assert b"hidden" not in stream.body


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("", 400),
        ("channel=", 400),
        ("channel=a%0Ab", 400),
        ("channel=a&channel=b&channel=c", 413),
        ("channel=a&since=yesterday", 400),
        ("channel=a&since=9999999999999d", 400),
        ("channel=a&last=0", 400),
        ("channel=a&last=-5", 400),
        ("channel=a&last=99999999999999999999", 400),
        ("channel=%ff", 400),
        ("a=1&" * 1001, 400),
    ],
)
async def test_malformed_requests_are_refused_and_cost_nothing(query: str, status: int) -> None:
    """The place that was lent for the stream is given back."""
    async with serving(limits=Limits(max_channels_per_stream=2, max_streams=1)) as site:
        before = await site.state()
        for _ in range(3):
            reply = await site.get(f"/events?{query}")
            assert (reply.status, reply.headers["content-type"]) == (status, "application/problem+json")
        assert await site.state() == before


async def test_nothing_acceptable_is_406() -> None:
    """A client that wants a page gets a sentence."""
    async with serving() as site:
        assert (await site.get("/events?channel=a", headers={"accept": "text/html"})).status == 406


async def test_streams_are_counted_while_they_are_open() -> None:
    """One too many is refused with the time to come back; when one ends there is room again."""
    async with serving(dev=False, limits=Limits(max_streams_per_principal=1)) as site:
        async with open_stream(site.app, "/events?channel=a", headers=bearer("ada")) as stream:
            await stream.message()
            reply = await site.get("/events?channel=a", headers=bearer("ada"))
            assert (reply.status, reply.headers["retry-after"]) == (429, "5")
            async with open_stream(site.app, "/events?channel=a", headers=bearer("eve")) as other:
                assert other.status == 200
        async with open_stream(site.app, "/events?channel=a", headers=bearer("ada")) as stream:
            assert stream.status == 200


async def test_a_full_hub_takes_no_more() -> None:
    """503 for streams; publishing goes on."""
    async with serving(limits=Limits(max_streams=1)) as site, open_stream(site.app, "/events?channel=a") as stream:
        await stream.message()
        reply = await site.get("/events?channel=a")
        assert (reply.status, reply.json()["title"], reply.headers["retry-after"]) == (503, "Hub full", "5")
        assert (await site.post("/channels/a", body=b"x")).status == 201


async def test_addresses_have_a_connect_rate() -> None:
    """Counted before anything of the request is looked at; another address is not affected."""
    async with serving(dev=False, limits=Limits(connect_rate=1.0)) as site:
        statuses = [(await site.get("/events", headers=bearer())).status for _ in range(2)]
        assert statuses == [400, 429]
        assert (await site.get("/events", headers=bearer(), client=("192.0.2.1", 1))).status == 400
        assert (await site.get("/events", headers=bearer(), client=None)).status == 400


async def test_head_costs_nothing() -> None:
    """It is answered with the headers of a stream, and leaves none open."""
    async with serving(limits=Limits(max_streams=1)) as site:
        for _ in range(3):
            async with open_stream(site.app, "/events?channel=a", method="HEAD") as reply:
                assert (reply.status, await reply.read()) == (200, b"")
                assert reply.headers["content-type"].startswith("text/event-stream")
        assert site.hub.count() == 0


async def test_a_stream_ends_with_its_token() -> None:
    """Its place is then free."""
    async with serving(dev=False, limits=Limits(max_streams=1)) as site:
        async with open_stream(site.app, "/events?channel=a", headers=bearer(ttl=0.3)) as stream:
            *_, last = [message async for message in stream]
            assert (last.type, last.data) == ("closing", '{"reason":"expired"}')
        await until(lambda: site.hub.count() == 0, "the stream to be gone")
        async with open_stream(site.app, "/events?channel=a", headers=bearer()) as stream:
            assert stream.status == 200


async def test_a_draining_hub_takes_no_streams() -> None:
    """503, and the place lent for it is given back."""
    async with serving() as site:
        await site.hub.drain(0)
        for _ in range(2):
            reply = await site.get("/events?channel=a")
            assert (reply.status, reply.json()["title"]) == (503, "Draining")


@pytest.mark.parametrize("cursor", ["rubbish", "zzzz-5", "e-99999999999999999999", "-1", "0"])
async def test_cursors_of_another_log_reset_the_stream(cursor: str) -> None:
    """No error, which would stop a browser for good, and no silent gap: a `reset` that says where the stream goes on."""
    async with serving() as site:
        await site.hub.publish("a", data=1)
        async with open_stream(site.app, "/events?channel=a", headers={"last-event-id": cursor}) as stream:
            assert (await stream.message()).type == "connected"
            reset = await stream.message()
            assert reset.type == "reset"
            assert str(await site.hub.broker.head()) in reset.data
        answer = await site.poll(f"/events?channel=a&lastEventId={cursor}")
        assert answer["reset"]["cursor"] == answer["cursor"]
