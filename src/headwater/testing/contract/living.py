"""Guarantee 6, and the life of a broker: epochs, opening, closing, and being cancelled anywhere."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

from headwater.brokers.base import Broker, Renewable, Retention
from headwater.errors import BrokerUnavailable
from headwater.event import Draft
from headwater.testing.contract.node import Contract, Recorder, later, raises

Operation = Callable[[Broker], Awaitable[object]]

OPERATIONS: tuple[Operation, ...] = (
    lambda broker: broker.append([Draft(channel="a"), Draft(channel="a")]),
    lambda broker: broker.follow(["a"]),
    lambda broker: broker.read(["a"], 0, 10),
    lambda broker: broker.read_back(["a"], 10),
    lambda broker: broker.position_at(later(60)),
    lambda broker: broker.horizon(["a"]),
    lambda broker: broker.head(),
    lambda broker: broker.channels(),
    lambda broker: broker.prune(0),
    lambda broker: broker.begin_epoch() if isinstance(broker, Renewable) else broker.head(),
)


class Living(Contract):
    """Epochs, closing, cancellation."""

    async def test_everything_is_of_one_epoch(self) -> None:
        """The head, the positions of appends, of events and of pages."""
        async with self.node(follow=["a"]) as node:
            (position,) = await node.append(Draft(channel="a"))
            page = await node.broker.read(["a"], 0, position.seq)
            found = [position, await node.broker.head(), page.end, page.events[0].position, node.feed.upto]
            found += [await node.broker.position_at(0), (await node.broker.read_back(["b"], 1)).end]
            found += [await node.broker.follow(["b"]), (await node.broker.channels())[0].last]
            assert {each.epoch for each in found if each is not None} == {node.head.epoch}
            assert node.feed.restarts == []

    async def test_t26_a_new_log_is_a_new_epoch(self) -> None:
        """A node that uses the log is told so, is fed from there on, and appends to the new log."""
        if not self.can_wipe:
            return
        async with self.node(follow=["a"]) as node:
            (old,) = await node.append(Draft(channel="a", data="1"))
            await self.wipe(node.broker)
            (new,) = await node.append(Draft(channel="a", data="2"))
            assert new.epoch != old.epoch
            assert [head.epoch for head in node.feed.restarts] == [new.epoch]
            assert node.feed.restarts[0] < new
            assert node.feed.events[-1].position == new
            assert await node.seqs("a") == [new.seq]
            assert (await node.broker.head()) == new

    async def test_t26_a_new_log_is_noticed_without_appending(self) -> None:
        """By a node that only follows, and in what it reads."""
        if not self.can_wipe:
            return
        async with self.node(follow=["a"]) as node:
            (old,) = await node.append(Draft(channel="a"))
            await self.wipe(node.broker)
            assert (await node.broker.head()).epoch != old.epoch
            await node.feed.until(lambda: bool(node.feed.restarts))
            assert node.feed.restarts[0].epoch != old.epoch
            assert (await node.broker.read(["a"], 0, 10)).events == ()

    async def test_an_epoch_can_be_ended_by_hand(self) -> None:
        """Where the broker can do so. All nodes are told, once; events and idempotency keys stay, in the new epoch."""
        async with self.node(follow=["a"]) as node, AsyncExitStack() as stack:
            if not isinstance(node.broker, Renewable):
                return
            nodes = [node]
            if self.shares_log:
                nodes.append(await stack.enter_async_context(self.node(follow=["a"])))
            (old,) = await node.append(Draft(channel="a", data="1", idempotency_key="k"))
            for each in nodes:
                await each.feed.complete(old)
            await node.broker.begin_epoch()
            for each in nodes:
                await each.feed.until(lambda each=each: bool(each.feed.restarts))  # type: ignore[misc]
            (new,) = await node.append(Draft(channel="a", data="2"))
            for each in nodes:
                await each.feed.complete(new)
                assert [head.epoch for head in each.feed.restarts] == [new.epoch]
                assert each.feed.events[-1].position == new
                found = (await each.broker.read(["a"], 0, new.seq)).events
                assert [(event.data, event.position.epoch) for event in found] == [("1", new.epoch), ("2", new.epoch)]
            assert new.epoch != old.epoch
            assert (await node.append(Draft(channel="a", data="1", idempotency_key="k"))) == (found[0].position,)

    async def test_a_publisher_needs_no_feed(self) -> None:
        """It can append and read."""
        broker = self.connect(Retention())
        head = await broker.open()
        try:
            positions = await broker.append([Draft(channel="a")])
            assert positions[0] > head
            assert (await broker.read(["a"], 0, positions[0].seq)).end == positions[0]
        finally:
            await broker.aclose()

    async def test_closing_twice_is_closing_once(self) -> None:
        """Also at the same time, and for a broker that was never opened."""
        broker = self.connect(Retention())
        await broker.aclose()
        async with self.node() as node:
            await asyncio.gather(node.broker.aclose(), node.broker.aclose())
            await node.broker.aclose()

    async def test_a_closed_broker_does_nothing(self) -> None:
        """Every operation says that it is closed; nothing hangs."""
        async with self.node() as node:
            await node.broker.aclose()
            for operation in OPERATIONS:
                await raises(BrokerUnavailable, operation(node.broker))

    async def test_closing_lets_pending_appends_finish(self) -> None:
        """Whoever waits for one gets its answer, and the event is in the log."""
        async with self.node(follow=["a"]) as node:
            appends = [asyncio.create_task(node.append(Draft(channel="a"))) for _ in range(50)]
            await asyncio.sleep(0)
            await node.broker.aclose()
            results = await asyncio.gather(*appends)
            assert len(set(results)) == 50
        if self.shares_log:
            async with self.node() as node:
                assert await node.seqs("a") == sorted(position.seq for (position,) in results)

    async def test_a_cancelled_append_is_whole_or_nothing(self) -> None:
        """Wherever it is cancelled: its key tells which, and the broker works on."""
        async with self.node(follow=["a"]) as node:
            for steps in range(30):
                drafts = [Draft(channel="a", data=f"[{steps},{i}]", idempotency_key=f"{steps}-{i}") for i in range(3)]
                await _cancel_after(steps, node.broker.append(drafts))
                assert len(await node.seqs("a")) - 3 * steps in (0, 3)
                positions = await node.append(*drafts)
                assert len(set(positions)) == 3
            page = await node.broker.read(["a"], 0, (await node.broker.head()).seq)
            assert [event.data for event in page.events] == [f"[{steps},{i}]" for steps in range(30) for i in range(3)]
            assert node.feed.events == list(page.events)

    async def test_anything_may_be_cancelled_anywhere(self) -> None:
        """Afterwards everything works, and the feed is as complete as before."""
        async with self.node(follow=["a"]) as node:
            for operation in OPERATIONS:
                for steps in range(12):
                    await _cancel_after(steps, operation(node.broker))
                await operation(node.broker)
            await node.fill("a", 1)
            assert node.feed.seqs() == await node.seqs("a")

    async def test_opening_and_closing_may_be_cancelled(self) -> None:
        """Nothing is left behind that would keep the next broker from the log."""
        for steps in range(12):
            broker = self.connect(Retention())
            await _cancel_after(steps, broker.open(Recorder()))
            await _cancel_after(steps, broker.aclose())
            await broker.aclose()
        async with self.node() as node:
            await node.fill("a", 1)


async def _cancel_after(steps: int, work: Awaitable[object]) -> None:
    """Let something run for some turns of the loop, then cancel it."""
    task = asyncio.ensure_future(work)
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    (result,) = await asyncio.gather(task, return_exceptions=True)
    assert not isinstance(result, Exception), result
