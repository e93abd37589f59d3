"""What is measured: each scenario starts a server and a load generator, runs, and returns frozen numbers.

Knows servers and the load generator. Knows nothing of rounds, medians, ratios or reports.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench.build import BUILD
from bench.generator import Answer, Generator
from bench.process import Server, free_port
from bench.systems.base import System
from bench.systems.headwater import bearer, headwater_with_tokens
from bench.systems.nchan import nchan

GROUPS = 100
_SETTLE = 0.1  # seconds in which a server finishes what it does after the last delivery: answers, closed connections
_WINDOW = 100  # streams being opened at once, where it is not the storm itself that is measured
_WARM_EVENTS = 10
_MODERATE = 40_000  # deliveries per second: about a fifth of what the floor can make


class ScenarioFailed(Exception):
    """The numbers would mean nothing: requests were refused, events lost, streams closed."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much is measured.

    Attributes:
        deliveries: per burst, at a moderate rate.
        burst_seconds: at most, per burst.
        bursts: per run; the median counts.
        load_seconds: of the closed loop.
        storm: streams that reconnect, and events each of them missed.
        repeats: of storms and of permission runs within one server.
        publish_seconds: per kind of publishing.
        latency_events: per burst through Redis.
        idle_seconds: in which is seen what nodes and Redis use while nothing happens.
        commit_rounds, commit_seconds: of each kind of an application's transactions in PostgreSQL.
        outbox_rows: committed at once, to see how fast they are taken.
    """

    deliveries: int = 30_000
    burst_seconds: float = 2.5
    bursts: int = 3
    load_seconds: float = 2.0
    storm: tuple[int, int] = (2000, 100)
    repeats: int = 3
    publish_seconds: float = 2.0
    latency_events: int = 400
    idle_seconds: float = 6.0
    commit_rounds: int = 24
    commit_seconds: float = 0.4
    outbox_rows: int = 20_000


QUICK = Plan(
    deliveries=15_000,
    burst_seconds=1.0,
    bursts=2,
    load_seconds=1.0,
    repeats=2,
    publish_seconds=0.7,
    latency_events=150,
    idle_seconds=2.0,
    commit_rounds=6,
    commit_seconds=0.3,
    outbox_rows=10_000,
)


@dataclass(frozen=True, kw_only=True)
class Load:
    """Events went out under a certain load.

    Attributes:
        cpu_us: server CPU per delivery.
        p50_ms, p99_ms: from the publisher's request to the reading of the event's line by a subscriber.
        per_second: deliveries.
        server_busy: share of one core that the server used.
        generator_idle: share of the time in which the load generator had nothing to do.
    """

    cpu_us: float
    p50_ms: float
    p99_ms: float
    per_second: float
    server_busy: float
    generator_idle: float


@dataclass(frozen=True, kw_only=True)
class FanOut:
    """One system with a number of subscribers.

    Attributes:
        ratio: of the CPU per delivery at a moderate rate to the reference's; None without one.
        connect_us: server CPU per stream opened.
        connects_per_second: streams opened, 100 at once.
        idle_bytes: resident memory per stream that has received nothing but its first bytes.
        steady: one event at a time at a moderate rate.
        loaded: a closed loop of 20,000 deliveries in flight.
    """

    connect_us: float
    connects_per_second: float
    idle_bytes: float
    ratio: float | None
    steady: Load
    loaded: Load


@dataclass(frozen=True, kw_only=True)
class Storm:
    """Streams that reconnect all at once and replay.

    Attributes:
        seconds: until the last of them has received everything.
        cpu_ms: of the server, in all.
        p50_ms, p99_ms: until one stream has received everything.
    """

    seconds: float
    cpu_ms: float
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, kw_only=True)
class Publishing:
    """Events published per second, and milliseconds until an answer, by how they are published; None: not possible."""

    durable: str
    one_by_one: tuple[float, float]
    sixty_four_at_once: tuple[float, float]
    batches_of_100: tuple[float, float] | None


@dataclass(frozen=True, kw_only=True)
class Groups:
    """Server CPU per delivery, in µs, without permissions and with 100 groups of streams."""

    without: float
    with_groups: float


def checked(answer: Answer) -> Answer:
    """The answer of a command that went well.

    Raises:
        ScenarioFailed: it did not.
    """
    problem = answer.problem()
    if problem:
        raise ScenarioFailed(problem)
    return answer


@contextmanager
def running(system: System) -> Iterator[tuple[Server, Generator]]:
    """The system's server, freshly started, and a load generator that knows its requests."""
    BUILD.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=BUILD, prefix=f"{system.name}-") as name:
        directory, port = Path(name), free_port()
        command = system.command(port, directory)
        with (
            Server(command, port, directory / "server.log", system.environment) as server,
            Generator(port, directory) as generator,
        ):
            generator.requests([system.stream_request()])
            generator.publish(system.publish.template())
            try:
                yield server, generator
            except ScenarioFailed as error:
                log = BUILD / f"{system.name}.failed.log"
                log.write_bytes((directory / "server.log").read_bytes())
                raise ScenarioFailed(f"{error} (its output: {log.relative_to(BUILD.parent.parent)})") from None


@dataclass(frozen=True)
class Bench:
    """A running system that streams have been opened to, and how bursts at a moderate rate are measured on it."""

    server: Server
    generator: Generator
    streams: int
    plan: Plan

    def warm_up(self) -> None:
        """The first deliveries cost more, on the floor too."""
        checked(self.generator.paced(_WARM_EVENTS, interval=0, seconds=self.plan.burst_seconds))
        time.sleep(_SETTLE)

    def burst(self) -> Load:
        """Publish one event at a time, 40,000 deliveries per second, or as many as the server makes."""
        events, interval = max(4, self.plan.deliveries // self.streams), self.streams / _MODERATE
        return _load(
            self.server,
            lambda: self.generator.paced(events, interval=interval, seconds=self.plan.burst_seconds),
        )


def fan_out(system: System, streams: int, plan: Plan, reference: System | None = None) -> FanOut:
    """Open streams, leave them idle, then publish to them: at a moderate rate, then as fast as they take it.

    With a reference, each burst at the moderate rate follows one of the same size on the reference, which has as many streams
    on the same core: what a machine does in between cannot make one of them look better.

    Raises:
        ScenarioFailed: see there.
    """
    with running(system) as (server, generator), ExitStack() as stack:
        checked(generator.open(20, window=20))
        checked(generator.paced(_WARM_EVENTS, interval=0.001, seconds=1))
        generator.close()
        time.sleep(_SETTLE)
        memory = server.rss_bytes()
        opened, connect_ns = _costing(server, lambda: generator.open(streams, window=_WINDOW))
        memory = server.rss_bytes() - memory
        bench = Bench(server, generator, streams, plan)
        beside = stack.enter_context(_ready(reference, streams, plan)) if reference else None
        bench.warm_up()
        pairs = [(beside.burst() if beside else None, bench.burst()) for _ in range(plan.bursts)]
        ratios = [own.cpu_us / other.cpu_us for other, own in pairs if other]
        return FanOut(
            connect_us=connect_ns / streams / 1e3,
            connects_per_second=streams / opened.seconds,
            idle_bytes=memory / streams,
            ratio=median(ratios) if ratios else None,
            steady=typical([own for _other, own in pairs]),
            loaded=_loaded(server, generator, streams, plan),
        )


@contextmanager
def _ready(system: System, streams: int, plan: Plan) -> Iterator[Bench]:
    with running(system) as (server, generator):
        checked(generator.open(streams, window=_WINDOW))
        bench = Bench(server, generator, streams, plan)
        bench.warm_up()
        yield bench


def storm(system: System, plan: Plan) -> Storm:
    """Publish while nobody listens; then everyone reconnects at once with the id from before.

    Raises:
        ScenarioFailed: see there.
    """
    streams, events = plan.storm
    with running(system) as (server, generator):
        runs = [_one_storm(system, server, generator, streams, events) for _ in range(plan.repeats)]
        return Storm(
            seconds=median(run.seconds for run in runs),
            cpu_ms=median(run.cpu_ms for run in runs),
            p50_ms=median(run.p50_ms for run in runs),
            p99_ms=median(run.p99_ms for run in runs),
        )


def _one_storm(system: System, server: Server, generator: Generator, streams: int, events: int) -> Storm:
    generator.requests([system.stream_request()])
    checked(generator.open(1, window=1))
    last_seen = checked(generator.paced(1, interval=0, seconds=1)).last_id
    generator.close()
    checked(generator.post(1, events=events, seconds=10))
    time.sleep(_SETTLE)
    generator.requests([system.stream_request({"Last-Event-ID": last_seen})])
    answer, cpu = _costing(server, lambda: generator.open(streams, window=streams, events=events))
    generator.close()
    time.sleep(_SETTLE)
    return Storm(seconds=answer.seconds, cpu_ms=cpu / 1e6, p50_ms=answer.p50_us / 1e3, p99_ms=answer.p99_us / 1e3)


def publishing(system: System, plan: Plan) -> Publishing:
    """Publish to a channel without streams.

    Raises:
        ScenarioFailed: see there.
    """

    def rate(connections: int, batch: int) -> tuple[float, float]:
        answer = checked(generator.post(connections, batch=batch, seconds=plan.publish_seconds))
        return answer.published / answer.seconds, answer.p50_us / 1e3

    with running(system) as (_server, generator):
        checked(generator.post(1, seconds=0.2))
        one_by_one, at_once, batches = rate(1, 1), rate(64, 1), None
        if system.publish_many is not None:
            generator.publish(system.publish_many.template())
            batches = rate(4, 100)
        return Publishing(
            durable=system.durable, one_by_one=one_by_one, sixty_four_at_once=at_once, batches_of_100=batches
        )


def headwater_groups(streams: int, plan: Plan) -> Groups:
    """Headwater: all streams alike and events for everyone; against 100 permission sets and events that need one.

    Raises:
        ScenarioFailed: see there.
    """
    plain, guarded = headwater_with_tokens(), headwater_with_tokens(["everyone"])
    alike = [plain.stream_request(bearer("anyone", ["everyone"]))]
    groups = [plain.stream_request(bearer(f"user-{i}", ["everyone", f"group-{i}"])) for i in range(GROUPS)]
    return _compare(plain, streams, plan, (alike, plain.publish.template()), (groups, guarded.publish.template()))


def nchan_groups(streams: int, plan: Plan) -> Groups:
    """Nchan: one channel; against a channel per group, and one request that publishes to all of them.

    Raises:
        ScenarioFailed: see there.
    """
    names = [f"group-{i}" for i in range(GROUPS)]
    plain, everyone = nchan(), nchan(publish=",".join(names))
    groups = [nchan(subscribe=name).stream_request() for name in names]
    one = ([plain.stream_request()], plain.publish.template())
    return _compare(plain, streams, plan, one, (groups, everyone.publish.template()))


Traffic = tuple[Sequence[bytes], bytes]
"""What streams ask for, and how events are published."""


def _compare(system: System, streams: int, plan: Plan, one: Traffic, other: Traffic) -> Groups:
    with running(system) as (server, generator):

        def cost(traffic: Traffic) -> float:
            requests, template = traffic
            generator.requests(requests)
            generator.publish(template)
            checked(generator.open(streams, window=_WINDOW))
            bench = Bench(server, generator, streams, plan)
            bench.warm_up()
            load = typical([bench.burst() for _ in range(plan.bursts)])
            generator.close()
            time.sleep(_SETTLE)
            return load.cpu_us

        costs = [(cost(one), cost(other)) for _ in range(plan.repeats)]
        return Groups(without=median(cost[0] for cost in costs), with_groups=median(cost[1] for cost in costs))


def _loaded(server: Server, generator: Generator, streams: int, plan: Plan) -> Load:
    in_flight = max(1, 20_000 // streams)
    checked(generator.closed(in_flight, seconds=plan.load_seconds / 5))
    return _load(server, lambda: generator.closed(in_flight, seconds=plan.load_seconds))


def _costing(server: Server, command: Callable[[], Answer]) -> tuple[Answer, int]:
    before = server.cpu_ns()
    answer = checked(command())
    time.sleep(_SETTLE)
    return answer, server.cpu_ns() - before


def _load(server: Server, command: Callable[[], Answer]) -> Load:
    answer, cpu = _costing(server, command)
    return Load(
        cpu_us=cpu / answer.deliveries / 1e3,
        p50_ms=answer.p50_us / 1e3,
        p99_ms=answer.p99_us / 1e3,
        per_second=answer.deliveries / answer.span,
        server_busy=min(1.0, cpu / 1e9 / answer.seconds),
        generator_idle=answer.idle,
    )


def typical(loads: Sequence[Load]) -> Load:
    """The median of each number."""
    names = Load.__dataclass_fields__
    return Load(**{name: median(getattr(load, name) for load in loads) for name in names})
