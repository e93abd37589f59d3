"""The picture: four panels of one run as an SVG that reads well in light and in dark. Pure: numbers in, text out.

Ratios and latencies span orders of magnitude, so they are points on a logarithmic axis; rates and memory are bars from 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from bench.results import FLOOR, KB, OURS_TOO, Results, Row, rows
from bench.tables import number

_WIDTH, _MARGIN, _GAP = 1040, 28, 32
_PANEL = (_WIDTH - 2 * _MARGIN - _GAP) / 2
_LABELS, _LINE, _HEAD = (
    168.0,
    27.0,
    58.0,
)  # of a panel: the width left of the plot, the height of a line and of the head

_STYLE = """
  .card { fill: #ffffff; stroke: #e3e6ea; }
  text { font: 13px system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; fill: #39424e; }
  .title { font-size: 21px; font-weight: 650; fill: #10161d; }
  .panel { font-size: 15px; font-weight: 650; fill: #10161d; }
  .small, .tick { font-size: 12px; fill: #6b7683; } .tick { font-size: 11px; text-anchor: middle; }
  .ours text, text.ours { font-weight: 650; fill: #0b63c5; }
  .grid { stroke: #e9ecf0; } .floor { stroke: #8a94a1; stroke-dasharray: 4 4; }
  .bar { fill: #c3cad3; } .ours .bar { fill: #1f7ae0; }
  .dot { fill: #8d98a6; stroke: #8d98a6; stroke-width: 2; } .ours .dot { fill: #1f7ae0; stroke: #1f7ae0; }
  .dot.open, .ours .dot.open { fill: #ffffff; }
  .span { stroke: #c3cad3; stroke-width: 2; } .ours .span { stroke: #8fbdf3; }
  @media (prefers-color-scheme: dark) {
    .card { fill: #12171d; stroke: #2b333d; }
    text { fill: #b9c3cf; } .title, .panel { fill: #f2f5f8; } .small, .tick { fill: #8b97a5; }
    .ours text, text.ours { fill: #6cb2ff; }
    .grid { stroke: #232b34; } .floor { stroke: #6b7683; }
    .bar { fill: #465260; } .ours .bar { fill: #3f93f2; }
    .dot { fill: #7b8896; stroke: #7b8896; } .ours .dot { fill: #3f93f2; stroke: #3f93f2; }
    .dot.open, .ours .dot.open { fill: #12171d; }
    .span { stroke: #465260; } .ours .span { stroke: #2c5f98; }
  }
"""


@dataclass(frozen=True)
class Line:
    """One system in a panel: one value, or a second one where the panel compares two."""

    system: str
    title: str
    values: tuple[float, ...]


@dataclass(frozen=True)
class Panel:
    """A panel's words, its lines, how it writes a value, and whether its axis is logarithmic."""

    title: str
    subtitle: str
    lines: Sequence[Line]
    write: Callable[[float], str]
    logarithmic: bool = False


def plot(results: Results, caption: str) -> str:
    """The SVG of a run; `caption` says where and when."""
    panels = [panel for panel in _panels(results) if panel.lines]
    heights = [_height(panels[i : i + 2]) for i in range(0, len(panels), 2)]
    height = 84 + sum(heights) + 34
    body, top = [], 84.0
    for i, panel in enumerate(panels):
        left = _MARGIN + (i % 2) * (_PANEL + _GAP)
        body.append(f'<g transform="translate({left:.0f} {top:.0f})">{_panel(panel)}</g>')
        top += heights[i // 2] if i % 2 else 0
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height:.0f}" role="img">',
            "<title>Headwater and its neighbours, measured side by side</title>",
            f"<style>{_STYLE}</style>",
            f'<rect class="card" x="0.5" y="0.5" width="{_WIDTH - 1}" height="{height - 1:.0f}" rx="10"/>',
            f'<text class="title" x="{_MARGIN}" y="44">Headwater and its neighbours, measured side by side</text>',
            *body,
            f'<text class="small" x="{_MARGIN}" y="{height - 18:.0f}">{escape(caption)}</text>',
            "</svg>\n",
        ]
    )


def _panels(results: Results) -> list[Panel]:
    counts = sorted(results.fan_out)
    tables = [{row.system: row for row in rows(results, streams)} for streams in counts]
    least, most = (tables[0], tables[-1]) if tables else ({}, {})
    first = f"{counts[0]:,}" if counts else ""
    last = f"{counts[-1]:,}" if counts else ""
    both = f"● {first} subscribers" + (f"   ○ {last}" if len(counts) > 1 else "")

    def lines(*of: tuple[dict[str, Row], Callable[[Row], float | None]], floor: bool = True) -> list[Line]:
        found = []
        for name, title in results.titles.items():
            values = tuple(value for table, value_of in of if name in table and (value := value_of(table[name])))
            if values and (floor or name != FLOOR):
                found.append(Line(name, title, values))
        return found

    two = (least, most) if len(counts) > 1 else (least,)
    ratios = lines(*((table, lambda row: row.ratio) for table in two), floor=False)
    rates = lines((least, lambda row: row.per_second))
    memory = lines((most, lambda row: row.idle_bytes / KB), floor=False)
    latency = lines(*((table, lambda row: row.p99_ms) for table in two))
    in_flight = 20_000 // counts[0] if counts else 0
    return [
        Panel("Server CPU per delivery", f"multiples of the floor, a bare C epoll loop   {both}", ratios, _times, True),
        Panel("Deliveries per second, one core", f"{in_flight} events in flight to {first} subscribers", rates, _rate),
        Panel("Delivery latency, p99", f"one event at a time   {both}", latency, _milliseconds, True),
        Panel("Memory per idle stream", f"{last} subscribers", memory, _kilobytes),
    ]


def _times(value: float) -> str:
    return f"{_short(value)}x"


def _rate(value: float) -> str:
    return f"{_short(value / 1e6)} M" if value >= 1e6 else f"{_short(value / 1e3)} k"


def _milliseconds(value: float) -> str:
    return f"{_short(value)} ms" if value < 1000 else f"{_short(value / 1000)} s"


def _kilobytes(value: float) -> str:
    return f"{_short(value)} KB"


def _short(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else number(value)


def _height(panels: Sequence[Panel]) -> float:
    return _HEAD + _LINE * max(len(panel.lines) for panel in panels) + 54


def _panel(panel: Panel) -> str:
    scale = _scale(panel)
    bottom = _HEAD + _LINE * len(panel.lines)
    parts = [
        f'<text class="panel" x="0" y="14">{escape(panel.title)}</text>',
        f'<text class="small" x="0" y="33">{escape(panel.subtitle)}</text>',
    ]
    for tick in _ticks(panel):
        kind, at = "floor" if panel.write is _times and tick == 1 else "grid", f"{scale(tick):.1f}"
        parts.append(f'<line class="{kind}" x1="{at}" x2="{at}" y1="46" y2="{bottom:.0f}"/>')
        parts.append(f'<text class="tick" x="{at}" y="{bottom + 15:.0f}">{panel.write(tick) if tick else 0}</text>')
    for i, line in enumerate(panel.lines):
        parts.append(_line(panel, line, _HEAD + _LINE * i, scale))
    return "\n".join(parts)


def _line(panel: Panel, line: Line, top: float, scale: Callable[[float], float]) -> str:
    middle = top + _LINE / 2 - 4
    kind = ' class="ours"' if line.system in OURS_TOO else ""
    parts = [f"<g{kind}>", f'<text x="0" y="{middle + 4.5:.1f}">{escape(line.title)}</text>']
    if panel.logarithmic:
        ends = [scale(value) for value in line.values]
        parts.append(
            f'<line class="span" x1="{min(ends):.1f}" x2="{max(ends):.1f}" y1="{middle:.1f}" y2="{middle:.1f}"/>'
        )
        for i, end in reversed([*enumerate(ends)]):
            shape = "dot open" if i else "dot"
            parts.append(f'<circle class="{shape}" cx="{end:.1f}" cy="{middle:.1f}" r="5"/>')
    else:
        ends = [scale(line.values[0])]
        width = max(1.5, ends[0] - _LABELS)
        parts.append(f'<rect class="bar" x="{_LABELS}" y="{middle - 8:.1f}" width="{width:.1f}" height="16" rx="2"/>')
    parts.append(f'<text x="{max(ends) + 11:.1f}" y="{middle + 4.5:.1f}">{_words(panel, line)}</text></g>')
    return "".join(parts)


def _words(panel: Panel, line: Line) -> str:
    return " / ".join(panel.write(value) for value in line.values)


def _scale(panel: Panel) -> Callable[[float], float]:
    values = [value for line in panel.lines for value in line.values]
    longest = max(len(_words(panel, line)) for line in panel.lines)
    width = _PANEL - _LABELS - 14 - 7.6 * longest  # what is left of it beside the longest value
    if not panel.logarithmic:
        return lambda value: _LABELS + width * value / max(values)
    low, high = math.log10(min(*values, 1.0)), math.log10(max(values))
    return lambda value: _LABELS + 6 + (width - 6) * (math.log10(value) - low) / max(high - low, 0.1)


def _ticks(panel: Panel) -> list[float]:
    values = [value for line in panel.lines for value in line.values]
    if panel.logarithmic:
        powers = range(math.ceil(math.log10(min(*values, 1.0))), int(math.log10(max(values))) + 1)
        return [10.0**power for power in powers]
    step = 10.0 ** math.floor(math.log10(max(values)))
    step *= 1 if max(values) < 6 * step else 2
    return [step * i for i in range(int(max(values) / step) + 1)]
