"""What only shows with many: a shutdown of thousands, stalled readers' memory, a day of coming and going."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path

from tests.e2e.calls import app_on, numbers, publish, settled, stream_of
from tests.e2e.crowd import crowd
from tests.support.raw import RawClient
from tests.support.server import Server
from tests.support.waiting import PATIENCE, until

GRACE = 5


def resident(server: Server) -> int:
    """Bytes of memory that the server's process has."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return 1024 * int(status.split("VmRSS:")[1].split()[0])


async def test_2000_streams_and_a_signal() -> None:
    """2,000 open streams, a tenth of them stalled, and SIGTERM: every one that reads gets `closing` and a clean end, and the
    process is gone within the grace period."""
    async with (
        app_on(GRACE=str(GRACE)) as server,
        crowd(server.port, "/stream/a", reading=1800) as (good, _),
        crowd(server.port, "/stream/b", reading=0, stalled=200) as (_, bad),
    ):
        await publish(server, "b", "x" * 60_000, times=10)
        await publish(server, "a", "x", times=4)
        await settled(server, lambda found: found["lagging"] == 200, "the stalled streams to lag")
        await until(lambda: all(found.events == 4 for found in good), "all events to arrive", patience=3 * PATIENCE)
        begun = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        await server.exited()
        assert time.monotonic() - begun < GRACE + 2
        await until(lambda: all(found.is_over for found in good), "the ends to be read", patience=3 * PATIENCE)
        assert sum(found.ended_well for found in good) == len(good)
        assert not any(found.ended_well for found in bad)


async def test_stalled_readers_cost_bounded_memory_and_slow_nobody() -> None:
    """50 streams that do not read, 20 MB published: what is held for each of them is about a socket buffer and one write, and
    a reader beside them is not slowed. When they read again each gets every event, in order."""
    async with app_on() as server, stream_of(server) as reader:
        async with crowd(server.port, "/stream/a", reading=0, stalled=50) as (_, stalled):
            # Once through the rings first, whose memory is bounded in another way and does not count here.
            await publish(server, "a", "x" * 40_000, times=250)
            assert len([await reader.message() for _ in range(250)]) == 250
            before = resident(server)
            await publish(server, "a", "y" * 40_000, times=250)
            for _ in range(250):
                assert (await reader.message()).data.startswith('"y')
            assert (await numbers(server))["lagging"] == 50
            assert resident(server) - before < 50 * 1_000_000
            for listener in stalled:
                listener.transport.resume_reading()
            await until(lambda: all(found.events == 500 for found in stalled), "all to catch up", patience=6 * PATIENCE)


async def test_a_day_of_coming_and_going_leaves_nothing() -> None:
    """4,000 streams open and end in every way there is, while events are published: afterwards memory, tasks and files are
    where they began."""
    async with app_on() as server:
        await visit(server, 1000)  # what is allocated once, is
        before, memory = await numbers(server), resident(server)
        await visit(server, 3000)
        after = await settled(
            server,
            lambda found: (
                found["streams"] == 0 and found["files"] <= before["files"] and found["tasks"] <= before["tasks"]
            ),
            "everything to be given back",
        )
        assert after["opened"] == 4000
        assert after["resources"] == 0
        assert resident(server) - memory < 20_000_000  # 5 KB a stream would be twice what one costs while it is open


async def visit(server: Server, count: int) -> None:
    """So many streams, fifty at a time, on ten channels: a third leave politely, a third reset, a third half-close."""

    async def one(number: int) -> None:
        async with await RawClient.connect(server.url) as client:
            await client.request(f"/stream/{number % 10}?since=5s")
            await client.message()
            if number % 3 == 0:
                client.reset()
            elif number % 3 == 1:
                client.half_close()

    for begin in range(0, count, 50):
        await publish(server, str(begin // 50 % 10), "x" * 1000)
        await asyncio.gather(*(one(number) for number in range(begin, begin + 50)))
