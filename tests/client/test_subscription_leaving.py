"""Leaving a subscription, coming back in another run, and polling instead of streaming."""

from __future__ import annotations

import asyncio
from asyncio import StreamReader, StreamWriter
from pathlib import Path

import pytest

from headwater import wire
from headwater.client import FileCursor, ReceivedEvent, Reset, State, Status, subscribe
from headwater.errors import ConfigurationError
from tests.client.scripted import (
    CONNECTED,
    World,
    answer,
    answer_json,
    hang_up,
    head,
    heartbeat,
    numbers,
    sent,
    serving,
    stream,
)
from tests.support.waiting import until

# Stopping to wait, and leaving


async def test_a_cancelled_wait_loses_nothing() -> None:
    """A timeout around the wait for the next event interrupts neither the connection nor what is on its way."""
    go = asyncio.Event()
    async with serving(stream(CONNECTED, go, sent(1), end="hold")) as server, subscribe(server.url, "a") as events:
        for _ in range(3):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(events), 0.02)
        go.set()
        assert (await asyncio.wait_for(anext(events), 10)).data == "1"
        assert server.connections == 1


async def test_leaving_ends_the_connection() -> None:
    """After the block nothing is open, and iterating is over; leaving twice is leaving once."""
    async with serving(stream(sent(1), end="hold")) as server:
        async with subscribe(server.url, "a") as events:
            assert (await anext(events)).data == "1"
        await events.aclose()
        assert [event async for event in events] == []
        assert events.status == Status(state=State.CLOSED, reason="closed by the consumer")
        assert events._target.client.is_closed


async def test_closing_ends_a_wait_elsewhere() -> None:
    """A consumer that waits in another task sees the end of the iteration."""
    opened = asyncio.Event()
    async with serving(stream(end="hold")) as server:
        events = subscribe(
            server.url, "a", on_status=lambda status: opened.set() if status.state is State.OPEN else None
        )
        consumer = asyncio.ensure_future(numbers(events))
        await opened.wait()
        await events.aclose()
        assert await consumer == []


@pytest.mark.parametrize("state", [State.CONNECTING, State.OPEN, State.WAITING])
async def test_leaving_from_within_on_status(state: State) -> None:
    """The callback runs inside the work that it ends: it does not wait for itself, and nothing more is asked of the hub."""
    seen: list[State] = []

    async def leave(status: Status) -> None:
        seen.append(status.state)
        if status.state is state:
            await events.aclose()

    async with serving(stream(sent(1), end="cut"), stream(sent(2), end="hold")) as server:
        events = subscribe(server.url, "a", on_status=leave, runtime=World().runtime)
        got = [event.data async for event in events]
        assert got == (["1"] if state is State.WAITING else [])
        assert seen[-2:] == [state, State.CLOSED]
        assert events._target.client.is_closed
        assert len(server.asked) == (0 if state is State.CONNECTING else 1)


async def test_leaving_from_within_on_reset() -> None:
    """What was received after the reset is not given any more."""
    async with serving(stream(CONNECTED, wire.encode("reset", "{}", id="e-1"), sent(2), end="hold")) as server:
        events = subscribe(server.url, "a", on_reset=lambda reset: events.aclose())
        assert [event async for event in events] == []


async def test_leaving_before_anything_happened() -> None:
    """A subscription that was never asked for an event asks for nothing."""
    async with serving() as server:
        async with subscribe(server.url, "a") as events:
            assert events.status.state is State.IDLE
            assert events.last_event_id is None
        assert server.connections == 0


async def test_a_failure_that_nobody_waits_for_is_not_lost_at_the_end() -> None:
    """Leaving after the work failed in the background is quiet: nobody asked."""
    go = asyncio.Event()

    async def refuse(reader: StreamReader, writer: StreamWriter) -> bool:
        await go.wait()
        return await answer(403)(reader, writer)

    async with serving(refuse) as server, subscribe(server.url, "a") as events:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(events), 0.02)
        go.set()
        await until(lambda: events._filling is not None and events._filling.done(), "the refusal")
        assert events.status.state is State.CONNECTING


async def test_a_slow_consumer_slows_the_hub() -> None:
    """What the consumer does not ask for stays in the hub and in the sockets between: memory is bounded."""
    stalled = asyncio.Event()

    async def flood(reader: StreamReader, writer: StreamWriter) -> bool:
        writer.write(head(200, {"Content-Type": "text/event-stream", "Transfer-Encoding": "chunked"}))
        frame = wire.chunk(sent(1, "x" * 1000) * 50)
        while not stalled.is_set():
            writer.write(frame)
            if writer.transport.get_write_buffer_size() > 1_000_000:
                stalled.set()
            await asyncio.sleep(0)
        return False

    async with serving(flood) as server, subscribe(server.url, "a") as events, asyncio.timeout(30):
        await anext(events)
        await stalled.wait()
        assert len(events._messages) < 200


# The place between runs


async def test_the_place_moves_when_the_next_event_is_asked_for(tmp_path: Path) -> None:
    """An event that the consumer was working on when it stopped comes again; those before it do not."""
    cursor = FileCursor(tmp_path / "place")
    async with serving(stream(CONNECTED, sent(1), sent(2), sent(3), end="hold"), stream(sent(2))) as server:
        async with subscribe(server.url, "a", cursor=cursor) as events:
            assert (await anext(events)).data == "1"
            assert events.last_event_id == "e-0"
            assert (await anext(events)).data == "2"
            assert events.last_event_id == "e-1"
        assert cursor.load() == "e-1"
        async with subscribe(server.url, "a", cursor=cursor, last_event_id="e-77", since="all") as events:
            assert (await anext(events)).data == "2"
    assert server.ids == [None, "e-1"]


async def test_an_event_may_be_acknowledged(tmp_path: Path) -> None:
    """A consumer that leaves the loop may say that it is done with the last event; twice is once."""
    cursor = FileCursor(tmp_path / "place")
    async with serving(stream(sent(1), end="hold")) as server, subscribe(server.url, "a", cursor=cursor) as events:
        await anext(events)
        assert cursor.load() is None
        await events.acknowledge()
        await events.acknowledge()
        assert cursor.load() == "e-1"


async def test_the_place_is_saved_before_each_wait(tmp_path: Path) -> None:
    """While the consumer waits for the network everything it has dealt with is saved, heartbeats included."""
    cursor = FileCursor(tmp_path / "place")
    go = asyncio.Event()
    script = stream(sent(1) + sent(2) + heartbeat(7), lambda: None, go, sent(8), end="hold")
    async with serving(script) as server, subscribe(server.url, "a", cursor=cursor) as events:
        for _ in range(2):
            await anext(events)
        waiting = asyncio.ensure_future(anext(events))
        await until(lambda: cursor.load() == "e-7", "the place to be saved")
        go.set()
        assert (await waiting).data == "8"


async def test_a_broken_cursor_is_an_error(tmp_path: Path) -> None:
    """A place that cannot be read or kept stops the work: the application believes it to be safe."""
    path = tmp_path / "place"
    path.write_text("")
    async with serving(stream(sent(1))) as server:
        with pytest.raises(ConfigurationError, match="cannot be used"):
            await numbers(subscribe(server.url, "a", cursor=FileCursor(path)))
        with pytest.raises(ConfigurationError, match="cannot be used"):
            await numbers(subscribe(server.url, "a", cursor=FileCursor(path / "deeper")))


# Polling


async def test_polling_gives_the_same_events() -> None:
    """The other transport, with the same promises: order, resuming, hidden moves, resets and refusals."""
    tokens = iter(["one", "two"])
    log = {"id": "e-1", "channel": "room:1", "type": "log", "data": {"m": 1}, "time": "..."}
    script = (
        answer_json({"events": [log], "cursor": "e-3", "reset": None}),
        answer(401),
        answer_json({"events": [], "cursor": "e-5", "reset": None}),
        answer_json({"events": [], "cursor": "f-0", "reset": {"reason": "epoch_changed", "cursor": "f-0"}}),
        hang_up,
    )
    resets: list[Reset] = []
    async with serving(*script) as server:
        events = subscribe(
            server.url,
            "room:1",
            transport="poll",
            token=lambda: next(tokens),
            on_reset=resets.append,
            runtime=World().runtime,
        )
        async with events, asyncio.timeout(10):
            assert [event async for event in events] == [
                ReceivedEvent(id="e-1", type="log", data='{"m": 1}', channel="room:1"),
                ReceivedEvent(
                    id="f-0", type="reset", data='{"reason": "epoch_changed", "cursor": "f-0"}', channel="room:1"
                ),
            ]
    assert resets == [Reset("epoch_changed", "f-0")]
    assert server.ids == [None, "e-3", "e-3", "e-5", "f-0", "f-0"]
    assert server.tokens[-1] == "Bearer two"
