"""What a hub says about itself agrees with what its clients got."""

from __future__ import annotations

import asyncio

import pytest

from headwater.hub import After, All, Hub, Statistics, StreamInfo
from tests.hub.scripted import Gate, ScriptedBroker
from tests.hub.support import Socket, connect, publish, running, settled


def info_of(hub: Hub, socket: Socket) -> StreamInfo:
    """The snapshot of a socket's stream."""
    assert socket.stream is not None
    return hub.info(socket.stream)


def written(socket: Socket) -> tuple[int, int]:
    """Events and bytes that were written to a socket, as far as its client has taken all of them."""
    return len(socket.data), sum(map(len, socket.writes))


# One stream


async def test_a_snapshot_says_whose_and_what() -> None:
    """A stream's snapshot has its principal, address, channels and permissions by name, and its age."""
    async with running() as hub:
        socket = await connect(hub, "b", "a", id="ada", permissions=("q", "p"), address="192.0.2.1")
        assert socket.stream is not None
        await asyncio.sleep(2.5)  # takes no time in this loop
        assert info_of(hub, socket) == StreamInfo(
            id=socket.stream.id,
            state="live",
            principal="ada",
            address="192.0.2.1",
            channels=("a", "b"),
            permissions=("p", "q"),
            seconds=2.5,
            events=0,
            bytes=written(socket)[1],
            behind=0,
        )


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_stream_counts_what_was_written_to_it(chunked: bool) -> None:
    """Whether a stream's events were replayed or live, alone or among others, and while it lags: its snapshot counts every
    event and every byte that its writer was given, and nothing of what others got before it."""
    async with running(ScriptedBroker()) as hub:
        await publish(hub, "a", *range(3))
        first = await connect(hub, "a", start=All(), chunked=chunked)
        await settled()
        await publish(hub, "a", *range(4))
        second = await connect(hub, "a", chunked=chunked)
        await settled()
        await publish(hub, "a", *range(5))
        await settled()
        for socket, count in ((first, 12), (second, 5)):
            info = info_of(hub, socket)
            assert (info.events, info.bytes) == written(socket)
            assert (info.state, info.events) == ("live", count)


async def test_a_stream_that_lags_says_how_far_behind_it_is() -> None:
    """While its socket is full a stream is behind by what the log has grown; once it has caught up it is not."""
    async with running() as hub:
        socket = await connect(hub, "a", capacity=200)
        await settled()
        socket.take()
        while not socket.is_full:
            await publish(hub, "a", "x" * 50)
            await settled()
        before = info_of(hub, socket)
        assert (before.state, before.behind) == ("lagging", 0)
        await publish(hub, "a", 1, 2, 3)
        await settled()
        assert (info_of(hub, socket).state, info_of(hub, socket).behind) == ("lagging", 3)
        assert info_of(hub, socket).bytes == written(socket)[1]
        socket.take()
        await settled()
        socket.take()
        after = info_of(hub, socket)
        assert (after.state, after.behind) == ("live", 0)
        assert (after.events, after.bytes) == written(socket)


# One hub


async def test_a_new_hub_has_nothing_to_say() -> None:
    """At its start a hub has counted nothing, and stands where the log is."""
    broker = ScriptedBroker()
    async with running(broker) as hub:
        assert hub.statistics() == Statistics(
            epoch=broker.end.epoch,
            position=0,
            draining=False,
            streams=0,
            live=0,
            replaying=0,
            lagging=0,
            channels=0,
            views=0,
            opened=0,
            ended={},
            events=0,
            published=0,
            deliveries=0,
            replayed=0,
            bytes=0,
            flushes=0,
            lagged=0,
            resets={},
            rejections={},
            broker={},
            ring_bytes=0,
            latency_p50_ms=0,
            latency_p99_ms=0,
        )


async def test_streams_are_counted_by_state() -> None:
    """Each open stream is in one of three states, and counted there; channels and views are those in use."""
    broker = ScriptedBroker()
    async with running(broker) as hub:
        await publish(hub, "b", 1)
        gate = broker.script = Gate("read")
        await connect(hub, "a", "c")
        await connect(hub, "a", "c")
        await connect(hub, "b", start=All())
        await connect(hub, "a", capacity=0)
        await settled()
        found = hub.statistics()
        gate.open()
        assert (found.streams, found.live, found.replaying, found.lagging) == (4, 2, 1, 1)
        assert (found.channels, found.views, found.opened, found.lagged) == (3, 3, 4, 1)
        await settled()
        found = hub.statistics()
        assert (found.streams, found.live, found.replaying, found.lagging) == (4, 3, 0, 1)


async def test_what_went_through_is_counted() -> None:
    """Events are counted once when published and when received, and once per stream when delivered or replayed."""
    async with running(wall=lambda: 0.0) as hub:
        live = await connect(hub, "a"), await connect(hub, "a")
        opened_with = [written(socket)[1] for socket in live]
        for number in range(3):
            await publish(hub, "a", number)
            await settled()
        await publish(hub, "unheard", 4)
        await connect(hub, "a", start=All())
        await settled()
        found = hub.statistics()
        assert (found.position, found.published, found.events) == (4, 4, 3)
        assert (found.deliveries, found.replayed) == (6, 3)
        assert found.bytes == sum(written(socket)[1] for socket in live) - sum(opened_with)
        assert 1 <= found.flushes <= 3
        assert found.ring_bytes == hub.registry.budget.used > 0
        assert found.latency_p50_ms == found.latency_p99_ms == 1  # nothing is earlier than accepted


async def test_ends_resets_and_refusals_are_counted_by_reason() -> None:
    """What ended, was reset or was refused is counted under the name that the client was told, and only what happened."""
    async with running() as hub:
        for _ in range(2):
            (await connect(hub, "a")).leave()
        socket = await connect(hub, "a", start=After("nonsense"))
        await settled()
        assert socket.stream is not None
        await hub.close(socket.stream.id)
        hub.rejections["Hub full"] += 3
        found = hub.statistics()
        assert found.ended == {"client": 2, "admin": 1}
        assert found.resets == {"unknown_id": 1}
        assert found.rejections == {"Hub full": 3}
        assert (found.opened, found.streams, found.draining) == (3, 0, False)
        assert {type(key) for key in (*found.ended, *found.resets)} == {str}


async def test_a_snapshot_stays_as_it_was() -> None:
    """What happens later changes nothing about what was said before."""
    async with running() as hub:
        before = hub.statistics()
        hub.rejections["Hub full"] += 1
        (await connect(hub, "a", start=After("nonsense"))).leave()
        assert (before.rejections, before.ended, before.resets, before.opened) == ({}, {}, {}, 0)
        await hub.drain()
        assert hub.statistics().draining
        assert not before.draining


async def test_the_broker_tells_its_own_troubles() -> None:
    """If it counts any."""

    class Troubled(ScriptedBroker):
        def counters(self) -> dict[str, int]:
            return {"reconnects": 2, "lost": 0}

    async with running(Troubled()) as hub:
        assert hub.statistics().broker == {"reconnects": 2, "lost": 0}
