"""The poll: the same read as a stream's, as one answer."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import msgspec
import pytest

from headwater.asgi.poll import MAX_WAIT, PIECE, PollResponse, answer_of, wait_of
from headwater.brokers import open_broker
from headwater.channels import Principal
from headwater.errors import BrokerUnavailable, InvalidInput
from headwater.event import Draft, Event, Position, ResetReason
from headwater.hub import All, Hub, Subscription
from headwater.hub.poll import Polled
from headwater.testing.asgi import App, open_stream, request
from tests.support.site import serving
from tests.support.waiting import until


def event(draft: Draft) -> Event:
    """An event at position 7, accepted at a fixed time."""
    return Event.of(draft, Position("e", 7), 1_700_000_000_123)


def test_an_answer_has_everything_of_an_event() -> None:
    """JSON data stays JSON exactly as it was, text becomes a JSON string that says it is text, times are ISO 8601."""
    events = (
        event(Draft(channel="a", type="log", data='{"n":1.00}')),
        event(Draft(channel="b", data="x\ny", text=True)),
    )
    assert msgspec.json.encode(answer_of(Polled(events, Position("e", 9), None))) == (
        b'{"events":['
        b'{"id":"e-7","channel":"a","type":"log","data":{"n":1.00},"time":"2023-11-14T22:13:20.123Z"},'
        b'{"id":"e-7","channel":"b","type":"message","data":"x\\ny","time":"2023-11-14T22:13:20.123Z","text":true}'
        b'],"cursor":"e-9","reset":null}'
    )


def test_an_answer_says_when_events_are_missing() -> None:
    """`reset` has the reason and where to go on."""
    answer = msgspec.to_builtins(answer_of(Polled((), Position("e", 9), ResetReason.EXPIRED)))
    assert answer == {"events": [], "cursor": "e-9", "reset": {"reason": "expired", "cursor": "e-9"}}


@pytest.mark.parametrize(("wait", "seconds"), [("0", 0), ("25", 25), ("0.5", 0.5), ("1000000", MAX_WAIT)])
def test_a_wait_is_a_number_of_seconds(wait: str, seconds: float) -> None:
    """Longer than MAX_WAIT counts as MAX_WAIT."""
    assert wait_of([("a", "b"), ("wait", wait)]) == seconds
    assert wait_of([]) == 0


@pytest.mark.parametrize("wait", ["", "-1", "nan", "inf", "1e3", "٣", "1" * 400, "5s"])
def test_other_waits_are_refused(wait: str) -> None:
    """A number that is not one is an error and not a default."""
    with pytest.raises(InvalidInput, match="seconds, 0 to 60"):
        wait_of([("wait", wait)])


async def running() -> Hub:
    """A hub with one event."""
    hub = Hub(open_broker("memory://"))
    await hub.start()
    await hub.publish("a", data=1)
    return hub


def app_of(hub: Hub, subscription: Subscription, wait: str = "0") -> App:
    """An application that answers everything with one poll."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await PollResponse(hub, subscription, [("wait", wait)], headers={"x-own": "1"})(scope, receive, send)

    return app


async def test_a_poll_answers_with_what_there_is() -> None:
    """At once, not to be cached, with the caller's headers; and gives back what was lent for it."""
    hub, released = await running(), list[int]()
    subscription = Subscription(channels=("a",), start=All(), release=lambda: released.append(1))
    reply = await request(app_of(hub, subscription, "30"), "GET", "/")
    assert (reply.status, [each["data"] for each in reply.json()["events"]]) == (200, [1])
    assert reply.headers["cache-control"] == "no-store"
    assert reply.headers["content-type"] == "application/json"
    assert (reply.headers["vary"], reply.headers["x-own"]) == ("Accept", "1")
    assert released == [1]
    await hub.stop()


async def test_a_poll_is_held_until_something_comes() -> None:
    """With `wait` and nothing to say, the answer is the first event."""
    async with serving() as site:
        cursor = (await site.poll("/events?channel=a"))["cursor"]
        polling = asyncio.create_task(site.poll(f"/events?channel=b&since={cursor}&wait=30"))
        await until(lambda: "b" in site.hub.registry.channels, "the poll to listen")
        await site.hub.publish("b", data="now")
        assert [each["data"] for each in (await polling)["events"]] == ["now"]


async def test_a_poll_that_waited_in_vain_answers_with_nothing() -> None:
    """And with the cursor to go on from."""
    async with serving() as site:
        answer = await site.poll("/events?channel=a&wait=0.01")
        assert (answer["events"], answer["reset"]) == ([], None)
        assert answer["cursor"] == str(await site.hub.broker.head())


async def test_polls_and_streams_share_their_cursors() -> None:
    """A client may change from one to the other and back without loss and without repetition."""
    async with serving() as site:
        cursor = (await site.poll("/events?channel=a"))["cursor"]
        await site.hub.publish("a", data=1)
        async with open_stream(site.app, "/events?channel=a", headers={"last-event-id": cursor}) as stream:
            assert [(await stream.message()).type, (await stream.message()).data] == ["connected", "1"]
            cursor = stream.decoder.last_event_id
        await site.hub.publish("a", data=2)
        answer = await site.poll(f"/events?channel=a&since={cursor}")
        assert [each["data"] for each in answer["events"]] == [2]


async def test_a_client_that_leaves_ends_its_poll() -> None:
    """Nothing waits any longer, and its place is given back."""
    hub, released = await running(), asyncio.Event()
    subscription = Subscription(channels=("a",), release=released.set)

    async def leave() -> None:
        async with open_stream(app_of(hub, subscription, "60"), "/"):
            raise AssertionError("there was an answer")

    leaving = asyncio.create_task(leave())
    await until(lambda: "a" in hub.registry.channels, "the poll to listen")
    leaving.cancel()
    await released.wait()
    await until(lambda: hub.registry.channels["a"].users == 0, "the channel to be given back")
    await hub.stop()


async def test_a_disconnect_ends_a_poll() -> None:
    """The server's message is enough; nobody is answered."""
    hub, sent = await running(), list[Any]()
    messages = [{"type": "http.request"}, {"type": "http.disconnect"}]

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    await PollResponse(hub, Subscription(channels=("a",)), [("wait", "60")])({"method": "GET"}, receive, send)
    assert sent == []
    await hub.stop()


async def test_a_poll_does_not_outlive_its_token() -> None:
    """It is held as long as the token is valid, at most."""
    hub = await running()
    soon = Subscription(channels=("a",), principal=Principal(expires_at=time.time() + 0.05))
    late = Subscription(channels=("a",), principal=Principal(expires_at=time.time() - 5))
    for subscription in (soon, late):
        assert (await request(app_of(hub, subscription, "60"), "GET", "/")).json()["events"] == []
    await hub.stop()


async def test_head_is_answered_without_a_poll() -> None:
    """With the headers and without a length, since nothing was read."""
    hub = await running()
    reply = await request(app_of(hub, Subscription(channels=("a",)), "60"), "HEAD", "/")
    assert (reply.status, reply.body) == (200, b"")
    assert "content-length" not in reply.headers
    await hub.stop()


async def test_a_client_that_takes_nothing_keeps_its_place() -> None:
    """A large answer is sent in pieces, so what a client does not read stays few bytes, and its place stays lent until it
    has read nearly all: otherwise answers that nobody reads would fill the memory, and no limit would count them."""
    hub = await running()
    await hub.publish("a", data="x" * 200_000)
    released: list[int] = []
    sent: list[dict[str, Any]] = []
    full = asyncio.Event()
    reads = asyncio.Event()

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)
        if len(sent) == 2:
            full.set()
            await reads.wait()

    async def receive() -> dict[str, Any]:
        return await asyncio.Future()

    subscription = Subscription(channels=("a",), start=All(), release=lambda: released.append(1))
    scope = {"type": "http", "method": "GET", "headers": []}
    answering = asyncio.create_task(PollResponse(hub, subscription, [])(scope, receive, send))  # type: ignore[arg-type]
    await full.wait()
    assert released == []
    reads.set()
    await answering
    assert released == [1]
    head, *pieces = sent
    assert max(len(piece["body"]) for piece in pieces) == PIECE
    assert [piece["more_body"] for piece in pieces] == [True, True, True, False]
    body = b"".join(piece["body"] for piece in pieces)
    assert dict(head["headers"])[b"content-length"] == str(len(body)).encode()
    assert len(msgspec.json.decode(body)["events"]) == 2
    await hub.stop()


async def test_errors_of_the_hub_are_problems(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that is away is a 503, counted."""
    hub = await running()

    async def fail(*args: Any) -> Polled:
        raise BrokerUnavailable("away")

    monkeypatch.setattr(hub, "poll", fail)
    reply = await request(app_of(hub, Subscription(channels=("a",))), "GET", "/")
    assert (reply.status, reply.json()["title"]) == (503, "Broker unavailable")
    assert hub.rejections == {"Broker unavailable": 1}
    await hub.stop()
