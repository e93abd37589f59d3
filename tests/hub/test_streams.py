"""Streams open, fill up, drain, change their rights and end, and are exact through all of it."""

from __future__ import annotations

import asyncio
import json

import pytest

from headwater.event import Draft, Position
from headwater.hub import All, Timing
from headwater.stream import State
from tests.hub.scripted import ScriptedBroker
from tests.hub.support import (
    Socket,
    after,
    connect,
    numbers,
    publish,
    running,
    settled,
    statistics,
    stream_of,
    subscription,
)


async def test_a_stream_begins_with_its_first_frame_and_is_live() -> None:
    """At once: nothing lies between it and the present."""
    async with running() as hub:
        await publish(hub, "a", 1)
        socket = await connect(hub, "b", "a", connected="hello", hello={"room": 7})
        (hello,) = socket.messages
        assert (hello.type, hello.id, hello.retry) == ("hello", hub.cursor(1), 2000)
        assert json.loads(hello.data) == {
            "cursor": hub.cursor(1),
            "channels": ["b", "a"],
            "time": "2027-01-15T08:00:00.000Z",
            "room": 7,
        }
        assert stream_of(socket).state is State.LIVE
        await publish(hub, "a", 2)
        assert socket.data == ["2"]


async def test_history_comes_when_the_writer_can_say_that_it_is_full() -> None:
    """It is told which stream a writer is for when attaching returns; a stalled reader must not have all of history by then,
    even where nothing need be awaited for it."""
    async with running() as hub:
        await connect(hub, "a")
        await hub.publish_all([Draft(channel="a", data=f'"{"x" * 5000}"') for _ in range(500)])
        socket = Socket(hub, capacity=1 << 16)
        async with hub.prepare(subscription("a", start=All())) as opening:
            stream = opening.attach(socket)
            assert len(socket.writes) == 1
            socket.begin(stream)
        await settled()
        assert len(socket.waiting) < 3 << 16
        assert stream.state is State.LAGGING


async def test_a_stalled_reader_costs_bounded_memory_and_slows_nobody() -> None:
    """It leaves the live set with one slice in its buffer; the others get every event when it comes."""
    async with running(ring_events=10) as hub:
        stalled, other = await connect(hub, "a", capacity=1 << 16), await connect(hub, "a")
        for number in range(200):
            await hub.publish("a", data=f"{number} {'x' * 10_000}")
            await settled()
            assert len(other.data) == number + 1
        assert len(stalled.waiting) < 2 << 16
        assert stream_of(stalled).state is State.LAGGING
        assert statistics(hub)["lagged"] == 1


async def test_a_stalled_reader_gets_everything_in_order_when_it_reads_again() -> None:
    """From the log, and then live again."""
    broker = ScriptedBroker()
    async with running(broker, ring_events=10) as hub:
        socket = await connect(hub, "a", "b", capacity=100)
        for number in range(1, 101):
            await publish(hub, "ab"[number % 2], number)
        while stream_of(socket).state is not State.LIVE:
            socket.take()
            await settled()
        await publish(hub, "a", 101)
        socket.take()
        assert socket.data == numbers(1, 101)
        ids = [Position.parse(message.id).seq for message in socket.messages]
        assert ids == sorted(ids)
        assert socket.of("reset") == []


async def test_a_burst_fills_a_stalled_socket_by_a_slice_at_most() -> None:
    """One batch of many megabytes is in the log, not in the buffer of every stalled stream."""
    async with running() as hub:
        socket = await connect(hub, "a", capacity=1 << 16)
        data = f'"{"x" * 50_000}"'
        await hub.publish_all([Draft(channel="a", data=data) for _ in range(200)])
        await settled()
        assert len(socket.waiting) < (1 << 16) + (256 << 10) + 100_000
        for _ in range(200):
            socket.take()
            await settled()
        assert len(socket.data) == 200


async def test_a_stream_that_fills_up_while_events_are_pending_gets_them_later() -> None:
    """Its place is where it was written to, not where the feed has come."""
    loop = asyncio.get_running_loop()
    written: list[bytes] = []
    async with running(clock=lambda: loop.time() + len(written)) as hub:
        other = await connect(hub, "a", permissions=("x",))
        socket = await connect(hub, "a")
        written = other.writes
        await publish(hub, "a", 1, 2)
        assert hub.fanout.position < hub.fanout.received
        hub.full(stream_of(socket))
        assert stream_of(socket).position == hub.fanout.position
        await asyncio.sleep(1)
        hub.drained(stream_of(socket))
        assert socket.data == other.data == ["1", "2"]


async def test_a_first_frame_that_fills_the_socket_is_followed_by_history_when_it_drains() -> None:
    """And by nothing before."""
    async with running() as hub:
        await connect(hub, "a")
        await publish(hub, "a", 1)
        socket = await connect(hub, "a", start=after(hub, 0), capacity=1)
        await settled()
        assert (len(socket.writes), stream_of(socket).state) == (1, State.LAGGING)
        socket.take()
        socket.take()
        assert socket.data == ["1"]


async def test_a_writer_that_breaks_at_its_first_frame_is_no_stream() -> None:
    """It is counted, told to the hooks, and gone."""
    async with running() as hub:
        socket = Socket(hub)
        socket.fault = OSError("gone")
        async with hub.prepare(subscription("a")) as opening:
            stream = socket.begin(opening.attach(socket))
        assert (stream.state, socket.is_aborted, hub.count()) == (State.CLOSED, True, 0)
        assert statistics(hub)["ended"] == {"error": 1}
        assert hub.registry.channels["a"].users == 0


async def test_a_second_full_and_a_late_drained_change_nothing() -> None:
    """Transports may say things twice, and after the end."""
    async with running() as hub:
        socket = await connect(hub, "a")
        stream = stream_of(socket)
        hub.drained(stream)
        assert statistics(hub)["live"] == 1
        hub.full(stream)
        hub.full(stream)
        assert statistics(hub)["lagged"] == 1
        socket.leave()
        hub.full(stream)
        hub.drained(stream)
        hub.lost(stream)
        assert stream.state is State.CLOSED
        assert statistics(hub)["ended"] == {"client": 1}


async def test_a_socket_that_stays_full_for_too_long_loses_its_stream() -> None:
    """The client resumes from its id; what was in its buffer is dropped with the connection."""
    async with running(timing=Timing(max_lag=60)) as hub:
        socket = await connect(hub, "a", capacity=10)
        await publish(hub, "a", 1)
        await asyncio.sleep(55)
        assert stream_of(socket).state is State.LAGGING
        await asyncio.sleep(6)
        assert stream_of(socket).state is State.CLOSED
        assert (socket.is_aborted, socket.is_finished) == (True, False)
        assert statistics(hub)["ended"] == {"slow": 1}


async def test_a_socket_that_drains_in_time_keeps_its_stream() -> None:
    """Its deadline is over with that, and begins anew the next time."""
    async with running(timing=Timing(max_lag=60)) as hub:
        socket = await connect(hub, "a", capacity=10)
        for number in range(1, 4):
            socket.take()
            await publish(hub, "a", number)
            await asyncio.sleep(50)
        socket.take()
        await asyncio.sleep(100)
        assert socket.data == numbers(1, 3)
        assert hub.count() == 1


async def test_a_stream_that_fell_too_far_behind_while_full_is_ended_when_it_drains() -> None:
    """And is told so, because now it can be."""
    async with running(timing=Timing(max_lag_events=5)) as hub:
        socket = await connect(hub, "a", capacity=10)
        socket.take()
        for number in range(1, 8):
            await publish(hub, "a", number)
        socket.take()
        socket.take()
        assert socket.types == ["connected", "message", "closing"]
        assert socket.messages[-1].data == '{"reason":"slow"}'
        assert socket.messages[-1].id == hub.cursor(1)


async def test_a_long_history_is_no_lag() -> None:
    """A client that reads all of a long log fills its socket again and again, and is not slow: the log does not run away
    from it."""
    broker = ScriptedBroker()
    await broker.fill(60)
    async with running(broker, timing=Timing(max_lag_events=5)) as hub:
        socket = await connect(hub, "a", start=All(), capacity=100)
        for _ in range(100):
            await settled()
            socket.take()
        assert socket.data == numbers(1, 60)
        assert statistics(hub)["lagged"] > 1


async def test_a_stream_that_is_owed_a_reset_is_never_too_far_behind() -> None:
    """It jumps to the present anyway."""
    broker = ScriptedBroker()
    async with running(broker, timing=Timing(max_lag_events=5)) as hub:
        socket = await connect(hub, "a", capacity=10)
        socket.take()
        await publish(hub, "a", 1)
        broker.wipe()
        await broker.fill(20)
        socket.take()
        await settled()
        socket.take()
        assert socket.types == ["connected", "message", "reset"]


async def test_moved_rights_hold_for_everything_after_the_place_of_the_stream() -> None:
    """What was decided before goes out as it was decided, also if it is still pending."""
    loop = asyncio.get_running_loop()
    written: list[bytes] = []
    async with running(clock=lambda: loop.time() + len(written)) as hub:
        socket = await connect(hub, "a", permissions=("x",))
        written = socket.writes
        await publish(hub, "a", 1, 2, permissions=("x",))
        assert socket.data == ["1"]
        hub.streams.move(stream_of(socket), frozenset({"y"}))
        assert socket.data == ["1", "2"]
        await publish(hub, "a", 3, permissions=("x",))
        await publish(hub, "a", 4, permissions=("y",))
        await asyncio.sleep(1)
        assert socket.data == ["1", "2", "4"]


async def test_a_view_made_by_moving_misses_nothing_that_was_pending() -> None:
    """Also if the stream was not live when it moved: the new view has never heard of what is pending."""
    loop = asyncio.get_running_loop()
    written: list[bytes] = []
    async with running(clock=lambda: loop.time() + len(written)) as hub:
        other, socket = await connect(hub, "a"), await connect(hub, "a")
        written = other.writes
        hub.full(stream_of(socket))
        await publish(hub, "a", 1, 2)
        hub.streams.move(stream_of(socket), frozenset({"x"}))
        hub.drained(stream_of(socket))
        await asyncio.sleep(1)
        assert socket.data == other.data == ["1", "2"]


async def test_moving_to_the_same_rights_is_nothing() -> None:
    """The stream stays where it is."""
    async with running() as hub:
        socket = await connect(hub, "a", permissions=("x",))
        view = stream_of(socket).view
        hub.streams.move(stream_of(socket), frozenset({"x"}))
        assert stream_of(socket).view is view
        assert list(view.live) == [stream_of(socket)]


async def test_a_stream_that_turns_out_broken_when_it_is_moved_is_gone_once() -> None:
    """The others of its view keep it."""
    loop = asyncio.get_running_loop()
    written: list[bytes] = []
    async with running(clock=lambda: loop.time() + len(written)) as hub:
        other, socket = await connect(hub, "a"), await connect(hub, "a")
        written = other.writes
        await publish(hub, "a", 1, 2)
        socket.fault = OSError("gone")
        hub.streams.move(stream_of(socket), frozenset({"x"}))
        assert stream_of(socket).state is State.CLOSED
        assert stream_of(other).view.members == 1
        await publish(hub, "a", 3)
        await asyncio.sleep(1)
        assert other.data == numbers(1, 3)


async def test_a_new_epoch_is_told_to_everyone() -> None:
    """At once, or when the socket has room; nobody is left at a position of the old log."""
    broker = ScriptedBroker()
    async with running(broker) as hub:
        await publish(hub, "a", 1, 2, 3)
        live, full = await connect(hub, "a"), await connect(hub, "a", capacity=10)
        await settled()
        broker.wipe()
        await publish(hub, "a", 4)
        await settled()
        assert live.types == ["connected", "reset", "message"]
        assert [message.id for message in live.messages[1:]] == [hub.cursor(0), hub.cursor(1)]
        full.take()
        await settled()
        full.take()
        assert full.types == ["connected", "reset"]
        assert full.messages[1].id == hub.cursor(1)


async def test_a_feed_that_lost_its_place_is_told_to_nobody_who_missed_nothing() -> None:
    """Every stream catches up from where it was."""
    broker = ScriptedBroker()
    async with running(broker) as hub:
        live, full = await connect(hub, "a"), await connect(hub, "a", capacity=10)
        await broker.foreign(*(Draft(channel="a", data=each) for each in numbers(1, 3)))
        broker.lose_place()
        await settled()
        await publish(hub, "a", 4)
        for _ in range(9):
            full.take()
            await settled()
        assert live.data == full.data == numbers(1, 4)
        assert live.types == full.types == ["connected"] + 4 * ["message"]


@pytest.mark.parametrize("chunked", [False, True])
async def test_what_is_written_is_counted_per_stream(chunked: bool) -> None:
    """Events and bytes, live and by catching up, framing included."""
    async with running() as hub:
        first = await connect(hub, "a")
        await publish(hub, "a", 1, 2)
        await settled()
        socket = await connect(hub, "a", start=after(hub, 0), chunked=chunked)
        await settled()
        await publish(hub, "a", 3)
        hub.full(stream_of(socket))
        await publish(hub, "a", 4)
        hub.drained(stream_of(socket))
        await settled()
        info = hub.info(stream_of(socket))
        assert info.events == 4
        assert info.bytes == sum(map(len, socket.writes))
        assert hub.info(stream_of(first)).events == 4


async def test_ids_of_streams_are_never_used_twice() -> None:
    """So a log line names one stream."""
    async with running() as hub:
        sockets = [await connect(hub, "a") for _ in range(3)]
        sockets[0].leave()
        sockets.append(await connect(hub, "a"))
        assert len({stream_of(socket).id for socket in sockets}) == 4
