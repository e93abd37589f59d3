"""Guarantee 5: reads are complete, in either direction, page by page; and what the log tells about itself."""

from __future__ import annotations

from headwater.brokers.base import Page
from headwater.event import Draft
from headwater.testing.contract.node import Contract, Node, tick


class Reading(Contract):
    """Pages, positions by time, channels."""

    async def test_read_keeps_to_its_range_and_channels(self) -> None:
        """After the first bound, through the second, in order, of these channels only."""
        async with self.node() as node:
            seqs = await _mix(node)
            page = await node.broker.read(["a", "c"], seqs[1], seqs[7], 100)
            assert _seqs(page) == [seq for index, seq in enumerate(seqs) if index % 3 != 1 and 1 < index <= 7]
            assert page.end.seq == seqs[7]

    async def test_read_goes_on_where_a_page_ended(self) -> None:
        """Pages of any size together are the whole; a full one ends at its last event."""
        async with self.node() as node:
            seqs = await _mix(node)
            for size in (1, 2, 3, 5, len(seqs)):
                found, after = [], 0
                while True:
                    page = await node.broker.read(["a", "b", "c"], after, seqs[-1], size)
                    assert len(page.events) <= size
                    found += _seqs(page)
                    after = page.end.seq
                    if len(page.events) < size:
                        break
                    assert page.end == page.events[-1].position
                assert found == seqs
                assert after == seqs[-1]

    async def test_read_ends_at_the_head(self) -> None:
        """A bound beyond the head reads to the head; nothing there is an empty page that ends there too."""
        async with self.node() as node:
            assert await node.broker.read(["a"], 0, 1000) == Page((), node.head)
            (head,) = await node.append(Draft(channel="a"))
            assert (await node.broker.read(["a"], 0, head.seq + 1000)).end == head
            assert await node.broker.read(["a"], head.seq, head.seq + 1000) == Page((), head)
            assert await node.broker.read(["unknown", "a"], head.seq, head.seq) == Page((), head)
            assert await node.broker.read([], 0, head.seq) == Page((), head)

    async def test_read_names_a_channel_once(self) -> None:
        """A channel that is named twice is not read twice."""
        async with self.node() as node:
            seqs = await node.fill("a", 3)
            assert _seqs(await node.broker.read(["a", "a"], 0, seqs[-1])) == seqs
            assert _seqs(await node.broker.read_back(["a", "a"], seqs[-1])) == seqs[::-1]

    async def test_read_back_gives_the_newest_first(self) -> None:
        """Through its bound, of these channels only."""
        async with self.node() as node:
            seqs = await _mix(node)
            page = await node.broker.read_back(["a", "b"], seqs[7], 3)
            assert _seqs(page) == [seqs[7], seqs[6], seqs[4]]
            assert page.end == page.events[-1].position

    async def test_read_back_goes_on_where_a_page_ended(self) -> None:
        """Pages of any size together are the whole; one that is not full has reached the beginning."""
        async with self.node() as node:
            seqs = await _mix(node)
            for size in (1, 4, len(seqs), len(seqs) + 1):
                found, before = [], seqs[-1] + 1000
                while True:
                    page = await node.broker.read_back(["a", "b", "c"], before, size)
                    assert len(page.events) <= size
                    found += _seqs(page)
                    if len(page.events) < size:
                        break
                    before = page.end.seq - 1
                assert found == seqs[::-1]
                assert page.end.seq == 0
                assert page.end.epoch == node.head.epoch

    async def test_what_was_appended_can_be_read_at_once(self) -> None:
        """By the node that appended it, and by every other."""
        async with self.node() as node:
            for _ in range(10):
                (position,) = await node.append(Draft(channel="a"))
                assert await node.broker.head() == position
                assert _seqs(await node.broker.read(["a"], position.seq - 1, position.seq)) == [position.seq]
            if self.shares_log:
                async with self.node() as other:
                    (position,) = await node.append(Draft(channel="a"))
                    assert await other.broker.head() == position
                    assert (await other.broker.read_back(["a"], position.seq, 1)).end == position

    async def test_position_at_is_before_the_first_event_of_that_time_or_later(self) -> None:
        """The beginning for times before the log, the head for times after it."""
        async with self.node() as node:
            assert await node.broker.position_at(0) == node.head
            marks = []
            for _ in range(4):
                before = await node.broker.head()
                marks.append((await tick(), before))
                await node.fill("a", 3)
                await node.append(*[Draft(channel="b")] * 2)
            for time, before in marks:
                assert await node.broker.position_at(time) == before
            assert (await node.broker.position_at(0)).seq == 0
            assert await node.broker.position_at(await tick()) == await node.broker.head()

    async def test_channels_tells_what_there_is(self) -> None:
        """Per channel the number of events, the bytes of their data as UTF-8, and the newest one; by name."""
        async with self.node(follow=["room:1"]) as node:
            assert await node.broker.channels() == ()
            await node.fill("room:2", 1)
            await node.append(Draft(channel="room:1", data="héé", text=True), Draft(channel="room:1", data="12"))
            await node.fill("Other", 1)
            infos = await node.broker.channels("room:")
            assert [(info.name, info.events, info.bytes) for info in infos] == [("room:1", 2, 7), ("room:2", 1, 4)]
            assert infos[0].last == node.feed.events[-1].position
            assert infos[0].last_time == node.feed.events[-1].time
            assert [info.name for info in await node.broker.channels()] == ["Other", "room:1", "room:2"]
            assert [info.name for info in await node.broker.channels(limit=2)] == ["Other", "room:1"]
            assert await node.broker.channels("nothing") == ()


async def _mix(node: Node) -> list[int]:
    """Ten events of the channels a, b, c, a, b, ..."""
    return [(await node.append(Draft(channel="abc"[index % 3])))[0].seq for index in range(10)]


def _seqs(page: Page) -> list[int]:
    return [event.position.seq for event in page.events]
