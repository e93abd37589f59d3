"""The first of many streams and channels."""

from __future__ import annotations

import asyncio
import time

import pytest

from headwater.brokers.base import ChannelInfo
from headwater.brokers.memory import MemoryBroker
from headwater.hub import Hub, survey
from headwater.hub.survey import SLICE, ChannelOrder, StreamOrder
from headwater.stream import CloseReason
from tests.hub.made import Nowhere
from tests.hub.support import connect, publish, running, settled, stream_of, subscription

CROWD = 5_000


async def crowd(hub: Hub, count: int = CROWD) -> None:
    """Streams of as many people, each on a channel of its own and one that all read."""
    for number in range(count):
        wanted = subscription(f"user:{number}", "all", id=f"person-{number}", address="192.0.2.1")
        async with hub.prepare(wanted) as opening:
            opening.attach(Nowhere(chunked=True))


async def numbers(hub: Hub, order: StreamOrder = StreamOrder.OLDEST, limit: int = 10, **asked: str) -> list[int]:
    """Ids of the streams that a survey finds."""
    return [info.id for info in (await survey.streams(hub, order, limit=limit, **asked)).streams]


async def test_streams_come_in_order() -> None:
    """The oldest, the newest, or those furthest behind first, however they are cut into slices."""
    async with running() as hub:
        late = [await connect(hub, "a", capacity=1) for _ in range(2)]
        others = [await connect(hub, "a") for _ in range(3)]
        await publish(hub, "a", *range(4))
        await settled()
        assert await numbers(hub) == [1, 2, 3, 4, 5]
        assert await numbers(hub, StreamOrder.NEWEST, limit=2) == [5, 4]
        assert await numbers(hub, StreamOrder.BEHIND, limit=3) == [1, 2, 3]
        found = await survey.streams(hub, StreamOrder.BEHIND, limit=1)
        assert (found.matching, found.total, found.streams[0].behind > 0) == (5, 5, True)
        assert len(late) + len(others) == 5


async def test_streams_are_searched() -> None:
    """By text in a principal, an address or a channel, whatever its case; by number; by a whole channel."""
    async with running() as hub:
        await connect(hub, "room:1", "x", id="Ada", address="192.0.2.7")
        await connect(hub, "room:12", id="bob", address="198.51.100.1")
        await connect(hub, "room:12", address="198.51.100.2")
        assert await numbers(hub, search="aDa") == await numbers(hub, search="192.") == [1]
        assert await numbers(hub, search="room:1") == [1, 2, 3]
        assert await numbers(hub, search="#2") == [2]
        assert await numbers(hub, search="nothing") == []
        assert await numbers(hub, channel="room:1") == [1]
        assert await numbers(hub, channel="room:12", search="bob") == [2]


async def test_streams_that_end_meanwhile_are_left_out() -> None:
    """A survey takes several turns of the loop."""
    async with running() as hub:
        first, _ = await connect(hub, "a"), await connect(hub, "a")
        asking = asyncio.create_task(numbers(hub))
        await asyncio.sleep(0)
        hub.streams.close(stream_of(first), CloseReason.ADMIN)
        assert await asking == [2]


async def names(hub: Hub, order: ChannelOrder = ChannelOrder.NAME, limit: int = 10, **asked: str) -> list[str]:
    """Names of the channels that a survey finds."""
    return [row.name for row in (await survey.channels(hub, order, limit=limit, **asked)).channels]


async def test_channels_come_in_order() -> None:
    """The busiest, the most read, or by name; those that nobody reads here after all others with events."""
    async with running(wall=time.time) as hub:  # the broker's clock
        for channel in ("b", "a", "c", "c"):
            await connect(hub, channel)
        await publish(hub, "b", *range(20))
        await publish(hub, "far", 1)
        assert await names(hub) == ["a", "b", "c", "far"]
        assert await names(hub, ChannelOrder.PACE, limit=2) == ["b", "a"]
        assert await names(hub, ChannelOrder.READERS, limit=1) == ["c"]
        assert await names(hub, search="f") == ["far"]
        rows = {row.name: row for row in (await survey.channels(hub, ChannelOrder.NAME, limit=10)).channels}
        assert (rows["b"].pace, rows["b"].events, rows["b"].followed) == (2.0, 20, True)
        assert (rows["c"].pace, rows["c"].readers, rows["c"].time, rows["c"].events) == (0.0, 2, None, None)
        assert (rows["far"].followed, rows["far"].readers, rows["far"].events) == (False, 0, 1)


class Counting(MemoryBroker):
    """A broker that counts how often it is asked for channels, and knows one more than it should."""

    asked = 0

    async def channels(self, prefix: str = "", limit: int = 1000) -> tuple[ChannelInfo, ...]:
        self.asked += 1
        return await super().channels(prefix, limit)


async def test_the_log_is_not_asked_for_what_cannot_be() -> None:
    """No channel begins with such a text, which a log may not even take; with $ alone some of the hub's own do."""
    broker = Counting()
    async with running(broker) as hub:
        for search in ("\0", "a b", "é", "a" * 201):
            assert await names(hub, search=search) == []
        assert broker.asked == 0
        for search in ("", "$", "$changes", "a"):
            await names(hub, search=search)
        assert broker.asked == 4


async def test_the_log_is_asked_only_where_there_is_room() -> None:
    """A list that is full of channels read here needs nothing else; and a followed channel that is not in the list, because
    others came first, is not taken for one that nobody reads."""
    broker = Counting()
    async with running(broker) as hub:
        for channel in ("a", "b", "c"):
            await connect(hub, channel)
            await publish(hub, channel, 1)
        assert await names(hub, limit=3) == ["a", "b", "c"]
        assert broker.asked == 0
        assert await names(hub, limit=4) == ["a", "b", "c"]
        assert broker.asked == 1


async def test_five_thousand_streams_do_not_hold_up_the_loop() -> None:
    """Each step of a survey looks at SLICE of them at most, whatever is asked; a sample at none. Bounds of processor time are
    several times what they need, so that only another order of magnitude fails."""
    async with running() as hub:
        await crowd(hub)
        turns = 0

        async def turning() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        other = asyncio.create_task(turning())
        begun = time.process_time()
        found = await survey.streams(hub, StreamOrder.BEHIND, search="person-49", limit=50)
        await survey.channels(hub, ChannelOrder.PACE, limit=50)
        spent = time.process_time() - begun
        other.cancel()
        assert (found.matching, found.total, len(found.streams)) == (111, CROWD, 50)
        assert turns >= 2 * CROWD // SLICE
        assert spent < 1.0
        begun = time.process_time()
        for _ in range(100):
            hub.statistics()
        assert (time.process_time() - begun) / 100 < 0.002


@pytest.mark.parametrize("order", list(StreamOrder))
async def test_nobody_is_a_short_list(order: StreamOrder) -> None:
    """Without streams there are none."""
    async with running() as hub:
        found = await survey.streams(hub, order, limit=5)
        assert (found.streams, found.matching, found.total) == ([], 0, 0)
