"""What breaks Redis, its connections and its data does to a node: nothing is lost, or it is said."""

from __future__ import annotations

import asyncio
import random
import time
from typing import Any

import pytest

from headwater.brokers.base import Counting
from headwater.brokers.redis.broker import RedisBroker
from headwater.brokers.redis.keys import Keys
from headwater.brokers.redis.subscriber import Pace
from headwater.errors import BrokerUnavailable
from headwater.event import Draft, Position
from headwater.testing.contract import Node, Recorder
from tests.brokers.redis_nodes import QUICK, redis_broker, redis_node
from tests.support.proxy import proxying
from tests.support.redis import SharedServers, running_redis
from tests.support.waiting import until

NEVER = Pace(interval=3600, patience=3600)
"""For tests of what is noticed without looking."""


class Elsewhere(Keys, frozen=True):
    """Keys of the same log, with other pub/sub channels: what is published there reaches no node."""

    @property
    def events(self) -> str:
        return f"{self.base}:elsewhere:"


def publish_elsewhere(broker: RedisBroker) -> None:
    """Make a broker's messages vanish."""
    broker._store._calls.keys = Elsewhere(broker._store.keys.prefix)


def hears(broker: RedisBroker) -> bool:
    """Whether messages go straight to the feed."""
    assert broker._subscriber is not None
    return broker._subscriber.delivery.is_live


async def agree(*nodes: Node, channels: str = "ab") -> None:
    """Wait until the nodes have everything, and check that it is the log."""
    head = await nodes[0].broker.head()
    seqs = await nodes[0].seqs(*channels)
    for node in nodes:
        await node.feed.complete(head)
        assert node.feed.seqs() == seqs
        assert node.feed.restarts == []


async def publish(node: Node, count: int, dice: random.Random) -> list[Position]:
    """Batches, one after the other."""
    positions: list[Position] = []
    for _ in range(count):
        positions += await node.append(*[Draft(channel=dice.choice("abc")) for _ in range(dice.randrange(1, 4))])
    return positions


async def test_t31_killed_subscriptions_lose_nothing(redis_servers: SharedServers) -> None:
    """Again and again, while two nodes publish: their feeds are the log, and each append is there."""
    url = redis_servers.url()
    dice = random.Random(31)
    async with redis_node(url, follow="ab") as (one, first), redis_node(url, follow="ab") as (two, second):
        async with redis_servers.server().client() as client:
            publishing = [asyncio.create_task(publish(node, 100, dice)) for node in (one, two)]
            while not all(task.done() for task in publishing):
                await until(lambda: all(map(hears, (first, second))), "both nodes to listen")
                await client.client_kill_filter(_type="pubsub")
                await until(lambda: not any(map(hears, (first, second))), "both to have lost their connections")
            positions = [position for task in publishing for position in await task]
        assert len(set(positions)) == len(positions)
        await agree(one, two)
        for broker in (first, second):
            counters = broker.counters()
            assert counters["reconnects"] > 1
            assert (counters["lost"], counters["gaps"]) == (0, 0)
            assert counters["repairs"] > 0


async def test_t32_a_subscriber_that_redis_gives_up_gets_everything(redis_servers: SharedServers) -> None:
    """A message larger than Redis keeps for a subscriber ends the connection each time; it is read from the log."""
    async with running_redis("client-output-buffer-limit pubsub 64kb 0 0") as server:
        async with redis_node(server.url(), follow="ab") as (node, broker):
            for number in range(4):
                await node.append(Draft(channel="a", data=f'"{"x" * 200_000}"'), Draft(channel="b", data=str(number)))
            await agree(node)
            assert broker.counters()["reconnects"] >= 3
            assert broker.counters()["lost"] == 0


async def test_t33_a_quiet_connection_is_left_alone(redis_servers: SharedServers) -> None:
    """No timeout for commands applies to a connection that merely has nothing to say."""
    async with redis_node(redis_servers.url(timeout=0.1), follow="ab", pace=NEVER) as (node, broker):
        await node.fill("a", 1)
        quiet_until = time.monotonic() + 0.5
        await until(lambda: time.monotonic() > quiet_until, "half a second to pass")
        await node.fill("a", 1)
        await agree(node)
        assert broker.counters()["reconnects"] == 0


async def test_a_frozen_redis_is_given_up_and_taken_again() -> None:
    """Its sockets are open, and no marker comes. What was published meanwhile is there when it thaws."""
    async with running_redis() as server:
        pace = Pace(interval=0.05, patience=0.2)
        async with redis_node(server.url(timeout=0.2, wait=30), follow="ab", pace=pace) as (node, broker):
            await node.fill("a", 1)
            server.pause()
            try:
                appending = asyncio.create_task(node.append(Draft(channel="a"), Draft(channel="b")))
                await until(lambda: broker.counters()["reconnects"] == 1, "the connection to be given up")
                assert not appending.done()
            finally:
                server.resume()
            assert len(await appending) == 2
            await agree(node)


async def test_a_restart_with_data_loses_nothing() -> None:
    """The epoch stays; whoever published meanwhile waits until Redis is back."""
    async with running_redis(appendonly=True) as server:
        async with redis_node(server.url(wait=30), follow="ab") as (node, broker):
            before = await node.fill("a", 3)
            await server.kill()
            appending = asyncio.create_task(node.append(Draft(channel="a")))
            await until(lambda: broker.counters()["reconnects"] == 1, "the connection to be lost")
            await server.start()
            (position,) = await appending
            assert position == Position(node.head.epoch, before[-1] + 1)
            await agree(node)


async def test_t26_a_restart_without_data_is_a_new_epoch() -> None:
    """The node is told, also if nobody publishes, and is fed from the new log."""
    async with running_redis() as server:
        async with redis_node(server.url(wait=30), follow="ab") as (node, _):
            await node.fill("a", 3)
            await server.restart()
            await node.feed.until(lambda: bool(node.feed.restarts))
            assert node.feed.restarts[0].epoch != node.head.epoch
            assert await node.fill("a", 1) == [1]
            assert node.feed.events[-1].position == Position(node.feed.restarts[0].epoch, 1)


async def test_a_message_that_vanishes_is_noticed_by_the_next_of_its_channel(redis_servers: SharedServers) -> None:
    """Even if the connection is there all the while, and nobody looks: each message names the one before."""
    url = redis_servers.url()
    async with redis_node(url, follow="ab", pace=NEVER) as (node, broker):
        async with redis_node(url, prepare=publish_elsewhere) as (other, _):
            await other.fill("a", 2)
            assert node.feed.seqs() == []
        await node.fill("a", 1)
        assert node.feed.seqs() == [1, 2, 3]
        counters = broker.counters()
        assert (counters["repairs"], counters["gaps"], counters["lost"]) == (1, 1, 0)


async def test_the_last_message_that_vanishes_is_noticed_by_looking(redis_servers: SharedServers) -> None:
    """Nothing comes after it that could tell; the comparison with the log does."""
    url = redis_servers.url()
    async with redis_node(url, follow="ab") as (node, broker):
        async with redis_node(url, prepare=publish_elsewhere) as (other, _):
            await other.fill("a", 1)
        await agree(node)
        assert broker.counters()["gaps"] == 1


async def test_a_message_that_vanished_and_was_overtaken_is_said_to_be_lost(redis_servers: SharedServers) -> None:
    """It cannot come in order any more: the feed goes on after what it missed."""
    url = redis_servers.url()
    async with redis_node(url, follow="ab", pace=NEVER) as (node, broker):
        async with redis_node(url, prepare=publish_elsewhere) as (other, _):
            await other.fill("a", 1)
        await node.fill("b", 1)
        await node.fill("a", 1)
        assert node.feed.seqs() == [2]
        assert node.feed.restarts == [Position(node.head.epoch, 3)]
        assert broker.counters()["lost"] == 1
        await node.fill("a", 1)
        assert node.feed.seqs() == [2, 4]


async def test_thousands_of_channels_come_and_go_and_leave_nothing(redis_servers: SharedServers) -> None:
    """In Redis no subscription is left, here no memory of them."""
    url = redis_servers.url()
    async with redis_servers.server().client() as client:
        async with redis_node(url) as (node, broker):
            pattern = f"{broker._store.keys.events}*"
            for round_ in range(3):
                names = [f"room:{round_}:{number}" for number in range(2000)]
                await asyncio.gather(*(broker.follow(names[start : start + 100]) for start in range(0, 2000, 100)))
                assert len(await client.pubsub_channels(pattern)) == 2000
                await node.append(*(Draft(channel=name) for name in names[::100]))
                assert len(node.feed.events) == 20 * (round_ + 1)
                await broker.unfollow(names)
            await broker.follow(["last"])
            assert await client.pubsub_channels(pattern) == [f"{broker._store.keys.events}last"]
            assert broker._subscriber is not None
            assert list(broker._subscriber.delivery.followed) == ["last"]


async def test_nothing_is_left_of_a_closed_broker() -> None:
    """No connection, no subscription, no task; also if Redis is frozen, or gone, at that moment."""
    async with running_redis() as server, server.client() as client:
        await client.ping()
        for trouble in ("none", "frozen", "gone"):
            before = asyncio.all_tasks()
            async with redis_node(server.url(timeout=0.2, wait=0.2), follow="ab") as (node, broker):
                await node.fill("a", 1)
                if trouble == "frozen":
                    server.pause()
                elif trouble == "gone":
                    await server.kill()
            assert asyncio.all_tasks() == before
            if trouble == "frozen":
                server.resume()
            if trouble != "gone":
                found: list[Any] = []
                while len(found) != 1:
                    found = await client.client_list()
            with pytest.raises(BrokerUnavailable):
                await broker.head()


async def test_a_redis_that_is_away_cannot_be_opened() -> None:
    """The caller is told within the time that it may take, and nothing is left."""
    async with running_redis() as server:
        await server.kill()
        before = asyncio.all_tasks()
        for feed in (None, Recorder()):
            broker = redis_broker(server.url(wait=0.1))
            with pytest.raises(BrokerUnavailable):
                await broker.open(feed)
            await broker.aclose()
        assert asyncio.all_tasks() == before


async def test_an_append_does_not_wait_for_a_feed_for_ever(
    redis_servers: SharedServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The event is in the log; a feed that is long in coming gets it when it comes."""
    monkeypatch.setattr("headwater.brokers.redis.broker.FEED_PATIENCE", 0.01)
    async with proxying(redis_servers.server().port) as proxy:
        direct = redis_servers.url()
        broker = redis_broker(direct.replace(str(redis_servers.server().port), str(proxy.port), 1))
        feed = Recorder()
        await broker.open(feed)
        await broker.follow("a")
        assert broker._subscriber is not None
        broker._subscriber._take = lambda messages: None  # type: ignore[method-assign]
        broker._subscriber._task.cancel()  # type: ignore[union-attr]
        assert len(await broker.append([Draft(channel="a")])) == 1
        assert feed.events == []
        await broker.aclose()


async def test_a_publisher_reads_heads_and_counts() -> None:
    """Without a feed there is nothing to follow, and nothing to be missed."""
    async with running_redis() as server:
        broker = redis_broker(server.url(), pace=QUICK)
        assert isinstance(broker, Counting)
        await broker.open()
        await broker.append([Draft(channel="a")])
        assert (await broker.follow(["a"])).seq == 1
        await broker.unfollow(["a"])
        assert dict(broker.counters()) == {"overflows": broker.overflows} == {"overflows": 0}
        await broker.aclose()


async def test_t26_a_publisher_goes_on_in_the_new_log(redis_servers: SharedServers) -> None:
    """It has no feed that would have to start over."""
    broker = redis_broker(redis_servers.url())
    await broker.open()
    (old,) = await broker.append([Draft(channel="a")])
    async with redis_servers.server().client() as client:
        await client.delete(broker._store.keys.log)
    (new,) = await broker.append([Draft(channel="a")])
    await broker.aclose()
    assert (old.seq, new.seq) == (1, 1)
    assert old.epoch != new.epoch


async def test_logs_of_two_databases_do_not_hear_of_each_other(redis_servers: SharedServers) -> None:
    """They have the same prefix, and pub/sub channels are those of the whole server."""
    url = redis_servers.url()
    there = url.replace("/0?", "/1?")
    async with redis_node(url, follow=["a"]) as (node, broker), redis_node(there, follow=["a"]) as (_, other):
        assert broker._subscriber is not None
        heard: list[Any] = []
        take = broker._subscriber._take_event
        broker._subscriber._take_event = lambda *event: heard.append(event) or take(*event)  # type: ignore[func-returns-value, method-assign]
        await other.append([Draft(channel="a", data="2")] * 2)
        await broker.append([Draft(channel="a", data="1")])
        assert len(heard) == 1
        assert [event.data for event in node.feed.events] == ["1"]
