"""What Redis and a node work for each other, in CPU time and bytes: the costs that the simulation multiplies.

Redis has a core of its own here; publishers and nodes share the other. CPU time is the processes', kernel time included.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bench.process import GENERATOR_CORE, SERVER_CORE
from bench.redis.publisher import CHANNEL
from bench.redis.server import Redis, running_redis
from bench.scenarios import Plan
from bench.worker import Worker

NODES = 8
"""Nodes that follow the channel, where the price of one of them is looked for: an eighth of the difference that they make."""

FOLLOWED = 2000
"""Channels that an idle node follows, and that come and go."""

_PACE = 0.002
_BATCH = 100


@dataclass(frozen=True, kw_only=True)
class Rate:
    """Publishing without a pause.

    Attributes:
        per_second: events.
        p50_ms: until the answer.
        redis_busy: share of its core that Redis used; what is left of it the publisher could not ask for.
    """

    per_second: float
    p50_ms: float
    redis_busy: float


@dataclass(frozen=True, kw_only=True)
class Work:
    """Costs. CPU in microseconds.

    Attributes:
        append_us: Redis, per event appended one at a time, followed by no node.
        append_script_us: of that, in the script as Redis counts it.
        append_on_disk_us: the same with the append-only file, synced once a second.
        append_batched_us: Redis, per event in batches of 100.
        append_bytes: received by Redis per event appended one at a time.
        publish_us, publish_batched_us: the publishing process, per event.
        deliver_us: Redis, per event and node that follows its channel.
        deliver_bytes: sent by Redis per event and node.
        receive_us: a node, per event that comes alone.
        receive_batched_us: a node, per event of a batch of 100.
        follow_us, follow_redis_us: a node and Redis, per channel followed and left again, one at a time.
        follow_ms: until one is followed.
        follows_per_second: 2,000 at once.
        idle_us, idle_redis_us: a node that follows nothing, and Redis for it, per second.
        idle_channel_us, idle_channel_redis_us: the same per followed channel.
        node_connections: that a node has to Redis.
        one_by_one, at_once, batches: rates of one publishing process: a call at a time, 64 calls, 4 calls of 100 events.
    """

    append_us: float
    append_script_us: float
    append_on_disk_us: float
    append_batched_us: float
    append_bytes: float
    publish_us: float
    publish_batched_us: float
    deliver_us: float
    deliver_bytes: float
    receive_us: float
    receive_batched_us: float
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

    def publishing(self, events: int, quiet: Used, batch: int = 1, nodes: int = 0) -> Used:
        """What they use per event, beyond what they use in a quiet second. So many nodes are waited for."""

        def publish() -> None:
            self._publisher.ask("paced", first=0, events=events, interval=_PACE, batch=batch)
            if nodes:
                self.nodes.ask("receive", events=events)

        self.nodes.ask("reset")
        used = self.using(publish)
        return used.minus(quiet, times=used.seconds).per(events)

    def rate(self, in_flight: int, batch: int = 1) -> Rate:
        """What one publisher reaches."""
        answer: dict[str, float] = {}

        def publish() -> None:
            answer.update(
                self._publisher.ask("closed", in_flight=in_flight, batch=batch, seconds=self.plan.publish_seconds)
            )

        used = self.using(publish)
        return Rate(
            per_second=answer["events"] / answer["seconds"],
            p50_ms=answer["p50_us"] / 1e3,
            redis_busy=used.redis_us / 1e6 / used.seconds,
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
        publisher.ask("closed", in_flight=64, batch=1, seconds=plan.publish_seconds / 4)
        nobody = place.waiting()
        alone = place.publishing(plan.latency_events, nobody)
        appending = _appending(place, nobody)
        nodes.ask("open", nodes=1)
        quiet = place.waiting()
        coming = _coming(place, quiet)
        receiving = _receiving(place, alone, quiet, nobody)
    return Work(
        append_us=alone.redis_us,
        append_script_us=alone.script_us,
        append_bytes=alone.received,
        publish_us=alone.publisher_us,
        **appending,
        **coming,
        **receiving,
        idle_us=quiet.nodes_us,
        idle_redis_us=quiet.redis_us - nobody.redis_us,
    )


def _appending(place: Place, nobody: Used) -> dict[str, Any]:
    """What publishers cause that have other ways than one event at a time."""
    events = place.plan.latency_events
    batched = place.publishing(events * 10, nobody, batch=_BATCH)
    rates = {"one_by_one": place.rate(1), "at_once": place.rate(64), "batches": place.rate(4, _BATCH)}
    with place.redis.writing_to_disk():
        on_disk = place.publishing(events, nobody)
    return {
        "append_batched_us": batched.redis_us,
        "append_on_disk_us": on_disk.redis_us,
        "publish_batched_us": batched.publisher_us,
        **rates,
    }


def _coming(place: Place, quiet: Used) -> dict[str, Any]:
    """What channels cost that come, stay and go, on a node that otherwise follows nothing."""
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


def _receiving(place: Place, alone: Used, quiet: Used, nobody: Used) -> dict[str, Any]:
    """What events cost that nodes follow: one node that is there already, then more of them."""
    events = place.plan.latency_events
    place.nodes.ask("follow", channels=[CHANNEL])
    one = place.publishing(events, quiet, nodes=1)
    batched = place.publishing(events * 10, quiet, batch=_BATCH, nodes=1)
    before = place.redis.connections()
    place.nodes.ask("open", nodes=NODES - 1)
    connections = (place.redis.connections() - before) / (NODES - 1)
    place.nodes.ask("follow", channels=[CHANNEL])
    busier = nobody.minus(quiet.minus(nobody), times=-NODES)
    delivered = place.publishing(events, busier, nodes=NODES).minus(alone).per(NODES)
    return {
        "receive_us": one.nodes_us,
        "receive_batched_us": batched.nodes_us,
        "deliver_us": delivered.redis_us,
        "deliver_bytes": delivered.sent,
        "node_connections": connections,
    }
