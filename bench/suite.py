"""The order of a run: rounds of every system, one after the other, then what only Headwater and Nchan can do.

Knows scenarios and results. A system that fails is a note in the results and does not end the run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from bench import scenarios
from bench.postgres.commits import throughput
from bench.postgres.latency import freshness
from bench.postgres.sequencing import sequencing
from bench.process import ServerFailed
from bench.redis.latency import latency
from bench.redis.work import work
from bench.report import ratio
from bench.results import FLOOR, OURS, Results
from bench.scenarios import FanOut, Groups, Plan, ScenarioFailed
from bench.systems import SYSTEMS
from bench.systems.base import System
from bench.systems.floor import FLOOR_SYSTEM
from bench.systems.headwater import SQLITE, headwater
from bench.systems.nchan import nchan
from bench.worker import WorkerFailed

SLOW = 25.0
"""Seconds of a system's first round with a number of subscribers beyond which it is the only one, so that a run stays within
ten minutes. Headwater and the floor get all their rounds."""

NCHAN = "nchan"
OURS_ON_SQLITE = "headwater-sqlite"
REDIS = "redis"
"""What the scenarios through Redis are asked for by."""
POSTGRES = "postgres"
"""The same for an application in PostgreSQL."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is to be measured.

    Attributes:
        names: of the systems; empty for all.
        subscribers: numbers of streams.
        rounds: of the fan-out; each starts every server anew.
        most_streams: what the open-file limit allows.
    """

    names: frozenset[str] = frozenset()
    subscribers: tuple[int, ...] = (1000, 5000)
    rounds: int = 3
    most_streams: int
    plan: Plan

    def wants(self, name: str) -> bool:
        """Whether a system is to be measured."""
        return not self.names or name in self.names


@dataclass(frozen=True)
class Step:
    """One measurement; running it records the numbers and returns a few words about them."""

    label: str
    run: Callable[[], str]


class Suite:
    """One run. `results` holds what has been measured so far.

    Args:
        say: takes the progress: a step's label, then its outcome.
    """

    def __init__(self, order: Order, say: Callable[[str, str], None]) -> None:
        self.results = Results(titles={system.name: system.title for system in SYSTEMS})
        self._order = order
        self._say = say
        self._slow: set[tuple[str, int]] = set()

    def run(self) -> Results:
        """Measure everything."""
        steps = [*self._fan_out_steps(), *self._other_steps()]
        for done, step in enumerate(steps, 1):
            try:
                outcome = step.run()
            except (ScenarioFailed, ServerFailed, WorkerFailed) as error:
                outcome = f"failed: {error}"
                self.results.failures += 1
                self._note(f"{step.label.partition(', round')[0]} failed: {error}.")
            self._say(f"[{done}/{len(steps)}] {step.label}", outcome)
        return self.results

    def _note(self, text: str) -> None:
        if text not in self.results.notes:
            self.results.notes.append(text)

    def _fan_out_steps(self) -> Iterator[Step]:
        systems = [system for system in SYSTEMS if self._order.wants(system.name) and self._present(system)]
        for wanted in self._order.subscribers if systems else ():
            streams = min(wanted, self._order.most_streams)
            if streams < wanted:
                self._note(f"The open-file limit allows {streams:,} streams where {wanted:,} were wanted (ulimit -n).")
            for number in range(1, self._order.rounds + 1):
                found: dict[str, FanOut] = {}
                self.results.fan_out.setdefault(streams, []).append(found)
                for system in systems:
                    label = f"{system.title} with {streams:,} streams, round {number}"
                    yield Step(label, partial(self._fan_out, system, streams, found))

    def _present(self, system: System) -> bool:
        why = system.missing()
        if why:
            self._note(f"{system.title} was not measured: {why}.")
        return why is None

    def _other_steps(self) -> Iterator[Step]:
        streams = min(1000, self._order.most_streams)
        both = [(OURS, headwater()), (OURS_ON_SQLITE, headwater(SQLITE)), (NCHAN, nchan())]
        both = [(name, system) for name, system in both if self._order.wants(system.name) and not system.missing()]
        for name, system in both:
            yield Step(f"reconnect storm, {name}", partial(self._storm, name, system))
        for name, system in both:
            yield Step(f"publishing, {name}", partial(self._publishing, name, system))
        measures = {OURS: scenarios.headwater_groups, NCHAN: scenarios.nchan_groups}
        for name in [name for name, _system in both if name in measures]:
            yield Step(f"100 permission groups, {name}", partial(self._groups, name, measures[name], streams))
        if self._order.wants(REDIS):
            yield Step("latency through Redis", self._latency)
            yield Step("work of Redis and of nodes", self._work)
        if self._order.wants(POSTGRES):
            yield Step("transactions in PostgreSQL", self._throughput)
            yield Step("from a write in PostgreSQL to the browser", self._freshness)
            yield Step("events into a log in PostgreSQL", self._sequencing)

    def _fan_out(self, system: System, streams: int, found: dict[str, FanOut]) -> str:
        if (system.name, streams) in self._slow:
            return "skipped: its first round took too long"
        started = time.monotonic()
        numbers = scenarios.fan_out(
            system, streams, self._order.plan, FLOOR_SYSTEM if self._order.wants(FLOOR) else None
        )
        found[system.name] = numbers
        if time.monotonic() - started > SLOW and system.name not in (FLOOR, OURS):
            self._slow.add((system.name, streams))
            self._note(f"{system.title} with {streams:,} streams was measured in one round only: it took long.")
        return f"{ratio(numbers.ratio):>6} {numbers.steady.cpu_us:7.2f} µs {numbers.loaded.per_second:11,.0f}/s"

    def _storm(self, name: str, system: System) -> str:
        self.results.storm[name] = scenarios.storm(system, self._order.plan)
        return f"{self.results.storm[name].seconds:.2f} s"

    def _publishing(self, name: str, system: System) -> str:
        self.results.publishing[name] = scenarios.publishing(system, self._order.plan)
        return f"{self.results.publishing[name].sixty_four_at_once[0]:,.0f}/s"

    def _groups(self, name: str, measure: Callable[[int, Plan], Groups], streams: int) -> str:
        found = self.results.groups[name] = measure(streams, self._order.plan)
        return f"{found.without:.2f} µs without, {found.with_groups:.2f} µs with"

    def _latency(self) -> str:
        found = self.results.latency = latency(self._order.plan)
        return f"{ratio(found.one_ratio):>6} {found.one.p50_us:7.0f} µs {found.many.p99_us / 1e3:8.1f} ms p99"

    def _work(self) -> str:
        found = self.results.work = work(self._order.plan)
        return f"{found.loaded.append:.0f} µs an append, {found.rest.deliver or 0:.1f} µs for each node"

    def _throughput(self) -> str:
        found = self.results.throughput = throughput(self._order.plan)
        return f"{ratio(found.publish_ratio):>6} publishing, {found.false_ratio:.2f}x with a trigger"

    def _freshness(self) -> str:
        found = self.results.freshness = freshness(self._order.plan)
        return f"{found.many.p50_us / 1e3:.1f} ms p50, {found.many.p99_us / 1e3:.1f} ms p99"

    def _sequencing(self) -> str:
        found = self.results.sequencing = sequencing(self._order.plan)
        return f"{found.published:,.0f}/s published, {found.changed:,.0f}/s changed"
