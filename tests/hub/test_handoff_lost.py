"""Where history is gone, a stream is told so; and only where it missed something."""

from __future__ import annotations

import asyncio

import pytest

from headwater.brokers.base import Retention, Rule
from headwater.event import Draft, ResetReason
from headwater.hub import After, All, Last
from headwater.hub.reading import FIRST_PAGE
from headwater.stream import State
from tests.hub.scripted import Gate, ScriptedBroker
from tests.hub.support import after, connect, numbers, publish, running, settled, stream_of, turns


async def test_expired_history_is_told_as_a_reset() -> None:
    """With the position to go on from; from there on it is exact."""
    broker = ScriptedBroker()
    await broker.fill(5)
    broker.forget("a", 3)
    async with running(broker) as hub:
        socket = await connect(hub, "a", start=after(hub, 2))
        await settled()
        await publish(hub, "a", 6)
        assert socket.types == ["connected", "reset", "message"]
        assert socket.messages[1].data == f'{{"reason":"expired","cursor":"{hub.cursor(5)}"}}'
        assert socket.messages[1].id == hub.cursor(5)
        assert socket.data == ["6"]


@pytest.mark.parametrize("start", [All(), Last(3)])
async def test_history_that_begins_later_by_the_time_it_is_read_is_no_gap(start: All | Last) -> None:
    """Who asks for what the log still has gets that, also from a busy channel that loses its oldest event all the time."""
    broker = ScriptedBroker()
    await broker.fill(5)
    async with running(broker) as hub:
        broker.script = gate = Gate("read")
        socket = await connect(hub, "a", start=start)
        await gate.entered.wait()
        broker.forget("a", 3)
        gate.open()
        await settled()
        await publish(hub, "a", 6)
        assert socket.data == ["4", "5", "6"]
        assert hub.streams.resets == {}


async def test_a_log_that_loses_events_faster_than_they_can_be_read_is_given_up() -> None:
    """Such a stream is reset, instead of running after the log for ever."""
    broker = ScriptedBroker()
    await broker.fill(50)

    async def forget(call: str) -> None:
        if call == "read":
            broker.forget("a")

    async with running(broker) as hub:
        broker.script = forget
        socket = await connect(hub, "a", start=All())
        await settled()
        assert socket.types == ["connected", "reset"]
        assert broker.calls["read"] == 4


async def test_history_that_is_lost_after_it_has_begun_is_a_gap() -> None:
    """The client has seen what was before, so it must be told."""
    broker = ScriptedBroker()
    await broker.fill(FIRST_PAGE + 20)
    async with running(broker) as hub:
        reads = 0

        async def forget(call: str) -> None:
            nonlocal reads
            reads += call == "read"
            if reads == 2:
                broker.forget("a", FIRST_PAGE + 10)

        broker.script = forget
        socket = await connect(hub, "a", start=All())
        await settled()
        assert socket.data == numbers(1, FIRST_PAGE)
        assert socket.types[-1] == "reset"


async def test_a_reset_ends_what_is_forgiven() -> None:
    """After it the client has a state, at the very position where it began; what goes missing then is a gap."""
    broker = ScriptedBroker()
    async with running(broker) as hub:
        socket = await connect(hub, "a", start=All())
        broker.wipe()
        await broker.foreign(Draft(channel="a"))
        broker.lose_place()
        broker.forget("a")
        await settled()
        assert socket.types == ["connected", "reset", "reset"]
        assert [message.data.split('"')[3] for message in socket.of("reset")] == ["epoch_changed", "expired"]


async def test_what_was_live_is_not_forgiven() -> None:
    """A stream that waited at its beginning, and missed what came, missed something."""
    broker = ScriptedBroker()
    async with running(broker) as hub:
        socket = await connect(hub, "a", start=All())
        await broker.foreign(Draft(channel="a"))
        broker.lose_place()
        broker.forget("a")
        await settled()
        assert [message.data.split('"')[3] for message in socket.of("reset")] == ["expired"]


async def test_history_beginning_later_than_the_feed_has_come_waits_for_the_feed() -> None:
    """Otherwise the stream would be given what lies before its own beginning."""
    broker = ScriptedBroker()
    await broker.fill(2)
    async with running(broker) as hub:
        broker.script = gate = Gate("read")
        socket = await connect(hub, "a", start=All())
        await gate.entered.wait()
        await broker.foreign(*(Draft(channel="a", data=each) for each in numbers(3, 6)))
        broker.forget("a", 4)
        gate.open()
        await asyncio.sleep(1)
        assert (socket.data, stream_of(socket).state) == ([], State.REPLAYING)
        broker.deliver()
        await settled()
        assert socket.data == ["5", "6"]
        assert hub.streams.resets == {}


async def test_a_log_that_begins_anew_takes_along_who_waits_for_its_beginning() -> None:
    """What a stream waited for belongs to the old log; it goes on with the new one, after a reset."""
    broker = ScriptedBroker()
    await broker.fill(2)
    async with running(broker) as hub:
        socket = await connect(hub, "a", start=All())
        await broker.foreign(*(Draft(channel="a") for _ in range(3)))
        broker.forget("a", 4)
        await settled()
        assert (socket.types, broker.calls["horizon"]) == (["connected"], 2)
        broker.wipe()
        await broker.fill(4)
        await settled()
        await broker.fill(1, first=5)
        assert (socket.types, socket.data) == (["connected", "reset", "message"], ["5"])


async def test_too_much_history_is_told_as_an_overflow() -> None:
    """The bound is on what one catch-up reads; the stream goes on from the present."""
    broker = ScriptedBroker()
    await broker.fill(50)
    async with running(broker, max_replay=40) as hub:
        inside = await connect(hub, "a", start=after(hub, 20), permissions=("x",))
        await settled()
        hub.registry.channels["a"].ring.start_at(50)
        socket = await connect(hub, "a", start=All())
        await settled()
        await publish(hub, "a", 51)
        await settled()
        assert socket.types[-2:] == ["reset", "message"]
        assert hub.streams.resets == {ResetReason.OVERFLOW: 1}
        assert inside.data == numbers(21, 51)


async def test_no_bound_means_no_bound() -> None:
    """With 0 any history is replayed."""
    broker = ScriptedBroker()
    await broker.fill(2000)
    async with running(broker, max_replay=0) as hub:
        socket = await connect(hub, "a", start=All())
        await settled()
        assert socket.data == numbers(1, 2000)


@pytest.mark.parametrize("at", ["read", "read done"])
async def test_t26_history_of_a_log_that_was_wiped_meanwhile_is_not_sent(at: str) -> None:
    """Neither what the old log said before it went, nor what the new one has at the same positions."""
    broker = ScriptedBroker()
    await broker.fill(5)
    async with running(broker) as hub:
        broker.script = gate = Gate(at)
        socket = await connect(hub, "a", start=All())
        await gate.entered.wait()
        broker.wipe()
        await broker.fill(7, first=11)
        gate.open()
        await asyncio.sleep(1)
        await broker.fill(2, first=18)
        await settled()
        assert socket.types[:2] == ["connected", "reset"]
        assert socket.messages[1].id == f"{hub.fanout.epoch}-7"
        assert socket.data == numbers(18, 19)


async def test_t26_a_store_that_begins_anew_before_the_feed_knows_is_not_believed() -> None:
    """Its positions mean nothing yet; the reset comes first."""
    broker = ScriptedBroker()
    await broker.fill(5)
    async with running(broker) as hub:
        broker.wipe(secret=True)
        await broker.foreign(*(Draft(channel="a", data=each) for each in numbers(11, 18)))
        socket = await connect(hub, "a", start=after(hub, 2))
        await asyncio.sleep(3)
        assert socket.types == ["connected"]
        broker.deliver()
        await asyncio.sleep(6)
        await broker.fill(1, first=19)
        assert socket.types == ["connected", "reset", "message"]
        assert socket.data == ["19"]


async def test_t26_a_read_of_the_old_log_is_not_joined_by_streams_of_the_new_one() -> None:
    """Though it is for the same channels and the same positions."""
    broker = ScriptedBroker()
    await broker.fill(5)
    async with running(broker) as hub:
        broker.script = gate = Gate("read done")
        await connect(hub, "a", start=After(hub.cursor(0)))
        await gate.entered.wait()
        broker.wipe()
        await broker.fill(5, first=11)
        for channel in hub.registry.channels.values():
            channel.ring.start_at(5)
        socket = await connect(hub, "a", start=After(hub.cursor(0)))
        await turns(5)
        gate.open()
        await settled()
        assert socket.data == numbers(11, 15)


async def test_t26_what_was_remembered_of_the_old_log_is_forgotten() -> None:
    """Streams that return together share a batch; not across a wipe, though the positions are the same again."""
    broker = ScriptedBroker()
    async with running(broker) as hub:
        for _ in range(2):
            await connect(hub, "a")
        await broker.append([Draft(channel="a", data="1")])
        await connect(hub, "a", start=after(hub, 0))
        await turns()
        broker.wipe()
        await broker.append([Draft(channel="b")])
        socket = await connect(hub, "a", start=after(hub, 0))
        await settled()
        assert socket.data == []


async def test_a_feed_that_lost_its_place_costs_a_reset_only_who_missed_something() -> None:
    """The others catch up from the log and never know."""
    broker = ScriptedBroker(Retention(rules=(Rule(count=None),)))
    async with running(broker) as hub:
        lucky, unlucky = await connect(hub, "a"), await connect(hub, "b")
        await broker.foreign(Draft(channel="a", data="1"), Draft(channel="b", data="2"))
        broker.forget("b")
        broker.lose_place()
        await settled()
        await publish(hub, "a", 3)
        await publish(hub, "b", 4)
        await settled()
        assert (lucky.data, lucky.of("reset")) == (["1", "3"], [])
        assert (unlucky.data, unlucky.types) == (["4"], ["connected", "reset", "message"])


async def test_a_feed_that_missed_something_for_good_resets_every_stream() -> None:
    """What came later has been sent already, so it cannot come in order any more; the stream goes on from the present."""
    broker = ScriptedBroker()
    async with running(broker) as hub:
        live, full = await connect(hub, "a"), await connect(hub, "b", capacity=0)
        await publish(hub, "b", 1)
        hub.restart(broker.end, lost=True)
        full.capacity = None
        full.take()
        await settled()
        await publish(hub, "a", 2)
        await publish(hub, "b", 3)
        await settled()
        for socket in (live, full):
            assert socket.types == ["connected", "reset", "message"]
            assert socket.of("reset")[0].data == f'{{"reason":"overflow","cursor":"{hub.cursor(1)}"}}'
        assert (live.data, full.data) == (["2"], ["3"])
        assert hub.streams.resets == {ResetReason.OVERFLOW: 2}
