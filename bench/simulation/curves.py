"""Curves over a number of streams as an SVG, both axes logarithmic, that reads well in light and in dark. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _MARGIN, _GAP = 1040, 28, 40
_PANEL = (_WIDTH - 2 * _MARGIN - _GAP) / 2
_LEFT, _RIGHT, _TOP, _PLOT = 62.0, 128.0, 58.0, 210.0  # of a panel: beside and above its plot, and the plot's height
_LABEL = 15.0  # between the names at the ends of the curves

_STYLE = """
  .card { fill: #ffffff; stroke: #e3e6ea; }
  text { font: 13px system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; fill: #39424e; }
  .title { font-size: 21px; font-weight: 650; fill: #10161d; }
  .panel { font-size: 15px; font-weight: 650; fill: #10161d; }
  .small { font-size: 12px; fill: #6b7683; } .tick { font-size: 11px; fill: #6b7683; }
  .middle { text-anchor: middle; } .end { text-anchor: end; }
  .grid { stroke: #e9ecf0; }
  .curve { fill: none; stroke-width: 2; stroke-linejoin: round; }
  .c0 { stroke: #1f7ae0; } .n0 { fill: #0b63c5; } .c1 { stroke: #c2571a; } .n1 { fill: #a84710; }
  .c2 { stroke: #12876f; } .n2 { fill: #0c6e5a; } .c3 { stroke: #8a4fc4; } .n3 { fill: #743bab; }
  @media (prefers-color-scheme: dark) {
    .card { fill: #12171d; stroke: #2b333d; }
    text { fill: #b9c3cf; } .title, .panel { fill: #f2f5f8; } .small, .tick { fill: #8b97a5; }
    .grid { stroke: #232b34; }
    .c0 { stroke: #3f93f2; } .n0 { fill: #6cb2ff; } .c1 { stroke: #e08a4f; } .n1 { fill: #f0a26b; }
    .c2 { stroke: #35b598; } .n2 { fill: #57cdb2; } .c3 { stroke: #ac7de0; } .n3 { fill: #c09cf0; }
  }
"""


@dataclass(frozen=True)
class Curve:
    """One name and its points, from left to right; none of them is 0 or less."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Panel:
    """A panel's words, its curves, and how it writes a value."""

    title: str
    subtitle: str
    curves: Sequence[Curve]
    write: Callable[[float], str]


def picture(title: str, panels: Sequence[Panel], caption: str) -> str:
    """The SVG: two panels to a row."""
    line = _TOP + _PLOT + 56
    height = 84 + line * math.ceil(len(panels) / 2) + 18
    body = [
        f'<g transform="translate({_MARGIN + i % 2 * (_PANEL + _GAP):.0f} {84 + i // 2 * line:.0f})">{_panel(panel)}</g>'
        for i, panel in enumerate(panels)
    ]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height:.0f}" role="img">',
            f"<title>{escape(title)}</title>",
            f"<style>{_STYLE}</style>",
            f'<rect class="card" x="0.5" y="0.5" width="{_WIDTH - 1}" height="{height - 1:.0f}" rx="10"/>',
            f'<text class="title" x="{_MARGIN}" y="44">{escape(title)}</text>',
            *body,
            f'<text class="small" x="{_MARGIN}" y="{height - 18:.0f}">{escape(caption)}</text>',
            "</svg>\n",
        ]
    )


@dataclass(frozen=True)
class _Axis:
    """Where a value is: a logarithmic scale between two powers of ten."""

    low: int
    high: int
    start: float
    length: float

    @classmethod
    def of(cls, values: Sequence[float], start: float, length: float) -> _Axis:
        low, high = math.floor(math.log10(min(values)) + 1e-9), math.ceil(math.log10(max(values)) - 1e-9)
        return cls(low, max(high, low + 1), start, length)

    def at(self, value: float) -> float:
        return self.start + self.length * (math.log10(value) - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        return [10.0**power for power in range(self.low, self.high + 1)]


def _panel(panel: Panel) -> str:
    points = [point for curve in panel.curves for point in curve.points]
    across = _Axis.of([x for x, _y in points], _LEFT, _PANEL - _LEFT - _RIGHT)
    up = _Axis.of([y for _x, y in points], _TOP + _PLOT, -_PLOT)
    right = across.start + across.length
    parts = [
        f'<text class="panel" x="0" y="14">{escape(panel.title)}</text>',
        f'<text class="small" x="0" y="33">{escape(panel.subtitle)}</text>',
    ]
    for tick in up.ticks():
        y = up.at(tick)
        parts.append(f'<line class="grid" x1="{_LEFT:.1f}" x2="{right:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick end" x="{_LEFT - 8:.1f}" y="{y + 4:.1f}">{panel.write(tick)}</text>')
    for tick in across.ticks():
        x, bottom = across.at(tick), _TOP + _PLOT
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP:.1f}" y2="{bottom:.1f}"/>')
        parts.append(f'<text class="tick middle" x="{x:.1f}" y="{bottom + 17:.1f}">{short(tick)}</text>')
    parts.append(f'<text class="tick end" x="{right:.1f}" y="{_TOP + _PLOT + 34:.1f}">streams</text>')
    for i, curve in enumerate(panel.curves):
        line = " ".join(f"{across.at(x):.1f},{up.at(y):.1f}" for x, y in curve.points)
        parts.append(f'<polyline class="curve c{i % 4}" points="{line}"/>')
    return "\n".join([*parts, *_names(panel, up, right + 8)])


def _names(panel: Panel, up: _Axis, x: float) -> list[str]:
    """Each curve's name where it ends, moved down as far as the one above it needs."""
    ends = sorted((up.at(curve.points[-1][1]), i) for i, curve in enumerate(panel.curves))
    parts, free = [], _TOP - _LABEL
    for end, i in ends:
        free = max(end, free + _LABEL)
        name = escape(panel.curves[i].name)
        parts.append(f'<text class="small n{i % 4}" x="{x:.1f}" y="{free + 4:.1f}">{name}</text>')
    return parts


def short(value: float) -> str:
    """A round number in few characters: 20 k, 1 M, 0.01."""
    for size, unit in ((1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{value / size:,.3g}{unit}"
    return f"{value:,.3g}"
