"""Guarantee 3: an idempotency key repeats the first answer, and never stands for two events."""

from __future__ import annotations

import asyncio

import msgspec

from headwater.brokers.base import Retention, Rule
from headwater.errors import IdempotencyConflict
from headwater.event import Draft
from headwater.testing.contract.node import Contract, later, raises

KEYED = Draft(channel="a", type="log", data="1", permissions=frozenset({"p", "q"}), idempotency_key="k")


class Keys(Contract):
    """Idempotency."""

    async def test_a_key_repeats_the_first_answer(self) -> None:
        """The second time nothing is appended, and the position is the first one's."""
        async with self.node(follow=["a"]) as node:
            first = await node.append(KEYED)
            await node.append(Draft(channel="a"))
            assert await node.append(KEYED) == first
            assert await node.seqs("a") == node.feed.seqs() == [first[0].seq, (await node.broker.head()).seq]

    async def test_a_repeated_draft_stands_among_new_ones(self) -> None:
        """In a batch with drafts that are new, each gets its own answer."""
        async with self.node() as node:
            (first,) = await node.append(KEYED)
            before, repeated, after = await node.append(Draft(channel="a"), KEYED, Draft(channel="a"))
            assert repeated == first
            assert first < before < after
            assert await node.seqs("a") == [first.seq, before.seq, after.seq]

    async def test_a_key_twice_in_one_batch_is_one_event(self) -> None:
        """Both get the position of the one event."""
        async with self.node() as node:
            one, two = await node.append(KEYED, KEYED)
            assert one == two
            assert await node.seqs("a") == [one.seq]

    async def test_a_key_used_for_two_events_in_one_batch_is_a_conflict(self) -> None:
        """Nothing of the batch is appended, and the key is still free."""
        async with self.node() as node:
            other = msgspec.structs.replace(KEYED, data="2")
            await raises(IdempotencyConflict, node.append(KEYED, other))
            assert await node.broker.head() == node.head
            await node.append(other)

    async def test_a_key_with_any_other_content_is_a_conflict(self) -> None:
        """Another channel, type, data, kind of data or set of permissions makes it another event."""
        changes: list[dict[str, object]] = [
            {"channel": "b"},
            {"type": "message"},
            {"data": "2"},
            {"text": True},
            {"permissions": frozenset({"p"})},
        ]
        async with self.node() as node:
            first = await node.append(KEYED)
            for change in changes:
                await raises(IdempotencyConflict, node.append(msgspec.structs.replace(KEYED, **change)))
            same = msgspec.structs.replace(KEYED, permissions=frozenset(["q", "p"]))
            assert await node.append(same) == first
            assert await node.broker.head() == first[0]

    async def test_a_conflict_harms_nobody_else(self) -> None:
        """Appends made at the same time as one that is refused all land."""
        async with self.node() as node:
            await node.append(KEYED)
            other = msgspec.structs.replace(KEYED, data="2")
            appends = [node.append(Draft(channel="a")) for _ in range(20)]
            appends[10:10] = [node.append(Draft(channel="a"), other)]
            results = await asyncio.gather(*appends, return_exceptions=True)
            assert [index for index, result in enumerate(results) if isinstance(result, BaseException)] == [10]
            assert isinstance(results[10], IdempotencyConflict)
            assert len(await node.seqs("a")) == 21

    async def test_the_same_draft_from_many_at_once_is_one_event(self) -> None:
        """All of them get its position."""
        async with self.node(follow=["a"]) as node:
            results = await asyncio.gather(*(node.append(KEYED) for _ in range(20)))
            assert len(set(results)) == 1
            assert node.feed.seqs() == [results[0][0].seq]

    async def test_a_key_holds_for_every_node(self) -> None:
        """A publisher may repeat its request to another node than the first."""
        if not self.shares_log:
            return
        async with self.node() as one, self.node(follow=["a"]) as two:
            first = await one.append(KEYED)
            assert await two.append(KEYED) == first
            assert two.feed.seqs() in ([], [first[0].seq])
            await raises(IdempotencyConflict, two.append(msgspec.structs.replace(KEYED, data="2")))

    async def test_a_key_is_remembered_after_its_event_is_gone(self) -> None:
        """Retention of events does not shorten the memory for keys."""
        async with self.node(Retention(rules=(Rule(age=60),))) as node:
            first = await node.append(KEYED)
            await node.broker.prune(later(3600))
            assert await node.retained("a") == []
            assert await node.append(KEYED) == first

    async def test_a_key_is_forgotten_in_the_end(self) -> None:
        """After `key_age` it may be used again, for anything."""
        async with self.node(Retention(key_age=60)) as node:
            first = await node.append(KEYED)
            await node.broker.prune(later(3600))
            other = msgspec.structs.replace(KEYED, data="2")
            assert (await node.append(other))[0] > first[0]
            await raises(IdempotencyConflict, node.append(KEYED))
