"""What the simulation shows: tables and a picture of the named workloads, and their places in docs/scaling.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.marks import renewed
from bench.simulation.costs import Costs, Limits, as_json
from bench.simulation.curves import Curve, Panel, picture, short
from bench.simulation.model import Model, Plan
from bench.simulation.workloads import WORKLOADS, Workload
from bench.tables import number, table

COSTS, PICTURE, PAGE = "scaling.json", "scaling.svg", "scaling.md"
"""In docs/."""

SIZES = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)
_STEPS = [round(10 ** (quarters / 4)) for quarters in range(12, 29)]  # a thousand to ten million

_FOLLOWERS = (0, 1, 3, 10, 100)


def as_picture(model: Model, about: Mapping[str, str]) -> str:
    """Nodes, Redis instances and bandwidth over the number of streams."""
    plans = {workload: [model.plan(workload, streams) for streams in _STEPS] for workload in WORKLOADS}

    def curves(value: str) -> list[Curve]:
        return [
            Curve(_short_title(workload), [(plan.streams, getattr(plan, value)) for plan in found])
            for workload, found in plans.items()
        ]

    panels = [
        Panel("Nodes", "hub processes, each at most 60 % of one core", curves("nodes"), short),
        Panel("Redis instances", "primaries, with those that only feed others", curves("redis"), short),
        Panel("To the streams", "bits per second, all nodes together", curves("stream_bits"), _bits),
        Panel("From Redis to the nodes", "bits per second, all Redis instances together", curves("redis_bits"), _bits),
    ]
    measured = f"Extrapolated from costs measured on {about['date'][:10]} on {about['cpu']} (commit {about['commit']})."
    return picture("From a thousand to ten million streams", panels, measured)


def texts(model: Model, about: Mapping[str, str]) -> dict[str, str]:
    """What stands between the marks of the page, by their names, as Markdown."""
    where = f"{about['date']}, commit {about['commit']}, {about['cpu']}, {about['kernel']}, Redis {about['redis']}"
    if "others" in about:
        where += f"; the machine was not quiet, other processes {about['others']}"
    return {
        "costs": f"Measured by `make bench` on {where}.\n\n{costs_table(model.costs)}",
        "what they carry": carries_table(model),
        "plans": "\n\n".join([limits_line(model.limits), *(_section(model, workload) for workload in WORKLOADS)]),
    }


def write(costs: Costs, about: Mapping[str, str], docs: Path) -> None:
    """Renew the costs, the picture and the page.

    Raises:
        PageBroken: the page has lost its marks.
    """
    model = Model(costs)
    text = (docs / PAGE).read_text()
    for name, part in texts(model, about).items():
        text = renewed(text, name, part)
    (docs / PAGE).write_text(text)
    (docs / COSTS).write_text(as_json(costs, about))
    (docs / PICTURE).write_text(as_picture(model, about))


def _section(model: Model, workload: Workload) -> str:
    plans = [model.plan(workload, streams) for streams in SIZES]
    return f"### {workload.title}\n\n{workload.about}\n\n{_table(plans)}"


def _table(plans: Sequence[Plan]) -> str:
    header = [
        "streams",
        "nodes",
        "Redis",
        "relays",
        "published/s",
        "deliveries/s",
        "to streams",
        "Redis to nodes",
        "node's limit",
    ]
    lines = [
        [
            f"{plan.streams:,}",
            f"{plan.nodes:,}",
            f"{plan.redis:,}",
            f"{plan.relays:,}" if plan.relays else "-",
            _count(plan.published),
            _count(plan.deliveries),
            f"{_bits(plan.stream_bits)}bit/s",
            f"{_bits(plan.redis_bits)}bit/s",
            plan.limited_by,
        ]
        for plan in plans
    ]
    return table(header, lines)


def costs_table(costs: Costs) -> str:
    """Every cost, for people."""
    lines = [
        ["node: an event written to one stream", f"{number(costs.delivery_us)} µs"],
        ["node: a stream opened", f"{number(costs.connect_us)} µs"],
        ["node: an event taken in from Redis, one by one", f"{number(costs.receive_us)} µs"],
        ["node: an event taken in from Redis, in batches of 100", f"{number(costs.receive_batched_us)} µs"],
        ["node: a channel followed and left again", f"{number(costs.follow_us)} µs"],
        ["node: a second in which nothing happens", f"{number(costs.idle_us)} µs"],
        ["node: the same, for each followed channel", f"{number(costs.idle_channel_us)} µs"],
        ["node: memory without streams", f"{number(costs.node_memory / 2**20)} MB"],
        ["node: memory per idle stream", f"{number(costs.stream_memory / 2**10)} KB"],
        ["Redis: an event appended, one by one", f"{number(costs.append_us)} µs"],
        ["Redis: an event appended, in batches of 100", f"{number(costs.append_batched_us)} µs"],
        ["Redis: an event sent to one node that follows its channel, one by one", f"{number(costs.deliver_us)} µs"],
        ["Redis: the same, in batches of 100", f"{number(costs.deliver_batched_us)} µs"],
        ["Redis: a channel followed and left again", f"{number(costs.follow_redis_us)} µs"],
        ["Redis: a node, each second", f"{number(costs.idle_redis_us)} µs"],
        ["Redis: a channel that a node follows, each second", f"{number(costs.idle_channel_redis_us)} µs"],
        ["publisher: an event, one by one", f"{number(costs.publish_us)} µs"],
        ["publisher: an event, in batches of 100", f"{number(costs.publish_batched_us)} µs"],
        ["bytes beside the data: on a stream", number(costs.frame_overhead)],
        ["bytes beside the data: to Redis", number(costs.append_overhead)],
        ["bytes beside the data: from Redis to a node", number(costs.deliver_overhead)],
    ]
    return table(["CPU of one core, memory, bytes", "measured"], lines)


def carries_table(model: Model) -> str:
    """What one Redis and one node carry."""
    budget = model.limits.cpu * 1e6
    costs = model.costs
    lines = [
        [
            f"events/s into one Redis, {_nodes(followers)}",
            *(_count(budget / (costs.append(batch) + followers * costs.deliver(batch))) for batch in (1, 100)),
        ]
        for followers in _FOLLOWERS
    ]
    lines.append(["events/s into one node", *(_count(budget / costs.receive(batch)) for batch in (1, 100))])
    return table([f"at {model.limits.cpu:.0%} of a core", "one at a time", "batches of 100"], lines)


def _nodes(followers: int) -> str:
    return {0: "no node follows", 1: "1 node follows"}.get(followers, f"{followers} nodes follow")


def limits_line(limits: Limits) -> str:
    """What is assumed, in a sentence."""
    return (
        f"A node or a Redis uses at most {limits.cpu:.0%} of a core; a node at most {limits.node_memory / 2**30:.0f} GB, "
        f"{limits.node_streams:,} streams and {limits.node_bits / 1e9:.1f} Gbit/s out; a Redis at most "
        f"{limits.redis_bits / 1e9:.0f} Gbit/s out and {limits.redis_connections:,} connections; "
        f"each log has {limits.spare} node more than it needs."
    )


def _short_title(workload: Workload) -> str:
    return workload.title.partition(" by ")[0].partition(" per ")[0]


def _count(value: float) -> str:
    return f"{value:,.0f}" if value < 1e6 else f"{number(value / 1e6)} M"


def _bits(value: float) -> str:
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{number(value / size) if value / size % 1 else round(value / size)} {unit}"
    return f"{value:.0f} "
