"""Redis confirmed writes and lost them: the log begins a new epoch, whoever comes first, and no position is given twice."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from headwater.brokers.redis.store import Store
from headwater.event import Position
from tests.brokers.redis_stores import make_store, opened, put, seqs
from tests.support.proxy import proxying
from tests.support.redis import VERSIONS, RedisServer, Version, running_redis, running_replica


@asynccontextmanager
async def logs(server: RedisServer, count: int) -> AsyncIterator[list[Store]]:
    """Some processes on one log."""
    stores = [make_store(server.url(wait=20)) for _ in range(count)]
    try:
        for store in stores:
            await store.open(keeps=False)
        yield stores
    finally:
        for store in stores:
            await store.aclose()


@asynccontextmanager
async def set_back(server: RedisServer, folder: Path) -> AsyncIterator[None]:
    """Within the block the log grows; at its end it is as it was at the beginning, as after a crash or from a backup."""
    copy = folder / "copy"
    await server.stop()
    shutil.copytree(server.data, copy)
    await server.start()
    yield
    await server.kill()
    server.wipe_files()
    shutil.copytree(copy, server.data, dirs_exist_ok=True)
    await server.start()


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_restart_that_loses_nothing_is_no_new_epoch(version: Version) -> None:
    """However often: a life more, and the log goes on."""
    async with running_redis(version=version, appendonly=True) as server, logs(server, 2) as (one, two):
        old = await put(one, count=3)
        for number in range(4, 7):
            await server.restart()
            position = await put(two if number % 2 else one)
            assert position == Position(old.epoch, number)
        assert await seqs(one, "a") == [1, 2, 3, 4, 5, 6]
        async with server.client() as client:
            assert await client.zcard(one.keys.lives) == 4


@pytest.mark.parametrize("version", VERSIONS)
async def test_t26_a_log_set_back_begins_a_new_epoch(version: Version, tmp_path: Path) -> None:
    """Where it ends now: what is left of it belongs to the new epoch, and everything after is new."""
    async with running_redis(version=version, appendonly=True, data=tmp_path / "data") as server:
        async with logs(server, 1) as (store,):
            await put(store, count=3)
            async with set_back(server, tmp_path):
                old = await put(store, count=5)
            new = await put(store)
            assert (new.epoch != old.epoch, new.seq) == (True, 4)
            survey = await store.survey(["a"], "n", "t")
            assert (survey.born, survey.head) == (3, 4)
            assert await seqs(store, "a") == [1, 2, 3, 4]
        async with opened(server.url()) as other:
            assert await other.head() == new


@pytest.mark.parametrize("version", VERSIONS)
async def test_t26_the_less_informed_cannot_hide_a_loss(version: Version, tmp_path: Path) -> None:
    """They come first after the log was set back, and append past what was lost; whoever knows of it still notices."""
    async with running_redis(version=version, appendonly=True, data=tmp_path / "data") as server:
        async with logs(server, 3) as (informed, early, late):
            await put(early, count=3)
            async with set_back(server, tmp_path):
                old = await put(informed, count=5)
            same = await put(late, count=20)
            assert same == Position(old.epoch, 23)  # by what this one knows, nothing is wrong
            new = await put(informed)
            assert (new.epoch != old.epoch, new.seq) == (True, 24)
            assert (await put(early)).epoch == (await put(late)).epoch == new.epoch
            assert (await informed.survey([], "n", "t")).born == 23


async def test_t26_a_loss_some_lives_ago_is_noticed(tmp_path: Path) -> None:
    """The log was set back, and Redis has been restarted since, and again, while the informed one was away."""
    async with running_redis(appendonly=True, data=tmp_path / "data") as server:
        async with logs(server, 2) as (informed, other):
            await put(other, count=3)
            async with set_back(server, tmp_path):
                old = await put(informed, count=5)
            for _ in range(3):
                await put(other, count=10)
                await server.restart()
            assert (await put(other)).epoch == old.epoch
            assert (await put(informed)).epoch != old.epoch


async def test_t26_a_log_set_back_to_before_an_epoch_is_noticed(tmp_path: Path) -> None:
    """The copy is from before the last epoch began: who knows of that one does not take the old one for the present."""
    async with running_redis(appendonly=True, data=tmp_path / "data") as server, logs(server, 1) as (store,):
        first = await put(store, count=3)
        async with set_back(server, tmp_path / "1"):
            async with set_back(server, tmp_path / "2"):
                await put(store, count=5)
            second = await put(store)
            assert second.epoch != first.epoch
        third = await put(store)
        assert third.epoch not in (first.epoch, second.epoch)
        assert third.seq == 4


async def test_t26_a_life_that_is_not_remembered_counts_as_lost(tmp_path: Path) -> None:
    """The copy has never had the life in which something was seen: it went another way."""
    async with running_redis(appendonly=True, data=tmp_path / "data") as server, logs(server, 2) as (informed, other):
        await put(other, count=3)
        async with set_back(server, tmp_path):
            await server.restart()
            old = await put(informed)
        await put(other, count=10)
        assert (await put(informed)).epoch != old.epoch


@pytest.mark.parametrize("version", VERSIONS)
async def test_t26_a_replica_that_missed_writes_begins_a_new_epoch(version: Version) -> None:
    """Failover is asynchronous: what the master confirmed last may not have arrived."""
    async with AsyncExitStack() as stack:
        master = await stack.enter_async_context(running_redis(version=version))
        proxy = await stack.enter_async_context(proxying(master.port))
        replica = await stack.enter_async_context(running_replica(master, version=version, through=proxy.port))
        hosts = f"redis://127.0.0.1:{master.port},127.0.0.1:{replica.port}?wait=20"
        one, two = [await stack.enter_async_context(opened(hosts, keeps=False)) for _ in range(2)]
        old = await put(one, count=3)
        await until_replicated(master)
        await proxy.cut()
        lost = await put(one, count=5)
        await master.kill()
        async with replica.client() as client:
            await client.replicaof("NO", "ONE")
        early = await put(two, count=10)
        late = await put(one)
        assert (lost.epoch, lost.seq) == (old.epoch, 8)
        assert early == Position(old.epoch, 13)
        assert (late.epoch != old.epoch, late.seq) == (True, 14)
        assert (await put(two)).epoch == late.epoch


async def test_a_replica_that_has_everything_goes_on() -> None:
    """A planned failover is no new epoch."""
    async with running_redis() as master, running_replica(master) as replica, replica.client() as client:
        hosts = f"redis://127.0.0.1:{master.port},127.0.0.1:{replica.port}?wait=20"
        async with opened(hosts, keeps=False) as store:
            old = await put(store, count=3)
            await until_replicated(master)
            await client.replicaof("NO", "ONE")
            await master.kill()
            assert await put(store) == Position(old.epoch, 4)


async def until_replicated(master: RedisServer) -> None:
    """Its replica has everything."""
    async with master.client() as client:
        assert await client.wait(1, 30_000) == 1


async def test_t26_a_master_that_becomes_a_replica_is_left() -> None:
    """Connections to it stay open; the first write that it refuses makes us look for the new master."""
    async with running_redis() as master, running_replica(master) as replica, replica.client() as client:
        hosts = f"redis://127.0.0.1:{master.port},127.0.0.1:{replica.port}?wait=20"
        async with opened(hosts, keeps=False) as store, master.client() as old:
            first = await put(store)
            await until_replicated(master)
            await client.replicaof("NO", "ONE")
            await old.replicaof("127.0.0.1", str(replica.port))
            assert await put(store) == Position(first.epoch, 2)
            assert (await store.survey([], "n", "t")).head == 2
            assert {line.address[1] for line in store.link._lines} == {replica.port}


async def test_t26_wiped_under_many_is_one_new_epoch() -> None:
    """They agree on it, although all of them know of the old one."""
    async with running_redis() as server, logs(server, 5) as stores, server.client() as client:
        await asyncio.gather(*(put(store, count=3) for store in stores))
        await client.flushall()
        positions = await asyncio.gather(*(put(store) for store in stores))
        assert len({position.epoch for position in positions}) == 1
        assert sorted(position.seq for position in positions) == [1, 2, 3, 4, 5]


async def test_a_new_epoch_is_announced() -> None:
    """To nodes that have not asked: on a channel of their own."""
    async with (
        running_redis() as server,
        logs(server, 1) as (store,),
        server.client() as client,
        client.pubsub() as news,
    ):
        await news.subscribe(store.keys.control)
        await news.get_message(timeout=30)
        await put(store)
        await client.flushall()
        position = await put(store)
        message = await news.get_message(timeout=30)
        assert message is not None
        assert message["data"] == position.epoch
