"""The scripts that Redis runs, by name. Each begins with `log.lua`; those that write, with `opening.lua`, too;
those that remove events, with `trimming.lua`."""

from __future__ import annotations

import hashlib
from importlib.resources import files

import msgspec


class Script(msgspec.Struct, frozen=True):
    """A script's whole text, and the SHA-1 under which Redis keeps it."""

    text: str
    sha: str


def _script(*names: str) -> Script:
    folder = files(__package__).joinpath("scripts")
    text = "\n".join(folder.joinpath(f"{name}.lua").read_text("utf-8") for name in names)
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


_PARTS = {
    ("log",): ("read", "read_back", "horizon", "position_at", "describe"),
    ("log", "opening"): ("enter", "survey", "take_turn"),
    ("log", "opening", "trimming"): ("append", "retain", "evict", "tidy"),
}

SCRIPTS = {name: _script(*parts, name) for parts, names in _PARTS.items() for name in names}
