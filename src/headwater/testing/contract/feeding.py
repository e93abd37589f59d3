"""Guarantee 4: after `follow` the feed gets every event of its channels, once, in order."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Collection

from headwater.event import Draft, Position
from headwater.testing.contract.node import Contract, Node


class Feeding(Contract):
    """The feed."""

    async def test_the_feed_has_an_event_before_append_returns(self) -> None:
        """A publisher's own node shows it at once."""
        async with self.node(follow=["a"]) as node:
            for _ in range(20):
                (position,) = await node.append(Draft(channel="a"))
                assert node.feed.seqs()[-1:] == [position.seq]

    async def test_the_feed_has_only_what_is_followed(self) -> None:
        """Events of other channels move `upto` and nothing else."""
        async with self.node(follow=["a"]) as node:
            await node.fill("b", 5)
            wanted = await node.fill("a", 1)
            (position, *_) = await node.append(Draft(channel="c"))
            await node.feed.complete(position)
            assert node.feed.seqs() == wanted

    async def test_follow_takes_effect_at_its_position(self) -> None:
        """What came before is not repeated; everything after comes."""
        async with self.node() as node:
            await node.fill("a", 3)
            position = await node.broker.follow(["a"])
            assert position == await node.broker.head()
            assert node.feed.upto == position
            assert node.feed.seqs(after=position.seq) == []
            assert await node.fill("a", 2) == node.feed.seqs(after=position.seq)

    async def test_follow_adds(self) -> None:
        """Channels that are followed already stay so, and following twice delivers once."""
        async with self.node(follow=["a"]) as node:
            await node.broker.follow(["b", "a"])
            await node.broker.follow(["b"])
            positions = await node.append(Draft(channel="a"), Draft(channel="b"))
            assert node.feed.seqs() == [position.seq for position in positions]

    async def test_unfollow_ends_it(self) -> None:
        """Nothing more comes of that channel; others go on; unknown ones are ignored."""
        async with self.node(follow=["a", "b"]) as node:
            first = await node.fill("a", 1)
            await node.broker.unfollow(["a", "unknown"])
            await node.fill("a", 1)
            last = await node.fill("b", 1)
            assert node.feed.seqs() == first + last
            await node.broker.unfollow(["b"])
            await node.fill("b", 1)
            assert node.feed.seqs() == first + last

    async def test_following_again_begins_anew(self) -> None:
        """What was missed meanwhile is to be read from the log, not from the feed."""
        async with self.node(follow=["a"]) as node:
            await node.broker.unfollow(["a"])
            await node.fill("a", 3)
            position = await node.broker.follow(["a"])
            wanted = await node.fill("a", 2)
            assert node.feed.seqs(after=position.seq) == wanted

    async def test_follow_and_unfollow_keep_their_order(self) -> None:
        """Called one after the other without waiting, the last call decides."""
        async with self.node() as node:
            for last in ("follow", "unfollow"):
                await node.broker.unfollow(["a"])
                calls = [node.broker.follow, node.broker.unfollow, node.broker.follow, node.broker.unfollow]
                tasks = [asyncio.ensure_future(call(["a"])) for call in calls[: 3 if last == "follow" else 4]]
                await asyncio.gather(*tasks)
                seen = len(node.feed.events)
                await node.fill("a", 1)
                assert len(node.feed.events) - seen == (last == "follow")

    async def test_t25_the_hand_off_has_no_gap_and_no_double(self) -> None:
        """Whenever a channel is followed while others append to it: the log up to that position, and then the feed, are
        together every event, once."""
        dice = random.Random(25)
        async with self.node() as node:
            joined: dict[str, Position] = {}
            publishing = [asyncio.create_task(_publish(node, "abcd", dice, 60, joined)) for _ in range(4)]
            for name in "abcd":
                for _ in range(dice.randrange(30)):
                    await asyncio.sleep(0)
                joined[name] = await node.broker.follow([name])
                assert node.feed.upto is None or joined[name] <= node.feed.upto
            await asyncio.gather(*publishing)
            for name, position in joined.items():
                page = await node.broker.read([name], 0, position.seq, 1000)
                seqs = [event.position.seq for event in page.events] + node.feed.seqs(name, after=position.seq)
                assert seqs == await node.seqs(name)

    async def test_the_hand_off_holds_while_channels_come_and_go(self) -> None:
        """Through many rounds of follow and unfollow under load, each time the feed is complete from its position on."""
        dice = random.Random(4)
        async with self.node(follow=["base"]) as node:
            publishing = asyncio.create_task(_publish(node, ["base", "a", "b"], dice, 300, ["base"]))
            while not publishing.done():
                name = dice.choice("ab")
                start = await node.broker.follow([name])
                for _ in range(dice.randrange(20)):
                    await asyncio.sleep(0)
                end = node.feed.upto or start
                await node.broker.unfollow([name])
                page = await node.broker.read([name], start.seq, end.seq, 1000)
                fed = [seq for seq in node.feed.seqs(name, after=start.seq) if seq <= end.seq]
                assert fed == [event.position.seq for event in page.events]
            await publishing
            assert node.feed.seqs("base") == await node.seqs("base")

    async def test_what_other_nodes_append_reaches_the_feed(self) -> None:
        """Once, in order, among this node's own events, each of which is there when its append returns."""
        if not self.shares_log:
            return
        dice = random.Random(7)
        async with self.node(follow=["a"]) as one, self.node(follow=["a", "b"]) as two:
            publishers = [_publish(node, "ab", dice, 40, "a") for node in (one, two) for _ in range(3)]
            await asyncio.gather(*publishers)
            head = await one.broker.head()
            await one.feed.complete(head)
            await two.feed.complete(head)
            assert one.feed.seqs() == await one.seqs("a")
            assert two.feed.seqs() == await two.seqs("a", "b")

    async def test_t25_the_hand_off_holds_for_what_others_append(self) -> None:
        """Following while another node appends misses nothing and repeats nothing."""
        if not self.shares_log:
            return
        dice = random.Random(8)
        async with self.node() as publisher:
            for _ in range(8):
                async with self.node() as node:
                    publishing = asyncio.create_task(_publish(publisher, "ab", dice, 25))
                    position = await node.broker.follow(["a"])
                    await publishing
                    await node.feed.complete(await publisher.broker.head())
                    assert node.feed.seqs(after=position.seq) == await node.seqs("a", after=position.seq)

    async def test_a_burst_of_another_node_arrives_whole(self) -> None:
        """Many thousand events at once come in order, and the loop runs in between."""
        if not self.shares_log:
            return
        async with self.node() as publisher, self.node(follow=["a"]) as node:
            batch = [Draft(channel="ab"[index % 2]) for index in range(1000)]
            for _ in range(5):
                await publisher.append(*batch)
            await node.feed.complete(await publisher.broker.head())
            assert len(node.feed.events) == 2500
            assert node.feed.seqs() == await node.seqs("a")


async def _publish(
    node: Node, channels: str | list[str], dice: random.Random, count: int, followed: Collection[str] = ()
) -> None:
    """Append `count` batches at random, each of which must have reached the node's feed when `append` returns, as far as its
    channels were `followed` before."""
    for _ in range(count):
        drafts = [Draft(channel=dice.choice(channels)) for _ in range(dice.randrange(1, 4))]
        awaited = [draft.channel in followed for draft in drafts]
        positions = await node.append(*drafts)
        due = [position for position, is_awaited in zip(positions, awaited, strict=True) if is_awaited]
        assert not due or (node.feed.upto is not None and node.feed.upto >= due[-1])
        for _ in range(dice.randrange(3)):
            await asyncio.sleep(0)
