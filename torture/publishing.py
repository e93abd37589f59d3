"""A process that publishes: `python -m torture.publishing`. Straight to the log with `headwater.publisher`, from coroutines
or from threads, or through the nodes over HTTP.

Each of its lanes publishes one batch after the other, writes down what it means to publish before it tries, and the answer
after. A batch with keys is tried until it is answered; one without is tried once. Told what to do by lines of JSON on its
input, and ends when that ends.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from collections.abc import Iterable, Sequence
from itertools import count
from pathlib import Path
from typing import Protocol

import msgspec

import headwater
from headwater.auth import mint
from headwater.client import Policy, Publisher
from headwater.errors import HeadwaterError, Unavailable, Unreachable
from headwater.event import Draft
from torture.plan import SECRET, Batch, Plan, batches
from torture.records import Acknowledged, Journal, Meant, Refused

LANES = 3
"""Batches that a process has under way at once."""

EVERY = 0.5
"""Seconds between reports."""


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """The first line of the input.

    Attributes:
        name: unique in the run, also among those that took the place of killed ones.
        broker: URL of the log; None to publish through the nodes.
        sync: use plain functions in threads.
    """

    plan: Plan
    name: str
    journal: str
    broker: str | None = None
    sync: bool = False


class Order(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A further line: the nodes that run now, and whether to begin nothing more."""

    ports: dict[int, int] | None = None
    finish: bool = False


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """How many events have been acknowledged, how many attempts have failed, and whether all is done."""

    acknowledged: int
    refusals: int
    done: bool = False


class Way(Protocol):
    """How events get to the log."""

    async def publish(self, drafts: Sequence[Draft]) -> tuple[str, ...]:
        """Publish a batch, once; its positions."""

    async def open(self) -> None:
        """Called first."""

    async def aclose(self) -> None:
        """Let go of everything."""


class Straight:
    """Publishes to the log, without any hub."""

    def __init__(self, url: str, *, sync: bool) -> None:
        self._publisher = headwater.publisher(url)
        self._sync = sync

    async def publish(self, drafts: Sequence[Draft]) -> tuple[str, ...]:
        """See `Way`."""
        if self._sync:
            return await asyncio.to_thread(self._publisher.publish_all_sync, drafts)
        return await self._publisher.publish_all(drafts)

    async def open(self) -> None:
        """See `Way`."""
        if not self._sync:
            await self._publisher.__aenter__()  # from here on the connection is this loop's own

    async def aclose(self) -> None:
        """See `Way`."""
        await self._publisher.aclose()


class Through:
    """Publishes through a node of chance, each attempt through another."""

    def __init__(self, name: str, ports: dict[int, int]) -> None:
        self._ports = ports
        self._token = mint(SECRET, sub=name, publish=["**"], ttl=86400)
        self._publishers: dict[int, Publisher] = {}  # by port

    async def publish(self, drafts: Sequence[Draft]) -> tuple[str, ...]:
        """See `Way`."""
        if not self._ports:
            raise Unreachable("no node runs")
        port = random.choice(list(self._ports.values()))
        for gone in self._publishers.keys() - set(self._ports.values()):
            await self._publishers.pop(gone).aclose()
        if port not in self._publishers:
            once = Policy(base=0.1, attempts=1)
            self._publishers[port] = Publisher(f"http://127.0.0.1:{port}", self._token, policy=once)
        return await self._publishers[port].publish_all(drafts)

    async def open(self) -> None:
        """See `Way`."""

    async def aclose(self) -> None:
        """See `Way`."""
        for publisher in self._publishers.values():
            await publisher.aclose()


class Publishing:
    """The lanes of one process."""

    def __init__(self, start: Start) -> None:
        self.ports: dict[int, int] = {}
        self.journal = Journal(Path(start.journal))
        self.acknowledged = self.refusals = 0
        self.is_finishing = asyncio.Event()
        self._start = start
        url = start.broker
        self._way: Way = Through(start.name, self.ports) if url is None else Straight(url, sync=start.sync)

    async def run(self) -> None:
        """Publish until told to finish, then finish what was begun."""
        await self._way.open()
        async with asyncio.TaskGroup() as lanes:
            for lane in range(LANES):
                lanes.create_task(self._publish(lane))
        await self._way.aclose()

    async def _publish(self, lane: int) -> None:
        name = f"{self._start.name}-{lane}"
        for number, batch in zip(count(1), batches(self._start.plan, self._start.name, lane, LANES), strict=False):
            try:
                async with asyncio.timeout(batch.pause):
                    await self.is_finishing.wait()
                return
            except TimeoutError:
                self.journal.write(Meant(name, number, time.monotonic(), batch.keyed, batch.said))
                await self._until_answered(name, number, batch)

    async def _until_answered(self, lane: str, number: int, batch: Batch) -> None:
        drafts = list(drafts_of(batch))
        while True:
            try:
                positions = await self._way.publish(drafts)
            except HeadwaterError as error:
                final = not batch.keyed or not may_pass(error)
                self.refusals += 1
                self.journal.write(Refused(lane, number, time.monotonic(), f"{type(error).__name__}: {error}", final))
                if final:
                    return
                await asyncio.sleep(random.uniform(0.05, 0.3))
            else:
                self.acknowledged += len(positions)
                self.journal.write(Acknowledged(lane, number, time.monotonic(), positions))
                return

    def report(self, *, done: bool = False) -> None:
        """Say how it goes."""
        report = Report(acknowledged=self.acknowledged, refusals=self.refusals, done=done)
        os.write(sys.stdout.fileno(), msgspec.json.encode(report) + b"\n")


def may_pass(error: HeadwaterError) -> bool:
    """Whether trying again is right: nobody answered, or whoever did could not help now. Anything else is a defect."""
    return isinstance(error, Unavailable | Unreachable) or error.status in (429, 502, 503, 504)


def drafts_of(batch: Batch) -> Iterable[Draft]:
    """A batch as drafts."""
    for said in batch.said:
        yield Draft(
            channel=said.channel,
            type="said",
            data=said.data,
            permissions=frozenset(said.permissions),
            idempotency_key=said.id if batch.keyed else None,
        )


async def main() -> None:
    """Run until the input ends, or until told to finish and all is answered."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=1 << 20)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    publishing = Publishing(msgspec.json.decode(await reader.readline(), type=Start))
    work = asyncio.create_task(publishing.run())
    listening = asyncio.create_task(obey(reader, publishing))
    while not work.done() and not listening.done():
        publishing.report()
        await asyncio.wait((work, listening), timeout=EVERY, return_when=asyncio.FIRST_COMPLETED)
    listening.cancel()
    if work.done():
        work.result()
        publishing.report(done=True)
    work.cancel()
    await asyncio.gather(work, listening, return_exceptions=True)
    publishing.journal.close()


async def obey(reader: asyncio.StreamReader, publishing: Publishing) -> None:
    """Do what the lines say."""
    async for line in reader:
        order = msgspec.json.decode(line, type=Order)
        if order.ports is not None:
            publishing.ports.clear()
            publishing.ports.update(order.ports)
        if order.finish:
            publishing.is_finishing.set()


if __name__ == "__main__":
    asyncio.run(main())
