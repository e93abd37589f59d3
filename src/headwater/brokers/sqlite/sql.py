"""The statements of `schema.sql` and `statements.sql`, by name."""

from __future__ import annotations

import re
from importlib.resources import files


def _load(name: str) -> str:
    return files(__package__).joinpath(name).read_text("utf-8")


def _named(text: str) -> dict[str, str]:
    pieces = re.split(r"^-- name: (\w+)\n", text, flags=re.MULTILINE)
    return {name: statement.strip() for name, statement in zip(pieces[1::2], pieces[2::2], strict=True)}


SCHEMA = tuple(re.split(r";\n", _load("schema.sql").strip().removesuffix(";")))
SQL = _named(_load("statements.sql"))
