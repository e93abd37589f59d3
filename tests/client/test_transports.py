"""How events are received: as one stream, or by polling."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from headwater import wire
from headwater.client.http import Credentials, Interrupted, endpoint, new_client
from headwater.client.reconnect import Ending, Silence, Why
from headwater.client.transports import POLL_PAUSE, PollTransport, StreamTransport, Target, Transport
from headwater.errors import ProtocolError, RequestRefused, Unreachable
from headwater.wire import Message
from tests.client.scripted import (
    Answer,
    Scripted,
    World,
    answer,
    answer_json,
    hang_up,
    sent,
    serving,
    silence,
    stream,
)


@asynccontextmanager
async def receiving(
    make: type[StreamTransport] | type[PollTransport],
    *script: Answer,
    id: str | None = None,
    path: str = "",
    **fields: Any,
) -> AsyncIterator[tuple[Transport, Scripted, World]]:
    """A transport in front of a scripted server."""
    world = World()
    async with serving(*script) as server, new_client() as client:
        defaults: dict[str, Any] = {
            "client": client,
            "url": endpoint(server.url + path),
            "query": (("channel", "room:1"),),
            "start": (("since", "all"),),
            "headers": {},
            "credentials": Credentials("abc"),
            "runtime": world.runtime,
            "silence": Silence(),
            "max_event_bytes": 1000,
        }
        transport = make(Target(**(defaults | fields)), id)
        try:
            yield transport, server, world
        finally:
            await transport.aclose()


async def exhaust(transport: Transport) -> None:
    """Read and drop everything."""
    while True:
        await transport.receive()


async def ended(transport: Transport) -> Interrupted:
    """How the connection ends; everything before is dropped."""
    with pytest.raises(Interrupted) as caught:
        await exhaust(transport)
    return caught.value


async def refused(transport: Transport) -> Interrupted:
    """How an attempt to connect fails."""
    with pytest.raises(Interrupted) as caught:
        await transport.connect()
    return caught.value


# What is asked


@pytest.mark.parametrize(
    ("make", "accept", "script"),
    [
        (StreamTransport, "text/event-stream", stream()),
        (PollTransport, "application/json", answer_json({"events": [], "cursor": "e-1"})),
    ],
)
async def test_what_a_request_says(make: type[StreamTransport], accept: str, script: Answer) -> None:
    """The channels, where to begin, what is accepted, the token and the application's own headers."""
    async with receiving(make, script, headers={"X-Tenant": "7", "Accept": "image/png"}) as (transport, server, _):
        await transport.connect()
        (asked,) = server.asked
    assert (asked.method, asked.target) == ("GET", "/events")
    assert asked.query == [("channel", "room:1"), ("since", "all")]
    said = {name: asked.headers.get(name) for name in ("accept", "authorization", "cache-control", "x-tenant")}
    assert said == {"accept": accept, "authorization": "Bearer abc", "cache-control": "no-store", "x-tenant": "7"}
    assert asked.headers["accept-encoding"] == "identity"
    assert "last-event-id" not in asked.headers


async def test_the_urls_own_query_is_kept() -> None:
    """Channels are added to what the application's URL says already, escaped."""
    query = (("channel", "a:b/c=d"), ("channel", "x@y"))
    async with receiving(StreamTransport, stream(), path="/logs?level=a%26b", query=query) as (transport, server, _):
        await transport.connect()
    assert server.asked[0].target == "/logs"
    assert server.asked[0].query == [
        ("level", "a&b"),
        ("channel", "a:b/c=d"),
        ("channel", "x@y"),
        ("since", "all"),
    ]


@pytest.mark.parametrize("id", ["e-5", "gr\u00f6\u00dfe \u65e5"])
async def test_an_id_takes_the_place_of_the_beginning(id: str) -> None:
    """With an id to resume from the request carries it, in UTF-8, and no `since`."""
    async with receiving(StreamTransport, stream(), id=id) as (transport, server, _):
        await transport.connect()
    assert server.asked[0].query == [("channel", "room:1")]
    assert server.asked[0].headers["last-event-id"].encode("latin-1").decode() == id


@pytest.mark.parametrize("id", ["a\x0bb", " a", "a\n"])
async def test_an_id_that_no_header_can_carry(id: str) -> None:
    """Such an id was never a hub's; asking again and again would not help."""
    async with receiving(StreamTransport, id=id) as (transport, *_):
        with pytest.raises(ProtocolError, match="cannot be sent"):
            await transport.connect()


# Streams


async def test_a_stream_is_received_piece_by_piece() -> None:
    """Messages come with the bytes that complete them, and the last id follows them."""
    go = asyncio.Event()
    frame = sent(2)
    async with receiving(StreamTransport, stream(sent(1), go, frame[:9], go, frame[9:], end="hold")) as (transport, *_):
        await transport.connect()
        assert await transport.receive() == [Message("message", "1", "e-1")]
        assert transport.last_id == "e-1"
        go.set()
        messages = await transport.receive() or await transport.receive()
        assert messages == [Message("message", "2", "e-2")]


@pytest.mark.parametrize("end", ["whole", "cut", "reset"])
async def test_a_stream_ends(end: str) -> None:
    """However the body ends, it is an end after so many seconds, and the block that was cut counts for nothing."""
    go = asyncio.Event()
    async with receiving(StreamTransport, stream(sent(1), go, b"id: e-2\ndata: ha", end=end)) as (transport, _, world):
        await transport.connect()
        await transport.receive()
        world.now += 7
        go.set()
        interrupted = await ended(transport)
        await transport.aclose()
        assert interrupted.ending == Ending(why=Why.LOST, lasted=7)
        assert isinstance(interrupted.error, Unreachable)
        assert transport.last_id == "e-1"


async def test_a_transport_connects_again() -> None:
    """After an end the same transport resumes from its last id, and what was cut is forgotten."""
    script = (stream(sent(1), b"event: gone\ndata: ha", end="cut"), stream(b"data: x\n\n"))
    async with receiving(StreamTransport, *script) as (transport, server, _):
        await transport.connect()
        await ended(transport)
        await transport.aclose()
        await transport.connect()
        assert await transport.receive() == [Message("message", "x", "e-1")]
    assert server.ids == [None, "e-1"]


async def test_a_silent_stream_ends() -> None:
    """Without a byte for too long the connection counts as dead; every byte is a sign of life, a comment's too."""
    patience = Silence(30)
    script = stream(wire.COMMENT, wire.COMMENT, end="hold")
    async with receiving(StreamTransport, script, silence=patience) as (transport, *_):
        await transport.connect()
        patience.fixed = 0.02
        assert (await ended(transport)).ending == Ending(why=Why.SILENT, lasted=0.0)


async def test_no_answer_is_unreachable() -> None:
    """A hub that takes the connection and says nothing is waited for no longer than silence is allowed."""
    async with receiving(StreamTransport, silence, hang_up, silence=Silence(0.05)) as (transport, *_):
        assert (await refused(transport)).ending == Ending(why=Why.UNREACHABLE)
        assert (await refused(transport)).ending == Ending(why=Why.UNREACHABLE)


@pytest.mark.parametrize("status", [204, 400, 401, 403, 404, 500, 503])
async def test_another_status_is_a_refusal(status: int) -> None:
    """What it means is decided elsewhere."""
    async with receiving(StreamTransport, answer(status)) as (transport, *_):
        interrupted = await refused(transport)
    assert interrupted.ending.status == status
    assert isinstance(interrupted.error, RequestRefused)


@pytest.mark.parametrize(
    "kind",
    [
        "text/event-stream",
        "text/event-stream; charset=utf-8",
        "text/event-stream;",
        "Text/Event-Stream ;charset=windows-1252",
    ],
)
async def test_event_streams_are_recognised(kind: str) -> None:
    """Parameters and case do not matter, and neither does a charset: it is UTF-8."""
    async with receiving(StreamTransport, stream("data: \u20ac\n\n".encode(), kind=kind)) as (transport, *_):
        await transport.connect()
        assert await transport.receive() == [Message("message", "\u20ac")]


@pytest.mark.parametrize(
    "kind", ["text/html", "", "application/json", "text/event-streams", "x-text/event-stream", "\x7f"]
)
async def test_anything_else_is_no_event_stream(kind: str) -> None:
    """A page that a proxy or a wrong URL answers with is an error at once, and its bytes are not read as events."""
    async with receiving(StreamTransport, stream(sent(1), kind=kind, end="hold")) as (transport, *_):
        with pytest.raises(ProtocolError, match="text/event-stream"):
            await transport.connect()


async def test_a_huge_line_is_a_fault() -> None:
    """An event over the limit ends the stream with an error, after the events before it."""
    async with receiving(StreamTransport, stream(sent(1) + b"data: " + b"x" * 2000, b"x", end="hold")) as (
        transport,
        *_,
    ):
        await transport.connect()
        assert await transport.receive() == [Message("message", "1", "e-1")]
        with pytest.raises(ProtocolError, match="over 1000 bytes"):
            await transport.receive()


async def test_redirects_are_followed_without_the_token() -> None:
    """A redirect is followed; the token goes to no other host; the next attempt asks the original address again."""
    async with serving(stream(sent(1)), stream(sent(2))) as other:
        moved = answer(307, location=f"{other.url}/elsewhere")
        async with receiving(StreamTransport, moved, moved) as (transport, server, _):
            for number in "12":
                await transport.connect()
                assert [message.data for message in await transport.receive()] == [number]
                await transport.aclose()
        assert [asked.target for asked in server.asked] == ["/events"] * 2
        assert [asked.target for asked in other.asked] == ["/elsewhere"] * 2
        assert other.tokens == [None, None]
        assert other.ids == [None, "e-1"]


async def test_redirects_in_a_circle_are_final() -> None:
    """A hub that sends its clients in circles is a mistake to mend."""
    async with receiving(StreamTransport, *[answer(302, location="/events")] * 30) as (transport, *_):
        with pytest.raises(ProtocolError, match="circle"):
            await transport.connect()


async def test_the_retry_of_a_stream() -> None:
    """The reconnection time is the one the stream last set."""
    async with receiving(StreamTransport, stream(wire.encode("t", "1", retry=1500), end="hold")) as (transport, *_):
        assert transport.retry is None
        await transport.connect()
        await transport.receive()
        assert transport.retry == 1500


async def test_a_stream_that_is_not_open_ends_at_once() -> None:
    """Receiving before connecting is an end."""
    async with receiving(StreamTransport) as (transport, *_):
        await ended(transport)


# Polls


def polled(*numbers: int, cursor: str, **more: Any) -> Answer:
    """A poll's answer."""
    events = [{"id": f"e-{n}", "channel": "room:1", "type": "log", "data": {"n": n}, "time": "..."} for n in numbers]
    return answer_json({"events": events, "cursor": cursor, "reset": None, **more})


async def test_polls_follow_each_other() -> None:
    """The first poll answers at once, so that the connection is known to work; the others wait; each goes on from the cursor
    of the one before."""
    async with receiving(PollTransport, polled(1, 2, cursor="e-3"), polled(4, cursor="e-4")) as (transport, server, _):
        await transport.connect()
        assert [message.data for message in await transport.receive()] == ['{"n": 1}', '{"n": 2}']
        assert transport.last_id == "e-3"
        assert await transport.receive() == [Message("log", '{"n": 4}', "e-4", "room:1")]
        assert transport.retry is None
    assert server.ids == [None, "e-3"]
    assert [dict(asked.query).get("wait") for asked in server.asked] == [None, "25"]


async def test_text_is_told_from_json() -> None:
    """An event published as text comes without quotes, as it does in a stream, if the hub marks it."""
    event = {"id": "e-1", "channel": "a", "type": "t", "data": 'say "hi"\n'}
    body = {"events": [event, {**event, "text": True}], "cursor": "e-1"}
    async with receiving(PollTransport, answer_json(body)) as (transport, *_):
        await transport.connect()
        assert [message.data for message in await transport.receive()] == ['"say \\"hi\\"\\n"', 'say "hi"\n']


async def test_a_polled_reset_comes_first() -> None:
    """A reset becomes an event before those that follow it, with an id that does not skip them."""
    told = {"reason": "expired", "cursor": "e-9"}
    script = (polled(8, 9, cursor="e-9", reset=told), polled(cursor="f-0", reset=told))
    async with receiving(PollTransport, *script, id="e-1") as (transport, *_):
        await transport.connect()
        messages = await transport.receive()
        assert [(message.type, message.id) for message in messages] == [
            ("reset", "e-1"),
            ("log", "e-8"),
            ("log", "e-9"),
        ]
        assert messages[0].data == '{"reason": "expired", "cursor": "e-9"}'
        assert [(message.type, message.id) for message in await transport.receive()] == [("reset", "f-0")]


async def test_a_first_poll_may_be_reset() -> None:
    """A reset in front of events is harmless to a client that has no id yet."""
    async with receiving(PollTransport, polled(8, cursor="e-8", reset={"reason": "overflow"})) as (transport, *_):
        await transport.connect()
        assert [message.id for message in await transport.receive()] == ["", "e-8"]


async def test_a_hub_that_does_not_hold_polls_is_not_hammered() -> None:
    """Empty answers that come at once are followed by a pause; those that were held are not."""
    async with receiving(PollTransport, *[polled(cursor="e-1")] * 3) as (transport, _, world):
        await transport.connect()
        for _ in range(3):
            assert await transport.receive() == []
        assert world.waits == [POLL_PAUSE, POLL_PAUSE]

    async def held(reader: Any, writer: Any) -> bool:
        world.now += 25
        return await polled(cursor="e-1")(reader, writer)

    world = World()
    async with receiving(PollTransport, polled(cursor="e-1"), held, runtime=world.runtime) as (transport, *_):
        await transport.connect()
        await transport.receive()
        assert await transport.receive() == []
        assert world.waits == []


@pytest.mark.parametrize(("script", "status"), [(answer(503, retry_after="7"), 503), (answer(401), 401), (hang_up, 0)])
async def test_a_poll_that_fails_is_an_end(script: Answer, status: int) -> None:
    """A later poll that is refused or lost tells how long polling had worked."""
    world = World()
    async with receiving(PollTransport, polled(cursor="e-1"), script, runtime=world.runtime) as (transport, *_):
        await transport.connect()
        await transport.receive()
        world.now += 60
        interrupted = await ended(transport)
    assert (interrupted.ending.status, interrupted.ending.lasted) == (status, 60)


async def test_a_poll_whose_answer_breaks_is_an_end() -> None:
    """Half an answer is none."""
    async with receiving(PollTransport, stream(b'{"events":[', kind="application/json", end="cut")) as (transport, *_):
        assert (await refused(transport)).ending.why is Why.LOST


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"{}", b"[]", b'{"events":[{}],"cursor":"a"}', b'{"events":null,"cursor":"a"}', b'"\xff"']
)
async def test_an_answer_that_is_no_polls(body: bytes) -> None:
    """What cannot be read is an error at once."""
    async with receiving(PollTransport, answer(200, body)) as (transport, *_):
        with pytest.raises(ProtocolError, match="no poll's"):
            await transport.connect()


async def test_text_that_is_none() -> None:
    """An event that is marked as text and holds something else is no hub's."""
    event = {"id": "e-1", "channel": "a", "type": "t", "data": 5, "text": True}
    async with receiving(PollTransport, answer_json({"events": [event], "cursor": "e-1"})) as (transport, *_):
        with pytest.raises(ProtocolError, match="no poll's"):
            await transport.connect()
