"""A subscription across every loss of its connection, against a hub that misbehaves as written."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from headwater import wire
from headwater.client import Policy, ReceivedEvent, State, Status, subscribe
from headwater.client.http import new_client
from headwater.errors import InvalidInput, RequestRefused, Unreachable
from tests.client.scripted import (
    CONNECTED,
    World,
    answer,
    hang_up,
    heartbeat,
    numbers,
    sent,
    serving,
    stream,
)
from tests.support.waiting import until

# Events


async def test_events_come_as_they_were_sent() -> None:
    """In order, with type, data, id and channel; the hub's own frames are not among them."""
    frames = (CONNECTED, sent(1, {"m": "hi"}, "log"), wire.COMMENT, heartbeat(5), sent(6))
    async with serving(stream(*frames)) as server, subscribe(server.url, "room:1", runtime=World().runtime) as events:
        assert [event async for event in events] == [
            ReceivedEvent(id="e-1", type="log", data='{"m":"hi"}', channel="room:1"),
            ReceivedEvent(id="e-6", type="message", data="6", channel="room:1"),
        ]
        assert events.last_event_id == "e-6"


async def test_the_channel_is_the_hubs_word() -> None:
    """With several channels the hub says which; without that nothing is made up."""
    script = stream(wire.encode("t", "1", channel="b"), sent(2))
    async with serving(script) as server, subscribe(server.url, ["a", "b"], runtime=World().runtime) as events:
        assert [event.channel async for event in events] == ["b", None]
    assert server.asked[0].query == [("channel", "a"), ("channel", "b")]


@pytest.mark.parametrize("start", [{}, {"since": "10m"}, {"last": 5}])
async def test_where_to_begin(start: dict[str, Any]) -> None:
    """`since` and `last` are asked for as given, and nothing where neither is."""
    async with serving() as server:
        assert await numbers(subscribe(server.url, "a", **start)) == []
    assert dict(server.asked[0].query) == {"channel": "a", **{name: str(value) for name, value in start.items()}}


async def test_more_may_be_said() -> None:
    """Headers of the application's own, a client of its own (left open), and a URL that says what is streamed."""
    async with serving(stream(sent(1))) as server, new_client() as client:
        options: dict[str, Any] = {"client": client, "headers": {"X-Tenant": "7"}, "runtime": World().runtime}
        assert await numbers(subscribe(f"{server.url}/rooms/1/logs", last_event_id="e-0", **options)) == ["1"]
        assert not client.is_closed
    assert (server.asked[0].target, server.asked[0].query) == ("/rooms/1/logs", [])
    assert server.asked[0].headers["x-tenant"] == "7"
    assert server.ids[0] == "e-0"


@pytest.mark.parametrize(
    "kwargs",
    [
        {"url": "hub"},
        {"channels": "a b"},
        {"channels": ["a", ""]},
        {"token": "a b"},
        {"since": "now", "last": 5},
        {"transport": "websocket"},
    ],
)
def test_senseless_arguments_are_refused(kwargs: dict[str, Any]) -> None:
    """Before anything is sent."""
    with pytest.raises(InvalidInput):
        subscribe(**{"url": "http://localhost", **kwargs})


# Coming back


@pytest.mark.parametrize("end", ["whole", "cut"])
async def test_it_resumes_after_the_last_event(end: str) -> None:
    """However the connection ends, the next one asks for what follows; half an event is not given, and comes again."""
    half = sent(3)[:-4]
    script = (stream(CONNECTED, sent(1), sent(2), half, end=end), stream(sent(3)))
    async with serving(*script) as server:
        runtime = World().runtime
        assert await numbers(subscribe(server.url, "a", since="all", runtime=runtime)) == ["1", "2", "3"]
    assert server.ids == [None, "e-2", "e-3"]
    assert [("since", "all") in asked.query for asked in server.asked] == [True, False, False]


async def test_a_broken_connection_is_survived() -> None:
    """A connection that is reset in the middle of a frame is resumed from the last whole event."""
    go = asyncio.Event()
    async with serving(stream(sent(1), go, sent(2)[:5], end="reset"), stream(sent(2))) as server:
        async with subscribe(server.url, "a", runtime=World().runtime) as events, asyncio.timeout(10):
            assert (await anext(events)).data == "1"
            go.set()
            assert (await anext(events)).data == "2"
    assert server.ids[1] == "e-1"


async def test_hidden_events_move_the_place() -> None:
    """Neither `connected` nor heartbeats nor frames with nothing but an id are events, and all of them are resumed from."""
    script = (stream(CONNECTED), stream(heartbeat(7)), stream(b"id: e-9\n\n"))
    async with serving(*script) as server:
        assert await numbers(subscribe(server.url, "a", runtime=World().runtime)) == []
    assert server.ids == [None, "e-0", "e-7", "e-9"]


async def test_a_stable_connection_is_resumed_at_once_and_others_after_a_wait() -> None:
    """The first retry after a connection that lasted is free; those after short ones wait longer each time, from the
    stream's own `retry:`."""
    world = World()
    script = [stream(CONNECTED, end="cut"), hang_up, answer(503), stream(CONNECTED), stream(end="hold")]
    async with serving(*script) as server:
        events = subscribe(server.url, "a", runtime=world.runtime, on_status=advance_when_open(world, 60, skip=1))
        async with events, asyncio.timeout(10):
            waiting = asyncio.ensure_future(anext(events))
            await until(lambda: len(server.asked) == 5, "the last attempt")
            waiting.cancel()
    assert world.waits == [2, 4, 8]


def advance_when_open(world: World, seconds: float, *, skip: int) -> Any:
    """A status callback that lets time pass while connections are open, but for the first so many of them."""
    left = skip

    def status(status: Status) -> None:
        nonlocal left
        if status.state is State.OPEN:
            world.now += seconds if left <= 0 else 0
            left -= 1

    return status


async def test_closing_says_when_to_come_back() -> None:
    """A `closing` frame's own `retry:` is kept exactly, once; after that the stream's earlier one counts again."""
    world = World()
    farewell = wire.encode("closing", '{"reason":"drain"}', id="e-3", retry=7250)
    seen: list[Status] = []
    async with serving(stream(CONNECTED, sent(1), farewell), hang_up, hang_up) as server:
        assert await numbers(subscribe(server.url, "a", runtime=world.runtime, on_status=seen.append)) == ["1"]
    assert world.waits[0] == 7.25
    assert server.ids == [None, "e-3", "e-3", "e-3"]
    assert [status.reason for status in seen if status.delay == 7.25] == ['closing: {"reason":"drain"}']


async def test_closing_without_a_time() -> None:
    """Without one of its own, the connection's end is like any other."""
    world = World()
    async with serving(stream(CONNECTED, wire.encode("closing", '{"reason":"lag"}', id="e-1"))) as server:
        await numbers(subscribe(server.url, "a", runtime=world.runtime))
    assert world.waits == [2]


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
async def test_what_may_pass_is_tried_again(status: int) -> None:
    """And `Retry-After` is kept, with jitter on top."""
    world = World(random=0.5)
    async with serving(answer(status, retry_after="20"), stream(sent(1))) as server:
        assert await numbers(subscribe(server.url, "a", runtime=world.runtime)) == ["1"]
    assert world.waits[0] == 20.5


async def test_retry_after_may_be_a_date() -> None:
    """Seen from the server's clock."""
    world = World(random=0.0)
    refused = answer(503, date="Fri, 31 Dec 1999 23:59:00 GMT", retry_after="Fri, 31 Dec 1999 23:59:30 GMT")
    async with serving(refused) as server:
        await numbers(subscribe(server.url, "a", runtime=world.runtime))
    assert world.waits == [30]


async def test_a_silent_connection_is_left() -> None:
    """Without a byte for too long the client comes back, after a wait as for any failure, however long it had been
    connected."""
    world = World()
    seen: list[Status] = []

    def status(status: Status) -> None:
        seen.append(status)
        if status.state is State.WAITING:
            events._target.silence.fixed = 30

    async with serving(stream(sent(1), end="hold")) as server:
        events = subscribe(server.url, "a", runtime=world.runtime, silence=30, on_status=status)
        async with events, asyncio.timeout(10):
            assert (await anext(events)).data == "1"
            events._target.silence.fixed = 0.02
            world.now += 60
            assert await anext(events, None) is None
    assert world.waits == [1]
    told = [status for status in seen if status.state is State.WAITING]
    assert [(status.reason, status.failures) for status in told] == [("no byte came in time", 1)]


async def test_silence_is_learnt_from_heartbeats() -> None:
    """The hub's heartbeats set the deadline."""
    async with serving(stream(heartbeat(1, "00:00"), heartbeat(1, "00:20"))) as server:
        events = subscribe(server.url, "a", runtime=World().runtime)
        await numbers(events)
        assert events._target.silence.seconds == 60


async def test_it_gives_up_when_told_to() -> None:
    """After so many failures in a row the last one is raised, and nothing comes after it."""
    async with serving(answer(503), hang_up, hang_up) as server, asyncio.timeout(10):
        events = subscribe(server.url, "a", runtime=World().runtime, policy=Policy(attempts=3))
        with pytest.raises(Unreachable):
            await anext(events)
        assert events.status.state is State.FAILED
        with pytest.raises(StopAsyncIteration):
            await anext(events)
        assert len(server.asked) == 3


async def test_a_last_refusal_is_raised_as_it_came() -> None:
    """The last failure decides what is raised."""
    async with serving(hang_up, answer(503, retry_after="7")) as server:
        events = subscribe(server.url, "a", runtime=World().runtime, policy=Policy(attempts=2))
        with pytest.raises(RequestRefused, match="503") as caught:
            await anext(events)
        assert caught.value.retry_after == 7
