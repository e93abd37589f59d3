"""What `headwater doctor` says of a log in PostgreSQL: what a crash would cost, how far away it is, and whether anybody
leads. What concerns row changes is `headwater pg doctor`'s.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from statistics import median
from typing import Final

from headwater.brokers.base import Finding, Grade
from headwater.brokers.postgres.link import Link

ROUNDS: Final = 20
FAR: Final = 0.005
"""Seconds of a round trip from which on the database is not near: ten times what it takes within a data centre."""


async def examine(link: Link, clock: Callable[[], float] = time.perf_counter) -> AsyncIterator[Finding]:
    """Look at everything; changes nothing.

    Args:
        link: to the log.
        clock: seconds, for round trips.

    Raises:
        psycopg.Error, OSError: the database does not answer.
    """
    version, fsync, commits, leader, leads, waiting = await link.row("examine")
    yield Finding(Grade.GOOD, f"postgres: PostgreSQL {version}")
    if fsync != "on":
        yield Finding(Grade.BAD, "postgres: fsync is off, so a crash of the machine may damage the log; turn it on")
    elif commits == "off":
        what = "synchronous_commit is off, so a crash of the server may lose the last events, which were confirmed"
        yield Finding(Grade.NOTE, f"postgres: {what}; turn it on for this role, or live with it")
    else:
        yield Finding(Grade.GOOD, "postgres: what was published survives a crash")
    if link.is_pooled:
        what = "there is a pooler before it; nodes look for events instead of being told if it lends sessions out"
        yield Finding(Grade.NOTE, f"postgres: {what}; a direct connection is quicker")
    if leads:
        yield Finding(Grade.GOOD, f"postgres: {leader} takes from the outbox, where {waiting} wait")
    else:
        yield Finding(Grade.NOTE, f"postgres: no hub takes from the outbox, where {waiting} wait; start one")
    yield await _distance(link, clock)


async def _distance(link: Link, clock: Callable[[], float]) -> Finding:
    rounds = []
    for _ in range(ROUNDS):
        begun = clock()
        await link.row("head")
        rounds.append(clock() - begun)
    took = median(rounds)
    if took < FAR:
        return Finding(Grade.GOOD, f"postgres: a round trip takes {took * 1000:.1f} ms")
    what = f"a round trip takes {took * 1000:.0f} ms, which every publish waits for"
    return Finding(Grade.NOTE, f"postgres: {what}; run the hub near the database")
