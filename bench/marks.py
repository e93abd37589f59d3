"""Pages of docs/ that show numbers: what stands between two marks is written by a command, the rest by people. Pure."""

from __future__ import annotations


class PageBroken(Exception):
    """A page has lost the marks between which numbers are shown."""


def renewed(page: str, name: str, text: str) -> str:
    """The page with another text between `<!-- NAME begins -->` and `<!-- NAME ends -->`.

    Raises:
        PageBroken: it does not have both, in this order.
    """
    first, last = f"<!-- {name} begins -->", f"<!-- {name} ends -->"
    before, begin, rest = page.partition(first)
    _old, end, after = rest.partition(last)
    if not begin or not end:
        raise PageBroken(f"the page must hold {first} and, after it, {last}")
    return f"{before}{begin}\n\n{text}\n\n{end}{after}"
