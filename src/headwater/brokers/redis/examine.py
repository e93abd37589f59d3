"""What `headwater doctor` says of a Redis: which it is, what it does when its memory is full and when it restarts, how far
away it is, and as whom it knows us.

Asks and changes nothing. What a user may not ask (a hosted Redis often refuses CONFIG) is said to be unknown, not guessed.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from statistics import median
from typing import Any, Final

from headwater.brokers.base import Finding, Grade
from headwater.brokers.redis.line import Refused

Ask = Callable[..., Awaitable[Any]]
"""Sends a command's words and returns the reply; raises `Refused` for an error reply."""

PINGS: Final = 20
FAR: Final = 0.005
"""Seconds of a round trip from which on Redis is not near: ten times what it takes within a data centre."""

MEMORY_PER_BYTE: Final = 1.5
"""Bytes of memory for one byte of an event's data, with all that is kept around it: measured as 1.45 with data of 200 bytes,
2.3 with 50 and 1.3 with 1,000 (Redis 7.0, 20,000 events in 200 channels)."""


async def examine(ask: Ask, total_bytes: int | None, clock: Callable[[], float] = time.perf_counter) -> list[Finding]:
    """Look at everything.

    Args:
        ask: see `Ask`.
        total_bytes: what retention keeps at most.
        clock: seconds, for round trips.

    Raises:
        BrokerUnavailable: the connection broke.
    """
    found = []
    for part in (_server(ask), _memory(ask, total_bytes), _persistence(ask), _latency(ask, clock), _user(ask)):
        try:
            found += [finding async for finding in part]
        except Refused as refused:
            found.append(Finding(Grade.NOTE, f"redis: something could not be looked at: {refused}"))
    return found


async def _server(ask: Ask) -> AsyncIterator[Finding]:
    server = await _info(ask, "server")
    if "valkey_version" in server:
        name = f"Valkey {server['valkey_version']}"
    else:
        name = f"Redis {server.get('redis_version', 'of an unknown version')}"
    yield Finding(Grade.GOOD, f"redis: {name}, {server.get('redis_mode', 'unknown')} mode")


async def _memory(ask: Ask, total_bytes: int | None) -> AsyncIterator[Finding]:
    memory = await _info(ask, "memory")
    policy, most, used = memory["maxmemory_policy"], int(memory["maxmemory"]), int(memory["used_memory"])
    if policy.startswith("allkeys"):
        yield Finding(
            Grade.BAD,
            f"redis: maxmemory-policy {policy} evicts parts of the log when memory is full; set it to noeviction, under "
            "which publishing fails until there is room",
        )
    else:
        yield Finding(Grade.GOOD, f"redis: maxmemory-policy {policy} leaves the log alone")
    if not most:
        yield Finding(
            Grade.NOTE,
            "redis: there is no maxmemory, so a log that grows takes the machine's memory; set it to what Redis may have",
        )
    elif total_bytes is None or total_bytes * MEMORY_PER_BYTE > most:
        kept = "without bound" if total_bytes is None else f"up to {_mebibytes(total_bytes)} of data"
        yield Finding(
            Grade.NOTE,
            f"redis: maxmemory is {_mebibytes(most)}, and retention keeps events {kept}, about {MEMORY_PER_BYTE:g} times "
            "that in memory; raise the one or lower the other, or publishing fails when memory is full",
        )
    if most and used > 0.9 * most:
        yield Finding(Grade.BAD, f"redis: {_mebibytes(used)} of {_mebibytes(most)} are in use; publishing fails soon")


async def _persistence(ask: Ask) -> AsyncIterator[Finding]:
    state = await _info(ask, "persistence")
    for field, what in (
        ("rdb_last_bgsave_status", "snapshot"),
        ("aof_last_write_status", "write to the append-only file"),
    ):
        if state.get(field, "ok") != "ok":
            yield Finding(Grade.BAD, f"redis: the last {what} failed; see Redis' log, and make room on its disk")
    if state.get("aof_enabled") == "1":
        how = (await _config(ask, "appendfsync")) or "unknown"
        lost = {"always": "nothing", "everysec": "the last second"}.get(how, "what the system had not written yet")
        yield Finding(
            Grade.GOOD, f"redis: it keeps an append-only file (appendfsync {how}); a power failure takes {lost}"
        )
        return
    snapshots = await _config(ask, "save")
    kept = {
        None: "whether it takes snapshots cannot be seen",
        "": "it takes no snapshots either, so a restart loses the log",
    }.get(snapshots, "a crash loses what came since the last snapshot")
    yield Finding(
        Grade.NOTE,
        f"redis: it keeps no append-only file, and {kept}; clients are then told to load their state anew. For a log that "
        "survives, set appendonly yes",
    )


async def _latency(ask: Ask, clock: Callable[[], float]) -> AsyncIterator[Finding]:
    took = []
    for _ in range(PINGS):
        began = clock()
        await ask("PING")
        took.append(clock() - began)
    text = f"redis: a round trip takes {median(took) * 1000:.1f} ms, the longest of {PINGS} {max(took) * 1000:.1f} ms"
    if median(took) > FAR:
        yield Finding(Grade.NOTE, f"{text}; every publish takes at least one, so put hubs and publishers nearer to it")
    else:
        yield Finding(Grade.GOOD, text)


async def _user(ask: Ask) -> AsyncIterator[Finding]:
    try:
        name = (await ask("ACL", "WHOAMI")).decode()
    except Refused:
        yield Finding(Grade.GOOD, "redis: the user has few rights: it may not even ask for its name")
        return
    if name == "default":
        yield Finding(
            Grade.NOTE,
            "redis: we are the user default, who may usually do everything; where others can reach this Redis, make a user "
            "with the rights that a broker needs, and put its name and password into the URL",
        )
    else:
        yield Finding(Grade.GOOD, f"redis: we are the user {name}")


async def _info(ask: Ask, section: str) -> Mapping[str, str]:
    lines = (await ask("INFO", section)).decode().splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)


async def _config(ask: Ask, name: str) -> str | None:
    """A setting of the server; None if we may not ask."""
    try:
        reply = await ask("CONFIG", "GET", name)
    except Refused:
        return None
    # RESP3 has a map, RESP2 a list of names and values. A hosted Redis may know the command and not the setting.
    values = list(reply.values()) if isinstance(reply, dict) else reply[1::2]
    return values[0].decode() if values else None


def _mebibytes(size: int) -> str:
    return f"{size / (1 << 20):.0f} MiB"
