"""The Redis broker keeps the contract: on an old Redis and a newer one, in both protocols, and through a bad network."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest

from headwater.brokers.base import Broker, Retention
from headwater.brokers.redis.address import parse
from headwater.brokers.redis.keys import Keys
from headwater.testing import BrokerContract
from tests.brokers.redis_nodes import patient, redis_broker
from tests.support.faults import Faults, faulty
from tests.support.proxy import proxying
from tests.support.redis import RedisServer, SharedServers


class OnRedis(BrokerContract):
    """Everything that any broker promises, on a server that other tests use, too."""

    can_wipe = True
    server: RedisServer
    url: str

    def connect(self, retention: Retention) -> Broker:
        """Another node on the same log."""
        return redis_broker(self.url, retention)

    async def wipe(self, broker: Broker) -> None:
        """Delete every key of the log, as an operator might."""
        _, options = parse(self.url)
        async with self.server.client() as client:
            await client.delete(*[key async for key in client.scan_iter(f"{Keys(options.prefix).base}:*", count=1000)])


class TestRedis7(OnRedis):
    """Redis 7.0, with RESP3."""

    @pytest.fixture(autouse=True)
    def log(self, redis_servers: SharedServers) -> None:
        """A log of this test's own."""
        self.server, self.url = redis_servers.server("7.0"), redis_servers.url("7.0", protocol=3)


class TestRedis6(OnRedis):
    """Redis 6.2, with RESP2."""

    @pytest.fixture(autouse=True)
    def log(self, redis_servers: SharedServers) -> None:
        """A log of this test's own."""
        self.server, self.url = redis_servers.server("6.2"), redis_servers.url("6.2", protocol=2)


class TestThroughABadNetwork(OnRedis):
    """Connections are cut, stalled, delayed, half closed and trickled, at random, all the time."""

    faults: Faults

    @pytest.fixture(autouse=True)
    async def network(self, redis_servers: SharedServers, request: pytest.FixtureRequest) -> AsyncIterator[None]:
        """A proxy, with faults that are others for each test, and the same in each run."""
        self.server = redis_servers.server("7.0")
        async with proxying(self.server.port) as proxy:
            direct = redis_servers.url("7.0", wait=30, timeout=0.5)
            self.url = direct.replace(f":{urlsplit(direct).port}/", f":{proxy.port}/")
            seed = zlib.crc32(request.node.name.encode())
            async with faulty(proxy, seed, pause=0.15, length=0.05) as self.faults:
                yield

    def connect(self, retention: Retention) -> Broker:
        """Another node on the same log, whom nobody asks only once."""
        return patient(redis_broker(self.url, retention), self.faults.calm)
