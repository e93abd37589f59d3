"""The benchmarks through Redis: their arithmetic and words, and one small run of each against a real Redis."""

from __future__ import annotations

import shutil
import socket
from dataclasses import replace

import pytest

from bench import suite
from bench.__main__ import costs_or_note
from bench.build import build_programs
from bench.costs import costs_of
from bench.process import ServerFailed
from bench.redis import server
from bench.redis.latency import Latency, Numbers, latency, typical
from bench.redis.payload import PAYLOAD, Times, age_ns, payload
from bench.redis.work import Price, Rate, Used, Work, work
from bench.report import report
from bench.results import Results, bars
from bench.scenarios import FanOut, Load, Plan, checked, running
from bench.suite import Order, Suite
from bench.systems.floor import FLOOR_SYSTEM
from bench.worker import Worker, WorkerFailed

LATENCY = Latency(
    floor=Times(200.0, 400.0),
    one=Times(280.0, 500.0),
    one_ratio=1.4,
    posted=Times(600.0, 900.0),
    posted_ratio=3.0,
    many=Times(9_000.0, 20_000.0),
    many_cpu_us=2.0,
    many_busy=0.5,
    stream_bytes=150.0,
    node_memory=60e6,
)
RATE = Rate(per_second=4000.0, p50_ms=0.25, redis_busy=0.3)
REST = Price(append=120.0, script=80.0, deliver=9.0, receive=90.0, publish=250.0)
LOADED = Price(append=60.0, script=40.0, deliver=None, receive=40.0, publish=150.0)
BATCHED = Price(append=9.0, script=8.0, deliver=1.0, receive=5.0, publish=15.0)
WORK = Work(
    rest=REST,
    loaded=LOADED,
    batched=BATCHED,
    append_on_disk_us=180.0,
    append_bytes=520.0,
    deliver_bytes=200.0,
    follow_us=500.0,
    follow_redis_us=80.0,
    follow_ms=0.7,
    follows_per_second=10_000.0,
    idle_us=500.0,
    idle_redis_us=60.0,
    idle_channel_us=-0.01,
    idle_channel_redis_us=0.3,
    node_connections=3.0,
    one_by_one=RATE,
    many=RATE,
    at_once=RATE,
    batches=RATE,
)
LOAD = Load(cpu_us=8.0, p50_ms=1.0, p99_ms=2.0, per_second=1.0, server_busy=1.0, generator_idle=0.5)
MANY_STREAMS = FanOut(
    connect_us=240.0, connects_per_second=4000.0, idle_bytes=2600.0, ratio=None, steady=LOAD, loaded=LOAD
)
FEW_STREAMS = replace(MANY_STREAMS, steady=replace(LOAD, cpu_us=7.0))
RUN = Results(
    titles={"headwater": "Headwater"},
    fan_out={1000: [{"headwater": FEW_STREAMS}], 5000: [{"headwater": MANY_STREAMS}]},
    latency=LATENCY,
    work=WORK,
)
TINY = Plan(bursts=1, load_seconds=0.25, publish_seconds=0.1, latency_events=25, idle_seconds=0.1)
"""As little as shows that each part of a run does something; its numbers mean nothing."""


def test_redis_keeps_its_promises() -> None:
    """The median within one and a half times of pub/sub's own, and a loaded node's slowest deliveries under 100 ms."""
    near, quick = bars(Results(latency=LATENCY))
    assert (near.met, quick.met) == (True, True)
    assert near.measured == "1.40x (280 µs, 200 µs)"
    assert quick.measured == "20.0 ms"


@pytest.mark.parametrize(
    ("found", "promise"),
    [
        (replace(LATENCY, one_ratio=1.51), "p50 at most 1.5x"),
        (replace(LATENCY, many=Times(9_000.0, 100_000.0)), "p99 under 100 ms"),
    ],
)
def test_a_promise_of_redis_that_is_not_kept_is_named(found: Latency, promise: str) -> None:
    """One number over its bound breaks exactly the promise it belongs to."""
    [broken] = [bar for bar in bars(Results(latency=found)) if not bar.met]
    assert promise in broken.promise


def test_the_report_shows_what_redis_adds() -> None:
    """Ways with their ratios, rates, and the work of both sides."""
    text = report(Results(latency=LATENCY, work=WORK))
    assert "| publisher, Redis, node, one stream                  |         1.40x |   0.28 |   0.50 |" in text
    rows = [" ".join(line.split()) for line in text.splitlines()]
    assert "| 64 at once | 4,000 | 0.25 | 30% |" in rows
    assert "| Redis: taking it in | 120 | 60.0 | 9.00 |" in rows
    assert "| Redis: for each node that follows its channel | 9.00 | - | 1.00 |" in rows
    assert "| a second of an idle node | 60.0 | 500 |" in rows
    assert "2,000 at once, 10,000 a second. A node has 3 connections" in text


def test_the_costs_are_those_of_the_most_streams() -> None:
    """A delivery is dearest there; bytes lose the payload; noise below zero is nothing."""
    costs = costs_of(RUN)
    assert (costs.delivery_us, costs.frame_overhead, costs.deliver_overhead) == (8.0, 30.0, 80.0)
    assert (costs.append_us, costs.append_batched_us) == (LOADED.append, BATCHED.append)
    assert (costs.deliver_us, costs.deliver_batched_us) == (9.0, 1.0)
    assert costs.idle_channel_us == 0.0
    assert costs_or_note(RUN) == costs


def test_costs_that_are_missing_or_make_no_sense_are_not_published() -> None:
    """On a noisy machine a difference may be less than nothing, which ends no run: it is a note."""
    assert costs_or_note(Results(latency=LATENCY, work=WORK)) is None
    results = replace(RUN, notes=[], work=replace(WORK, rest=replace(REST, deliver=-1.0)))
    assert costs_or_note(results) is None
    assert results.notes == ["There are no new costs for docs/scaling.md: deliver_us is -1; expected at least 0."]


def test_a_missing_redis_fails_the_run_with_the_line_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is never left out: the run has failed, and says what to do."""
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(ServerFailed, match="apt-get install redis-server"), server.running_redis(0):
        pass
    only = Order(names=frozenset({suite.REDIS}), most_streams=7000, plan=TINY)
    results = Suite(only, lambda step, outcome: None).run()
    assert results.failures == 2
    assert "apt-get install redis-server" in results.notes[0]


def test_quantiles_of_durations() -> None:
    """In microseconds; the median of bursts is taken number by number."""
    assert Times.of([3000, 1000, 2000]) == Times(2.0, 2.0)
    assert typical([Times(1.0, 9.0), Times(2.0, 8.0), Times(3.0, 7.0)]) == Times(2.0, 8.0)


def test_no_number_is_used_twice() -> None:
    """So that an event that comes late is not taken for one of the next burst."""
    numbers = Numbers()
    assert [numbers.take(3), numbers.take(2), numbers.take(1)] == [1, 4, 6]


def test_what_is_used_can_be_compared() -> None:
    """Less what a quiet second uses, and for one of several."""
    used = Used(seconds=2, redis_us=10, script_us=4, nodes_us=8, publisher_us=6, sent=100, received=50)
    assert used.minus(used, times=0.5).per(5).redis_us == 1.0
    assert Used.median([used, used.per(10), used.per(2)]) == used.per(2)


def test_the_load_generator_reads_what_a_python_publisher_writes() -> None:
    """The payload has the shape of bench/payload.h, and both have the same clock."""
    build_programs()
    assert len(payload(7)) == PAYLOAD
    assert 0 <= age_ns(payload(7)) < 1e9
    with running(FLOOR_SYSTEM) as (floor, generator), socket.create_connection(("127.0.0.1", floor.port)) as publisher:
        checked(generator.open(3, window=3))

        def publish() -> None:
            for number in (41, 42):
                publisher.sendall(f"POST / HTTP/1.1\r\nContent-Length: {PAYLOAD}\r\n\r\n{payload(number)}".encode())

        answer = checked(generator.listening(41, 2, publish))
    assert answer.deliveries == 6
    assert 0 < answer.p50_us < 1e6
    assert answer.bytes > 6 * PAYLOAD


def test_a_worker_that_fails_or_ends_says_why() -> None:
    """What it raised, or its last words."""
    with Worker("bench.redis.node", "memory://") as node:
        assert node.ask("open", nodes=1) == {}
        assert node.cpu_ns() > 0
        with pytest.raises(WorkerFailed, match="KeyError: 'fly'"):
            node.ask("fly")
    with (
        Worker("bench.redis.publisher", "log", "nothing://") as publisher,
        pytest.raises(WorkerFailed, match="nothing:"),
    ):
        publisher.ask("paced", first=1, events=1, interval=0)


def test_latency_through_a_real_redis() -> None:
    """Every way delivers every event once: one stream, a thousand streams, and a publish to another node."""
    build_programs()
    found = latency(TINY)
    assert min(found.floor.p50_us, found.one.p50_us, found.posted.p50_us, found.many.p50_us, found.one_ratio) > 0
    assert found.many_busy > 0
    assert found.stream_bytes > PAYLOAD
    assert found.node_memory > 1e6


def test_work_of_a_real_redis() -> None:
    """Every cost is there that the simulation takes."""
    found = work(TINY)
    assert found.loaded.append > found.batched.append > 0
    assert min(found.rest.script, found.rest.receive, found.rest.publish, found.follow_ms) > 0
    assert found.append_bytes > PAYLOAD < found.deliver_bytes
    assert found.node_connections >= 1
    assert found.batches.per_second > 0
