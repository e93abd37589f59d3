"""The statements of `schema/` and `statements.sql`, by name, for a schema of any name.

They are written for a schema named headwater. In what is sent, another name stands in its place: quoted as an identifier
before a dot and after the words SCHEMA and EXISTS, and as a text where it is the channel of notifications.
"""

from __future__ import annotations

import re
from functools import lru_cache
from importlib.resources import files

from headwater.errors import ConfigurationError

MAX_NAME = 63  # bytes of an identifier; Postgres would cut what is longer, and two names could become one

_PLACES = re.compile(r"(?<![\w'])headwater(?=\.)|(?<=SCHEMA |EXISTS )headwater\b|'headwater'")
_UNFIT = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_BODY = "$body$"


def check_schema(name: str) -> str:
    """`name`, if it can be the schema of an installation.

    Raises:
        ConfigurationError: it cannot.
    """
    if not name or _UNFIT.search(name) or len(name.encode()) > MAX_NAME or name.startswith("pg_") or name == "public":
        raise ConfigurationError(
            f"{name[:80]!r} cannot be the schema",
            expected=f"a name of its own, of at most {MAX_NAME} bytes, not public and not beginning with pg_",
        )
    return name


def quoted(name: str) -> str:
    """A name as an identifier."""
    return '"' + name.replace('"', '""') + '"'


def localised(text: str, schema: str) -> str:
    """SQL written for a schema named headwater, for one named `schema`."""
    identifier = quoted(check_schema(schema))
    # Not U&'...', which an application with standard_conforming_strings off may not run.
    literal = "E'" + "".join(_escaped(character) for character in schema) + "'"
    tag = "body"
    while f"${tag}$" in schema:  # a name must not end the body of a function
        tag += "_"
    text = text.replace(_BODY, f"${tag}$")
    return _PLACES.sub(lambda place: literal if place[0].startswith("'") else identifier, text)


def _escaped(character: str) -> str:
    return character if character.isascii() and character.isalnum() else f"\\U{ord(character):08X}"


def migrations() -> tuple[tuple[int, str, str], ...]:
    """The number, name and text of each file of `schema/`, in order."""
    found = sorted(path.name for path in files(__package__).joinpath("schema").iterdir() if path.name.endswith(".sql"))
    return tuple((int(name.partition("_")[0]), name.removesuffix(".sql"), _load(f"schema/{name}")) for name in found)


@lru_cache(maxsize=64)
def statements(schema: str) -> dict[str, str]:
    """The statements of `statements.sql`, by name, as psycopg takes them."""
    pieces = re.split(r"^-- name: (\w+)\n", _load("statements.sql"), flags=re.MULTILINE)
    named = zip(pieces[1::2], pieces[2::2], strict=True)
    # A percent sign in the schema's name is none of psycopg's placeholders.
    return {name: _for_psycopg(localised(text.strip(), schema), schema) for name, text in named}


def _for_psycopg(text: str, schema: str) -> str:
    return text.replace(quoted(schema), quoted(schema).replace("%", "%%"))


def _load(name: str) -> str:
    return files(__package__).joinpath(name).read_text("utf-8")
