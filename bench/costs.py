"""The costs that the simulation takes, from what a run found. Pure."""

from __future__ import annotations

from bench.results import OURS, Results, rows
from bench.simulation.costs import PAYLOAD, Costs


def costs_of(results: Results) -> Costs | None:
    """The costs; None if the run did not measure all of them. Of several numbers of streams the largest counts, with which a
    delivery is dearest. What goes through Redis has its price under load: an installation is planned for when it is busy."""
    most = max(results.fan_out, default=0)
    ours = next((row for row in rows(results, most) if row.system == OURS), None)
    latency, work = results.latency, results.work
    if ours is None or latency is None or work is None:
        return None
    return Costs(
        delivery_us=ours.cpu_us,
        connect_us=ours.connect_us,
        stream_memory=ours.idle_bytes,
        node_memory=latency.node_memory,
        frame_overhead=latency.stream_bytes - PAYLOAD,
        append_us=work.loaded.append,
        append_batched_us=work.batched.append,
        append_overhead=work.append_bytes - PAYLOAD,
        publish_us=work.loaded.publish,
        publish_batched_us=work.batched.publish,
        deliver_us=work.loaded.deliver,
        deliver_overhead=work.deliver_bytes - PAYLOAD,
        receive_us=work.loaded.receive,
        receive_batched_us=work.batched.receive,
        follow_us=work.follow_us,
        follow_redis_us=work.follow_redis_us,
        idle_us=max(0.0, work.idle_us),  # small differences, which noise may turn around
        idle_redis_us=max(0.0, work.idle_redis_us),
        idle_channel_us=max(0.0, work.idle_channel_us),
        idle_channel_redis_us=max(0.0, work.idle_channel_redis_us),
        node_connections=work.node_connections,
    )
