"""The scripts that Redis runs, by name. Each begins with `log.lua`; those that remove events, with `trimming.lua`, too."""

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


_READING = ("survey", "read", "read_back", "horizon", "position_at", "describe", "enter", "take_turn")
_REMOVING = ("append", "retain", "evict", "tidy")

SCRIPTS = {name: _script("log", name) for name in _READING} | {
    name: _script("log", "trimming", name) for name in _REMOVING
}
