"""What publishing and triggers cost the transactions of an application, with a hub that relays all the while.

Compared are two pairs. A transaction that changes a row of `account` and publishes an event, by the statement that `publish`
sends in every language that has it or by the SQL function for all others, with one that changes a row of `account` and
inserts the same channel, type and data into a plain table, which has a primary key, the time of each row, and nobody who
reads it. And an update of a table with the trigger of a rule whose WHEN is false, with the same update of the same
table without one. Beside them, and not judged, are what nobody can do without: the change of `account` alone, and an update
with a trigger made by hand whose WHEN is the constant false, which is the least that PostgreSQL takes for any trigger.

Each has a turn of less than half a second in each round, next to those that it is compared with, in an order that is drawn
anew; a ratio is the median of those within the rounds, so that what the machine does meanwhile harms all of them alike.
Everything shares the machine: the server, the application, and the hub, whose taking, deleting and appending of what is
published counts against those who publish.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median
from typing import TypeAlias

from bench.postgres.application import Application
from bench.postgres.server import Commits, Postgres, hub, running_postgres
from bench.scenarios import Plan, ScenarioFailed, running

DRAINED = 60.0
"""Seconds after which what was published must have been taken."""

_PICK = "\\set id random(1, 10000)\n"
_EVENT = f"jsonb_build_object('id', :id::int, 'text', '{'x' * 80}')"

ALONE, PLAIN, PUBLISH, CALL = "account_alone", "account_plain", "account_publish", "account_call"
NO_TRIGGER, FALSE, LEAST, TRUE = "untouched", "guarded", "by_hand", "noted"

_EVENTS = {
    ALONE: "",
    PLAIN: f" INSERT INTO plain (channel, type, data) VALUES ('a', 'n', {_EVENT}::text);",
    PUBLISH: f" INSERT INTO headwater.event (channel, type, data) VALUES ('a', 'n', {_EVENT}::text);",
    CALL: f" SELECT headwater.publish('a', 'n', {_EVENT});",
}
_UPDATES = {NO_TRIGGER: "", FALSE: "", LEAST: "", TRUE: ", state = state + 1"}

KINDS = {
    **{
        table: f"{_PICK}BEGIN; UPDATE {table} SET n = n + 1 WHERE id = :id;{event} COMMIT;\n"
        for table, event in _EVENTS.items()
    },
    **{table: f"{_PICK}UPDATE {table} SET n = n + 1{more} WHERE id = :id;\n" for table, more in _UPDATES.items()},
}
"""What the application does, as scripts of pgbench, by the table that it changes."""

JUDGED = (PLAIN, PUBLISH, NO_TRIGGER, FALSE)
"""What is in every round; the others are in every third one."""

PUBLISHING = (PUBLISH, CALL, TRUE)

Round: TypeAlias = dict[str, Commits]


@dataclass(frozen=True, kw_only=True)
class Throughput:
    """Transactions of an application on eight connections.

    Attributes:
        found: the median of each kind.
        publish_ratio: of transactions that publish to those that write the same into a plain table; `call_ratio` of those
            that publish with the function; `alone_ratio` of those that publish to those that do neither.
        false_ratio, true_ratio: of updates with a trigger of ours to those without, by its WHEN; `least_ratio` of those with
            the cheapest trigger that there can be.
        published: events that the hub has taken meanwhile, each of them once.
        behind: the most rows that were waiting for it at the end of a burst.
    """

    found: dict[str, Commits]
    publish_ratio: float
    call_ratio: float
    alone_ratio: float
    false_ratio: float
    least_ratio: float
    true_ratio: float
    published: int
    behind: int


def throughput(plan: Plan) -> Throughput:
    """Measure all of it.

    Raises:
        ServerFailed: the server or the hub did not start, or a transaction failed.
        ScenarioFailed: the hub did not take everything that was published, once.
    """
    with running_postgres() as postgres, running(hub(postgres)):
        rounds, behind = _measured(postgres, plan)
        published = _published(postgres)
    return Throughput(
        found={kind: _typical([found[kind] for found in rounds if kind in found]) for kind in KINDS},
        publish_ratio=_ratio(rounds, PUBLISH, PLAIN),
        call_ratio=_ratio(rounds, CALL, PLAIN),
        alone_ratio=_ratio(rounds, PUBLISH, ALONE),
        false_ratio=_ratio(rounds, FALSE, NO_TRIGGER),
        least_ratio=_ratio(rounds, LEAST, NO_TRIGGER),
        true_ratio=_ratio(rounds, TRUE, NO_TRIGGER),
        published=published,
        behind=behind,
    )


def _measured(postgres: Postgres, plan: Plan) -> tuple[list[Round], int]:
    """The rounds, after turns to warm up; and how far the hub was behind at most."""
    with ExitStack() as stack:
        applications = {
            kind: stack.enter_context(Application(postgres, kind, script)) for kind, script in KINDS.items()
        }
        rounds: list[Round] = []
        behind = 0
        for number in range(-1, plan.commit_rounds):
            found: Round = {}
            for kind in _order(number):
                if kind in JUDGED or number % 3 == 0 or number < 0:
                    found[kind] = applications[kind].turn(plan.commit_seconds)
                    behind = max(behind, _waiting(postgres))
                    if kind in PUBLISHING:
                        _drained(postgres)
            if number >= 0:
                rounds.append(found)
    return rounds, behind


def _order(number: int) -> list[str]:
    """Those that are compared are next to each other."""
    draw = random.Random(number)
    groups = draw.sample([[*_EVENTS], [*_UPDATES]], 2)
    return [kind for group in groups for kind in draw.sample(group, len(group))]


def _waiting(postgres: Postgres) -> int:
    return postgres.number("SELECT count(*) FROM headwater.outbox")


def _drained(postgres: Postgres) -> None:
    """Wait until the hub has taken all that is published."""
    deadline = time.monotonic() + DRAINED
    while left := _waiting(postgres):
        if time.monotonic() > deadline:
            raise ScenarioFailed(f"{left} rows are still waiting in the outbox after {DRAINED:.0f} s")
        time.sleep(0.005)


def _published(postgres: Postgres) -> int:
    """How many events there are, each of which the hub has taken once."""
    _drained(postgres)
    published = postgres.number("SELECT last_value FROM headwater.outbox_seq_seq")
    taken = postgres.number("SELECT pos FROM headwater.newest")
    if taken != published:
        raise ScenarioFailed(f"{published} events were published, and {taken} came")
    return published


def _typical(found: Sequence[Commits]) -> Commits:
    return Commits(*(median(getattr(each, name) for each in found) for name in ("per_second", "cpu_us")))


def _ratio(rounds: Sequence[Round], kind: str, other: str) -> float:
    return median(found[kind].per_second / found[other].per_second for found in rounds if {kind, other} <= found.keys())
