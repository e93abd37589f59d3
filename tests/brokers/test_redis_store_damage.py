"""A log in Redis of which something is missing, or to which somebody has done something: never a silent hole."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from redis.asyncio import Redis

from headwater.brokers.base import Page
from headwater.brokers.redis.store import Store
from headwater.errors import ConfigurationError, PositionLost
from headwater.event import Draft, Position
from tests.brokers.redis_stores import Place, opened, put, seqs
from tests.support.redis import SharedServers, ask


async def test_a_new_epoch_between_two_looks_begins_the_page_anew(
    redis_servers: SharedServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page is of one log."""
    monkeypatch.setattr("headwater.brokers.redis.reading.CHUNK", 1)
    url = redis_servers.url()
    async with opened(url) as store, redis_servers.server().client() as client:
        ask_ = store._ask
        old: Position | None = None

        async def ask_and_wipe(script: str, *args: object, **options: object) -> object:
            nonlocal old
            result = await ask_(script, *args, **options)  # type: ignore[arg-type]
            if script.startswith("read") and old is None:
                old = await store.head()
                await client.delete(store.keys.log)
            return result

        store._ask = ask_and_wipe  # type: ignore[method-assign, assignment]
        reads: tuple[Callable[[], Awaitable[Page]], ...] = (
            lambda: store.read(["a", "b"], 0, 10),
            lambda: store.read_back(["a", "b"], 10),
        )
        for read in reads:
            await store.append([Draft(channel="a"), Draft(channel="b")])
            old = None
            page = await read()
            assert page.events == ()
            assert old is not None
            assert page.end.epoch != old.epoch


async def test_t26_a_wiped_log_is_a_new_epoch_for_whoever_asks(place: Place) -> None:
    """Whatever is asked first; and the process that asks is told before its answer."""
    server, url = place
    told: list[str] = []
    async with opened(url, renewed=lambda state: told.append(state.epoch)) as store, server.client() as client:
        asks = (
            store.head,
            lambda: store.read(["a"], 0, 10),
            lambda: store.read_back(["a"], 10),
            lambda: store.horizon(["a"]),
            lambda: store.position_at(0),
            lambda: put(store),
            lambda: store.survey(["a"], "n", "t"),
            lambda: store.channels("b"),
            lambda: store.prune(0),
        )
        for ask_it in asks:
            await put(store, "a", 3)
            old = await store.head()
            await client.delete(*await ask(client, "KEYS", f"{store.keys.base}:*"))
            known = len(told)
            await ask_it()
            assert len(told) == known + 1
            new = await store.head()
            assert told[-1] == new.epoch != old.epoch
            assert new.seq < old.seq


async def test_what_is_left_of_a_wiped_log_harms_nothing(place: Place) -> None:
    """Somebody deletes its first key only: the streams, keys and answers that are left mean nothing any more."""
    server, url = place
    async with opened(url) as store, server.client() as client:
        await put(store, "a", 5, key=None)
        first = await put(store, "b", key="k")
        await client.delete(store.keys.log)
        assert (await store.head()).seq == 0
        assert await seqs(store, "a", "b") == []
        assert await store.channels() == ()
        again = await put(store, "b", key="k")
        assert (again.epoch != first.epoch, again.seq) == (True, 1)
        await put(store, "a")
        assert await seqs(store, "a", "b") == [1, 2]
        assert (await store.horizon(["a", "b"])).seq == 0


async def test_a_stream_that_was_evicted_is_a_position_lost(place: Place) -> None:
    """Never a silent hole: not for a reader from before, nor after the channel has begun again."""
    server, url = place
    async with opened(url) as store, server.client() as client:
        await put(store, "a", 3)
        await put(store, "b", 2)
        await client.delete(store.keys.stream("a"))
        for appended in (0, 1):
            for after in (0, 1, 2):
                with pytest.raises(PositionLost):
                    await store.read(["a", "b"], after, 100)
            assert (await store.horizon(["a", "b"])).seq == 3
            assert len(await seqs(store, "a", after=3)) == appended
            await put(store, "a")
        assert await seqs(store, "b") == [4, 5]


@pytest.mark.parametrize("script", ["read", "append"])
async def test_a_channel_list_that_was_evicted_is_a_position_lost(place: Place, script: str) -> None:
    """It says how far each channel has come, so without it nothing before can be promised of any, whoever notices first."""
    server, url = place
    async with opened(url) as store, server.client() as client:
        await put(store, "a", 3)
        await put(store, "b", 2)
        await client.delete(store.keys.channels)
        if script == "append":
            await put(store, "c")
        for name in ("a", "b", "never"):
            with pytest.raises(PositionLost):
                await store.read([name], 4, 100)
            assert (await store.horizon([name])).seq == 5
        survey = await store.survey(["a"], "n", "t")
        assert (survey.last, survey.floor) == ({}, 5)
        assert [info.name for info in await store.channels()] == (["c"] if script == "append" else [])
        new = await put(store, "a")
        entries, _ = await store.read_entries(["a"], 5, 100, 10)
        assert [(entry.event.position, entry.previous) for entry in entries] == [(new, 5)]


@pytest.mark.parametrize("gone", [1, 2, 3, 4])
async def test_entries_deleted_by_hand_are_a_position_lost(place: Place, gone: int) -> None:
    """At the beginning, in the middle, or at the end of what is read."""
    server, url = place
    async with opened(url) as store, server.client() as client:
        await put(store, "a", 4)
        ((entry, _),) = await ask(client, "XRANGE", store.keys.stream("a"), gone, gone)
        await client.xdel(store.keys.stream("a"), entry)
        with pytest.raises(PositionLost):
            await store.read(["a"], 0, 100)


async def test_an_entry_added_by_hand_gives_way(place: Place) -> None:
    """It would have the stream refuse every entry of ours for ever. The batch that finds it is whole."""
    server, url = place
    async with opened(url) as store, server.client() as client:
        await put(store, "a", 2)
        await client.xadd(store.keys.stream("a"), {"x": "y"})
        await client.xadd(store.keys.times, {"x": "y"}, id="99999999999999-1")
        await asyncio.sleep(0)
        positions = await store.append([Draft(channel="b"), Draft(channel="a"), Draft(channel="c")])
        assert [position.seq for position in positions] == [3, 4, 5]
        assert await seqs(store, "a", "b", "c", after=2) == [3, 4, 5]
        with pytest.raises(PositionLost):
            await store.read(["a"], 0, 100)


@pytest.mark.parametrize("name", ["log", "channels", "oldest", "names", "empty", "times", "keys", "keyorder", "c:b"])
async def test_a_key_of_another_type_leaves_everything_as_it_was(place: Place, name: str) -> None:
    """The error says that the prefix is somebody else's, too; nothing of the append is there."""
    server, url = place
    async with opened(url) as store, server.client() as client:
        await put(store, "a")
        key = f"{store.keys.base}:{name}"
        await client.delete(key)
        await client.set(key, "somebody's")
        before = await _dump(client, store)
        with pytest.raises(ConfigurationError, match="something else under one of the broker's keys"):
            await store.append([Draft(channel="a", idempotency_key="k"), Draft(channel="b")])
        assert await _dump(client, store) == before


async def _dump(client: Redis, store: Store) -> dict[str, object]:
    names = sorted(await ask(client, "KEYS", f"{store.keys.base}:*"))
    return {name: await client.dump(name) for name in names if ":op:" not in name}


async def test_a_channel_whose_stream_is_gone_is_not_listed(place: Place) -> None:
    """It has no events."""
    server, url = place
    async with opened(url) as store, server.client() as client:
        await store.append([Draft(channel="a"), Draft(channel="b")])
        await client.delete(store.keys.stream("a"))
        assert [info.name for info in await store.channels()] == ["b"]


async def test_position_at_is_right_when_the_times_were_evicted(place: Place) -> None:
    """Then what is left counts as accepted at any time: rather too many events than too few."""
    server, url = place
    async with opened(url) as store, server.client() as client:
        await put(store, "a", 3)
        await client.delete(store.keys.times)
        assert await store.position_at(0) == Position((await store.head()).epoch, 0)
        assert (await store.position_at(1 << 50)).seq == 0
