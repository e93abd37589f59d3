"""Debates to watch: who speaks, in which phase, and what they say when the audience asks. JSON files beside this one.

Knows files; must not know clocks or the state of any debate.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import msgspec

from examples.debates.phases import Phase


class Speaker(msgspec.Struct, frozen=True):
    """Who speaks, and for which side: `moderator`, `for` or `against`."""

    name: str
    side: str


class Line(msgspec.Struct, frozen=True):
    """One utterance."""

    phase: Phase
    speaker: str
    content: str


class Script(msgspec.Struct, frozen=True):
    """One debate.

    Attributes:
        topic: the motion.
        speakers: by the name that utterances carry.
        lines: in order.
        answers: what each speaker says to questions from the audience, in turn.
    """

    topic: str
    speakers: dict[str, Speaker]
    lines: tuple[Line, ...]
    answers: dict[str, tuple[str, ...]]


@lru_cache(maxsize=1)
def scripts() -> dict[str, Script]:
    """All scripts, by name."""
    files = sorted(Path(__file__).parent.glob("*.json"))
    return {path.stem: msgspec.json.decode(path.read_bytes(), type=Script) for path in files}
