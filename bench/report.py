"""What a run found, for people: tables and sections of Markdown.

Pure: numbers in, text out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bench.postgres.told import freshness_table, sequencing_table, throughput_table
from bench.redis.latency import RATE, STREAMS, Latency
from bench.redis.work import FOLLOWED, PUBLISHERS, Price, Work
from bench.results import KB, Results, Row, bars, rows
from bench.tables import number, table


def ratio(value: float | None) -> str:
    """A multiple of the floor."""
    return "-" if value is None else f"{number(value)}x"


def fan_out_table(found: Sequence[Row]) -> str:
    """One event at a time, at a moderate rate; memory and connects."""
    header = ["", "CPU / floor", "CPU µs", "p50 ms", "p99 ms", "idle KB", "connect µs", "connects/s"]
    lines = [
        [
            row.title,
            ratio(row.ratio),
            number(row.cpu_us),
            number(row.p50_ms),
            number(row.p99_ms),
            number(row.idle_bytes / KB),
            number(row.connect_us),
            number(row.connects_per_second),
        ]
        for row in found
    ]
    return table(header, lines)


def loaded_table(found: Sequence[Row]) -> str:
    """The closed loop."""
    header = ["", "deliveries/s", "CPU / floor", "CPU µs", "p99 ms"]
    lines = [
        [
            row.title + (" (?)" if row.doubtful else ""),
            number(row.per_second),
            ratio(row.loaded_ratio),
            number(row.loaded_cpu_us),
            number(row.loaded_p99_ms),
        ]
        for row in found
    ]
    return table(header, lines)


def _title(results: Results, name: str) -> str:
    base, _, broker = name.partition("-")
    if name not in results.titles and broker:
        return f"{results.titles.get(base, base)}, {broker} broker"
    return results.titles.get(name, name)


def storm_table(results: Results) -> str:
    """Everyone comes back at once."""
    header = ["", "all caught up, s", "p50 ms", "p99 ms", "server CPU ms"]
    lines = [
        [_title(results, name), number(found.seconds), number(found.p50_ms), number(found.p99_ms), number(found.cpu_ms)]
        for name, found in results.storm.items()
    ]
    return table(header, lines)


def publishing_table(results: Results) -> str:
    """Events per second into the log."""
    header = [
        "events/s (median ms until the answer)",
        "answered when",
        "one by one",
        "64 at once",
        "4 x batches of 100",
    ]

    def cell(found: tuple[float, float] | None) -> str:
        return "-" if found is None else f"{number(found[0])} ({number(found[1])})"

    lines = [
        [
            _title(results, name),
            found.durable,
            cell(found.one_by_one),
            cell(found.sixty_four_at_once),
            cell(found.batches_of_100),
        ]
        for name, found in results.publishing.items()
    ]
    return table(header, lines)


def groups_table(results: Results) -> str:
    """The price of permissions."""
    header = ["server CPU µs per delivery", "without", "100 groups", "ratio"]
    lines = [
        [
            _title(results, name),
            number(found.without),
            number(found.with_groups),
            ratio(found.with_groups / found.without),
        ]
        for name, found in results.groups.items()
    ]
    return table(header, lines)


def latency_table(found: Latency) -> str:
    """From publishing to delivery."""
    header = ["publish to delivery", "p50 / pub/sub", "p50 ms", "p99 ms"]
    load = f"publisher, Redis, node, {STREAMS:,} streams, {RATE} events/s"
    ways = [
        ("Redis' own pub/sub: PUBLISH, a redis-py subscriber", 1.0, found.floor),
        ("publisher, Redis, node, one stream", found.one_ratio, found.one),
        ("POST to a node, Redis, another node, one stream", found.posted_ratio, found.posted),
        (load, None, found.many),
    ]
    lines = [[title, ratio(of), number(took.p50_us / 1e3), number(took.p99_us / 1e3)] for title, of, took in ways]
    return table(header, lines)


def rates_table(found: Work) -> str:
    """What one publishing process reaches."""
    rates = {
        "one by one": found.one_by_one,
        f"{PUBLISHERS} connections, one by one each": found.many,
        "64 at once": found.at_once,
        "4 x batches of 100": found.batches,
    }
    lines = [
        [title, number(rate.per_second), number(rate.p50_ms), f"{rate.redis_busy:.0%}"] for title, rate in rates.items()
    ]
    return table(["one publishing process", "events/s", "median ms until the answer", "Redis busy"], lines)


def prices_table(found: Work) -> str:
    """What an event costs everyone."""
    prices = (found.rest, found.loaded, found.batched)

    def line(title: str, of: Callable[[Price], float | None]) -> list[str]:
        return [title, *("-" if (cost := of(price)) is None else number(cost) for price in prices)]

    lines = [
        line("Redis: taking it in", lambda price: price.append),
        line("of that, in the script by Redis' clock", lambda price: price.script),
        line("Redis: for each node that follows its channel", lambda price: price.deliver),
        line("each of these nodes", lambda price: price.receive),
        line("the publisher", lambda price: price.publish),
    ]
    return table(["CPU µs per event", "alone, at rest", "one by one, under load", "batches of 100"], lines)


def others_table(found: Work) -> str:
    """What costs without an event."""

    def line(title: str, redis: float, node: float) -> list[str]:
        return [title, number(redis), number(node)]

    lines = [
        line("a channel followed and left again", found.follow_redis_us, found.follow_us),
        line("a second of an idle node", found.idle_redis_us, found.idle_us),
        line("the same for each channel it follows", found.idle_channel_redis_us, found.idle_channel_us),
    ]
    return table(["CPU µs", "Redis", "node"], lines)


def _rest(found: Work) -> str:
    return (
        f"With the append-only file, taking in an event at rest costs {number(found.append_on_disk_us)} µs. "
        f"An event of 120 bytes is {number(found.append_bytes)} bytes to Redis and {number(found.deliver_bytes)} to a node. "
        f"Following a channel takes {number(found.follow_ms)} ms; {FOLLOWED:,} at once, "
        f"{number(found.follows_per_second)} a second. A node has {found.node_connections:.0f} connections to Redis."
    )


def bars_table(results: Results) -> str:
    """What is promised, and what was found."""
    lines = [[bar.promise, bar.measured, "yes" if bar.met else "NO"] for bar in bars(results)]
    return table(["promise", "measured", "kept"], lines)


def report(results: Results, heading: str = "###") -> str:
    """All of it, as Markdown sections."""
    sections: list[tuple[str, str]] = []
    for streams in results.fan_out:
        found, in_flight = rows(results, streams), max(1, 20_000 // streams)
        sections.append((f"{streams:,} subscribers, one event at a time", fan_out_table(found)))
        sections.append((f"{streams:,} subscribers, {in_flight} events in flight", loaded_table(found)))
    if results.storm:
        sections.append(("Reconnect storm: 2,000 streams return at once, each missed 100 events", storm_table(results)))
    if results.publishing:
        sections.append(("Publishing", publishing_table(results)))
    if results.groups:
        sections.append(("100 permission groups", groups_table(results)))
    if results.latency:
        sections.append(("Through Redis", latency_table(results.latency)))
    if results.work:
        sections.append(("Publishing to Redis", rates_table(results.work)))
        tables = [prices_table(results.work), others_table(results.work), _rest(results.work)]
        sections.append(("Work of Redis and of nodes", "\n\n".join(tables)))
    if results.throughput:
        sections.append(("Transactions in PostgreSQL", throughput_table(results.throughput)))
    if results.freshness:
        sections.append(("From a write in PostgreSQL to the browser", freshness_table(results.freshness)))
    if results.sequencing:
        sections.append(("Events into a log in PostgreSQL", sequencing_table(results.sequencing)))
    if bars(results):
        sections.append(("Promises", bars_table(results)))
    if results.notes:
        sections.append(("Notes", "\n".join(f"- {note}" for note in results.notes)))
    return "\n\n".join(f"{heading} {title}\n\n{text}" for title, text in sections)
