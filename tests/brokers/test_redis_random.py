"""Anything in any order on a log in Redis, with damage or without: every read is right, or says that something is gone."""

from __future__ import annotations

import random

import pytest
from redis.asyncio import Redis

from headwater.brokers.base import Retention, Rule
from headwater.brokers.redis.store import Store
from headwater.errors import IdempotencyConflict, PositionLost
from headwater.event import Draft
from headwater.testing.contract.node import later
from tests.brokers.redis_stores import check_books, opened
from tests.support.redis import VERSIONS, SharedServers

STEPS = 100
KEYS = ("oldest", "names", "empty", "times", "channels", "keys", "keyorder", "log")


class Player:
    """Does what the dice say, and remembers what must then be there.

    Args:
        dice: decide.
        stores: processes on the log.
        client: another one's, to do damage.
    """

    def __init__(self, dice: random.Random, stores: tuple[Store, ...], client: Redis) -> None:
        self.dice = dice
        self.stores = stores
        self.client = client
        self.names = [f"c{number}" for number in range(dice.choice([1, 3, 12]))]
        self.appended: dict[str, dict[int, Draft]] = {}  # by epoch, by seq
        self.is_damaged = False

    async def append(self) -> None:
        """A batch, of which some keys may have been used."""
        dice, store = self.dice, self.dice.choice(self.stores)
        drafts = [
            Draft(
                channel=dice.choice(self.names),
                data=f'"{"x" * dice.choice([0, 1, 10, 60])}"',
                idempotency_key=dice.choice([None, None, f"k{dice.randrange(100)}"]),
            )
            for _ in range(dice.choice([1, 1, 2, 5, 30]))
        ]
        before = await store.head()
        try:
            positions = await store.append(drafts)
        except IdempotencyConflict:
            assert await store.head() == before
            return
        log = self.appended.setdefault(positions[0].epoch, {})
        head = before.seq if positions[0].epoch == before.epoch else 0
        fresh = {position.seq: draft for position, draft in reversed([*zip(positions, drafts, strict=True)])}
        new = sorted(seq for seq in fresh if seq > head)
        assert new == list(range(head + 1, head + 1 + len(new)))
        for seq, draft in fresh.items():
            assert seq > head or (log[seq].channel, log[seq].data) == (draft.channel, draft.data)
            log.setdefault(seq, draft)

    async def read(self) -> None:
        """A page, forwards: exactly what was appended, or an error; never less. And it is an error only if it has to be."""
        dice, store = self.dice, self.dice.choice(self.stores)
        head = await store.head()
        channels = dice.sample(self.names, dice.randrange(len(self.names) + 1))
        after = dice.randrange(head.seq + 2)
        until = dice.choice([head.seq, after + dice.randrange(head.seq + 5)])
        limit = dice.choice([1, 2, 10, 1000])
        log = self.appended.get(head.epoch, {})
        expected = sorted(seq for seq, draft in log.items() if draft.channel in channels and after < seq <= until)
        horizon = (await store.horizon(channels)).seq
        try:
            page = await store.read(channels, after, until, limit)
        except PositionLost:
            assert horizon > after or self.is_damaged
            return
        assert horizon <= after or self.is_damaged
        found = {event.position.seq: (event.channel, event.data) for event in page.events}
        assert list(found) == expected[:limit]
        assert all(found[seq] == (log[seq].channel, log[seq].data) for seq in found)

    async def prune(self) -> None:
        """Now, or in some hours."""
        await self.dice.choice(self.stores).prune(self.dice.choice([0, later(0.01), later(7200)]))

    async def damage(self) -> None:
        """Delete a key of the log."""
        self.is_damaged = True
        name = self.dice.choice([*KEYS, *(f"c:{name}" for name in self.names)])
        await self.client.delete(f"{self.stores[0].keys.base}:{name}")

    async def check(self) -> None:
        """The books agree. A stream of a channel that is not known any more is nobody's."""
        keys = self.stores[0].keys
        for name in self.names:
            if not await self.client.hexists(keys.channels, name):
                await self.client.delete(keys.stream(name))
        await check_books(self.stores[0], self.client)


@pytest.mark.parametrize("damages", [False, True])
@pytest.mark.parametrize("seed", range(4))
async def test_whatever_happens_a_read_is_right(
    redis_servers: SharedServers, monkeypatch: pytest.MonkeyPatch, seed: int, damages: bool
) -> None:
    """And the books agree in the end."""
    dice = random.Random(seed)
    monkeypatch.setattr("headwater.brokers.redis.retention.INTERVAL", 3600.0)
    monkeypatch.setattr("headwater.brokers.redis.retention.SPARED", 0)
    monkeypatch.setattr("headwater.brokers.redis.retention.STEP", dice.choice([1, 2, 7, 200]))
    monkeypatch.setattr("headwater.brokers.redis.retention.SURVEYED", dice.choice([1, 3, 200]))
    monkeypatch.setattr("headwater.brokers.redis.retention.EVICTED", dice.choice([1, 2, 20]))
    retention = Retention(
        rules=(
            Rule(pattern="c1", count=dice.choice([1, 3, 20]), age=None),
            Rule(pattern="c2", bytes=dice.choice([1, 50, 200]), count=None),
            Rule(age=dice.choice([None, 3600]), count=dice.choice([None, 5, 50])),
        ),
        total_bytes=dice.choice([None, 0, 100, 1000]),
        keys=dice.choice([None, 0, 3, 20]),
    )
    version = VERSIONS[seed % 2]
    url = redis_servers.url(version)
    async with opened(url, retention) as node, opened(url, keeps=False) as publisher:
        async with redis_servers.server(version).client() as client:
            player = Player(dice, (node, publisher), client)
            moves = [player.append] * 6 + [player.read] * 4 + [player.prune] + [player.damage] * damages
            for _ in range(STEPS):
                await dice.choice(moves)()
            await node.prune(0)
            await player.check()
