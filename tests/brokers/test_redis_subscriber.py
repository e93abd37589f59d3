"""The supervisor of the connection over which events come, against a Redis that is played; the real one is next door."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from headwater.brokers.redis import subscriber as module
from headwater.brokers.redis.line import Refused
from headwater.brokers.redis.subscriber import Pace, Subscriber
from headwater.errors import BrokerUnavailable, ConfigurationError
from headwater.event import Event, Position
from headwater.testing.contract import Recorder
from tests.brokers.redis_store import PlayedRedis
from tests.support.waiting import until

SLOW = Pace(interval=60, patience=60)
"""Nothing happens because time passes."""

QUICK = Pace(interval=0.005, patience=0.05)


class Ear:
    """A subscriber that is open, with what it hears."""

    def __init__(self, redis: PlayedRedis, pace: Pace, wait: float) -> None:
        self.redis = redis
        self.feed = Recorder()
        self.subscriber = Subscriber(self.feed, redis.store, wait=wait, pace=pace)
        self.delivery = self.subscriber.delivery

    async def complete(self) -> None:
        """The feed has got everything."""
        await self.feed.complete(Position(self.redis.epoch, len(self.redis.entries)))


@asynccontextmanager
async def listening(
    *follow: str, redis: PlayedRedis | None = None, pace: Pace = SLOW, wait: float = 30
) -> AsyncIterator[Ear]:
    """A subscriber that follows some channels, closed at the end; nothing it must not do has happened."""
    ear = Ear(redis or PlayedRedis(), pace, wait)
    before = asyncio.all_tasks()
    try:
        await ear.subscriber.start()
        await ear.subscriber.follow(follow)
        yield ear
    finally:
        await ear.subscriber.aclose()
        ear.feed.is_over = True
    assert not ear.feed.complaints
    assert not any(line.is_open for line in ear.redis.lines)
    assert asyncio.all_tasks() <= before


async def turns(count: int = 20) -> None:
    """Let the loop run."""
    for _ in range(count):
        await asyncio.sleep(0)


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


async def test_a_redis_that_cannot_be_reached_is_no_beginning() -> None:
    """Not within the time that may be waited."""
    redis = PlayedRedis()
    redis.trouble = BrokerUnavailable("away")
    with pytest.raises(BrokerUnavailable, match="takes no subscription"):
        async with listening(redis=redis, wait=0.01):
            pass


async def test_a_mistake_in_the_configuration_is_told_at_once() -> None:
    """When connecting, or in the answer to the first subscription."""
    for trouble, refusal in ((ConfigurationError("no rights"), None), (None, Refused("NOPERM no rights"))):
        redis = PlayedRedis()
        redis.trouble, redis.refusal = trouble, refusal
        with pytest.raises(ConfigurationError, match="no rights"):
            async with listening(redis=redis):
                pass


async def test_following_waits_out_an_outage_for_a_while() -> None:
    """Then it fails, and holds nothing."""
    async with listening("a", wait=0.03) as ear:
        ear.redis.trouble = BrokerUnavailable("away")
        ear.redis.line.end()
        with pytest.raises(BrokerUnavailable, match="cannot be followed now"):
            await ear.subscriber.follow(["b"])
        assert (await ear.subscriber.follow(["a"])).seq == 0
        ear.redis.trouble = None
        ear.subscriber._wait = 30
        await ear.subscriber.follow(["c"])
        assert set(ear.delivery.followed) == {"a", "c"}


async def test_t31_a_connection_that_breaks_is_replaced_and_what_was_missed_is_read(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The feed has everything once and in order; the log says it once, however many attempts it took."""
    caplog.set_level(logging.INFO, "headwater.brokers.redis")
    async with listening("a", "b") as ear:
        redis = ear.redis
        ear.redis.append("a")
        await ear.complete()
        redis.trouble = BrokerUnavailable("away")
        redis.line.end()
        for _ in range(module.PAGE):
            redis.append("a", "b", "unheard")
        await until(lambda: ear.subscriber._failures > 2, "some attempts")
        redis.trouble = None
        await ear.complete()
        assert ear.feed.seqs() == [e.event.position.seq for e in redis.entries if e.event.channel != "unheard"]
        assert (ear.subscriber.reconnects, ear.delivery.repairs, ear.delivery.lost) == (1, 1, 0)
        assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


async def test_a_node_that_gets_no_marker_connects_again() -> None:
    """Whatever the socket says."""
    async with listening("a", pace=QUICK) as ear:
        ear.redis.marks = False
        await until(lambda: len(ear.redis.lines) > 1, "another connection")
        ear.redis.marks = True
        ear.redis.append("a", quietly=True)
        await ear.complete()
        assert ear.subscriber.reconnects == 1
        assert ear.feed.seqs() == [1]


async def test_a_node_whose_subscriptions_are_not_confirmed_connects_again() -> None:
    """It would be deaf."""
    async with listening("a", pace=QUICK) as ear:
        ear.redis.confirms = False
        call = asyncio.create_task(ear.subscriber.follow(["b"]))
        await until(lambda: len(ear.redis.lines) > 1, "another connection")
        ear.redis.confirms = True
        await call
        assert not call.exception()


async def test_a_message_that_vanished_is_noticed_by_the_next_one_of_its_channel() -> None:
    """At once, and both come in order."""
    async with listening("a") as ear:
        ear.redis.append("a", quietly=True)
        ear.redis.append("a")
        await ear.complete()
        assert ear.feed.seqs() == [1, 2]
        assert (ear.delivery.gaps, ear.delivery.repairs, ear.delivery.lost) == (1, 1, 0)


async def test_the_last_message_is_missed_by_the_next_survey() -> None:
    """There is no later one that would tell."""
    async with listening("a", pace=QUICK) as ear:
        ear.redis.append("a", quietly=True)
        await ear.complete()
        assert ear.feed.seqs() == [1]
        assert ear.delivery.gaps == 1
        assert ear.subscriber.reconnects == 0


async def test_more_than_is_kept_while_the_log_is_read_is_read_too() -> None:
    """The memory for what comes meanwhile is bounded; nothing is lost or comes twice."""
    async with listening("a") as ear:
        ear.delivery._bounds = (3, 1000)
        busy = 3

        async def publish() -> None:
            nonlocal busy
            if busy:
                busy -= 1
                ear.redis.append(*["a"] * 5)
                await turns()

        ear.redis.before_read = publish
        ear.redis.append("a", quietly=True)
        ear.redis.line.end()
        await ear.complete()
        await until(lambda: ear.delivery.is_live, "the feed to be live")
        assert ear.feed.seqs() == list(range(1, 17))
        assert ear.delivery.overflows == 3


async def test_retention_that_passed_during_an_outage_is_a_restart() -> None:
    """In the same epoch: streams look for themselves whether they missed something."""
    async with listening("a") as ear:
        ear.redis.append("a", "a", quietly=True)
        ear.redis.gone = 1
        ear.redis.line.end()
        await ear.complete()
        assert ear.feed.restarts == [Position("e1", 2)]
        assert ear.feed.seqs() == []
        assert ear.delivery.lost == 0


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


async def test_a_doubt_in_the_midst_of_a_survey_leads_to_another_one() -> None:
    """The answer under way may be from before what was doubted."""
    async with listening("a") as ear:
        gate = asyncio.Event()
        ear.redis.before_survey = gate.wait  # type: ignore[assignment]
        ear.subscriber.doubt()
        await turns()
        ear.subscriber.doubt()
        before = len(ear.redis.surveys)
        gate.set()
        await until(lambda: len(ear.redis.surveys) >= before + 2, "two surveys")
        await turns()
        assert ear.delivery.is_live


async def test_surveys_of_two_epochs_are_not_taken_for_one() -> None:
    """When the log begins anew between the parts of a survey of many channels, all are asked again."""
    async with listening(*(f"c{n}" for n in range(1500))) as ear:
        redis = ear.redis
        asked = 0

        async def wipe_in_between() -> None:
            nonlocal asked
            asked += 1
            if asked == 2:
                redis.wipe()
                redis.append("c3", quietly=True)

        redis.before_survey = wipe_in_between
        ear.subscriber.doubt()
        await ear.complete()
        assert ear.feed.restarts == [Position("e2", 0)]
        assert ear.feed.seqs() == [1]
        assert asked == 4


async def test_what_others_publish_on_our_channels_does_no_harm(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and passed over."""
    async with listening("a") as ear:
        keys = ear.redis.keys
        for name in (keys.events + "a", keys.inbox(ear.subscriber._node)):
            for payload in (b"", b"rubbish", b"\xff\n", b"e 1 x 0 0 0\n"):
                ear.redis.publish([b"message", name.encode(), payload])
        ear.redis.publish([b"message", keys.inbox(ear.subscriber._node).encode(), b"unknown e1 0"])
        ear.redis.append("a")
        await ear.complete()
        assert ear.feed.seqs() == [1]
        assert len(caplog.records) == 8


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


async def test_a_connection_ends_once() -> None:
    """However much goes wrong with it: an error reply, and then the end."""
    async with listening("a") as ear:
        line = ear.redis.line
        line._take([Refused("LOADING first"), Refused("LOADING second")])
        line.end()
        await until(lambda: len(ear.redis.lines) == 2, "another connection")
        await until(lambda: ear.delivery.is_live, "the feed to be live")
        assert ear.subscriber.reconnects == 1


async def test_one_that_never_started_can_be_closed() -> None:
    """As a broker does when the store cannot be opened."""
    await Subscriber(Recorder(), PlayedRedis().store, wait=1).aclose()
