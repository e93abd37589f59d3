"""What a run found, and what follows from it: medians, ratios against the floor, and whether the bars are met.

Pure: knows numbers, and neither processes nor files. Ratios come from within a round, where both were measured close to each
other, and the median of the rounds' ratios counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from bench.postgres.commits import Throughput
from bench.postgres.latency import Freshness
from bench.postgres.sequencing import Sequencing
from bench.redis.latency import RATE, STREAMS, Latency
from bench.redis.work import Work
from bench.scenarios import FanOut, Groups, Publishing, Storm

FLOOR = "floor"
OURS = "headwater"
OURS_TOO = ("headwater", "headwater-uvicorn")
KB = 1024


@dataclass(kw_only=True)
class Results:
    """Everything measured in one run; filled as it goes.

    Attributes:
        titles: of the systems, by name, in the order of the tables.
        fan_out: per number of subscribers, one mapping from system to numbers for each round.
        storm, publishing, groups: by system; Headwater's other broker as `headwater-sqlite`.
        latency, work: of Headwater on Redis; None where it was not measured.
        throughput, freshness, sequencing: of an application in PostgreSQL and Headwater; likewise.
        notes: what the reader must know: what could not be measured, what was limited, what failed.
        failures: how many measurements failed.
    """

    titles: dict[str, str] = field(default_factory=dict)
    fan_out: dict[int, list[dict[str, FanOut]]] = field(default_factory=dict)
    storm: dict[str, Storm] = field(default_factory=dict)
    publishing: dict[str, Publishing] = field(default_factory=dict)
    groups: dict[str, Groups] = field(default_factory=dict)
    latency: Latency | None = None
    work: Work | None = None
    throughput: Throughput | None = None
    freshness: Freshness | None = None
    sequencing: Sequencing | None = None
    notes: list[str] = field(default_factory=list)
    failures: int = 0


@dataclass(frozen=True, kw_only=True)
class Row:
    """One system at one number of subscribers: medians of the rounds. `ratio`s are None without a floor.

    Attributes:
        cpu_us, ratio, p50_ms, p99_ms: at a moderate rate.
        per_second, loaded_cpu_us, loaded_ratio, loaded_p99_ms: in the closed loop.
        doubtful: in the closed loop neither the server nor the load generator's patience was used up, so that the load
            generator may have been the bottleneck.
    """

    system: str
    title: str
    cpu_us: float
    ratio: float | None
    p50_ms: float
    p99_ms: float
    per_second: float
    loaded_cpu_us: float
    loaded_ratio: float | None
    loaded_p99_ms: float
    idle_bytes: float
    connect_us: float
    connects_per_second: float
    doubtful: bool


@dataclass(frozen=True)
class Bar:
    """Something promised, what was measured, and whether that keeps the promise."""

    promise: str
    measured: str
    met: bool


def rows(results: Results, streams: int) -> list[Row]:
    """The systems measured with this many subscribers."""
    rounds = results.fan_out.get(streams, [])
    return [
        _row(name, title, [found[name] for found in rounds if name in found], rounds)
        for name, title in results.titles.items()
        if any(name in found for found in rounds)
    ]


def _row(name: str, title: str, mine: Sequence[FanOut], rounds: Sequence[Mapping[str, FanOut]]) -> Row:
    def typical(of: Callable[[FanOut], float]) -> float:
        return median(of(found) for found in mine)

    def typical_of(ratios: Sequence[float]) -> float | None:
        return median(ratios) if ratios else None

    both = [(found[name].loaded, found[FLOOR].loaded) for found in rounds if name in found and FLOOR in found]

    return Row(
        system=name,
        title=title,
        cpu_us=typical(lambda found: found.steady.cpu_us),
        ratio=typical_of([found.ratio for found in mine if found.ratio is not None]),
        p50_ms=typical(lambda found: found.steady.p50_ms),
        p99_ms=typical(lambda found: found.steady.p99_ms),
        per_second=typical(lambda found: found.loaded.per_second),
        loaded_cpu_us=typical(lambda found: found.loaded.cpu_us),
        loaded_ratio=typical_of([own.cpu_us / floor.cpu_us for own, floor in both]),
        loaded_p99_ms=typical(lambda found: found.loaded.p99_ms),
        idle_bytes=typical(lambda found: found.idle_bytes),
        connect_us=typical(lambda found: found.connect_us),
        connects_per_second=typical(lambda found: found.connects_per_second),
        doubtful=typical(lambda found: found.loaded.server_busy) < 0.9
        and typical(lambda found: found.loaded.generator_idle) < 0.02,
    )


def bars(results: Results) -> list[Bar]:
    """The promises of the hot path that this run can judge."""
    found = {streams: {row.system: row for row in rows(results, streams)} for streams in results.fan_out}
    judged = [
        *_fan_out_bars(found.get(1000, {}), 1000, 1.25),
        *_fan_out_bars(found.get(5000, {}), 5000, 1.5),
        *_idle_bars(found.get(5000, {})),
        *_loaded_bars(found.get(1000, {})),
    ]
    ours, theirs = results.storm.get(OURS), results.storm.get("nchan")
    if OURS in results.groups:
        cost = results.groups[OURS].with_groups / results.groups[OURS].without
        judged.append(Bar("100 permission groups: at most 1.2x of without", f"{cost:.2f}x", cost <= 1.2))
    if ours and theirs:
        seconds = f"{ours.seconds:.2f} s, Nchan {theirs.seconds:.2f} s"
        judged.append(Bar("reconnect storm: no slower than Nchan", seconds, ours.seconds <= theirs.seconds))
    return [
        *judged,
        *(_latency_bars(results.latency) if results.latency else []),
        *(_throughput_bars(results.throughput) if results.throughput else []),
        *(_freshness_bars(results.freshness) if results.freshness else []),
    ]


def _fan_out_bars(found: Mapping[str, Row], streams: int, bound: float) -> list[Bar]:
    ours = found.get(OURS)
    if ours is None:
        return []
    judged = []
    if ours.ratio is not None:
        promise = f"direct fan-out to {streams:,}: at most {bound}x the floor's CPU per delivery"
        judged.append(Bar(promise, f"{ours.ratio:.2f}x", ours.ratio <= bound))
    peers = [row for row in found.values() if row.system not in (FLOOR, *OURS_TOO)]
    if peers:
        best = min(peers, key=lambda row: row.cpu_us)
        measured = f"{ours.cpu_us:.1f} µs; {best.title} {best.cpu_us:.1f} µs"
        promise = f"direct fan-out to {streams:,}: less CPU than every peer"
        judged.append(Bar(promise, measured, ours.cpu_us < best.cpu_us))
    return judged


def _idle_bars(found: Mapping[str, Row]) -> list[Bar]:
    ours = found.get(OURS)
    if ours is None:
        return []
    idle = ours.idle_bytes / KB
    return [Bar("5,000 idle streams: at most 3 KB of memory each", f"{idle:.1f} KB", idle <= 3)]


def _loaded_bars(found: Mapping[str, Row]) -> list[Bar]:
    ours = found.get(OURS)
    if ours is None:
        return []
    load = "20 events in flight to 1,000 streams: "
    judged = [
        Bar(f"{load}at least 1,000,000 deliveries/s", f"{ours.per_second:,.0f}/s", ours.per_second >= 1e6),
        Bar(f"{load}p99 at most 30 ms", f"{ours.loaded_p99_ms:.0f} ms", ours.loaded_p99_ms <= 30),
    ]
    if ours.loaded_ratio is not None:
        promise = f"{load}at most 0.2x the floor's CPU per delivery"
        judged.append(Bar(promise, f"{ours.loaded_ratio:.2f}x", ours.loaded_ratio <= 0.2))
    return judged


def _latency_bars(found: Latency) -> list[Bar]:
    one = f"{found.one_ratio:.2f}x ({found.one.p50_us:.0f} µs, {found.floor.p50_us:.0f} µs)"
    many = found.many.p99_us / 1e3
    return [
        Bar("through Redis to a stream: p50 at most 1.5x of Redis' own pub/sub", one, found.one_ratio <= 1.5),
        Bar(f"through Redis to {STREAMS:,} streams, {RATE} events/s: p99 under 100 ms", f"{many:.1f} ms", many < 100),
    ]


def _throughput_bars(found: Throughput) -> list[Bar]:
    publish, false = found.publish_ratio, found.false_ratio
    return [
        Bar(
            "commits that publish: at least 0.8x of the same writes into a plain table",
            f"{publish:.2f}x",
            publish >= 0.8,
        ),
        Bar("updates with a trigger whose WHEN is false: at least 0.95x of without", f"{false:.2f}x", false >= 0.95),
    ]


def _freshness_bars(found: Freshness) -> list[Bar]:
    p50, p99 = found.many.p50_us / 1e3, found.many.p99_us / 1e3
    where = f"row changed to {STREAMS:,} streams, {RATE} changes/s"
    return [
        Bar(f"{where}: p50 at most 25 ms", f"{p50:.1f} ms", p50 <= 25),
        Bar(f"{where}: p99 at most 100 ms", f"{p99:.1f} ms", p99 <= 100),
    ]
