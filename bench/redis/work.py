"""What Redis and a node work for each other, in CPU time and bytes: the costs that the simulation multiplies.

Redis has a core of its own here; publishers and nodes share the other. CPU time is the processes', kernel time included.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from bench.process import GENERATOR_CORE, SERVER_CORE
from bench.redis.publisher import CHANNEL
from bench.redis.server import Redis, running_redis
from bench.scenarios import Plan
from bench.worker import Worker

NODES = 8
"""More nodes that follow the channel, where the price of one is looked for: an eighth of the difference that they make."""

FOLLOWED = 2000
"""Channels that an idle node follows, and that come and go."""

PUBLISHERS = 16
"""Connections that publish one event at a time each, where the price under load is looked for."""

_PACE = 0.004  # seconds between events at rest
_BATCH, _BATCH_PACE = 100, 0.01


@dataclass(frozen=True, kw_only=True)
class Rate:
    """Publishing without a pause, from one process.

    Attributes:
        per_second: events.
        p50_ms: until the answer.
        redis_busy: share of its core that Redis used; what is left of it the process could not ask for.
    """

    per_second: float
    p50_ms: float
    redis_busy: float


@dataclass(frozen=True, kw_only=True)
class Price:
    """What an event costs, in microseconds of CPU.

    Attributes:
        append: Redis, for taking it in.
        script: in the script, as Redis' own clock counts it.
        deliver: Redis, for each node that follows its channel; None under load, where what more nodes do to the load would
            be taken for their price.
        receive: each of these nodes.
        publish: the process that publishes it.
    """

    append: float
    script: float
    deliver: float | None
    receive: float
    publish: float


@dataclass(frozen=True, kw_only=True)
class Work:
    """Costs. CPU in microseconds.

    Attributes:
        rest: of an event that comes alone, after everyone has slept for some milliseconds.
        loaded: of events that 16 connections publish one by one, without a pause.
        batched: of events in batches of 100.
        append_on_disk_us: Redis, as `rest.append`, with the append-only file, synced once a second.
        append_bytes: received by Redis per event appended alone.
        deliver_bytes: sent by Redis per event and node.
        follow_us, follow_redis_us: a node and Redis, per channel followed and left again, one at a time.
        follow_ms: until one is followed.
        follows_per_second: 2,000 at once.
        idle_us, idle_redis_us: a node that follows next to nothing, and Redis for it, per second.
        idle_channel_us, idle_channel_redis_us: the same per followed channel.
        node_connections: that a node has to Redis.
        one_by_one, many, at_once, batches: what one process reaches: a call at a time; 16 connections with a call each;
            64 calls on one connection; 4 calls of 100 events.
    """

    rest: Price
    loaded: Price
    batched: Price
    append_on_disk_us: float
    append_bytes: float
    deliver_bytes: float
    follow_us: float
    follow_redis_us: float
    follow_ms: float
    follows_per_second: float
    idle_us: float
    idle_redis_us: float
    idle_channel_us: float
    idle_channel_redis_us: float
    node_connections: float
    one_by_one: Rate
    many: Rate
    at_once: Rate
    batches: Rate


@dataclass(frozen=True, kw_only=True)
class Used:
    """What was used while something was done: CPU in microseconds, bytes as Redis counts them."""

    seconds: float
    redis_us: float
    script_us: float
    nodes_us: float
    publisher_us: float
    sent: float
    received: float

    def minus(self, other: Used, times: float = 1.0) -> Used:
        """What was used beyond so many times another."""
        return Used(**{name: getattr(self, name) - times * getattr(other, name) for name in Used.__dataclass_fields__})

    @classmethod
    def median(cls, found: Sequence[Used]) -> Used:
        """The median of each number."""
        return cls(**{name: median(getattr(used, name) for used in found) for name in cls.__dataclass_fields__})

    def per(self, count: float) -> Used:
        """For one of so many."""
        return Used(**{name: getattr(self, name) / count for name in Used.__dataclass_fields__})


class Place:
    """A Redis, a publisher and a process of nodes, and what they use while something is done."""

    def __init__(self, redis: Redis, publisher: Worker, nodes: Worker, plan: Plan) -> None:
        self.redis = redis
        self.nodes = nodes
        self.plan = plan
        self._publisher = publisher

    def using(self, action: Callable[[], object]) -> Used:
        """What they use for an action, the ends of which they reach before it returns."""
        before = self._now()
        action()
        return self._now().minus(before)

    def waiting(self) -> Used:
        """What they use in a second in which nothing is asked of them."""
        used = self.using(lambda: time.sleep(self.plan.idle_seconds))
        return used.per(used.seconds)

    def publishing(self, command: str, nodes: int = 0, **values: float) -> tuple[Used, Mapping[str, Any]]:
        """What they use per event while the publisher does what it is told, and its answer. Nodes that follow are waited
        for. The little that everyone uses anyway is part of it: taking it off would add more noise than it removes."""
        answer: dict[str, Any] = {}

        def publish() -> None:
            answer.update(self._publisher.ask(command, **values))
            if nodes:
                self.nodes.ask("receive", events=answer["events"])

        self.nodes.ask("reset")
        return self.using(publish).per(answer["events"]), answer

    def alone(self, nodes: int = 0) -> Used:
        """An event that comes alone."""
        return self._typical(lambda events: {"events": events, "interval": _PACE}, nodes)

    def batched(self, nodes: int = 0) -> Used:
        """An event of a batch."""
        return self._typical(lambda events: {"events": events * 20, "interval": _BATCH_PACE, "batch": _BATCH}, nodes)

    def _typical(self, values: Callable[[int], Mapping[str, float]], nodes: int) -> Used:
        """The median of some bursts."""
        events = self.plan.latency_events // self.plan.bursts
        return Used.median(
            [self.publishing("paced", nodes, first=0, **values(events))[0] for _ in range(self.plan.bursts)]
        )

    def loaded(self, nodes: int = 0) -> Used:
        """An event of those that many connections publish one by one."""
        seconds = self.plan.publish_seconds / 2
        return self.publishing("closed", nodes, in_flight=PUBLISHERS, connections=PUBLISHERS, seconds=seconds)[0]

    def rate(self, in_flight: int, batch: int = 1, connections: int = 1) -> Rate:
        """What one process reaches."""
        used, answer = self.publishing(
            "closed",
            in_flight=in_flight,
            batch=batch,
            connections=connections,
            seconds=self.plan.publish_seconds / 2,
        )
        return Rate(
            per_second=answer["events"] / answer["seconds"],
            p50_ms=answer["p50_us"] / 1e3,
            redis_busy=used.redis_us / 1e6 * answer["events"] / answer["seconds"],
        )

    def _now(self) -> Used:
        sent, received = self.redis.traffic()
        return Used(
            seconds=time.monotonic(),
            redis_us=self.redis.cpu_ns() / 1e3,
            script_us=self.redis.script_us(),
            nodes_us=self.nodes.cpu_ns() / 1e3,
            publisher_us=self._publisher.cpu_ns() / 1e3,
            sent=sent,
            received=received,
        )


def work(plan: Plan) -> Work:
    """Measure all of it.

    Raises:
        ServerFailed, WorkerFailed: a process did not start, or ended.
    """
    with (
        running_redis(SERVER_CORE) as redis,
        Worker("bench.redis.publisher", "log", redis.url, core=GENERATOR_CORE) as publisher,
        Worker("bench.redis.node", redis.url, core=GENERATOR_CORE) as nodes,
    ):
        place = Place(redis, publisher, nodes, plan)
        publisher.ask("closed", in_flight=PUBLISHERS, connections=PUBLISHERS, seconds=plan.publish_seconds / 4)
        without = place.alone(), place.loaded(), place.batched()
        rates = _rates(place)
        with redis.writing_to_disk():
            on_disk = place.alone()
        nodes.ask("open", nodes=1)
        nodes.ask("follow", channels=[CHANNEL])
        one = place.waiting()
        coming = _coming(place, one)
        with_one = place.alone(1), place.loaded(1), place.batched(1)
        connections = redis.connections()
        nodes.ask("open", nodes=NODES)
        nodes.ask("follow", channels=[CHANNEL])
        many = place.waiting()
        with_many = place.alone(1 + NODES), None, place.batched(1 + NODES)
        connections = redis.connections() - connections
    rest, loaded, batched = (_price(*used) for used in zip(without, with_one, with_many, strict=True))
    idle = many.minus(one).per(NODES)
    return Work(
        rest=rest,
        loaded=loaded,
        batched=batched,
        append_on_disk_us=on_disk.redis_us,
        append_bytes=without[0].received,
        deliver_bytes=(with_many[0].sent - with_one[0].sent) / NODES,
        **coming,
        idle_us=idle.nodes_us,
        idle_redis_us=idle.redis_us,
        node_connections=connections / NODES,
        **rates,
    )


def _price(without: Used, with_one: Used, with_many: Used | None) -> Price:
    """From what is used for an event without nodes, with one that follows, and with eight more."""
    return Price(
        append=without.redis_us,
        script=without.script_us,
        deliver=(with_many.redis_us - with_one.redis_us) / NODES if with_many else None,
        receive=with_one.nodes_us,
        publish=without.publisher_us,
    )


def _rates(place: Place) -> dict[str, Any]:
    return {
        "one_by_one": place.rate(1),
        "many": place.rate(PUBLISHERS, connections=PUBLISHERS),
        "at_once": place.rate(64),
        "batches": place.rate(4, _BATCH),
    }


def _coming(place: Place, quiet: Used) -> dict[str, Any]:
    """What channels cost that come, stay and go, on a node that otherwise follows one."""
    few, many = ([f"{kind}:{i}" for i in range(count)] for kind, count in (("few", FOLLOWED // 10), ("many", FOLLOWED)))
    place.nodes.ask("follow", channels=few)  # the first ones cost more
    place.nodes.ask("unfollow", channels=few)
    seconds = 0.0

    def come_and_go() -> None:
        nonlocal seconds
        seconds = place.nodes.ask("follow", channels=few)["seconds"]
        place.nodes.ask("unfollow", channels=few)

    one = place.using(come_and_go)
    one = one.minus(quiet, times=one.seconds).per(len(few))
    at_once = place.nodes.ask("follow", channels=many, at_once=True)["seconds"]
    staying = place.waiting().minus(quiet).per(len(many))
    place.nodes.ask("unfollow", channels=many, at_once=True)
    return {
        "follow_us": one.nodes_us,
        "follow_redis_us": one.redis_us,
        "follow_ms": seconds * 1e3 / len(few),
        "follows_per_second": len(many) / at_once,
        "idle_channel_us": staying.nodes_us,
        "idle_channel_redis_us": staying.redis_us,
    }
