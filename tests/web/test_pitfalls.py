"""The pitfalls of other browser clients, from p01 (a hidden page) to p25 (a line without an end): each is the name, or in the
description, of a test.
"""

from __future__ import annotations

import re

from tests.support.source import files_in

COUNT = 25


def test_each_pitfall_has_a_test() -> None:
    """Of the client in Node, of its components, or in a browser."""
    sources = [*files_in("js", suffixes=(".mjs",)), *files_in("tests/web"), *files_in("tests/browser")]
    tests = "".join(path.read_text() for path in sources)
    cited = set(re.findall(r"(?:test\(['`]|\"\"\"|, )(p[0-2]\d)(?=[:,])", tests))
    assert cited == {f"p{number:02}" for number in range(1, COUNT + 1)}
