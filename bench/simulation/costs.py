"""What things cost, as measured, and how much of a machine may be used. Read from and written to docs/scaling.json.

Knows the units. Knows nothing of workloads, and measures nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

PAYLOAD = 120
"""Bytes of data per event in every benchmark. Overheads are what is left without them."""


class CostsMissing(Exception):
    """There are no costs, or not all of them, or one makes no sense."""


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Measured. CPU in microseconds of one core, memory and traffic in bytes.

    Attributes:
        delivery_us: a node, per event and stream, when each event is written by itself.
        connect_us: a node, per stream opened.
        stream_memory: of a node, per idle stream; node_memory: without streams.
        frame_overhead: on a stream per event, beside its data.
        append_us, append_batched_us: Redis, per event appended alone, and in batches of 100.
        append_overhead: to Redis per event, beside its data.
        publish_us, publish_batched_us: the publishing process, likewise.
        deliver_us, deliver_batched_us: Redis, likewise, for each node that follows the event's channel.
        deliver_overhead: from Redis to such a node per event, beside its data.
        receive_us, receive_batched_us: a node, per event that comes from Redis alone, and in batches of 100.
        follow_us, follow_redis_us: a node and Redis, per channel that gets its first stream on a node and loses its last.
        idle_us, idle_redis_us: a node and Redis, per second and node.
        idle_channel_us, idle_channel_redis_us: the same, per followed channel.
        node_connections: to Redis, per node.
    """

    delivery_us: float
    connect_us: float
    stream_memory: float
    node_memory: float
    frame_overhead: float
    append_us: float
    append_batched_us: float
    append_overhead: float
    publish_us: float
    publish_batched_us: float
    deliver_us: float
    deliver_batched_us: float
    deliver_overhead: float
    receive_us: float
    receive_batched_us: float
    follow_us: float
    follow_redis_us: float
    idle_us: float
    idle_redis_us: float
    idle_channel_us: float
    idle_channel_redis_us: float
    node_connections: float

    def __post_init__(self) -> None:
        for field in fields(self):
            if not getattr(self, field.name) >= 0:
                raise CostsMissing(f"{field.name} is {getattr(self, field.name):.3g}; expected at least 0")

    def append(self, batch: float) -> float:
        """Redis' CPU per event appended in batches of this size."""
        return _batched(self.append_us, self.append_batched_us, batch)

    def deliver(self, batch: float) -> float:
        """Redis' CPU per event and node when so many are published at once."""
        return _batched(self.deliver_us, self.deliver_batched_us, batch)

    def publish(self, batch: float) -> float:
        """The publisher's CPU per event in batches of this size."""
        return _batched(self.publish_us, self.publish_batched_us, batch)

    def receive(self, batch: float) -> float:
        """A node's CPU per event when so many come at once."""
        return _batched(self.receive_us, self.receive_batched_us, batch)


def _batched(alone: float, in_hundreds: float, batch: float) -> float:
    """A price per call, shared by the batch, and one per event: the line through both measurements."""
    call = max(0.0, alone - in_hundreds) / 0.99
    return alone - call + call / batch


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much may be used. Chosen, not measured: what is left is for bursts, reconnects and a neighbour that is away.

    Attributes:
        cpu: share of a core, of a node and of a Redis alike.
        node_memory: bytes.
        node_streams: per node. Their files and a proxy's ports are bounded, and so is the time in which the others take
            over a node's streams.
        node_bits, redis_bits: per second, of all bytes out.
        redis_connections: `maxclients`.
        spare: nodes beyond the need, per log.
    """

    cpu: float = 0.6
    node_memory: float = 2 * 2**30
    node_streams: int = 50_000
    node_bits: float = 0.6 * 1e9
    redis_bits: float = 0.6 * 10e9
    redis_connections: int = 10_000
    spare: int = 1


def read(path: Path) -> tuple[Costs, Mapping[str, str]]:
    """The costs in a file, and where they were measured.

    Raises:
        CostsMissing: there are none.
    """
    try:
        found: dict[str, Any] = json.loads(path.read_text())
        return Costs(**found["costs"]), found["machine"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CostsMissing(f"{path} has no complete costs ({error}); `make bench` writes it") from None


def as_json(costs: Costs, about: Mapping[str, str]) -> str:
    """The file's text."""
    return json.dumps({"machine": dict(about), "costs": asdict(costs)}, indent=1) + "\n"
