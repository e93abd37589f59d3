"""Reading pages of the log: once for everyone, in no other log than this node's, and kept where it helps the next one."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.errors import BrokerUnavailable, PositionLost
from headwater.event import Draft
from headwater.hub.reading import FIRST_PAGE, MAX_PAGE, PAGE_BYTES, Reader, next_limit
from headwater.hub.registry import Channel
from headwater.hub.ring import Batch
from tests.hub.made import Node, frame
from tests.hub.scripted import Failing, Gate, ScriptedBroker
from tests.hub.support import settled


class Shelf:
    """A log of ten events, of channels a and b in turns, that a node hears of only from their end on; and its reader."""

    async def open(self) -> Shelf:
        """Fill the log and begin to listen."""
        self.broker = ScriptedBroker()
        await self.broker.open()
        await self.broker.append([Draft(channel=name, data=str(seq)) for seq, name in enumerate("ababababab", 1)])
        self.node = Node(self.broker)
        self.a, self.b = await self.node.open("a", "b")
        self.reader = Reader(self.broker, self.node.fanout)
        return self

    async def read(self, *channels: Channel, after: int = 0, until: int = 10, limit: int = FIRST_PAGE) -> Batch:
        """Read channel a, or others."""
        return await self.reader.read(channels or (self.a,), after, until, limit)


@pytest.fixture
async def shelf() -> Shelf:
    """See `Shelf`."""
    return await Shelf().open()


def seqs(batch: Batch) -> list[int]:
    """The seqs of a batch's frames."""
    return [each.seq for each in batch.frames]


# What is read


async def test_a_page_is_everything_of_the_channels_in_a_range(shelf: Shelf) -> None:
    """A page has the channels' events after one position through another, and ends there."""
    batch = await shelf.read(after=1, until=8)
    assert (seqs(batch), batch.upto) == ([3, 5, 7], 8)
    batch = await shelf.read(shelf.a, shelf.b, after=1, until=4)
    assert (seqs(batch), batch.upto) == ([2, 3, 4], 4)
    assert [each.event.data for each in batch.frames] == ["2", "3", "4"]


async def test_a_full_page_ends_with_its_last_event(shelf: Shelf) -> None:
    """A page with as many events as asked for ends with the last of them; the next one begins there."""
    batch = await shelf.read(limit=2)
    assert (seqs(batch), batch.upto) == ([1, 3], 3)


async def test_what_retention_removed_is_said_to_be_gone(shelf: Shelf) -> None:
    """A page that would have a hole is none."""
    shelf.broker.forget("a")
    with pytest.raises(PositionLost):
        await shelf.read()


async def test_a_store_that_is_away_is_said_to_be_away(shelf: Shelf) -> None:
    """The store's own error reaches the asker; the next one asks anew."""
    shelf.broker.script = Failing("read")
    with pytest.raises(BrokerUnavailable, match="the store is away"):
        await shelf.read()
    assert seqs(await shelf.read(limit=1)) == [1]


# Once for everyone


async def test_who_needs_the_same_page_at_the_same_time_shares_it(shelf: Shelf) -> None:
    """Any number of simultaneous askers for one page cost one read, and get the very same batch, joined once for all."""
    first, *others = await asyncio.gather(*(shelf.read() for _ in range(20)))
    assert all(batch is first for batch in others)
    assert shelf.broker.calls["read"] == 1


@pytest.mark.parametrize("other", [{"after": 1}, {"until": 9}, {"limit": 5}])
async def test_another_page_is_read_for_itself(shelf: Shelf, other: dict[str, int]) -> None:
    """Another range or length is another page."""
    one, two = await asyncio.gather(shelf.read(), shelf.read(**other))
    assert one is not two
    assert shelf.broker.calls["read"] == 2


async def test_other_channels_are_read_for_themselves(shelf: Shelf) -> None:
    """The same range of other channels is another page."""
    pages = await asyncio.gather(shelf.read(shelf.a), shelf.read(shelf.b), shelf.read(shelf.a, shelf.b))
    assert [seqs(page) for page in pages] == [[1, 3, 5, 7, 9], [2, 4, 6, 8, 10], list(range(1, 11))]


async def test_a_page_is_read_on_for_those_who_stay(shelf: Shelf) -> None:
    """One asker that goes away does not take the page from the others."""
    gate = shelf.broker.script = Gate("read")
    leaving, staying = asyncio.ensure_future(shelf.read()), asyncio.ensure_future(shelf.read())
    await gate.entered.wait()
    leaving.cancel()
    await settled()
    gate.open()
    assert seqs(await staying) == [1, 3, 5, 7, 9]
    assert leaving.cancelled()
    assert shelf.broker.calls["read"] == 1


# In this log only


async def test_a_page_of_a_log_that_the_feed_does_not_know_is_refused(shelf: Shelf) -> None:
    """A store that was replaced before the feed has heard of it answers with positions that mean nothing here."""
    shelf.broker.wipe(secret=True)
    await shelf.broker.foreign(*[Draft(channel="a")] * 3)
    with pytest.raises(BrokerUnavailable, match="begun anew") as caught:
        await shelf.read(until=3)
    assert caught.value.retry_after == 1
    with pytest.raises(BrokerUnavailable, match="begun anew"):
        await shelf.reader.horizon([shelf.a])


async def test_a_page_that_was_under_way_when_the_log_began_anew_is_refused(shelf: Shelf) -> None:
    """A page of the old log is of no use once the node is in the new one, and who asks for the same range of the new one
    does not get it either."""
    gate = shelf.broker.script = Gate("read done")
    old = asyncio.ensure_future(shelf.read(until=2))
    await gate.entered.wait()
    shelf.broker.wipe()
    await shelf.broker.append([Draft(channel="a", data='"new"')] * 2)
    new = asyncio.ensure_future(shelf.read(until=2))
    await settled()
    gate.open()
    with pytest.raises(BrokerUnavailable, match="begun anew"):
        await old
    assert [each.event.data for each in (await new).frames] == ['"new"', '"new"']


async def test_a_page_that_leads_nowhere_is_refused(shelf: Shelf) -> None:
    """A store that is behind what its own feed has said answers with a page that ends where it begins, or before. Asking
    again at once would be answered the same."""
    for after in (10, 12):
        with pytest.raises(BrokerUnavailable, match="behind its own feed") as caught:
            await shelf.read(after=after, until=15)
        assert caught.value.retry_after == 1


async def test_the_horizon_is_where_reading_is_complete_from(shelf: Shelf) -> None:
    """The horizon is that of the channel of which most has been removed; from there on a page can be read."""
    assert await shelf.reader.horizon([shelf.a, shelf.b]) == 0
    shelf.broker.forget("a", 2)
    assert await shelf.reader.horizon([shelf.b]) == 0
    horizon = await shelf.reader.horizon([shelf.a, shelf.b])
    assert horizon == 3
    assert seqs(await shelf.read(shelf.a, shelf.b, after=horizon)) == [4, 5, 6, 7, 8, 9, 10]


# What the ring keeps


async def test_a_page_that_ends_where_the_ring_begins_is_kept(shelf: Shelf) -> None:
    """What was read just below the ring's floor extends it, and the next reconnect needs no store."""
    await shelf.broker.append([Draft(channel="a")])
    await shelf.read(after=4)
    assert shelf.a.ring.floor == 4
    assert [each.seq for each in shelf.a.ring.after(4, 11)] == [5, 7, 9, 11]


async def test_a_page_that_ends_elsewhere_is_not_kept(shelf: Shelf) -> None:
    """A page with something unread between it and the ring would leave a hole."""
    await shelf.read(until=9)
    await shelf.read(limit=2)
    assert (shelf.a.ring.floor, len(shelf.a.ring)) == (10, 0)


async def test_a_page_of_several_channels_is_not_kept(shelf: Shelf) -> None:
    """Only a page of one channel belongs to one ring."""
    await shelf.read(shelf.a, shelf.b)
    assert (shelf.a.ring.floor, len(shelf.a.ring)) == (10, 0)
    assert (shelf.b.ring.floor, len(shelf.b.ring)) == (10, 0)


async def test_a_shared_page_is_kept_once(shelf: Shelf) -> None:
    """However many wanted a page, the ring has each of its events once."""
    await asyncio.gather(*(shelf.read() for _ in range(5)))
    await shelf.read()
    assert [each.seq for each in shelf.a.ring.after(0, 10)] == [1, 3, 5, 7, 9]


# How much is asked for


@given(st.integers(1, MAX_PAGE), st.integers(0, 300_000))
def test_the_next_page_weighs_what_a_page_should(limit: int, length: int) -> None:
    """After a full page the next one is chosen so that, with events like these, it weighs no more than a page should, and
    nearly that unless it would have too many events; one event is asked for however large it is."""
    one = frame(1, "x" * length)
    chosen = next_limit(limit, Batch([one] * limit, limit))
    assert 1 <= chosen <= MAX_PAGE
    assert chosen == 1 or chosen * one.size <= PAGE_BYTES
    assert chosen == MAX_PAGE or (chosen + 1) * one.size > PAGE_BYTES


def test_nothing_read_says_nothing_against_a_large_page() -> None:
    """After a page without events the next one may be as large as any."""
    assert next_limit(FIRST_PAGE, Batch([], 5)) == MAX_PAGE


def test_a_first_page_of_the_largest_events_is_bounded() -> None:
    """Nothing is known yet of the first page's events; at 256 KiB each it weighs less than 32 MiB in all its forms."""
    assert FIRST_PAGE * frame(1, "x" * 256 * 1024).size < 32 << 20
