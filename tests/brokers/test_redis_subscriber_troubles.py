"""Whatever fails between a node and a Redis that is played: it is noticed, mended, and told."""

from __future__ import annotations

import asyncio
import logging

import pytest

from headwater.brokers.redis import subscriber as module
from headwater.brokers.redis.line import Refused
from headwater.errors import BrokerUnavailable, ConfigurationError
from headwater.event import Position
from tests.brokers.redis_store import QUICK, PlayedRedis, listening, turns
from tests.support.waiting import until


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


async def test_a_broken_connection_for_questions_is_no_reason_to_stop_listening() -> None:
    """The question is asked again, over another one. If that breaks, too, everything is made anew."""
    async with listening("a", pace=QUICK) as ear:
        redis, failures = ear.redis, [1, 0, 1, 1]

        async def fail() -> None:
            if failures and failures.pop(0):
                raise BrokerUnavailable("broken")

        redis.before_survey = fail
        await until(lambda: len(failures) == 2, "two attempts")
        assert len(redis.lines) == 1
        await until(lambda: len(redis.lines) == 2, "another connection")


async def test_trouble_that_will_not_pass_is_told_when_it_begins(caplog: pytest.LogCaptureFixture) -> None:
    """However often it is met: a password that was changed; and a defect, with the place where it is."""
    async with listening("a") as ear:
        for trouble in (BrokerUnavailable("away"), ConfigurationError("wrong password"), ValueError("a defect")):
            ear.redis.trouble = trouble
            ear.redis.line.end()
            before = ear.subscriber._failures
            await until(lambda before=before: ear.subscriber._failures > before + 1, "two attempts")  # type: ignore[misc]
        ear.redis.trouble = None
        ear.redis.append("a")
        await ear.complete()
        told = [(record.getMessage().rpartition(": ")[2], record.exc_info is not None) for record in caplog.records]
        assert told == [("the connection was cut", False), ("wrong password", False), ("a defect", True)]


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


@pytest.mark.parametrize("names", [["c1"], ["c3"], ["c2", "c1", "c0"]])
async def test_what_comes_between_the_parts_of_a_survey_is_not_passed_over(
    monkeypatch: pytest.MonkeyPatch, names: list[str]
) -> None:
    """Many channels are asked for in parts: events of those that were asked for before, or will be after, come in order, and
    nobody is told that anything was missed."""
    monkeypatch.setattr(module, "CHUNK", 2)
    async with listening() as ear:
        for name in ("c0", "c1", "c2", "c3"):
            await ear.subscriber.follow([name])
        asked = 0

        async def append_in_between() -> None:
            nonlocal asked
            asked += 1
            await turns()  # the marker of the part before comes
            if asked == 2:
                ear.redis.append(*names)

        ear.redis.append("c0", "c3")
        ear.redis.line.end()
        ear.redis.append("c3", quietly=True)
        ear.redis.before_survey = append_in_between
        await ear.complete()
        ear.redis.append(*names)
        await ear.complete()
        assert ear.feed.seqs() == list(range(1, 4 + 2 * len(names)))
        assert not ear.feed.restarts
        assert (ear.delivery.gaps, ear.delivery.lost) == (0, 0)


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


async def test_a_connection_ends_once() -> None:
    """However much goes wrong with it: an error reply, and then the end."""
    async with listening("a") as ear:
        line = ear.redis.line
        line._take([Refused("LOADING first"), Refused("LOADING second")])
        line.end()
        await until(lambda: len(ear.redis.lines) == 2, "another connection")
        await until(lambda: ear.delivery.is_live, "the feed to be live")
        assert ear.subscriber.reconnects == 1


async def test_a_connection_that_breaks_while_it_is_closed_does_not_keep_anyone_waiting() -> None:
    """Two things happen at once, and the end must win."""
    async with listening("a") as ear:
        ear.redis.line.end()
        closing = asyncio.create_task(ear.subscriber.aclose())
        async with asyncio.timeout(10):
            await closing
