"""A node follows channels, and its feed gets their events, on a Redis that is played; the real one is next door."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from headwater.brokers.redis.subscriber import Subscriber
from headwater.errors import BrokerUnavailable
from headwater.event import Event, Position
from headwater.testing.contract import Recorder
from tests.brokers.redis_store import PlayedRedis, listening, turns


async def test_it_begins_at_the_head_of_the_log() -> None:
    """The feed hears nothing of what was before, not even that it was."""
    redis = PlayedRedis()
    head = redis.append("a", "b")
    async with listening(redis=redis) as ear:
        assert ear.delivery.at == ear.subscriber.feed.at == head
        assert ear.feed.upto is None
        assert redis.line.sent[0][0] == b"SUBSCRIBE"


async def test_what_one_read_brings_is_one_batch() -> None:
    """However many events it holds; and the store hears how far the log has come."""
    async with listening("a", "b") as ear:
        ear.redis.known.epoch, ear.redis.known.life = "e1", 1
        calls: list[int] = []
        receive = ear.feed.receive

        def counting(events: Sequence[Event], upto: Position) -> None:
            calls.append(len(events))
            receive(events, upto)

        ear.feed.receive = counting  # type: ignore[method-assign]
        ear.redis.append("a", "b", "a")
        await ear.complete()
        assert calls == [3]
        assert ear.redis.known.seq == 3


async def test_calls_of_follow_at_the_same_time_share_the_work() -> None:
    """One subscription and one survey for all of them."""
    async with listening() as ear:
        ear.redis.surveys.clear()
        ear.redis.line.sent.clear()
        positions = await asyncio.gather(*(ear.subscriber.follow([f"c{n}", "shared"]) for n in range(50)))
        assert len(set(positions)) == 1
        assert len(ear.redis.surveys) <= 2
        assert sum(words[0] == b"SUBSCRIBE" for words in ear.redis.line.sent) <= 2
        assert len(ear.delivery.followed) == 51
        assert await ear.subscriber.follow(["shared"]) == ear.delivery.at


async def test_channels_come_and_go_in_thousands_and_leave_no_subscription() -> None:
    """Commands and surveys hold at most a thousand of them each."""
    async with listening("stays") as ear:
        names = [f"c{n}" for n in range(2500)]
        await ear.subscriber.follow(names)
        assert len(ear.delivery.followed) == 2501
        assert max(map(len, ear.redis.surveys)) == 1000
        assert max(map(len, ear.redis.line.sent)) == 1001
        ear.redis.append("c7", "c2400")
        await ear.complete()
        ear.subscriber.unfollow(names)
        await turns()
        events = ear.redis.keys.events.encode()
        assert {name for name in ear.redis.line.names if name.startswith(events)} == {events + b"stays"}


async def test_a_channel_more_costs_the_same_however_many_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither those that are followed nor those that wait are looked through for it."""
    async with listening(*(f"c{n}" for n in range(2000))) as ear:
        names: list[str] = []
        name = ear.subscriber._name

        def counting(channel: str) -> bytes:
            names.append(channel)
            return name(channel)

        monkeypatch.setattr(ear.subscriber, "_name", counting)
        await ear.subscriber.follow(["another"])
        ear.subscriber.unfollow(["another"])
        await turns()
        assert set(names) == {"another"}


async def test_a_follow_that_is_cancelled_holds_nothing() -> None:
    """Unless another call waits for the same channel."""
    async with listening() as ear:
        ear.redis.confirms = False
        calls = [asyncio.create_task(ear.subscriber.follow(names)) for names in (["a", "b"], ["b", "c"])]
        await turns()
        calls[0].cancel()
        await asyncio.wait(calls[:1])
        ear.redis.confirms = True
        ear.redis.line.end()
        await calls[1]
        await turns()
        assert set(ear.delivery.followed) == {"b", "c"}
        assert len(ear.redis.line.names) == 4


async def test_an_unfollow_ends_the_wait_for_what_is_not_wanted_any_more() -> None:
    """Calls take effect in their order: the follow has been, and the unfollow after it."""
    async with listening() as ear:
        call = asyncio.create_task(ear.subscriber.follow(["a"]))
        await asyncio.sleep(0)
        ear.subscriber.unfollow(["a"])
        assert await call == ear.delivery.at
        assert ear.delivery.followed == {}


async def test_a_channel_that_is_dropped_and_taken_again_during_its_survey_is_surveyed_anew() -> None:
    """Nobody has watched it in between."""
    async with listening() as ear:
        redis = ear.redis
        gate = asyncio.Event()
        redis.before_survey = gate.wait  # type: ignore[assignment]
        first = asyncio.create_task(ear.subscriber.follow(["a"]))
        await turns()
        ear.subscriber.unfollow(["a"])
        second = asyncio.create_task(ear.subscriber.follow(["a"]))
        redis.append("a")
        await turns()
        gate.set()
        assert (await first).seq == 0
        assert (await second).seq == 1
        redis.append("a")
        await ear.complete()
        assert ear.feed.seqs() == [2]
        assert ear.delivery.gaps == 0


async def test_a_new_epoch_is_announced() -> None:
    """On the channel of all nodes. Everything of the new epoch comes."""
    async with listening("a") as ear:
        ear.redis.append("a")
        await ear.complete()
        ear.redis.wipe()
        ear.redis.append("a", quietly=True)
        ear.redis.publish([b"message", ear.redis.keys.control.encode(), b"e2"])
        await ear.complete()
        assert ear.feed.restarts == [Position("e2", 0)]
        assert [str(event.position) for event in ear.feed.events] == ["e1-1", "e2-1"]


async def test_channels_are_not_followed_from_a_log_that_is_being_replaced() -> None:
    """The feed starts over first, then they are."""
    async with listening("a") as ear:
        redis = ear.redis

        async def wipe() -> None:
            redis.before_survey = None
            redis.wipe()

        redis.before_survey = wipe
        assert await ear.subscriber.follow(["b"]) == Position("e2", 0)
        assert ear.feed.restarts == [Position("e2", 0)]


async def test_who_waits_when_it_ends_is_told() -> None:
    """Nobody hangs."""
    async with listening() as ear:
        ear.redis.confirms = False
        call = asyncio.create_task(ear.subscriber.follow(["a"]))
        await turns()
        await ear.subscriber.aclose()
        with pytest.raises(BrokerUnavailable, match="not open"):
            await call
        await ear.subscriber.aclose()


async def test_one_that_never_started_can_be_closed() -> None:
    """As a broker does when the store cannot be opened."""
    await Subscriber(Recorder(), PlayedRedis().store, wait=1).aclose()
