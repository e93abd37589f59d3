"""How long it takes from a write in a transaction to the browser: trigger, outbox, leader, log, node, socket.

The clock starts before the statement, so the write and its commit are part of it. The hub has a core of its own; the
server, the application and the load generator share what is left.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median

from bench.postgres.server import hub, running_postgres
from bench.redis.latency import RATE, STREAMS, Numbers, typical
from bench.redis.payload import Times
from bench.scenarios import Plan, checked, running
from bench.worker import Worker

_PACE = 0.02  # seconds between events that find the leader looking
_REST = 0.7  # seconds between events that find it resting: more than it takes to fall asleep when nobody is to tell
_WARM = 50


@dataclass(frozen=True, kw_only=True)
class Freshness:
    """From just before the write to the reading of the event by a subscriber.

    Attributes:
        many: rows changed 200 times a second, 1,000 streams that get all of them.
        commit_ms: of that, until the commit was answered; the median.
        one: rows changed one at a time, one stream.
        published: published in transactions one at a time, one stream.
        at_rest: the same when the leader waits to be told.
        busy: share of its core that the hub used with 1,000 streams.
    """

    many: Times
    commit_ms: float
    one: Times
    published: Times
    at_rest: Times
    busy: float


def freshness(plan: Plan) -> Freshness:
    """Measure all of it.

    Raises:
        ScenarioFailed: an event did not arrive exactly once.
        ServerFailed, WorkerFailed: a process did not start, or ended.
    """
    with ExitStack() as stack:
        postgres = stack.enter_context(running_postgres())
        node, generator = stack.enter_context(running(hub(postgres)))
        writer = stack.enter_context(Worker("bench.postgres.writer", postgres.url))
        numbers = Numbers()
        commits: list[float] = []

        def burst(command: str, events: int, interval: float, **how: bool) -> Times:
            first = numbers.take(events)

            def write() -> None:
                answer = writer.ask(command, first=first, events=events, interval=interval, **how)
                commits.append(answer["p50_us"] / 1e3)

            answer = checked(generator.listening(first, events, write))
            return Times(answer.p50_us, answer.p99_us)

        checked(generator.open(1, window=1))
        burst("change", _WARM, _PACE)
        burst("publish", _WARM, _PACE)
        few = plan.latency_events // 4
        one = [burst("change", few, _PACE) for _ in range(plan.bursts)]
        published = [burst("publish", few, _PACE) for _ in range(plan.bursts)]
        at_rest = burst("publish", max(2, plan.latency_events // 40), _REST, asleep=True)
        checked(generator.open(STREAMS - 1, window=100))
        events = round(RATE * plan.load_seconds)
        burst("change", events // 2, 1 / RATE, hurry=True)
        commits.clear()
        before = node.cpu_ns()
        many = [burst("change", events, 1 / RATE, hurry=True) for _ in range(plan.bursts)]
        busy = (node.cpu_ns() - before) / 1e9 / (plan.bursts * plan.load_seconds)
    return Freshness(
        many=typical(many),
        commit_ms=median(commits),
        one=typical(one),
        published=typical(published),
        at_rest=at_rest,
        busy=busy,
    )
