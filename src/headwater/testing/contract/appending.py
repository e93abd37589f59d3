"""Guarantees 1 and 2: the order of the log, and that a batch lands whole, durably, and as it was handed over."""

from __future__ import annotations

import asyncio
import time

from headwater.errors import IdempotencyConflict
from headwater.event import Draft, Event
from headwater.testing.contract.node import Contract, raises, tick

AWKWARD = (
    *(
        "",
        " ",
        "\n",
        "\n\ndata: forged\n",
        "a\x00b",
        "\x01\x7f\x85",
        "\u2028\u2029\ufeff",
        "\U0001f600",
        "'\"\\%s:{}$1",
    ),
    "x" * 300_000,
)
"""Texts that some store, somewhere, has not given back as they were."""


class Appending(Contract):
    """Order, atomicity, durability."""

    async def test_positions_strictly_increase(self) -> None:
        """Each event's position is later than that of the one before, and than the head at the start."""
        async with self.node() as node:
            seqs = [node.head.seq, *await node.fill("a", 20), *await node.fill("b", 20)]
            assert seqs == sorted(set(seqs))

    async def test_a_batch_has_increasing_positions_in_its_order(self) -> None:
        """A batch's positions are in the order of its drafts, and so are its events in the log."""
        async with self.node() as node:
            drafts = [Draft(channel="ab"[index % 2], data=str(index)) for index in range(50)]
            positions = await node.append(*drafts)
            assert list(positions) == sorted(set(positions))
            page = await node.broker.read(["a", "b"], 0, positions[-1].seq)
            assert [event.data for event in page.events] == [draft.data for draft in drafts]
            assert [event.position for event in page.events] == list(positions)

    async def test_an_empty_batch_is_nothing(self) -> None:
        """Appending no drafts returns no positions and moves no head."""
        async with self.node() as node:
            assert await node.append() == ()
            assert await node.broker.head() == node.head

    async def test_an_event_is_what_its_draft_was(self) -> None:
        """Channel, type, data, text and permissions come back as they were, from the feed and from the log alike."""
        drafts = [Draft(channel="a", data=text, text=True) for text in AWKWARD]
        drafts += [
            Draft.json("a", "log", {"level": "info", "n": [1, 2.5, None]}, permissions=["rooms.read", "a:b", "z"]),
            Draft(channel="x-_.:/@=9", type="Ünïcode type", permissions=frozenset({"one"})),
        ]
        async with self.node(follow=["a", "x-_.:/@=9"]) as node:
            for draft in drafts:
                await node.append(draft)
            page = await node.broker.read(["a", "x-_.:/@=9"], 0, (await node.broker.head()).seq)
            for found in (node.feed.events, list(page.events)):
                assert [_content(event) for event in found] == [_content(draft) for draft in drafts]
            assert list(page.events) == node.feed.events

    async def test_events_carry_the_time_at_which_they_were_accepted(self) -> None:
        """In milliseconds of Unix time, and never running backwards."""
        async with self.node(follow=["a"]) as node:
            before = int(time.time() * 1000)
            await node.fill("a", 5)
            await tick()
            await node.fill("a", 5)
            times = [event.time for event in node.feed.events]
            assert before <= times[0]
            assert times == sorted(times)
            assert times[-1] <= int(time.time() * 1000)

    async def test_concurrent_appends_keep_their_batches_whole(self) -> None:
        """Batches appended at the same time all land, each in its own order, and the log is the order of positions."""
        async with self.node() as node:
            batches = [[Draft(channel="a", data=f"[{b},{i}]") for i in range(1 + b % 7)] for b in range(60)]
            results = await asyncio.gather(*(node.append(*batch) for batch in batches))
            page = await node.broker.read(["a"], 0, (await node.broker.head()).seq, 1000)
            data = {event.position: event.data for event in page.events}
            assert list(data) == sorted(data)
            for batch, positions in zip(batches, results, strict=True):
                assert list(positions) == sorted(set(positions))
                assert [data.pop(position) for position in positions] == [draft.data for draft in batch]
            assert not data

    async def test_a_refused_batch_leaves_nothing(self) -> None:
        """If one draft of a batch is refused, none of the batch is in the log."""
        async with self.node() as node:
            await node.append(Draft(channel="a", idempotency_key="k", data="1"))
            batch = [Draft(channel="a"), Draft(channel="b"), Draft(channel="a", idempotency_key="k", data="2")]
            head = await node.broker.head()
            await raises(IdempotencyConflict, node.append(*batch))
            assert await node.broker.head() == head
            assert await node.seqs("a", "b") == [head.seq]

    async def test_what_was_appended_outlives_the_broker(self) -> None:
        """After a broker was closed, the next one on the same log has its events, epoch, head and keys."""
        if not self.shares_log:
            return
        draft = Draft(channel="a", data="1", idempotency_key="k")
        async with self.node() as node:
            positions = await node.append(draft, Draft(channel="b"))
        async with self.node() as node:
            assert node.head == positions[-1]
            assert await node.seqs("a", "b") == [position.seq for position in positions]
            assert await node.append(draft) == positions[:1]
            assert (await node.append(Draft(channel="a")))[0] > positions[-1]

    async def test_nodes_see_the_same_events_at_the_same_positions(self) -> None:
        """Two nodes that append at the same time agree on the log, in their feeds and in their reads."""
        if not self.shares_log:
            return
        async with self.node(follow=["a", "b"]) as one, self.node(follow=["a", "b"]) as two:
            await asyncio.gather(*(node.fill(name, 30) for node in (one, two) for name in "ab"))
            head = await one.broker.head()
            await one.feed.complete(head)
            await two.feed.complete(head)
            assert len(one.feed.events) == 120
            assert one.feed.events == two.feed.events
            pages = [await node.broker.read(["a", "b"], 0, head.seq, 500) for node in (one, two)]
            assert [list(page.events) for page in pages] == [one.feed.events] * 2


def _content(thing: Draft | Event) -> tuple[object, ...]:
    return thing.channel, thing.type, thing.data, thing.text, thing.permissions
