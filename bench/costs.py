"""The costs that the simulation takes, from what a run found. Pure."""

from __future__ import annotations

from bench.results import OURS, Results, rows
from bench.simulation.costs import PAYLOAD, Costs, CostsMissing


def costs_of(results: Results) -> Costs:
    """The costs. Of several numbers of streams the largest counts, with which a delivery is dearest. Appending and receiving
    have their prices under load, since an installation is planned for when it is busy.

    Raises:
        CostsMissing: the run did not measure all of them, or so badly that one is less than nothing.
    """
    most = max(results.fan_out, default=0)
    ours = next((row for row in rows(results, most) if row.system == OURS), None)
    latency, work = results.latency, results.work
    if ours is None or latency is None or work is None:
        raise CostsMissing("the run did not measure all that they are made of")
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
        deliver_us=work.rest.deliver or 0.0,
        deliver_batched_us=work.batched.deliver or 0.0,
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
