"""What Redis says when it says no, and what becomes of it."""

from __future__ import annotations

import asyncio

import pytest

from headwater.brokers.redis.line import Refused
from headwater.brokers.redis.refusals import explain
from headwater.errors import BrokerUnavailable, ConfigurationError, HeadwaterError
from tests.brokers.redis_stores import opened, put
from tests.support.redis import VERSIONS, Version, ask, running_redis


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        ("OOM command not allowed when used memory > 'maxmemory'.", BrokerUnavailable, "no memory left"),
        ("MISCONF Redis is configured to save RDB snapshots", BrokerUnavailable, "could not save to its disk"),
        ("NOREPLICAS Not enough good replicas to write.", BrokerUnavailable, "too few replicas"),
        ("READONLY You can't write against a read only replica.", BrokerUnavailable, "is a replica"),
        ("LOADING Redis is loading the dataset in memory", BrokerUnavailable, "still loading"),
        ("BUSY Redis is busy running a script.", BrokerUnavailable, "busy with a script"),
        ("MASTERDOWN Link with MASTER is down", BrokerUnavailable, "lost its master"),
        ("CLUSTERDOWN The cluster is down", BrokerUnavailable, "cluster is not in order"),
        ("TRYAGAIN Multiple keys request during rehashing of slot", BrokerUnavailable, "refused a command"),
        ("ERR max number of clients reached", BrokerUnavailable, "max number of clients"),
        ("NOAUTH Authentication required.", ConfigurationError, "asks for a password"),
        (
            "WRONGPASS invalid username-password pair or user is disabled.",
            ConfigurationError,
            "does not accept this user",
        ),
        ("ERR AUTH <password> called without any password configured", ConfigurationError, "refuses the login"),
        ("ERR DB index is out of range", ConfigurationError, "refuses the login"),
        ("NOPERM this user has no permissions to run the 'xadd' command", ConfigurationError, "may not do what"),
        ("ERR The user executing the script can't run this command", ConfigurationError, "may not do what"),
        ("DENIED Redis is running in protected mode", ConfigurationError, "protected mode"),
        ("NOPROTO unsupported protocol version", ConfigurationError, "does not speak this protocol"),
        ("WRONGTYPE Operation against a key", ConfigurationError, "something else under one of the broker's keys"),
    ],
)
def test_an_error_reply_is_explained(text: str, error: type[HeadwaterError], says: str) -> None:
    """What happened, in Redis' own words, too, and what to do; what may pass says when to come again."""
    explained = explain(Refused(text))
    assert type(explained) is error
    assert says in explained.what
    assert text in explained.what
    assert explained.fix
    assert (explained.retry_after is not None) == (error is BrokerUnavailable)


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_busy_redis_is_waited_for(version: Version) -> None:
    """Somebody's script takes long: Redis answers nobody else until it has ended."""
    async with running_redis("lua-time-limit 10", version=version) as server, server.client() as client:
        async with opened(server.url()) as store, server.client() as other:
            busy = asyncio.create_task(ask(other, "EVAL", _SPIN, 0, 300))
            while True:
                try:
                    await client.ping()
                except Exception as error:
                    assert "busy" in str(error)  # noqa: PT017
                    break
            assert (await put(store)).seq == 1
            await busy


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_redis_that_loads_its_data_is_waited_for(version: Version) -> None:
    """Connections are taken long before commands are."""
    async with running_redis("key-load-delay 100", version=version, appendonly=True) as server:
        async with opened(server.url(wait=30)) as store, server.client() as client:
            await put(store)
            async with client.pipeline(transaction=False) as commands:
                for number in range(3000):
                    commands.set("other", number)
                await commands.execute()
            await server.kill()
            publishing = asyncio.create_task(put(store))
            await server.start()
            assert (await publishing).seq == 2
            assert "errorstat_LOADING" in await client.info("errorstats")


_SPIN = """
local now = redis.call('TIME')
local ends = now[1] * 1000 + now[2] / 1000 + ARGV[1]
repeat
  now = redis.call('TIME')
until now[1] * 1000 + now[2] / 1000 > ends
"""
