"""What the doctor hears of a Redis: of real ones, and of what real ones are rarely asked to be."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from headwater.brokers import open_broker
from headwater.brokers.base import Examinable, Finding, Grade, Retention
from headwater.brokers.redis.examine import FAR, examine
from headwater.brokers.redis.line import Refused
from headwater.cli import doctor
from headwater.cli.settings import Settings
from headwater.errors import BrokerUnavailable
from tests.support.redis import VERSIONS, SharedServers, Version, running_redis

SMALL = Retention(total_bytes=1 << 20)


async def findings(url: str, retention: Retention = SMALL) -> list[Finding]:
    """What is said of a running server."""
    broker = open_broker(url, retention=retention)
    await broker.open()
    try:
        assert isinstance(broker, Examinable)
        return list(await broker.examine())
    finally:
        await broker.aclose()


def said(found: list[Finding], grade: Grade) -> str:
    """All texts of a grade."""
    return "\n".join(finding.text for finding in found if finding.grade is grade)


async def test_a_good_redis(tmp_path: Path) -> None:
    """Version, policy, persistence, distance and user are each looked at, and nothing is wrong."""
    acl = "user headwater on >secret ~* &* +@all"
    async with running_redis("maxmemory 64mb", acl, appendonly=True, data=tmp_path) as server:
        found = await findings(server.url(user="headwater", password="secret"))
    assert {finding.grade for finding in found} == {Grade.GOOD}, found
    text = said(found, Grade.GOOD)
    for part in (
        "Redis 7.0",
        "standalone mode",
        "noeviction leaves",
        "append-only file (appendfsync ",
        "user headwater",
    ):
        assert part in text
    assert "a round trip takes" in text


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_redis_as_it_is_installed(version: Version, redis_servers: SharedServers) -> None:
    """Nothing must be mended, and what is worth a thought is noted: in both protocols."""
    for protocol in (2, 3):
        found = await findings(redis_servers.url(version, protocol=protocol))
        assert said(found, Grade.BAD) == ""
        notes = said(found, Grade.NOTE)
        assert "there is no maxmemory" in notes
        assert "it takes no snapshots either, so a restart loses the log" in notes
        assert "we are the user default" in notes


async def test_a_redis_that_forgets() -> None:
    """One that is set up as a cache must be mended."""
    async with running_redis("maxmemory 20mb", "maxmemory-policy allkeys-lru", "save 60 1000") as server:
        found = await findings(server.url(), Retention())
        unbounded = await findings(server.url(), Retention(total_bytes=None))
    assert "maxmemory-policy allkeys-lru evicts" in said(found, Grade.BAD)
    assert "maxmemory is 20 MiB, and retention keeps events up to 1024 MiB of data" in said(found, Grade.NOTE)
    assert "retention keeps events without bound" in said(unbounded, Grade.NOTE)
    assert "a crash loses what came since the last snapshot" in said(found, Grade.NOTE)


async def test_the_doctor_asks(redis_servers: SharedServers) -> None:
    """The command prints what the broker finds, after its own probe."""
    import asyncio

    found = await asyncio.to_thread(lambda: list(doctor.log(Settings(broker=redis_servers.url()))))
    assert "a probe came back" in found[0].text
    assert any("maxmemory-policy" in finding.text for finding in found)


async def test_a_closed_broker_is_not_asked(redis_servers: SharedServers) -> None:
    """It says that it is not open."""
    broker = open_broker(redis_servers.url())
    assert isinstance(broker, Examinable)
    with pytest.raises(BrokerUnavailable, match="not open"):
        await broker.examine()


class Server:
    """Answers as it is told; whatever else is asked it refuses."""

    def __init__(self, **info: dict[str, object]) -> None:
        nothing: dict[str, dict[str, object]] = {"server": {}, "memory": {}, "persistence": {}}
        self.info = nothing | info
        self.replies: dict[str, Any] = {"PING": b"PONG"}

    async def ask(self, *words: str) -> Any:
        """A reply, or a refusal."""
        if words[0] == "INFO" and self.info[words[1]]:
            return "\r\n".join(
                ["# Section", *(f"{name}:{value}" for name, value in self.info[words[1]].items())]
            ).encode()
        if " ".join(words) in self.replies:
            return self.replies[" ".join(words)]
        raise Refused(f"NOPERM this user has no permissions to run the '{words[0].lower()}' command")


MEMORY = {"maxmemory": 100 << 20, "maxmemory_policy": "noeviction", "used_memory": 1 << 20}


def ticking(seconds: float) -> Iterator[float]:
    """The times of a clock that moves so much between two looks."""
    return (number * seconds for number in count())


async def told(server: Server, seconds: float = 0.0001) -> list[Finding]:
    """What is said of it, with round trips of so many seconds."""
    times = ticking(seconds)
    return await examine(server.ask, 1 << 20, lambda: next(times))


async def test_what_may_not_be_asked_is_said_to_be_unknown() -> None:
    """A user with few rights gets the rest."""
    found = await told(Server(persistence={"aof_enabled": 0}))
    assert "could not be looked at: NOPERM" in said(found, Grade.NOTE)
    assert "whether it takes snapshots cannot be seen" in said(found, Grade.NOTE)
    assert "it may not even ask for its name" in said(found, Grade.GOOD)
    hosted = Server(persistence={"aof_enabled": 1})
    hosted.replies["CONFIG GET appendfsync"] = []
    assert "appendfsync unknown" in said(await told(hosted), Grade.GOOD)


async def test_valkey_is_named() -> None:
    """It calls itself a Redis, too, for old clients."""
    server = Server(server={"redis_version": "7.2.4", "valkey_version": "8.0.1", "redis_mode": "cluster"})
    assert "Valkey 8.0.1, cluster mode" in said(await told(server), Grade.GOOD)


async def test_a_full_memory_and_a_full_disk() -> None:
    """Both end publishing soon, or have."""
    server = Server(
        memory=MEMORY | {"used_memory": 95 << 20},
        persistence={"aof_enabled": 1, "rdb_last_bgsave_status": "err", "aof_last_write_status": "err"},
    )
    bad = said(await told(server), Grade.BAD)
    assert "95 MiB of 100 MiB are in use" in bad
    assert "the last snapshot failed" in bad
    assert "the last write to the append-only file failed" in bad


async def test_a_far_redis_is_noted() -> None:
    """Every publish takes a round trip."""
    assert "nearer to it" in said(await told(Server(memory=MEMORY), 2 * FAR), Grade.NOTE)
    assert "a round trip takes 0.1 ms, the longest of 20 0.1 ms" in said(await told(Server(memory=MEMORY)), Grade.GOOD)
