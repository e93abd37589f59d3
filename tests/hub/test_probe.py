"""The end-to-end probe."""

from __future__ import annotations

import asyncio

import pytest

from headwater.brokers.memory import MemoryBroker
from headwater.errors import BrokerUnavailable, InvalidChannel, Unavailable
from headwater.event import Draft, Position
from headwater.hub import Hub


class Mute(MemoryBroker):
    """A broker that appends, and whose feed says nothing of it."""

    def _deliver(self, events: object) -> None:
        """Nothing."""


async def test_a_probe_travels_through_the_log_and_back() -> None:
    """It takes some time, is an event of the hub's own, and holds no channel afterwards."""
    broker = MemoryBroker()
    hub = Hub(broker)
    await hub.start()
    assert 0 < await hub.probe("$probe") < 5
    assert [info.name for info in await broker.channels("$")] == ["$probe"]
    assert hub.registry.channels["$probe"].users == 0
    with pytest.raises(InvalidChannel):
        await hub.probe("no channel")
    await hub.stop()


async def test_a_feed_that_says_nothing_is_not_ready() -> None:
    """The store answers and takes events; only the probe shows that nobody would get them."""
    hub = Hub(Mute())
    await hub.start()
    with pytest.raises(Unavailable, match=r"did not come back within 0\.01 s"):
        await hub.probe("$probe", within=0.01)
    await hub.stop()


async def test_a_log_that_refuses_is_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own error says why."""

    async def refuse(drafts: object) -> object:
        raise BrokerUnavailable("the disk is full")

    hub = Hub(MemoryBroker())
    await hub.start()
    monkeypatch.setattr(hub.broker, "append", refuse)
    with pytest.raises(BrokerUnavailable, match="full"):
        await hub.probe("$probe")
    await hub.stop()


class Replaced(Mute):
    """A broker whose log is replaced after it has taken an event."""

    async def append(self, drafts: object) -> tuple[Position, ...]:
        """Take it, in the old log."""
        positions = await super().append([Draft.json("a")] * 5)
        asyncio.get_running_loop().call_soon(self.wipe)
        return positions[-1:]


async def test_a_log_replaced_meanwhile_proves_nothing() -> None:
    """The wait ends with the old log, and the probe does not pass."""
    hub = Hub(Replaced())
    await hub.start()
    with pytest.raises(Unavailable, match="replaced"):
        await hub.probe("$probe")
    await hub.stop()
