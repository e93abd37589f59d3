"""What may be shown on a terminal."""

from __future__ import annotations

import json

import pytest

from headwater.cli.terminal import visible, visible_json


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, tab\tand ü", "plain, tab\tand ü"),
        ("\x1b]0;owned\x07", "\\x1b]0;owned\\x07"),
        ("over\rwritten", "over\\x0dwritten"),
        ("c1 \x9b31m del \x7f nul \x00", "c1 \\x9b31m del \\x7f nul \\x00"),
        ("one\n12:00:00 admin: two", "one\n    12:00:00 admin: two"),
    ],
)
def test_nothing_in_a_text_controls_the_terminal(text: str, shown: str) -> None:
    """Escape sequences are seen and not obeyed, and a line break makes no line that looks like one of ours."""
    assert visible(text) == shown


def test_json_stays_the_same_value() -> None:
    """JSON itself escapes the C0 characters only."""
    value = {"data": "\x1b \x7f \x9b2J ü"}
    line = visible_json(json.dumps(value, ensure_ascii=False))
    assert json.loads(line) == value
    assert line.isprintable()
