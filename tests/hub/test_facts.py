"""What explanations stand on agrees with what streams really get."""

from __future__ import annotations

import asyncio

import pytest

from headwater.brokers.base import Page, Retention, Rule
from headwater.brokers.memory import MemoryBroker
from headwater.channels import Principal
from headwater.errors import Draining, NotFound, PositionLost
from headwater.event import Position, ResetReason
from headwater.hub import After, Ago, All, Hub, Last, Now, Start
from headwater.hub.explain import Answer, Facts, explain
from headwater.hub.facts import (
    RECENT,
    channel_facts,
    open_stream,
    owner_of,
    place_for,
    place_of,
    sought,
    stream_facts,
)
from tests.hub.scripted import Gate, ScriptedBroker
from tests.hub.support import after, connect, publish, running, settled, stream_of


def short(count: int = 3) -> MemoryBroker:
    """A log that keeps few events of each channel."""
    return MemoryBroker(Retention(rules=(Rule(count=count),)))


# One stream


async def test_a_stream_says_where_it_is() -> None:
    """Where it began, how far it was written to, how it is connected, how long its token lasts."""
    async with running() as hub:
        await publish(hub, "a", 1, 2)
        principal = Principal(id="ada", expires_at=hub.wall() + 90)
        socket = await connect(hub, "a", chunked=True, principal=principal, heartbeat=30)
        await publish(hub, "a", 3)
        found = stream_facts(hub, stream_of(socket).id)
        assert (found.began, found.cursor) == (hub.cursor(2), hub.cursor(3))
        assert (found.transport, found.heartbeat, found.expires_in, found.catching_up) == ("direct", 30, 90, None)
        assert found.info == hub.info(stream_of(socket))
        plain = stream_facts(hub, stream_of(await connect(hub, "a")).id)
        assert (plain.transport, plain.expires_in) == ("asgi", None)


async def test_a_stream_says_what_it_waits_for() -> None:
    """A client that does not read, a log that is read for it, or a reset that it is owed."""
    broker = ScriptedBroker()
    async with running(broker) as hub:
        await publish(hub, "a", *range(5))
        slow = stream_of(await connect(hub, "a", capacity=1))
        broker.script = gate = Gate("read")
        behind = stream_of(await connect(hub, "a", start=All()))
        await gate.entered.wait()
        assert [stream_facts(hub, stream.id).catching_up for stream in (slow, behind)] == ["full", "read"]
        assert place_of(hub, behind).reached == 0
        behind.reset = ResetReason.EXPIRED
        assert stream_facts(hub, behind.id).catching_up == "reset"
        gate.open()
        await settled()


async def test_a_stream_that_is_gone_is_not_found() -> None:
    """Whatever its number."""
    async with running() as hub:
        with pytest.raises(NotFound, match="no stream 7"):
            open_stream(hub, 7)


async def test_a_stream_begins_anew_at_a_reset() -> None:
    """What came before it is not said to have been delivered on it."""
    async with running() as hub:
        socket = await connect(hub, "a")
        await publish(hub, "a", 1)
        hub.restart(Position(hub.fanout.epoch, 1), lost=True)
        assert socket.of("reset")
        await publish(hub, "a", 2)
        place = place_of(hub, stream_of(socket))
        assert (place.began, place.is_renewed) == (1, True)


async def test_what_a_reset_will_pass_over_is_not_said_to_have_been_delivered() -> None:
    """While the stream's socket is full and the reset is owed to it, and when it has been told."""
    async with running() as hub:
        socket = await connect(hub, "a", capacity=1)
        stream = stream_of(socket)
        await publish(hub, "a", "missed")
        hub.restart(Position(hub.fanout.epoch, 1), lost=True)

        async def answer() -> Answer:
            event = await sought(hub, "a", hub.cursor(1))
            return explain(Facts(who=owner_of(stream), channel="a", event=event, place=place_of(hub, stream))).answer

        assert await answer() is Answer.NO
        socket.take()
        assert await answer() is Answer.NO
        socket.take()
        assert (socket.types, socket.data) == (["connected", "reset"], [])


# One channel


async def test_a_channel_says_what_it_has() -> None:
    """First, newest, how many; who reads it here; and where it can be read from."""
    async with running(short()) as hub:
        await connect(hub, "a")
        await publish(hub, "a", *range(5))
        await publish(hub, "ab", 1)
        found = await channel_facts(hub, "a")
        assert found.retained is not None
        assert (found.retained.events, found.followed, found.readers, found.ring) == (3, True, 1, 5)
        assert found.first is not None
        assert (found.first.data, [event.data for event in found.recent]) == ("2", ["4", "3", "2"])
        assert found.complete_from == hub.cursor(2)
        nothing = await channel_facts(hub, "a:b")
        assert (nothing.retained, nothing.first, nothing.recent, nothing.followed) == (None, None, (), False)


async def test_only_the_newest_events_are_looked_at() -> None:
    """However many there are."""
    async with running() as hub:
        await publish(hub, "a", *range(RECENT + 5))
        assert len((await channel_facts(hub, "a")).recent) == RECENT


class Quick(MemoryBroker):
    """A log whose retention is always quicker than who reads it."""

    async def read(self, channels: object, after: int, until: int, limit: int = 500) -> Page:
        raise PositionLost(ResetReason.EXPIRED, "gone")


async def test_retention_may_be_quicker() -> None:
    """Then the first event is not known."""
    async with running(Quick()) as hub:
        await publish(hub, "a", 1)
        assert (await channel_facts(hub, "a")).first is None


# One event


async def test_an_event_is_found_by_its_id() -> None:
    """In its channel, while it is retained."""
    async with running(short()) as hub:
        await publish(hub, "a", *range(5), permissions=("p",))
        await publish(hub, "b", 1)
        found = await sought(hub, "a", hub.cursor(4))
        assert (found.seq, found.permissions, found.missing) == (4, frozenset({"p"}), None)
        for channel, cursor, words, is_lost in (
            ("a", "nonsense", "not the id of any event", False),
            ("a", "zz-4", "another life of the log", False),
            ("a", hub.cursor(99), "has not come that far", False),
            ("a", hub.cursor(6), "is not in a", False),
            ("b", hub.cursor(0), "is not in b", False),
            ("a", hub.cursor(1), "Retention has removed", True),
        ):
            found = await sought(hub, channel, cursor)
            assert found.missing is not None
            assert (words in found.missing, found.permissions, found.is_lost) == (True, None, is_lost)


# Explanations and deliveries


ADA = Principal(id="ada", subscribe=("a",), permissions=frozenset({"p"}))


async def agree(hub: Hub, start: Start, count: int) -> list[str]:
    """Open a stream, and compare what it gets of the first `count` events with what was said before: once of a stream that
    would begin there, once of this one. Returns what it got."""
    events = {seq: await sought(hub, "a", hub.cursor(seq)) for seq in range(1, count + 1)}
    said = {}
    for seq, event in events.items():
        facts = Facts(who=ADA, channel="a", event=event, place=await place_for(hub, ADA, "a", start))
        said[seq] = explain(facts).answer
    socket = await connect(hub, "a", start=start, principal=ADA)
    await settled()
    got = {int(message.id.partition("-")[2]) for message in socket.of("message")}
    assert {seq for seq, answer in said.items() if answer is Answer.YES} == got
    stream = stream_of(socket)
    for seq, event in events.items():
        if event.missing is None:
            facts = Facts(who=owner_of(stream), channel="a", event=event, place=place_of(hub, stream))
            assert (explain(facts).answer is Answer.YES) == (seq in got), seq
    return socket.types[1:]


@pytest.mark.parametrize("kept", [3, 100])
@pytest.mark.parametrize("is_followed", [False, True])
@pytest.mark.parametrize("seq", [None, 0, 2, 5, 6, 8, 50])
async def test_what_is_said_is_what_happens(seq: int | None, is_followed: bool, kept: int) -> None:
    """Whether the cursor is known, expired or ahead, whether the rings still have what retention removed: an explanation says
    of each event just what a stream does. Some events ask for permissions that are not held."""
    async with running(short(kept)) as hub:
        if is_followed:
            await connect(hub, "a")
        for number in range(8):
            await publish(hub, "a", number, permissions=("p", "q") if number % 3 == 2 else ("p",))
        await agree(hub, Now() if seq is None else after(hub, seq), 8)


@pytest.mark.parametrize("start", [All(), Ago(60), Last(2), After("nonsense"), After("zz-3")], ids=repr)
async def test_other_beginnings_are_explained_too(start: Start) -> None:
    """What the log still has, a span, the last ones; a cursor of nobody's, which means a reset."""
    async with running(short(5)) as hub:
        await publish(hub, "a", *range(8), permissions=("p",))
        got = await agree(hub, start, 8)
        assert ("reset" in got) is isinstance(start, After)


async def test_asking_leaves_nothing_behind() -> None:
    """No stream, and no channel that would stay followed for it; nothing, once the hub shuts down."""
    async with running() as hub:
        await place_for(hub, ADA, "a", Now())
        assert (hub.count(), hub.registry.channels["a"].users) == (0, 0)
        await hub.drain(0)
        with pytest.raises(Draining):
            await place_for(hub, ADA, "a", Now())
        await asyncio.sleep(0)
