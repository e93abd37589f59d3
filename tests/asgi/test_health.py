"""Alive and ready."""

from __future__ import annotations

import asyncio

import pytest

from headwater.asgi.health import PROBE_CHANNEL, probe
from headwater.brokers.memory import MemoryBroker
from headwater.errors import BrokerUnavailable, Unavailable
from headwater.event import Draft, Position
from tests.support.site import serving


class Moody(MemoryBroker):
    """A broker that fails when told to, and counts how often it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.fails = False
        self.appends = 0

    async def append(self, drafts: object) -> tuple[Position, ...]:
        self.appends += 1
        if self.fails:
            raise BrokerUnavailable("the store is away", retry_after=3)
        return await super().append(drafts)  # type: ignore[arg-type]


async def test_alive_asks_nobody() -> None:
    """A process whose broker is away is still alive."""
    async with serving(dev=False, broker=Moody()) as site:
        site.hub.broker.fails = True  # type: ignore[attr-defined]
        reply = await site.get("/healthz")
        assert (reply.status, reply.json()) == (200, {"status": "alive"})


async def test_ready_sends_an_event_through_the_broker() -> None:
    """To a channel of the hub's own, without credentials."""
    async with serving(dev=False) as site:
        reply = await site.get("/readyz")
        assert (reply.status, reply.json(), reply.headers["cache-control"]) == (200, {"status": "ready"}, "no-store")
        (channel,) = await site.hub.broker.channels()
        assert (channel.name, channel.events) == (PROBE_CHANNEL, 1)


async def test_asking_often_does_not_fill_the_log() -> None:
    """Simultaneous askers, and those within a second, share one probe."""
    broker = Moody()
    async with serving(broker=broker) as site:
        replies = await asyncio.gather(*(site.get("/readyz") for _ in range(50)))
        assert {reply.status for reply in replies} == {200}
        assert broker.appends == 1


async def test_not_ready_while_the_broker_is_away() -> None:
    """503 with the time to ask again; asking often asks the broker once, and does not count as refusing anyone."""
    broker = Moody()
    async with serving(broker=broker) as site:
        broker.fails = True
        replies = [await site.get("/readyz") for _ in range(20)]
        assert {(reply.status, reply.json()["title"], reply.headers["retry-after"]) for reply in replies} == {
            (503, "Broker unavailable", "3")
        }
        assert broker.appends == 1
        assert not site.hub.rejections


async def test_not_ready_while_draining() -> None:
    """New clients are to go elsewhere, at once and whatever the last probe said."""
    async with serving() as site:
        assert (await site.get("/readyz")).status == 200
        await site.hub.drain(0)
        reply = await site.get("/readyz")
        assert (reply.status, reply.json()["title"]) == (503, "Draining")


async def test_a_failed_probe_is_an_outcome() -> None:
    """It is returned and not raised; other failures are not hidden."""
    broker = Moody()
    async with serving(broker=broker) as site:
        assert await probe(site.hub) is None
        broker.fails = True
        assert isinstance(await probe(site.hub), Unavailable)
    assert isinstance(await probe(site.hub), Unavailable)
    with pytest.raises(BrokerUnavailable):
        await broker.append([Draft.json("a")])
