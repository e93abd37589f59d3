"""Text from elsewhere, as it may be shown on a terminal.

What somebody publishes, or what a server answers, may hold escape sequences that rename the window, repaint lines or type
for the person in front of it, and line breaks that make one event look like two. Pure.
"""

from __future__ import annotations

import re

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # not tabs and line feeds; C1 too, which are escapes in UTF-8


def visible(text: str) -> str:
    """The text with its control characters spelt out, and each line but the first indented."""
    return _CONTROL.sub(_spelt, text).replace("\n", "\n    ")


def visible_json(line: str) -> str:
    """A line of JSON that means the same, with the control characters escaped that JSON lets stand as they are."""
    return _CONTROL.sub(lambda match: f"\\u{ord(match[0]):04x}", line)


def _spelt(match: re.Match[str]) -> str:
    return f"\\x{ord(match[0]):02x}"
