"""The benchmark suite's own arithmetic and words, and its load generator against the floor: an instrument is tested too."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from typing import Any

import pytest

from bench import machine, output, scenarios, suite
from bench.__main__ import arguments, order
from bench.build import BUILD, build_programs
from bench.generator import Answer
from bench.marks import PageBroken, renewed
from bench.process import ServerFailed
from bench.report import report
from bench.results import Results, bars, rows
from bench.scenarios import FanOut, Groups, Load, Plan, Publishing, ScenarioFailed, Storm, checked, running, typical
from bench.suite import Order, Suite
from bench.systems import SYSTEMS
from bench.systems.base import Publish, System
from bench.systems.floor import FLOOR_SYSTEM
from bench.tables import number, table

ABOUT = {
    "date": "2026-01-02 03:04 UTC",
    "commit": "abc",
    "cpu": "a < b",
    "kernel": "Linux",
    "python": "3.11",
    "uvicorn": "1",
}


def load(
    cpu_us: float, *, p99_ms: float = 5.0, per_second: float = 200_000.0, busy: float = 1.0, idle: float = 0.3
) -> Load:
    """A load of which only some numbers matter."""
    return Load(cpu_us=cpu_us, p50_ms=2.0, p99_ms=p99_ms, per_second=per_second, server_busy=busy, generator_idle=idle)


def fan_out(cpu_us: float, *, loaded: Load | None = None, idle_kb: float = 2.0) -> FanOut:
    """Numbers of one system in one round."""
    return FanOut(
        connect_us=20.0,
        connects_per_second=5000.0,
        idle_bytes=idle_kb * 1024,
        ratio=cpu_us / 4.0,
        steady=load(cpu_us),
        loaded=loaded or load(cpu_us),
    )


def ours(cpu_us: float = 4.8, *, loaded: Load | None = None, idle_kb: float = 2.0) -> FanOut:
    """Headwater's numbers, within every bound unless told otherwise."""
    return fan_out(cpu_us, loaded=loaded or load(0.5, p99_ms=15.0, per_second=1_500_000.0), idle_kb=idle_kb)


def good_run() -> Results:
    """A run in which every promise is kept."""
    found = {"floor": fan_out(4.0), "headwater": ours(), "nchan": fan_out(6.0, idle_kb=9.7)}
    return Results(
        titles={system.name: system.title for system in SYSTEMS},
        fan_out={1000: [dict(found)], 5000: [dict(found)]},
        storm={
            "headwater": Storm(seconds=0.5, cpu_ms=400.0, p50_ms=200.0, p99_ms=450.0),
            "nchan": Storm(seconds=1.0, cpu_ms=900.0, p50_ms=500.0, p99_ms=950.0),
        },
        publishing={
            "headwater-sqlite": Publishing(
                durable="on disk",
                one_by_one=(900.0, 1.0),
                sixty_four_at_once=(9000.0, 7.0),
                batches_of_100=(50_000.0, 8.0),
            ),
            "nchan": Publishing(
                durable="in memory", one_by_one=(900.0, 1.0), sixty_four_at_once=(9000.0, 7.0), batches_of_100=None
            ),
        },
        groups={"headwater": Groups(without=5.0, with_groups=5.5)},
        notes=["Something was different."],
    )


def answer() -> Answer:
    """What the load generator says when all went well."""
    return Answer(
        seconds=1.0,
        span=1.0,
        idle=0.5,
        streams=10,
        published=5,
        answered=5,
        deliveries=50,
        bytes=8_000,
        p50_us=1.0,
        p99_us=2.0,
        max_us=3.0,
        wrong=0,
        gone=0,
        rejected=0,
        status=0,
        stuck=False,
        last_id="5",
    )


def test_a_ratio_compares_numbers_of_the_same_round() -> None:
    """A machine that is slower in one round slows the floor too, so each round is divided by its own floor."""
    results = Results(
        titles={"floor": "the floor", "headwater": "Headwater"},
        fan_out={
            1000: [
                {"floor": fan_out(4.0), "headwater": fan_out(4.8, loaded=load(0.8))},
                {
                    "floor": fan_out(4.0, loaded=load(8.0)),
                    "headwater": replace(fan_out(9.6, loaded=load(1.6)), ratio=1.2),
                },
                {
                    "floor": fan_out(4.0, loaded=load(2.0)),
                    "headwater": replace(fan_out(2.4, loaded=load(0.4)), ratio=1.2),
                },
            ]
        },
    )
    [floor, ours] = rows(results, 1000)
    assert floor.ratio == 1.0
    assert ours.ratio == pytest.approx(1.2)
    assert ours.loaded_ratio == pytest.approx(0.2)
    assert ours.cpu_us == 4.8


def test_without_a_floor_there_are_no_ratios() -> None:
    """Systems can be measured alone; what needs the floor is then neither shown nor judged."""
    results = Results(
        titles={"headwater": "Headwater"}, fan_out={1000: [{"headwater": replace(fan_out(4.8), ratio=None)}]}
    )
    assert [row.ratio for row in rows(results, 1000)] == [None]
    assert not [bar for bar in bars(results) if "floor" in bar.promise]
    assert "| Headwater |" in report(results)


def test_the_typical_load_is_the_median_of_each_number() -> None:
    """One disturbed burst does not show."""
    assert typical([load(4.0), load(4.2), load(9.0)]).cpu_us == 4.2


def test_a_load_that_neither_side_was_busy_with_is_marked_as_doubtful() -> None:
    """A server with time to spare and a load generator without any: the number is the load generator's."""
    doubtful = fan_out(4.0, loaded=load(4.0, busy=0.5, idle=0.0))
    results = Results(titles={"floor": "the floor"}, fan_out={1000: [{"floor": doubtful}]})
    assert rows(results, 1000)[0].doubtful
    assert "the floor (?)" in report(results)


def test_a_good_run_keeps_every_promise() -> None:
    """Each promise of the hot path is judged, at 1,000 and at 5,000 subscribers."""
    judged = bars(good_run())
    assert len(judged) == 10
    assert all(bar.met for bar in judged)


@pytest.mark.parametrize(
    ("streams", "name", "numbers", "promise"),
    [
        (1000, "headwater", ours(5.2), "1,000: at most 1.25x"),
        (5000, "headwater", ours(6.2), "5,000: at most 1.5x"),
        (5000, "nchan", fan_out(4.5), "5,000: less CPU than every peer"),
        (5000, "headwater", ours(idle_kb=3.5), "idle streams"),
        (1000, "headwater", ours(loaded=load(0.5, per_second=900_000.0)), "at least 1,000,000"),
        (1000, "headwater", ours(loaded=load(0.9, per_second=2_000_000.0)), "at most 0.2x"),
        (1000, "headwater", ours(loaded=load(0.5, per_second=2_000_000.0, p99_ms=31.0)), "p99 at most 30 ms"),
    ],
)
def test_a_fan_out_promise_that_is_not_kept_is_named(streams: int, name: str, numbers: FanOut, promise: str) -> None:
    """One number over its bound breaks exactly the promise it belongs to."""
    run = good_run()
    run.fan_out[streams][0][name] = numbers
    if numbers.steady.cpu_us > 6.0:  # beyond the floor's multiple is then beyond the peers too
        run.fan_out[streams][0]["nchan"] = fan_out(7.0)
    [broken] = [bar for bar in bars(run) if not bar.met]
    assert promise in broken.promise


def test_permissions_that_cost_too_much_and_a_storm_that_takes_too_long_are_named() -> None:
    """What only some systems can do is judged too."""
    run = good_run()
    run.groups["headwater"] = Groups(without=5.0, with_groups=6.1)
    run.storm["headwater"] = replace(run.storm["nchan"], seconds=1.1)
    groups, storm = [bar for bar in bars(run) if not bar.met]
    assert "100 permission groups" in groups.promise
    assert "no slower than Nchan" in storm.promise


def test_the_report_shows_every_section() -> None:
    """Nothing that was measured is left out, and what a system cannot do is a dash."""
    text = report(good_run())
    for title in ("1,000 subscribers, one event", "5,000 subscribers, 4 events", "Reconnect", "Publishing", "Promises"):
        assert f"### {title}" in text
    assert "Headwater, sqlite broker" in text
    assert "- Something was different." in text
    assert [line for line in text.splitlines() if line.startswith("| Nchan") and line.endswith(" - |")]


def test_tables_are_aligned() -> None:
    """A terminal shows the Markdown as columns."""
    assert table(["", "n"], [["long name", "1"], ["x", "1,000"]]) == (
        "|           |     n |\n| --------- | ----: |\n| long name |     1 |\n| x         | 1,000 |"
    )


@pytest.mark.parametrize(("value", "text"), [(1.234, "1.23"), (12.34, "12.3"), (1234.5, "1,234")])
def test_numbers_have_three_digits(value: float, text: str) -> None:
    """More would be noise."""
    assert number(value) == text


def test_the_plot_is_an_image_for_light_and_dark() -> None:
    """It is well-formed, names every system, and says where it comes from."""
    svg = output.as_plot(good_run(), ABOUT)
    words = "".join(ElementTree.fromstring(svg).itertext())
    assert "prefers-color-scheme: dark" in svg
    for text in ("Headwater", "Nchan (nginx)", "1.50 M", "9.70 KB", "a < b"):
        assert text in words


@pytest.mark.parametrize("run", [Results(), Results(titles={"floor": "F"}, fan_out={1000: [{"floor": fan_out(4.0)}]})])
def test_a_plot_of_little_or_nothing_is_still_an_image(run: Results) -> None:
    """A run of one system, or one that failed from the start, does not fail again when it is drawn."""
    assert ElementTree.fromstring(output.as_plot(run, ABOUT)).tag.endswith("svg")


def test_the_json_has_the_conclusions_and_every_round() -> None:
    """Whoever wants to check a ratio finds what it was made of."""
    found = json.loads(output.as_json(good_run(), ABOUT))
    assert found["machine"] == ABOUT
    assert found["summary"]["1000"][1]["ratio"] == pytest.approx(1.2)
    assert found["fan_out"]["1000"][0]["headwater"]["steady"]["cpu_us"] == 4.8
    assert all(bar["met"] for bar in found["bars"])


def test_a_run_replaces_the_one_before_it_in_the_docs() -> None:
    """What people wrote around the marks stays."""
    page = "before\n<!-- x begins -->\nold\n<!-- x ends -->\nafter\n"
    new = renewed(page, "x", output.as_text(good_run(), ABOUT, 7.0))
    assert new.startswith("before\n")
    assert new.endswith("after\n")
    assert "old" not in new
    assert "took 7.0 minutes" in new
    assert renewed(new, "x", "y") == renewed(page, "x", "y")


def test_a_page_without_marks_is_not_overwritten() -> None:
    """The error says which marks are missing."""
    with pytest.raises(PageBroken, match="x begins"):
        renewed("nothing", "x", "y")


def test_the_published_page_has_its_marks() -> None:
    """A full run can renew docs/benchmarks.md."""
    assert renewed((output.DOCS / "benchmarks.md").read_text(), output.LAST_RUN, "x")


def test_a_template_surrounds_the_payloads() -> None:
    """The load generator gets the head without a length, and what goes before, between and after the events."""
    publish = Publish(path="/p", headers={"A": "b"}, prefix="[", separator=",", suffix="]")
    head, prefix, separator, suffix, rest = publish.template().split(b"\0")
    assert head == b"POST /p HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nA: b\r\n"
    assert (prefix, separator, suffix, rest) == (b"[", b",", b"]", b"")


def test_the_arguments_say_what_to_measure() -> None:
    """`--only` and `--subscribers` narrow a run down; `--quick` makes it short."""
    asked = order(arguments(["--quick", "--only", "floor,nchan"]), 7000)
    assert asked.wants("nchan")
    assert not asked.wants("headwater")
    assert (asked.subscribers, asked.rounds, asked.most_streams) == ((1000,), 1, 7000)
    full = order(arguments([]), 7000)
    assert full.wants("headwater")
    assert (full.subscribers, full.rounds) == ((1000, 5000), 3)


def test_an_unknown_system_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """The error lists those that exist."""
    with pytest.raises(SystemExit):
        arguments(["--only", "hedwater"])
    assert "better-sse" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({"rejected": 2, "status": 429}, "status 429"),
        ({"gone": 3}, "3 connections were closed"),
        ({"stuck": True}, "nothing happened any more"),
        ({"wrong": 1}, "1 of 10 streams"),
    ],
)
def test_an_answer_with_a_fault_ends_the_scenario(fault: dict[str, Any], words: str) -> None:
    """Numbers are only worth something if every stream received every event exactly once."""
    with pytest.raises(ScenarioFailed, match=words):
        checked(replace(answer(), **fault))


def test_a_system_that_fails_or_is_missing_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are still measured; a lower open-file limit is said too, and a failure once for all rounds."""

    def measure(system: System, streams: int, plan: Plan, reference: System | None) -> FanOut:
        if system.name == "fastapi":
            raise ServerFailed("ended with status 1")
        return fan_out(4.0)

    monkeypatch.setattr(scenarios, "fan_out", measure)
    said: list[str] = []
    only = Order(names=frozenset({"floor", "fastapi"}), subscribers=(5000,), rounds=2, most_streams=700, plan=Plan())
    results = Suite(only, lambda step, outcome: said.append(f"{step}: {outcome}")).run()
    assert [set(found) for found in results.fan_out[700]] == [{"floor"}, {"floor"}]
    assert said[0] == "[1/4] floor: bare C epoll with 700 streams, round 1:  1.00x    4.00 µs     200,000/s"
    assert results.failures == 2
    assert results.notes == [
        "The open-file limit allows 700 streams where 5,000 were wanted (ulimit -n).",
        "FastAPI's SSE with 700 streams failed: ended with status 1.",
    ]


def test_a_peer_whose_first_round_takes_long_gets_no_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run stays bounded; Headwater and the floor get all their rounds."""
    monkeypatch.setattr(scenarios, "fan_out", lambda system, streams, plan, reference: fan_out(4.0))
    monkeypatch.setattr(suite, "SLOW", -1.0)
    only = Order(names=frozenset({"floor", "fastapi"}), subscribers=(1000,), rounds=2, most_streams=7000, plan=Plan())
    results = Suite(only, lambda step, outcome: None).run()
    assert [set(found) for found in results.fan_out[1000]] == [{"floor", "fastapi"}, {"floor"}]
    assert results.notes == ["FastAPI's SSE with 1,000 streams was measured in one round only: it took long."]


def test_company_is_what_others_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 10 s on two cores in which everyone together used 14 s and the suite 12 s, others used a tenth."""
    seen = iter([(100.0, 1.0, 50.0), (114.0, 13.0, 60.0)])
    monkeypatch.setattr(machine.Company, "_used", staticmethod(lambda: next(seen)))
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    assert machine.Company().share() == pytest.approx(0.1)


def test_the_kernel_says_who_used_what() -> None:
    """Everyone has used at least as much as this process; ticks of 10 ms apart."""
    everyone, ours, now = machine.Company._used()
    assert everyone + 1 > ours > 0
    assert now > 0


def test_the_load_generator_counts_each_delivery_of_the_floor_once() -> None:
    """What the one sends the other receives: paced, in a closed loop, and with nobody listening."""
    build_programs()
    with running(FLOOR_SYSTEM) as (server, generator):
        opened = checked(generator.open(50, window=10))
        paced = checked(generator.paced(20, interval=0, seconds=5))
        looped = checked(generator.closed(8, seconds=0.05))
        generator.close()
        posted = checked(generator.post(4, batch=1, events=100, seconds=5))
        assert server.cpu_ns() > 0
        assert server.rss_bytes() > 100_000
    assert opened.streams == 50
    assert (paced.published, paced.deliveries) == (20, 1000)
    assert looped.deliveries == looped.published * 50
    assert posted.published >= 100
    assert looped.last_id == str(paced.published + looped.published)


def test_a_failed_scenario_keeps_what_the_server_said() -> None:
    """The error names the file."""
    with pytest.raises(ScenarioFailed, match=r"lost \(its output: (.*floor\.failed\.log)\)"), running(FLOOR_SYSTEM):
        raise ScenarioFailed("lost")
    assert (BUILD / "floor.failed.log").exists()


def test_a_server_that_ends_at_once_says_so() -> None:
    """The message carries its last words."""
    command = ["sh", "-c", "echo no such file; exit 3"]
    system = replace(FLOOR_SYSTEM, command=lambda _port, _directory: command)
    with pytest.raises(ServerFailed, match="status 3: no such file"), running(system):
        pass
