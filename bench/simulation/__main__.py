"""The command, `python -m bench.simulation`: from measured costs to docs/scaling.svg and the tables of docs/scaling.md.

Takes no time and measures nothing; `make bench` measures, and then does the same.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.simulation import costs, page
from bench.simulation.model import Model

DOCS = Path(__file__).parents[2] / "docs"


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.simulation",
        description="Nodes, Redis instances and bandwidth for up to ten million streams.",
    )
    parser.add_argument(
        "--costs", type=Path, default=DOCS / page.COSTS, help="what `make bench` measured; default docs/scaling.json"
    )
    parser.add_argument("--no-docs", action="store_true", help="leave docs/ alone, which is renewed otherwise")
    return parser.parse_args(given)


def main(given: list[str] | None = None) -> int:
    """Compute, print, and renew the pages."""
    asked = arguments(given)
    try:
        found, about = costs.read(asked.costs)
    except costs.CostsMissing as error:
        raise SystemExit(str(error)) from None
    print("\n\n".join(page.texts(Model(found), about).values()))
    if not asked.no_docs:
        page.write(found, about, DOCS)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
