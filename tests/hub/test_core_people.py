"""What people and servers do with a running hub: revoke, end, count, look, listen, probe."""

from __future__ import annotations

import asyncio

import pytest

from headwater.channels import Principal
from headwater.errors import Draining, InvalidChannel
from headwater.event import Draft, Event, Position
from headwater.hub import StreamInfo
from headwater.hub.core import CLEAN_UP, SWEEP
from headwater.stream import CloseReason
from tests.hub.scripted import Failing, ScriptedBroker
from tests.hub.support import (
    after,
    connect,
    numbers,
    publish,
    running,
    settled,
    statistics,
    stream_of,
    subscription,
    turns,
)


async def test_revoking_someone_ends_all_streams_of_theirs() -> None:
    """And nobody else's."""
    async with running() as hub:
        ada, also, bob = [await connect(hub, "a", id=who) for who in ("ada", "ada", "bob")]
        assert await hub.revoke("ada") == 2
        assert [socket.types[-1] for socket in (ada, also, bob)] == ["closing", "closing", "connected"]
        assert ada.messages[-1].data == '{"reason":"revoked"}'
        assert await hub.revoke("ada") == 0


async def test_revoking_someone_reaches_the_hub_s_kin() -> None:
    """Streams of theirs at a hub that belongs to this one end, whatever rights they keep: there they are asked for others."""
    async with running() as hub, running() as kin:
        hub.kin.add(kin)
        ada, bob = [await connect(kin, "a", id=who) for who in ("ada", "bob")]
        assert await hub.revoke(Principal(id="ada", subscribe=("**",))) == 1
        assert [socket.types[-1] for socket in (ada, bob)] == ["closing", "connected"]


async def test_changed_rights_hold_at_once() -> None:
    """Streams that may no longer be read end; the others see from now on what the new permissions allow."""
    async with running() as hub:
        kept = await connect(hub, "room:1", id="ada", permissions=("x",))
        gone = await connect(hub, "room:1", "secret", id="ada", permissions=("x",))
        granted = Principal(id="ada", permissions=frozenset({"y"}), subscribe=("room:*",))
        assert await hub.revoke(granted) == 1
        await publish(hub, "room:1", 1, permissions=("x",))
        await publish(hub, "room:1", 2, permissions=("y",))
        await settled()
        assert (kept.data, gone.types) == (["2"], ["connected", "closing"])


async def test_one_stream_can_be_ended_by_hand() -> None:
    """By its id, which the hooks and the infos say."""
    async with running() as hub:
        socket, other = await connect(hub, "a"), await connect(hub, "a")
        assert await hub.close(stream_of(socket).id)
        assert not await hub.close(stream_of(socket).id)
        assert socket.messages[-1].data == '{"reason":"admin"}'
        assert [info.id for info in hub.infos()] == [stream_of(other).id]


async def test_a_server_may_end_a_stream_for_its_own_reasons() -> None:
    """One that stops gives each client its own time to come back."""
    async with running() as hub:
        drained, pipelined = [await connect(hub, "a") for _ in range(2)]
        assert hub.end(stream_of(drained), CloseReason.DRAIN)
        assert hub.end(stream_of(pipelined), CloseReason.PIPELINED)
        assert 500 <= (drained.decoder.retry or 0) <= 2500
        assert (pipelined.types[-1], pipelined.decoder.retry) == ("closing", 2000)
        assert statistics(hub)["ended"] == {"drain": 1, "pipelined": 1}


async def test_streams_are_counted_by_channel() -> None:
    """A stream of two channels is one in all, and one of each."""
    async with running() as hub:
        await connect(hub, "a", "b")
        await connect(hub, "a", permissions=("x",))
        assert [hub.count(name) for name in (None, "a", "b", "c")] == [2, 2, 1, 0]


async def test_the_oldest_streams_can_be_looked_at() -> None:
    """As many as asked for, as snapshots."""
    async with running() as hub:
        sockets = [await connect(hub, "a", address=f"10.0.0.{number}") for number in range(5)]
        infos = hub.infos(3)
        assert [info.id for info in infos] == [stream_of(socket).id for socket in sockets[:3]]
        assert [info.address for info in infos] == ["10.0.0.0", "10.0.0.1", "10.0.0.2"]


async def test_hooks_hear_of_streams_that_come_and_go() -> None:
    """Sync and async ones; what they raise changes nothing; those of the last streams still run when the hub stops."""
    heard: list[tuple[str, int | str]] = []
    async with running() as hub:

        @hub.on_connect
        def came(info: StreamInfo) -> None:
            heard.append(("came", info.id))
            raise ZeroDivisionError

        @hub.on_disconnect
        async def went(info: StreamInfo, reason: str) -> None:
            await asyncio.sleep(CLEAN_UP / 2)
            heard.append(("went", reason))

        socket = await connect(hub, "a")
        await connect(hub, "a")
        socket.leave()
    assert heard[:2] == [("came", 1), ("came", 2)]
    assert sorted(heard[2:]) == [("went", "client"), ("went", "drain")]


async def test_t13_a_hook_that_will_not_be_cancelled_holds_up_nothing() -> None:
    """The hub gives it a moment, then another, and stops."""
    free = asyncio.Event()
    async with running() as hub:

        @hub.on_disconnect
        async def stubborn(info: StreamInfo, reason: str) -> None:
            while not free.is_set():
                try:
                    await free.wait()
                except asyncio.CancelledError:
                    continue

        (await connect(hub, "a")).leave()
        begun = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - begun == pytest.approx(2 * CLEAN_UP)
    free.set()
    await settled()


async def test_background_work_that_fails_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """And forgotten."""
    broker = ScriptedBroker()
    async with running(broker) as hub:
        (await connect(hub, "a")).leave()
        broker.script = Failing("unfollow", error=ZeroDivisionError("what was that"))
        await asyncio.sleep(100)
        assert "what was that" in caplog.text
        assert hub._tasks == set()


async def test_what_streams_shared_while_returning_is_not_kept_for_long() -> None:
    """It may be a ring's worth per view, outside of every budget."""
    async with running() as hub:
        await connect(hub, "a")
        await publish(hub, "a", *range(10))
        await settled()
        await connect(hub, "a", start=after(hub, 2))
        await settled()
        (view,) = hub.registry.views
        assert view._memo is not None
        await asyncio.sleep(2 * SWEEP)
        assert view._memo is None


async def test_a_hub_answers_for_its_own_epoch() -> None:
    """In cursors, in statistics, and in the latency of what went through."""
    async with running() as hub:
        await connect(hub, "a")
        await publish(hub, "a", 1)
        assert hub.cursor(1) == str(Position(hub.statistics().epoch, 1))
        assert hub.latency.total == 1


async def test_a_probe_goes_through_a_channel_of_the_hubs_own() -> None:
    """No application's channel is written to; nobody else is disturbed."""
    async with running() as hub:
        socket = await connect(hub, "a")
        assert await hub.probe("$probe") >= 0
        with pytest.raises(InvalidChannel):
            await hub.probe("no channel")
        assert socket.types == ["connected"]


async def test_t28_no_write_is_a_phantom_event() -> None:
    """Whatever a stream is sent, each of its messages has data and a place, and hidden events make no write at all."""
    async with running() as hub:
        socket = await connect(hub, "a", heartbeat=5)
        await publish(hub, "a", 1, permissions=("x",))
        await asyncio.sleep(11)
        assert len(socket.writes) == 3
        assert all(message.data and message.id for message in socket.messages)


async def test_draining_refuses_whoever_comes() -> None:
    """With an error that says to try elsewhere, and soon."""
    async with running() as hub:
        await hub.drain(1)
        with pytest.raises(Draining) as refused:
            await connect(hub, "a")
        assert refused.value.retry_after == 1
        assert hub.statistics().draining


async def test_many_streams_are_ended_without_holding_up_the_loop() -> None:
    """Every few hundred the others have their turn."""
    async with running() as hub:
        for _ in range(1200):
            await connect(hub, "a")
        turned = 0

        async def turn() -> None:
            nonlocal turned
            while True:
                turned += 1
                await turns()

        turning = asyncio.ensure_future(turn())
        await turns()
        begun = turned
        await hub.drain(0)
        assert turned - begun >= 2
        turning.cancel()


async def test_stopping_ends_what_an_interrupted_drain_left_open() -> None:
    """Whoever drained may have been cancelled half-way."""
    async with running() as hub:
        sockets = [await connect(hub, "a") for _ in range(600)]
        draining = asyncio.ensure_future(hub.drain(10))
        await turns()
        draining.cancel()
        await turns()
        assert hub.count() == 100
    assert all(socket.types == ["connected", "closing"] for socket in sockets)


async def test_an_event_is_given_to_the_feed_once() -> None:
    """However it was published; `receive` is the only way in."""
    async with running() as hub:
        socket = await connect(hub, "a")
        event = Event.of(Draft(channel="a", data="7"), Position(hub.fanout.epoch, 1), 0)
        hub.receive([event], Position(hub.fanout.epoch, 4))
        assert (socket.data, hub.fanout.position) == (["7"], 4)
        assert numbers(7, 7) == socket.data


async def test_a_log_that_begins_anew_reaches_everything_of_the_hub() -> None:
    """Streams are reset, rings begin anew, whoever waits is woken."""
    broker = ScriptedBroker()
    async with running(broker) as hub:
        socket = await connect(hub, "a")
        await publish(hub, "a", 1)
        waiting = asyncio.ensure_future(hub.poll(subscription("a"), 25))
        await settled()
        begun = asyncio.get_running_loop().time()
        broker.wipe()
        assert (await waiting).reset == "epoch_changed"
        assert asyncio.get_running_loop().time() == begun
        assert socket.types == ["connected", "message", "reset"]
        assert (len(hub.registry.channels["a"].ring), hub.registry.budget.used) == (0, 0)
        await publish(hub, "a", 2)
        await settled()
        assert socket.data == ["1", "2"]


async def test_transports_report_to_the_hub() -> None:
    """Full, drained, gone: each goes to the stream it is said of."""
    async with running() as hub:
        socket = await connect(hub, "a")
        hub.full(stream_of(socket))
        assert hub.statistics().lagging == 1
        await publish(hub, "a", 1)
        hub.drained(stream_of(socket))
        assert socket.data == ["1"]
        hub.lost(stream_of(socket))
        assert hub.count() == 0
        broken = await connect(hub, "a")
        broken.fault = OSError("gone")
        await publish(hub, "a", 2)
        await settled()
        assert hub.statistics().ended == {"client": 1, "error": 1}
