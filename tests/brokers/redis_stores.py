"""Stores on a log in Redis, without the feed that a broker puts around them, and a look at what they have written."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from redis.asyncio import Redis

from headwater.brokers.base import Retention
from headwater.brokers.redis.address import parse
from headwater.brokers.redis.known import State
from headwater.brokers.redis.store import Store
from headwater.event import Draft, Position
from tests.support.redis import RedisServer, ask

Place = tuple[RedisServer, str]
"""A server, and the URL of a log of the test's own there."""


def make_store(
    url: str,
    retention: Retention = Retention(),  # noqa: B008 (frozen)
    renewed: Callable[[State], None] = lambda _: None,
) -> Store:
    """A store, not yet open."""
    return Store(*parse(url), retention, renewed=renewed)


@asynccontextmanager
async def opened(
    url: str,
    retention: Retention = Retention(),  # noqa: B008 (frozen)
    *,
    keeps: bool = True,
    renewed: Callable[[State], None] = lambda _: None,
) -> AsyncIterator[Store]:
    """An open store, closed at the end."""
    store = make_store(url, retention, renewed)
    try:
        await store.open(keeps=keeps)
        yield store
    finally:
        await store.aclose()


async def put(store: Store, channel: str = "a", count: int = 1, data: str = "null", key: str | None = None) -> Position:
    """Append some events, in one go; the position of the last."""
    draft = Draft(channel=channel, data=data, idempotency_key=key)
    return (await store.append([draft] * count))[-1]


async def seqs(store: Store, *channels: str, after: int = 0) -> list[int]:
    """The positions that a complete read returns."""
    page = await store.read(channels, after, (await store.head()).seq, 1_000_000)
    return [event.position.seq for event in page.events]


async def left(store: Store, *channels: str) -> list[int]:
    """The positions that are there, oldest first."""
    page = await store.read_back(channels, (await store.head()).seq, 1_000_000)
    return [event.position.seq for event in reversed(page.events)]


async def check_books(store: Store, client: Redis) -> None:
    """What is written about channels is what they have."""
    keys = store.keys
    row = await client.hgetall(keys.log)
    written: dict[str, str] = await ask(client, "HGETALL", keys.channels)
    written.pop("", None)
    oldest: dict[str, float] = dict(await ask(client, "ZRANGE", keys.oldest, 0, -1, "WITHSCORES"))
    base = keys.stream("")
    streams = [name.removeprefix(base) for name in await ask(client, "KEYS", f"{base}*")]
    for channel in streams:
        entries = await ask(client, "XRANGE", keys.stream(channel), "-", "+")
        assert written[channel] == f"{entries[-1][0]} {sum(len(fields['d']) for _, fields in entries)}", channel
        assert int(oldest[channel]) == int(entries[0][0].split("-")[0]), channel
        before = [int(fields["v"]) for _, fields in entries]
        assert before[1:] == [int(id_.split("-")[0]) for id_, _ in entries[:-1]]
    assert set(streams) == set(oldest) == set(await client.zrange(keys.names, 0, -1))
    assert int(row["bytes"]) == sum(int(value.split(" ")[1]) for value in written.values())
    assert set(await client.zrange(keys.empty, 0, -1)) == written.keys() - set(streams)
