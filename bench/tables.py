"""Tables and numbers for people: Markdown that is aligned, so that a terminal shows it as well as a browser does. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest


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
