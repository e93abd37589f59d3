"""The memory broker keeps the contract, and the bounds that are its own."""

from __future__ import annotations

import time

import pytest

from headwater.brokers import memory
from headwater.brokers.base import Broker, Retention, Rule
from headwater.brokers.memory import SWEEP_INTERVAL, MemoryBroker, from_url
from headwater.errors import BrokerUnavailable, ConfigurationError, PositionLost
from headwater.event import Draft
from headwater.testing import BrokerContract


class TestContract(BrokerContract):
    """Everything that any broker promises."""

    shares_log = False
    can_wipe = True

    def connect(self, retention: Retention) -> Broker:
        """A log of its own each time."""
        return MemoryBroker(retention)

    async def wipe(self, broker: Broker) -> None:
        """As a test of the hub would do it."""
        assert isinstance(broker, MemoryBroker)
        broker.wipe()


def test_its_url_says_nothing_more() -> None:
    """`memory://` is the whole of it."""
    assert isinstance(from_url("memory://", Retention()), MemoryBroker)
    for url in ("memory://x", "memory:///x", "memory://?x=1", "memory://#x"):
        with pytest.raises(ConfigurationError, match="names a place in memory"):
            from_url(url, Retention())
    with pytest.raises(ConfigurationError, match=r"'memory://:\*\*\*@h'"):
        from_url("memory://:hunter2@h", Retention())


async def test_nothing_works_before_open() -> None:
    """Whoever forgot to open it is told."""
    with pytest.raises(BrokerUnavailable, match="not open"):
        await MemoryBroker().append([Draft(channel="a")])


async def test_a_wipe_without_a_feed_begins_an_epoch() -> None:
    """There is nobody to be told."""
    broker = MemoryBroker()
    head = await broker.open()
    broker.wipe()
    assert (await broker.head()).epoch != head.epoch


async def test_appends_apply_retention_to_their_channels() -> None:
    """At once, so that memory stays bounded without anybody calling `prune`."""
    broker = MemoryBroker(Retention(rules=(Rule(count=2),)))
    await broker.open()
    for _ in range(5):
        await broker.append([Draft(channel="a")])
    assert (await broker.channels())[0].events == 2


async def test_the_newest_keys_are_remembered() -> None:
    """However young the others are: a publisher with a key for each event would fill the memory within a day."""
    broker = MemoryBroker(Retention(keys=2))
    await broker.open()
    first, _, last = [await broker.append([Draft(channel="a", idempotency_key=key)]) for key in "abc"]
    assert await broker.append([Draft(channel="a", idempotency_key="c")]) == last
    assert await broker.append([Draft(channel="a", idempotency_key="a")]) > first


async def test_any_number_of_keys_may_be_remembered() -> None:
    """Where the application knows how many there are."""
    broker = MemoryBroker(Retention(keys=None))
    await broker.open()
    first = await broker.append([Draft(channel="a", idempotency_key="a")])
    await broker.append([Draft(channel="a", idempotency_key="b")])
    assert await broker.append([Draft(channel="a", idempotency_key="a")]) == first


async def test_appends_look_at_other_channels_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """Events of a channel that has gone quiet go when they are old, too."""
    now = time.time()
    broker = MemoryBroker(Retention(rules=(Rule(age=60),)))
    await broker.open()
    await broker.append([Draft(channel="quiet")])
    monkeypatch.setattr(time, "time", lambda: now + 61 + SWEEP_INTERVAL / 1000)
    await broker.append([Draft(channel="a")])
    assert [info.name for info in await broker.channels()] == ["a"]


async def test_empty_channels_are_forgotten_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """The marks of those that have been empty longest become one floor: too careful for the others, and bounded."""
    monkeypatch.setattr(memory, "MAX_MARKS", 2)
    broker = MemoryBroker(Retention(rules=(Rule(count=0),)))
    await broker.open()
    for name in "abcd":
        await broker.append([Draft(channel=name)])
    assert (await broker.read(["new"], 2, 9)).events == ()
    with pytest.raises(PositionLost):
        await broker.read(["new"], 1, 9)
    with pytest.raises(PositionLost):
        await broker.read(["d"], 3, 9)
    assert (await broker.horizon(["a", "c"])).seq == 3


async def test_a_new_epoch_needs_no_feed() -> None:
    """Who only publishes may begin one, too."""
    broker = MemoryBroker()
    head = await broker.open()
    await broker.begin_epoch()
    assert (await broker.head()).epoch != head.epoch
