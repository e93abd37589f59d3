"""Everything that runs during a run: the store, the nodes, the publishers, the streams. Started, broken, healed, ended.

Knows how the parts fit together; must not know in which order things go wrong, nor judge what comes of it.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

import msgspec

from headwater.brokers import open_broker
from headwater.event import Position
from torture import publishing, streams
from torture.oracle import Violation
from torture.plan import SECRET, Plan
from torture.processes import Failed, Node, Worker, complaints
from torture.schedule import NODE, PUBLISHER, Fault, Kind
from torture.stores import Store, running_store

CALM: Final = 60.0
"""Seconds after healing in which everything must have come to rest."""

_RETENTION: Final = "24h,10000000;total=4GiB"  # nothing may go while a run lasts: then no reset is right


class Numbers(msgspec.Struct, frozen=True, kw_only=True):
    """How far a run has come."""

    published: int
    delivered: int
    connections: int
    open: int
    refusals: int


class World:
    """A running system. Use `running_world`.

    Attributes:
        nodes: by number.
        violations: what was broken before anybody judged the records.
        faults: that have happened, by kind.
        happening: what is broken now.
    """

    def __init__(self, plan: Plan, store: Store, folder: Path) -> None:
        self.plan = plan
        self.store = store
        self.folder = folder
        self.violations: list[Violation] = []
        self.faults: Counter[str] = Counter()
        self.happening: list[Fault] = []
        self.publishers: list[Worker] = []
        self.streams: Worker
        self._workers: list[Worker] = []  # all that were ever started
        self.nodes = [
            Node(number, store.url(number), self._settings(), folder / f"node-{number}.log")
            for number in range(plan.nodes)
        ]
        self._lives = [0] * plan.publishers  # of each publisher, the killed ones included
        self._acknowledged = self._refusals = 0  # by publishers that are no more
        self._busy = [asyncio.Lock() for _ in self.nodes]

    def _settings(self) -> dict[str, str]:
        off = ("MAX_STREAMS_PER_ADDRESS", "MAX_STREAMS_PER_PRINCIPAL", "CONNECT_RATE", "PUBLISH_RATE")
        return {
            "HEADWATER_JWT_SECRET": SECRET,
            "HEADWATER_HEARTBEAT": str(self.plan.heartbeat),
            "HEADWATER_RETENTION": _RETENTION,
            "HEADWATER_LOG_FORMAT": "json",
            **{f"HEADWATER_{name}": "0" for name in off},
        }

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The faults that can happen here."""
        return (*self.store.kinds, *NODE, *PUBLISHER, *(self.store.lossy if self.plan.lossy else ()))

    @property
    def counts(self) -> dict[str, int]:
        """How many there are of each target of faults."""
        links = self.plan.nodes + self.plan.straight if self.store.has_links else 0
        return {"link": links, "store": 1, "node": self.plan.nodes, "publisher": self.plan.publishers}

    @property
    def numbers(self) -> Numbers:
        """So far."""
        reports = [worker.reported for worker in self.publishers]
        seen: streams.Report = self.streams.reported
        return Numbers(
            published=self._acknowledged + sum(report.acknowledged for report in reports),
            refusals=self._refusals + sum(report.refusals for report in reports),
            delivered=seen.events,
            connections=seen.connections,
            open=seen.open,
        )

    # -- life ------------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Start everything at once, and return when all nodes and all workers are there."""
        begin = streams.Start(plan=self.plan, journal=str(self.folder / "streams.jsonl"))
        self.streams = Worker("torture.streams", begin, streams.Report, self.folder / "streams.log")
        self._workers.append(self.streams)
        async with asyncio.TaskGroup() as starting:
            starting.create_task(self.streams.start())
            for node in self.nodes:
                starting.create_task(node.start())
            publishers = [starting.create_task(self._publisher(index)) for index in range(self.plan.publishers)]
        self.publishers = [task.result() for task in publishers]
        self.tell_ports()

    @property
    def ports(self) -> dict[int, int]:
        """Of the nodes that run, by their numbers."""
        return {node.number: node.port for node in self.nodes if node.port is not None}

    async def _publisher(self, index: int) -> Worker:
        """Start a publisher, or the next one in its place."""
        name = f"p{index}.{self._lives[index]}"
        self._lives[index] += 1
        is_straight = index < self.plan.straight
        start = publishing.Start(
            plan=self.plan,
            name=name,
            journal=str(self.folder / f"publisher-{name}.jsonl"),
            broker=self.store.url(self.plan.nodes + index) if is_straight else None,
            sync=index % 2 == 1,
        )
        worker = Worker("torture.publishing", start, publishing.Report, self.folder / f"publisher-{index}.log")
        self._workers.append(worker)
        await worker.start()
        worker.order(publishing.Order(ports=self.ports))
        return worker

    def tell_ports(self) -> None:
        """Tell everybody which nodes run."""
        self.streams.order(streams.Order(ports=self.ports))
        for worker in self.publishers:
            worker.order(publishing.Order(ports=self.ports))

    async def end(self) -> None:
        """End every process, whatever state it is in."""
        for node in self.nodes:
            try:
                await node.stop(signal.SIGKILL)
            except Failed as failed:
                self._wrong("stuck", str(failed))
        await asyncio.gather(*(worker.kill() for worker in self._workers))

    # -- breaking --------------------------------------------------------------------------------------------------------

    async def inflict(self, fault: Fault) -> None:
        """Let a fault happen; returns when it is over."""
        self.happening.append(fault)
        self.faults[fault.kind] += 1
        self._note(f"begins: {fault}")
        try:
            match fault.target:
                case "node":
                    await self._inflict_node(fault)
                case "publisher":
                    await self._replace_publisher(fault.index)
                case _:
                    await self.store.inflict(fault)
        finally:
            self.happening.remove(fault)
            self._note(f"is over: {fault}")

    def _note(self, what: str) -> None:
        """Keep what happened when, in the time of the records."""
        with (self.folder / "faults.txt").open("a") as file:
            file.write(f"{time.monotonic():.3f} {what}\n")

    async def _inflict_node(self, fault: Fault) -> None:
        node = self.nodes[fault.index]
        if fault.kind == "node frozen":
            node.freeze()
            await asyncio.sleep(fault.length)
            node.thaw()
        else:
            await self.restart(fault.index, signal.SIGKILL if fault.kind == "node killed" else signal.SIGTERM)

    async def restart(self, index: int, how: signal.Signals = signal.SIGTERM) -> None:
        """End a node, and start it again until it runs: while the store is away a node may refuse to start."""
        node = self.nodes[index]
        async with self._busy[index]:
            try:
                await node.stop(how)
            except Failed as failed:
                self._wrong("stuck", str(failed))
            self.tell_ports()
            await self._start(node)
            self.tell_ports()

    async def _start(self, node: Node) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + CALM
        while True:
            try:
                return await node.start()
            except Failed as failed:
                await node.stop(signal.SIGKILL)
                if loop.time() > until:
                    self._wrong("stuck", f"in {CALM:g} s {failed}")
                    return None

    async def _replace_publisher(self, index: int) -> None:
        killed = self.publishers[index]
        await killed.kill()
        self.publishers[index] = await self._publisher(index)
        self._acknowledged += killed.reported.acknowledged
        self._refusals += killed.reported.refusals

    async def check_alive(self) -> None:
        """Note and replace nodes that have ended by themselves."""
        for node, busy in zip(self.nodes, self._busy, strict=True):
            if not busy.locked() and node.has_crashed:
                self._wrong("crashed", f"node {node.number} ended by itself")
                await self.restart(node.number, signal.SIGKILL)

    # -- healing ---------------------------------------------------------------------------------------------------------

    async def settle(self) -> float:
        """Heal everything, let what is under way be finished, and wait until every stream has everything. Returns the
        seconds that took."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        await self.store.heal()
        for node in self.nodes:
            node.thaw()
        await self.check_alive()
        self.streams.order(streams.Order(stay=0))
        for worker in self.publishers:
            worker.order(publishing.Order(finish=True))
        for index, worker in enumerate(self.publishers):
            if not await worker.until(lambda report: report.done, CALM):
                self._wrong(
                    "stuck", f"publisher {index} did not get its answers within {CALM:g} s after all was healed"
                )
        head = await self.head()
        self.streams.order(streams.Order(head=str(head)))
        if not await self.streams.until(lambda report: report.behind == 0, CALM):
            behind = self.streams.reported.behind
            self._wrong("stuck", f"{behind} streams did not reach {head} within {CALM:g} s after all was healed")
        took = loop.time() - begun
        await self._stop_workers()
        return took

    async def _stop_workers(self) -> None:
        for worker in [*self.publishers, self.streams]:
            try:
                await worker.stop()
            except Failed as failed:
                self._wrong("crashed", str(failed))

    async def head(self) -> Position:
        """Of the log, asked straight."""
        broker = open_broker(self.store.url())
        try:
            await broker.open()
            return await broker.head()
        finally:
            await broker.aclose()

    def note_complaints(self) -> None:
        """Count what processes should not have printed."""
        for complaint in complaints(sorted(self.folder.glob("*.log"))):
            self._wrong("complaint", complaint)

    def _wrong(self, kind: str, what: str) -> None:
        self.violations.append(Violation(kind=kind, what=what))


@asynccontextmanager
async def running_world(plan: Plan, kind: str, folder: Path) -> AsyncIterator[World]:
    """A system on a store of `kind` (see `running_store`), ended with the block whatever happens."""
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(running_store(kind, folder, plan.nodes + plan.straight))
        world = World(plan, store, folder)
        stack.push_async_callback(world.end)
        await world.start()
        yield world
