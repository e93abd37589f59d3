"""Tables for people: Markdown that is aligned, so that a terminal shows it as well as a browser does.

Pure: numbers in, text out.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

from bench.results import KB, Results, Row, bars, rows


def table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table: the first column to the left, the others to the right."""
    cells = [header, *lines]
    widths = [max(len(cell) for cell in column) for column in zip_longest(*cells, fillvalue="")]

    def line(row: Sequence[str]) -> str:
        first, *others = zip(row, widths, strict=True)
        padded = [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]
        return f"| {' | '.join(padded)} |"

    rule = [f"{'-' * (width - 1)}:" if i else "-" * width for i, width in enumerate(widths)]
    return "\n".join([line(header), f"| {' | '.join(rule)} |", *map(line, lines)])


def number(value: float) -> str:
    """Three significant digits, and no more decimals than they need."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


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
    if bars(results):
        sections.append(("Promises", bars_table(results)))
    if results.notes:
        sections.append(("Notes", "\n".join(f"- {note}" for note in results.notes)))
    return "\n\n".join(f"{heading} {title}\n\n{text}" for title, text in sections)
