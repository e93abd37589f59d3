"""How fast the hub takes what is committed, and how fast its own publishers append.

Very many rows are committed at once, so that the hub has nothing to wait for. One stream listens, and gets each of them.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass

from bench.postgres.server import Postgres, hub, running_postgres
from bench.process import GENERATOR_CORE
from bench.redis.latency import Numbers
from bench.scenarios import Plan, checked, running
from bench.worker import Worker

PUBLISH = """
INSERT INTO headwater.event (channel, data) SELECT 'bench', format(
    '{"t":"%%s","n":"%%s","text":"%%s"}', repeat('0', 20), lpad(i::text, 10, '0'), repeat('x', 65)
) FROM generate_series(%s::int, %s) AS i
"""
CHANGE = """
UPDATE watched SET t = repeat('0', 20), n = lpad((%s::int + id - 1)::text, 10, '0') WHERE id <= %s
"""


@dataclass(frozen=True, kw_only=True)
class Appending:
    """Publishing to the hub's log without a pause, from one process: events per second, and milliseconds for an answer."""

    one_by_one: tuple[float, float]
    at_once: tuple[float, float]
    batches: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Sequencing:
    """Rows of one large transaction that became events, per second.

    Attributes:
        rows: of the transaction.
        published, changed: from its commit until the stream has them all.
        appending: straight into the log.
        hub_us: CPU of the hub for each row published, in microseconds; with the delivery.
    """

    rows: int
    published: float
    changed: float
    appending: Appending
    hub_us: float


def sequencing(plan: Plan) -> Sequencing:
    """Measure all of it.

    Raises:
        ScenarioFailed: an event did not arrive exactly once.
        ServerFailed, WorkerFailed: a process did not start, or ended.
    """
    with ExitStack() as stack:
        postgres = stack.enter_context(running_postgres())
        publisher = stack.enter_context(Worker("bench.redis.publisher", "log", postgres.url, core=GENERATOR_CORE))
        publisher.ask("closed", in_flight=1, seconds=plan.publish_seconds / 4)
        appending = Appending(
            one_by_one=_rate(publisher, plan, in_flight=1),
            at_once=_rate(publisher, plan, in_flight=64),
            batches=_rate(publisher, plan, in_flight=4, batch=100),
        )
        node, generator = stack.enter_context(running(hub(postgres)))
        numbers, rows = Numbers(), plan.outbox_rows
        checked(generator.open(1, window=1))

        def rate(statement: str, rows: int) -> float:
            first, committed = numbers.take(rows), [0.0]

            def write() -> None:
                postgres.run(statement, first, first + rows - 1 if statement is PUBLISH else rows)
                committed[0] = time.monotonic()

            checked(generator.listening(first, rows, write))
            return rows / (time.monotonic() - committed[0])

        rate(PUBLISH, 100)
        before = node.cpu_ns()
        published = rate(PUBLISH, rows)
        hub_us = (node.cpu_ns() - before) / rows / 1e3
        _as_many(postgres, rows)
        changed = rate(CHANGE, rows)
    return Sequencing(rows=rows, published=published, changed=changed, appending=appending, hub_us=hub_us)


def _as_many(postgres: Postgres, rows: int) -> None:
    """Make sure that there are so many rows to change."""
    postgres.run("INSERT INTO watched SELECT i, '', '', repeat('x', 65) FROM generate_series(10001, %s) AS i", rows)


def _rate(publisher: Worker, plan: Plan, **how: int) -> tuple[float, float]:
    answer = publisher.ask("closed", seconds=plan.publish_seconds, **how)
    return answer["events"] / answer["seconds"], answer["p50_us"] / 1e3
