"""The model: a workload of a size, the costs and the limits in; nodes, Redis instances and bandwidth out. Pure.

A log is one Redis and the nodes that read it. What one log cannot carry is divided in one of two ways:

- *Parts.* Where streams keep to parts of the channels (rooms, users), each part is a log with nodes of its own.
- *A tree.* Where everybody may listen to everything, each log has all the events: they are appended to a first log, which
  relays follow, each of which appends them to a log further down, and so on until the last ones have nodes and streams.

Streams are spread over the nodes of a log at random, so that a channel with `a` streams is followed by n (1 - (1 - 1/n)^a)
of n nodes on average.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from bench.simulation.costs import Costs, Limits
from bench.simulation.workloads import Workload

HEARTBEAT_SECONDS = 15.0
HEARTBEAT_BYTES = 100
"""Of a heartbeat event with its id and time; counted for every stream, also a busy one."""

MOST = 1 << 24
"""Nodes or logs beyond which there is no use in looking further."""


class TooMuch(Exception):
    """No number of machines does it: something that cannot be divided is more than one can carry."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """What one node or one Redis has to do each second.

    Attributes:
        cpu_us: microseconds of one core.
        bytes_out: sent; in: received, as events.
        memory: bytes.
        streams, connections: open.
    """

    cpu_us: float
    bytes_out: float
    bytes_in: float
    memory: float = 0.0
    streams: float = 0.0
    connections: float = 0.0

    def of_node(self, limits: Limits) -> dict[str, float]:
        """Shares of what a node may use, by what they are of."""
        return {
            "CPU": self.cpu_us / (limits.cpu * 1e6),
            "bandwidth": self.bytes_out * 8 / limits.node_bits,
            "memory": self.memory / limits.node_memory,
            "streams": self.streams / limits.node_streams,
        }

    def of_redis(self, limits: Limits) -> dict[str, float]:
        """Shares of what a Redis may use."""
        return {
            "CPU": self.cpu_us / (limits.cpu * 1e6),
            "bandwidth": self.bytes_out * 8 / limits.redis_bits,
            "connections": self.connections / limits.redis_connections,
        }


@dataclass(frozen=True, kw_only=True)
class Log:
    """One log and the nodes that read it.

    Attributes:
        streams: on all its nodes together.
        nodes: that the load needs, without spare ones.
        events: appended per second.
        followers: nodes that follow a channel, on average.
        node, redis: the load of each.
    """

    streams: float
    nodes: int
    events: float
    followers: float
    node: Load
    redis: Load


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a workload of a size needs.

    Attributes:
        logs: with streams, all alike; `log` is one of them.
        levels: of Redis instances above those, from the one that is published to downwards; empty without a tree.
        nodes: all of them, with the spare ones.
        relays: processes that carry events from a log to one further down.
        published: events per second from outside.
        deliveries: events per second to streams.
        stream_bits, redis_bits: per second, to all streams, and from all Redis instances to nodes and relays.
        limited_by: what a node runs out of first.
    """

    workload: Workload
    streams: int
    logs: int
    log: Log
    levels: tuple[int, ...]
    nodes: int
    relays: int
    published: float
    deliveries: float
    stream_bits: float
    redis_bits: float
    limited_by: str

    @property
    def redis(self) -> int:
        """Redis instances, without replicas."""
        return self.logs + sum(self.levels)


class Model:
    """Costs and limits, and what follows from them."""

    def __init__(self, costs: Costs, limits: Limits = Limits()) -> None:  # noqa: B008 (frozen, so safe to share)
        self.costs = costs
        self.limits = limits

    def plan(self, workload: Workload, streams: int) -> Plan:
        """The fewest logs that do it, and the fewest nodes for them.

        Raises:
            TooMuch: nothing does.
        """
        logs = least(lambda count: self._fits(workload, streams, count))
        if logs is None:
            raise TooMuch(f"{workload.title} with {streams:,} streams: one log cannot even take the events")
        log = self.log(workload, streams, logs)
        levels = () if workload.divisible or logs == 1 else self._levels(workload, logs)
        carried = sum(levels[1:]) + logs if levels else 0  # every log but the first gets its events from a relay
        heartbeats = streams * HEARTBEAT_BYTES / HEARTBEAT_SECONDS
        deliveries = streams * workload.per_stream * workload.rate
        return Plan(
            workload=workload,
            streams=streams,
            logs=logs,
            log=log,
            levels=levels,
            nodes=logs * (log.nodes + self.limits.spare),
            relays=carried,
            published=workload.channels_of(streams) * workload.rate,
            deliveries=deliveries,
            stream_bits=8 * (deliveries * self._frame(workload) + heartbeats),
            redis_bits=8 * (logs * log.redis.bytes_out + carried * self._events_out(workload, log.events)),
            limited_by=_largest(log.node.of_node(self.limits)),
        )

    def log(self, workload: Workload, streams: float, logs: int) -> Log:
        """One of so many logs for so many streams.

        Raises:
            TooMuch: its events alone are more than a node can take in.
        """
        mine = streams / logs
        channels = workload.channels_of(mine if workload.divisible else streams)
        events = channels * workload.rate
        audience = min(workload.audience_of(mine), mine)

        def node(count: int) -> Load:
            return self._node(workload, mine / count, count, events, audience)

        nodes = least(lambda count: _fits(node(count).of_node(self.limits)))
        if nodes is None or nodes > math.ceil(mine):
            raise TooMuch(f"{workload.title}: a node cannot take in {events:,.0f} events per second")
        followers = following(nodes, audience)
        return Log(
            streams=mine,
            nodes=nodes,
            events=events,
            followers=followers,
            node=node(nodes),
            redis=self._redis(workload, mine, nodes, events, audience, channels),
        )

    def _fits(self, workload: Workload, streams: float, logs: int) -> bool:
        try:
            return _fits(self.log(workload, streams, logs).redis.of_redis(self.limits))
        except TooMuch:
            return False

    def _node(self, workload: Workload, streams: float, nodes: int, events: float, audience: float) -> Load:
        costs = self.costs
        share = following(nodes, audience) / nodes
        received, at_once = events * share, 1 + (workload.batch - 1) * share
        writes = streams * (workload.per_stream * workload.rate + 1 / HEARTBEAT_SECONDS)
        connects = streams / workload.session
        return Load(
            cpu_us=writes * costs.delivery_us
            + received * costs.receive(at_once)
            + connects * (costs.connect_us + self._follows(workload, nodes, audience) * costs.follow_us)
            + costs.idle_us
            + received / workload.rate * costs.idle_channel_us,
            bytes_out=streams
            * (workload.per_stream * workload.rate * self._frame(workload) + HEARTBEAT_BYTES / HEARTBEAT_SECONDS),
            bytes_in=self._events_out(workload, received),
            memory=costs.node_memory + streams * costs.stream_memory,
            streams=streams,
        )

    def _redis(
        self, workload: Workload, streams: float, nodes: int, events: float, audience: float, channels: float
    ) -> Load:
        costs, followers = self.costs, following(nodes, audience)
        follows = streams / workload.session * self._follows(workload, nodes, audience)
        return Load(
            cpu_us=events * (costs.append(workload.batch) + followers * costs.deliver(workload.batch))
            + follows * costs.follow_redis_us
            + nodes * costs.idle_redis_us
            + channels * followers * costs.idle_channel_redis_us,
            bytes_out=self._events_out(workload, events * followers),
            bytes_in=events * (workload.event_bytes + costs.append_overhead),
            connections=nodes * costs.node_connections,
        )

    def _follows(self, workload: Workload, nodes: int, audience: float) -> float:
        """Channels of a new stream that its node did not follow yet."""
        alone: float = (1 - 1 / nodes) ** max(0.0, audience - 1)
        return workload.per_stream * alone

    def _levels(self, workload: Workload, logs: int) -> tuple[int, ...]:
        """Redis instances above so many logs, each feeding as many below it as it can."""
        events = workload.channels_of(1) * workload.rate
        fan_out = self._relays_of_one(workload, events)
        levels: list[int] = []
        while logs > 1:
            logs = math.ceil(logs / fan_out)
            levels.insert(0, logs)
        return tuple(levels)

    def _relays_of_one(self, workload: Workload, events: float) -> int:
        """How many relays one Redis can feed that takes these events."""
        costs = self.costs
        relay_us = events * (costs.receive(workload.batch) + costs.publish(workload.batch)) + costs.idle_us
        left = self.limits.cpu * 1e6 - events * costs.append(workload.batch)
        by_cpu = left / (events * costs.deliver(workload.batch) + costs.idle_redis_us)
        by_bandwidth = self.limits.redis_bits / 8 / self._events_out(workload, events)
        if relay_us > self.limits.cpu * 1e6 or min(by_cpu, by_bandwidth) < 2:
            raise TooMuch(f"{workload.title}: {events:,.0f} events per second are more than a tree of relays can carry")
        return math.floor(min(by_cpu, by_bandwidth))

    def _frame(self, workload: Workload) -> float:
        return workload.event_bytes + self.costs.frame_overhead

    def _events_out(self, workload: Workload, events: float) -> float:
        """Bytes in which Redis sends so many events to nodes."""
        return events * (workload.event_bytes + self.costs.deliver_overhead)


def following(nodes: int, audience: float) -> float:
    """How many of the nodes have at least one of a channel's streams, on average."""
    spread = nodes * -math.expm1(audience * math.log1p(-1 / nodes)) if nodes > 1 else 1.0
    return min(spread, audience)  # a channel that not even one stream listens to, on average, has no whole node either


def least(fits: Callable[[int], bool]) -> int | None:
    """The smallest count from 1 on that fits, given that all larger ones do too; None if none does."""
    high = 1
    while not fits(high):
        high *= 2
        if high > MOST:
            return None
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(middle) else (middle, high)
    return high


def _fits(shares: dict[str, float]) -> bool:
    return max(shares.values()) <= 1


def _largest(shares: dict[str, float]) -> str:
    return max(shares, key=lambda name: shares[name])
