"""Tests of the support for Redis servers."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.asyncio.client import PubSub

from tests.support.certificates import self_signed
from tests.support.redis import (
    VERSIONS,
    RedisServer,
    SharedServers,
    Version,
    ask,
    binary,
    running_cluster,
    running_redis,
    running_replica,
    running_sentinel,
    shared_servers,
)


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_server_is_of_the_version_asked_for_and_keeps_what_its_file_keeps(version: Version) -> None:
    """After a restart it is at the same port, with its data or, if asked for, without."""
    async with running_redis("maxmemory 64mb", version=version, appendonly=True) as server:
        async with server.client() as client:
            assert (await client.info("server"))["redis_version"].startswith(version)
            assert (await client.config_get("maxmemory"))["maxmemory"] == str(64 << 20)
            await client.set("a", "1")
        port = server.port
        await server.restart()
        async with server.client() as client:
            assert await client.get("a") == "1"
        await server.restart(keep_data=False)
        async with server.client() as client:
            assert await client.get("a") is None
        assert server.port == port
        await server.stop()


async def test_a_paused_server_answers_when_it_is_resumed() -> None:
    """Until then its connections stay open and silent."""
    async with running_redis() as server, server.client(socket_timeout=0.05, retry=None) as client:
        await client.ping()
        server.pause()
        with pytest.raises(Exception, match="Timeout"):
            await client.ping()
        server.resume()
        assert await client.ping()


async def test_a_server_with_a_certificate_speaks_tls(tmp_path: Path) -> None:
    """And its URL says so."""
    async with running_redis(tls=self_signed(tmp_path)) as server, server.client() as client:
        assert await client.ping()
        assert server.url(2, password="p w") == f"rediss://:p%20w@127.0.0.1:{server.port}/2"


async def test_a_sentinel_promotes_the_replica_of_a_dead_master() -> None:
    """The replica had what the master had."""
    async with running_redis() as master, running_replica(master) as replica, replica.client() as client:
        async with master.client() as writer:
            await writer.set("a", "1")
            await writer.wait(1, 1000)
        async with running_sentinel(master) as sentinel, sentinel.client() as watcher:
            async with watcher.pubsub() as news:
                await news.psubscribe("+switch-master")
                await _message(news)
                await _knows_replica(watcher)
                await master.kill()
                assert str(replica.port) in await _message(news)
        assert await client.get("a") == "1"


async def _message(news: PubSub) -> str:
    while (message := await news.get_message(timeout=30)) is None:
        pass
    return str(message["data"])


async def _knows_replica(watcher: Redis) -> None:
    while not await ask(watcher, "SENTINEL", "REPLICAS", "mymaster"):
        pass


async def test_a_cluster_shares_out_its_slots() -> None:
    """Between two nodes, half each."""
    async with running_cluster(2) as (first, second), first.client() as client:
        slots = await ask(client, "CLUSTER", "SLOTS")
        assert {int(start): int(node[1]) for start, _, node, *_ in slots} == {0: first.port, 8192: second.port}


async def test_shared_servers_are_started_once_and_ended(redis_servers: SharedServers) -> None:
    """Each URL names another prefix."""
    assert redis_servers.server() is redis_servers.server()
    assert redis_servers.url() != redis_servers.url()
    assert "protocol=2" in redis_servers.url(protocol=2)
    with shared_servers() as servers:
        server = servers.server("6.2")
        assert server.pid
    with pytest.raises(AssertionError, match="not running"):
        server.pid  # noqa: B018


async def test_a_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    """With what it printed."""
    with pytest.raises(AssertionError, match="nonsense"):
        await RedisServer("nonsense", data=tmp_path).start()


async def test_a_server_finds_another_port_when_its_own_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between choosing a port and binding it somebody else may have been quicker."""
    async with running_redis() as other:
        ports = iter([other.port])
        free = vars(__import__("tests.support.redis", fromlist=["_"]))["_free_port"]
        monkeypatch.setattr("tests.support.redis._free_port", lambda: next(ports, None) or free())
        server = RedisServer(data=tmp_path)
        await server.start()
        assert server.port != other.port
        server.end_now(signal.SIGKILL)


def test_a_missing_binary_is_an_error_that_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """Never a test that is skipped."""
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(AssertionError, match="apt-get install redis-server"):
        binary("7.0")
