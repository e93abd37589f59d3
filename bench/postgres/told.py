"""What PostgreSQL costs and how soon browsers know, for people: tables of Markdown. Pure."""

from __future__ import annotations

from bench.postgres.commits import ALONE, CALL, FALSE, LEAST, NO_TRIGGER, PLAIN, PUBLISH, TRUE, Throughput
from bench.postgres.latency import Freshness
from bench.postgres.sequencing import Sequencing
from bench.postgres.server import CLIENTS
from bench.redis.latency import RATE, STREAMS
from bench.tables import number, table


def throughput_table(found: Throughput) -> str:
    """What an application reaches, and what it would without us."""
    lines = [
        ("an UPDATE, and the event as a row of a plain table", PLAIN, 1.0),
        ("an UPDATE, and the event is published", PUBLISH, found.publish_ratio),
        ("an UPDATE, and it is published by the SQL function", CALL, found.call_ratio),
        ("an UPDATE, and nothing else", ALONE, found.publish_ratio / found.alone_ratio),
        ("an UPDATE of a table without a trigger", NO_TRIGGER, 1.0),
        ("of one with a trigger whose WHEN is false", FALSE, found.false_ratio),
        ("the least: a trigger made by hand, WHEN (false)", LEAST, found.least_ratio),
        ("of one with a trigger whose WHEN is true", TRUE, found.true_ratio),
    ]
    rows = [
        [title, number(found.found[kind].per_second), f"{ratio:.2f}x", number(found.found[kind].cpu_us)]
        for title, kind, ratio in lines
    ]
    after = (
        f"{CLIENTS} connections of pgbench, fsync, and a hub that has relayed {found.published:,} events meanwhile and was "
        f"never more than {found.behind:,} behind. The plain table has a primary key and the time of each row, and nobody "
        f"reads it. Publishing against the bare UPDATE: {found.alone_ratio:.2f}x. CPU is that of the server's processes for "
        f"these connections; what the hub takes of the machine is in the commits alone."
    )
    return f"{table(['one transaction', 'commits/s', 'ratio', 'CPU µs'], rows)}\n\n{after}"


def freshness_table(found: Freshness) -> str:
    """From the write to the browser."""
    ways = [
        (f"rows changed, {RATE} a second, {STREAMS:,} streams", found.many),
        ("rows changed, one at a time, one stream", found.one),
        ("published in a transaction, one stream", found.published),
        ("the same while the hub sleeps and must be told", found.at_rest),
    ]
    lines = [[title, number(took.p50_us / 1e3), number(took.p99_us / 1e3)] for title, took in ways]
    after = (
        f"Of the first, {number(found.commit_ms)} ms are the application's own UPDATE and commit; the hub used "
        f"{found.busy:.0%} of its core."
    )
    return f"{table(['write to browser', 'p50 ms', 'p99 ms'], lines)}\n\n{after}"


def sequencing_table(found: Sequencing) -> str:
    """How fast events come into the log."""
    appending = found.appending
    lines = [
        [f"{found.rows:,} events published in one transaction, until a stream has them", number(found.published), "-"],
        [f"{found.rows:,} rows changed in one statement, until a stream has them", number(found.changed), "-"],
        *(
            [f"appended by a publisher, {title}", number(rate), number(took)]
            for title, (rate, took) in (
                ("one by one", appending.one_by_one),
                ("64 at once", appending.at_once),
                ("4 x batches of 100", appending.batches),
            )
        ),
    ]
    after = f"An event from the outbox to a stream costs the hub {number(found.hub_us)} µs of CPU."
    return f"{table(['', 'events/s', 'median ms until the answer'], lines)}\n\n{after}"
