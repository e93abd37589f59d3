"""A channel is followed once for everyone who needs it, and let go a while after the last one."""

from __future__ import annotations

import asyncio

import pytest

from headwater.errors import BrokerUnavailable, Unavailable
from headwater.event import Draft, Position
from headwater.hub import Hub
from headwater.hub import following as module
from headwater.hub.following import LINGER
from tests.hub.scripted import Failing, Gate, ScriptedBroker
from tests.hub.support import connect, publish, running, settled, turns


def followed(hub: Hub) -> dict[str, int]:
    """The channels followed, with their users."""
    return {name: channel.users for name, channel in hub.registry.channels.items()}


async def test_a_channel_is_followed_once_for_everyone() -> None:
    """Whoever asks while the broker still answers waits for the same answer, and gets the same channel."""
    broker = ScriptedBroker(script=(gate := Gate("follow")))
    async with running(broker) as hub:
        asking = [asyncio.ensure_future(hub.following.acquire(["a", "a", "b"])) for _ in range(3)]
        await gate.entered.wait()
        asking.append(asyncio.ensure_future(hub.following.acquire(["b", "c"])))
        gate.open()
        got = [await each for each in asking]
        assert [[channel.name for channel in channels] for channels in got] == [["a", "b"]] * 3 + [["b", "c"]]
        assert got[0][0] is got[1][0]
        assert followed(hub) == {"a": 3, "b": 4, "c": 1}
        assert await hub.following.acquire(["a"]) == got[0][:1]
        assert broker.calls["follow"] == 2


async def test_nothing_is_held_of_what_could_not_be_followed() -> None:
    """Everyone who waited is told, and the next one asks the broker again."""
    broker = ScriptedBroker(script=Failing("follow"))
    async with running(broker) as hub:
        outcomes = await asyncio.gather(*(hub.following.acquire(["a"]) for _ in range(3)), return_exceptions=True)
        assert [type(each) for each in outcomes] == [BrokerUnavailable] * 3
        assert followed(hub) == {}
        await hub.following.acquire(["a"])
        assert followed(hub) == {"a": 1}


async def test_a_channel_that_was_followed_before_is_kept_when_another_fails() -> None:
    """The failure costs only what failed."""
    broker = ScriptedBroker()
    async with running(broker) as hub:
        await hub.following.acquire(["a"])
        broker.script = Failing("follow")
        with pytest.raises(BrokerUnavailable):
            await hub.following.acquire(["a", "b"])
        assert followed(hub) == {"a": 1}


async def test_an_asker_that_is_cancelled_leaves_the_others_undisturbed() -> None:
    """And holds nothing."""
    broker = ScriptedBroker(script=(gate := Gate("follow done")))
    async with running(broker) as hub:
        first, second = (asyncio.ensure_future(hub.following.acquire(["a"])) for _ in range(2))
        await gate.entered.wait()
        first.cancel()
        await turns(3)
        assert followed(hub) == {"a": 1}
        second.cancel()
        await turns(3)
        assert followed(hub) == {"a": 0}
        gate.open()
        assert [channel.name for channel in await hub.following.acquire(["a"])] == ["a"]
        assert broker.calls["follow"] == 1


async def test_askers_are_not_cancelled_because_the_hub_stops() -> None:
    """To them the hub is gone, which they can answer; a cancellation they could not."""
    broker = ScriptedBroker(script=Gate("follow"))
    async with running(broker) as hub:
        asking = asyncio.ensure_future(hub.following.acquire(["a"]))
        await settled()
    with pytest.raises(Unavailable, match="stopped"):
        await asking


async def test_a_follow_that_nobody_waits_for_any_more_may_fail() -> None:
    """Quietly: there is nobody left to tell."""
    broker = ScriptedBroker(script=Failing("follow done"))
    async with running(broker) as hub:
        asking = asyncio.ensure_future(hub.following.acquire(["a"]))
        await turns()
        asking.cancel()
        await settled()
        assert followed(hub) == {}


async def test_what_comes_while_the_broker_still_answers_is_kept() -> None:
    """From the position of the answer on, the ring has everything."""
    broker = ScriptedBroker(script=(gate := Gate("follow done")))
    async with running(broker) as hub:
        asking = asyncio.ensure_future(hub.following.acquire(["a"]))
        await gate.entered.wait()
        await broker.append([Draft(channel="a"), Draft(channel="a")])
        gate.open()
        (channel,) = await asking
        assert (channel.ring.floor, len(channel.ring)) == (0, 2)


async def test_a_ring_that_overflowed_meanwhile_is_complete_only_from_there() -> None:
    """Though the broker's answer lies before."""
    broker = ScriptedBroker(script=(gate := Gate("follow done")))
    async with running(broker, ring_events=2) as hub:
        asking = asyncio.ensure_future(hub.following.acquire(["a"]))
        await gate.entered.wait()
        await broker.append([Draft(channel="a") for _ in range(5)])
        gate.open()
        (channel,) = await asking
        assert (channel.ring.floor, len(channel.ring)) == (3, 2)


async def test_an_answer_from_another_life_of_the_log_means_nothing() -> None:
    """A ring begins where the feed says the new log begins, not at a position of the old one."""
    broker = ScriptedBroker(script=(gate := Gate("follow done")))
    async with running(broker) as hub:
        await broker.append([Draft(channel="a") for _ in range(5)])
        asking = asyncio.ensure_future(hub.following.acquire(["a"]))
        await gate.entered.wait()
        broker.wipe()
        gate.open()
        (channel,) = await asking
        assert channel.ring.floor == 0


async def test_a_channel_without_users_is_let_go_after_a_while() -> None:
    """Its ring is still there for whoever comes back before."""
    broker = ScriptedBroker()
    async with running(broker) as hub:
        socket = await connect(hub, "a")
        await connect(hub, "b")
        await publish(hub, "a", 1)
        socket.leave()
        left = asyncio.get_running_loop().time()
        assert await hub.following.sweep(left + LINGER - 1) == 0
        assert len(hub.registry.channels["a"].ring) == 1
        assert await hub.following.sweep(left + LINGER) == 1
        assert followed(hub) == {"b": 1}
        assert broker._followed == {"b"}
        await publish(hub, "a", 2)
        assert hub.registry.budget.used == 0


async def test_what_could_not_be_let_go_is_let_go_later() -> None:
    """Unless someone needs it again by then."""
    broker = ScriptedBroker()
    async with running(broker) as hub:
        for name in "ab":
            (await connect(hub, name)).leave()
        broker.script = Failing("unfollow")
        later = asyncio.get_running_loop().time() + LINGER
        with pytest.raises(BrokerUnavailable):
            await hub.following.sweep(later)
        assert (followed(hub), broker._followed) == ({}, {"a", "b"})
        await connect(hub, "b")
        assert await hub.following.sweep(later) == 0
        assert broker._followed == {"b"}
        assert await hub.following.sweep(later) == 0
        assert broker.calls["unfollow"] == 2


async def test_the_hub_sweeps_by_itself() -> None:
    """A little after a channel's time is over."""
    async with running() as hub:
        (await connect(hub, "a")).leave()
        await asyncio.sleep(LINGER / 2)
        assert followed(hub) == {"a": 0}
        await asyncio.sleep(LINGER)
        assert followed(hub) == {}


async def test_of_too_many_unused_channels_the_longest_unused_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever makes up channel names cannot fill the memory with them."""
    monkeypatch.setattr(module, "MAX_IDLE", 2)
    async with running() as hub:
        for name in "abcd":
            (await connect(hub, name)).leave()
            await asyncio.sleep(1)
        await connect(hub, "e")
        assert await hub.following.sweep(asyncio.get_running_loop().time()) == 2
        assert followed(hub) == {"c": 0, "d": 0, "e": 1}


async def test_a_channel_that_is_still_being_followed_is_not_swept() -> None:
    """Even if whoever asked has gone: the broker's answer will find it."""
    broker = ScriptedBroker(script=(gate := Gate("follow")))
    async with running(broker) as hub:
        asking = asyncio.ensure_future(hub.following.acquire(["a"]))
        await gate.entered.wait()
        asking.cancel()
        await turns(2)
        assert await hub.following.sweep(asyncio.get_running_loop().time() + 2 * LINGER) == 0
        gate.open()
        await settled()
        assert followed(hub) == {"a": 0}


async def test_a_channel_may_be_followed_again_while_it_is_still_being_let_go() -> None:
    """The broker takes the calls in the order in which they were made, and nothing published then is missed."""
    broker = ScriptedBroker()
    async with running(broker) as hub:
        (await connect(hub, "a")).leave()
        broker.script = gate = Gate("unfollow")
        sweeping = asyncio.ensure_future(hub.following.sweep(asyncio.get_running_loop().time() + LINGER))
        await gate.entered.wait()
        connecting = asyncio.ensure_future(connect(hub, "a"))
        await turns(5)
        await broker.append([Draft(channel="a", data="1")])
        gate.open()
        socket = await connecting
        assert await sweeping == 1
        await publish(hub, "a", 2)
        assert socket.data == ["2"]
        assert Position.parse(socket.of("connected")[0].id).seq == 1
