"""Retention: what is kept, what goes first, and that a read says so when something it should return is gone."""

from __future__ import annotations

from headwater.brokers.base import Retention, Rule
from headwater.errors import PositionLost
from headwater.event import Draft, Position, ResetReason
from headwater.testing.contract.node import Contract, Node, later, raises

FOREVER = Rule(count=None, age=None)
SOON = 60  # seconds from now at which the tests apply retention: a broker may spare what is only seconds old
HOUR = 3600


class Keeping(Contract):
    """Retention and `PositionLost`."""

    async def test_the_newest_are_kept_by_count(self) -> None:
        """Each channel keeps its newest events, whatever the others have."""
        async with self.node(Retention(rules=(Rule(count=3),))) as node:
            a, b = await node.fill("a", 5), await node.fill("b", 2)
            await _prune(node, "a", "b")
            assert await node.retained("a") == a[-3:]
            assert await node.retained("b") == b

    async def test_the_newest_are_kept_by_bytes(self) -> None:
        """The bytes of data that a channel keeps are at most the bound."""
        async with self.node(Retention(rules=(Rule(bytes=100),))) as node:
            seqs = await node.fill("a", 5, data='"' + "x" * 28 + '"')
            await _prune(node, "a")
            assert await node.retained("a") == seqs[-3:]
            assert (await node.broker.channels())[0].bytes == 90

    async def test_events_go_when_they_are_old(self) -> None:
        """Not before their age, and then all of them."""
        async with self.node(Retention(rules=(Rule(age=HOUR),))) as node:
            seqs = await node.fill("a", 3)
            assert await node.broker.prune(later(HOUR / 2)) == 0
            assert await node.seqs("a") == seqs
            assert await node.broker.prune(later(2 * HOUR)) == 3
            assert await node.retained("a") == []
            assert await node.broker.channels() == ()

    async def test_the_oldest_of_the_log_go_when_it_is_too_large(self) -> None:
        """Whatever channel they are in."""
        async with self.node(Retention(rules=(FOREVER,), total_bytes=100)) as node:
            data = '"' + "x" * 28 + '"'
            seqs = [(await node.fill(name, 1, data))[0] for name in "abacb"]
            await _prune(node, "a", "b", "c")
            assert await node.retained("a", "b", "c") == seqs[-3:]

    async def test_the_first_rule_that_matches_counts(self) -> None:
        """A channel without a matching rule has the default one."""
        rules = (Rule(pattern="a:*", count=1), Rule(pattern="a:**", count=2), Rule(pattern="b", count=None))
        async with self.node(Retention(rules=rules)) as node:
            seqs = {name: await node.fill(name, 4) for name in ("a:1", "a:1:2", "b", "other")}
            await _prune(node, *seqs)
            kept = {name: await node.retained(name) for name in seqs}
            assert kept == {
                "a:1": seqs["a:1"][-1:],
                "a:1:2": seqs["a:1:2"][-2:],
                "b": seqs["b"],
                "other": seqs["other"],
            }

    async def test_prune_tells_how_many_went(self) -> None:
        """As many as can be read no more; and it finds nothing the second time."""
        async with self.node(Retention(rules=(Rule(count=2, age=HOUR),))) as node:
            for name in "abc":
                await node.fill(name, 4)
            held = await node.retained("a", "b", "c")
            assert await node.broker.prune(later(2 * HOUR)) == len(held)
            assert await node.broker.prune(later(2 * HOUR)) == 0

    async def test_a_read_from_before_what_is_gone_says_so(self) -> None:
        """Exactly if an event of its channels after its position was removed; never a part with a hole."""
        async with self.node(Retention(rules=(Rule(count=3),))) as node:
            await node.fill("b", 1)
            seqs = await node.fill("a", 6)
            await _prune(node, "a", "b")
            for after in (0, seqs[0], seqs[1], seqs[2] - 1):
                error = await raises(PositionLost, node.broker.read(["b", "a"], after, seqs[-1]))
                assert isinstance(error, PositionLost)
                assert error.reason == ResetReason.EXPIRED
            assert await node.seqs("a", after=seqs[2]) == seqs[3:]
            assert len(await node.seqs("b")) == 1

    async def test_the_horizon_is_where_complete_reads_begin(self) -> None:
        """From it a read of those channels succeeds, from the position before it fails; 0 where nothing was removed."""
        async with self.node(Retention(rules=(Rule(count=3),))) as node:
            seqs = await node.fill("a", 6)
            await node.fill("b", 1)
            await _prune(node, "a", "b")
            horizon = await node.broker.horizon(["b", "a", "unknown"])
            assert horizon == Position(node.head.epoch, seqs[2])
            assert await node.seqs("a", after=horizon.seq) == seqs[3:]
            await raises(PositionLost, node.broker.read(["a"], horizon.seq - 1, seqs[-1]))
            for unharmed in (["b"], ["unknown"], []):
                assert (await node.broker.horizon(unharmed)).seq == 0

    async def test_an_empty_channel_still_knows_what_it_lost(self) -> None:
        """Also when nothing of it is left, and when it begins again."""
        async with self.node(Retention(rules=(Rule(age=HOUR),))) as node:
            seqs = await node.fill("a", 3)
            await node.broker.prune(later(2 * HOUR))
            for _ in range(2):
                await raises(PositionLost, node.broker.read(["a"], seqs[-1] - 1, seqs[-1] + 10))
                fresh = await node.seqs("a", after=seqs[-1])
                fresh += await node.fill("a", 1)
            assert await node.seqs("a", after=seqs[-1]) == fresh
            assert await node.seqs("never used") == []

    async def test_read_back_takes_what_there_is(self) -> None:
        """Asking for the newest events is no error when older ones are gone."""
        async with self.node(Retention(rules=(Rule(count=3),))) as node:
            seqs = await node.fill("a", 6)
            await _prune(node, "a")
            page = await node.broker.read_back(["a"], seqs[-1], 10)
            assert [event.position.seq for event in page.events] == seqs[:2:-1]
            assert page.end.seq == 0

    async def test_a_position_is_never_given_twice(self) -> None:
        """Not even when everything is gone, nor after the broker was closed."""
        retention = Retention(rules=(Rule(age=HOUR),))
        async with self.node(retention) as node:
            seqs = await node.fill("a", 3)
            head = await node.broker.head()
            await node.broker.prune(later(2 * HOUR))
            assert await node.broker.head() == head
            seqs += await node.fill("b", 1)
            await node.broker.prune(later(2 * HOUR))
            assert seqs == sorted(set(seqs))
        if self.shares_log:
            async with self.node(retention) as node:
                assert node.head.seq == seqs[-1]
                assert (await node.append(Draft(channel="a")))[0].seq > seqs[-1]

    async def test_time_counts_only_what_is_left(self) -> None:
        """`position_at` takes what retention removed to have been accepted before."""
        async with self.node(Retention(rules=(Rule(pattern="a", age=HOUR), FOREVER))) as node:
            gone = await node.fill("a", 2)
            (left,) = await node.fill("b", 1)
            gone += await node.fill("a", 2)
            await node.broker.prune(later(2 * HOUR))
            assert (await node.broker.position_at(0)).seq == left - 1
            assert await node.broker.position_at(later(HOUR)) == await node.broker.head()

    async def test_every_node_sees_what_is_gone(self) -> None:
        """Whoever of them removed it."""
        if not self.shares_log:
            return
        retention = Retention(rules=(Rule(count=2),))
        async with self.node(retention) as one, self.node(retention) as two:
            seqs = await one.fill("a", 5)
            await _prune(two, "a")
            await raises(PositionLost, one.broker.read(["a"], seqs[2] - 1, seqs[-1]))
            assert await one.retained("a") == await two.seqs("a", after=seqs[2]) == seqs[3:]


async def _prune(node: Node, *channels: str) -> None:
    """Apply retention, which may be done already: what it says it removed is what is missing then."""
    before = len(await node.retained(*channels))
    removed = await node.broker.prune(later(SOON))
    assert removed == before - len(await node.retained(*channels))
