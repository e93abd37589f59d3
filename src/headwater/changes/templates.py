"""Text with columns in braces, such as `project:{project_id}`, and data made of such texts.

Pure: knows how a template is written and how a changed row fills it; must not know rules, tables or SQL. There are no
format specifications, attributes or indexes, on purpose: a template is something that may stand in a settings file.

    {name}          the column of the row: of the new one, or where there is none of the old one
    {$new.name}     of the new row; NULL where there is none
    {$old.name}     of the old row; NULL where there is none
    {$op} {$schema} {$table} {$rule} {$time}      of the change itself
    {{ and }}       the braces themselves
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

from headwater.errors import InvalidInput

OWN: Final = ("op", "schema", "table", "rule", "time")
"""What `{$...}` may name beside `$new.` and `$old.`."""

MAX_DEPTH: Final = 16
"""Levels of a mapping of data: more than anyone reads."""

_PIECES = re.compile(r"\{\{|\}\}|\{([^{}]+)\}|[^{}]+|[{}]")


class Row(Protocol):
    """What fills a template: a changed row (see `mapping.Change`)."""

    @property
    def new(self) -> Mapping[str, Any] | None:
        """The row after the change."""

    @property
    def old(self) -> Mapping[str, Any] | None:
        """The row before it."""

    def about(self, name: str) -> str:
        """One of `OWN`, as text."""


class Place(NamedTuple):
    """What stands between braces.

    Attributes:
        side: `row`, `new` or `old` with the name of a column; `$` with one of `OWN`.
        name: which.
    """

    side: str
    name: str

    def of(self, row: Row) -> Any:
        """The value it stands for; None for NULL."""
        if self.side == "$":
            return row.about(self.name)
        values = row.old if self.side == "old" or (self.side == "row" and row.new is None) else row.new
        return None if values is None else values.get(self.name)


class Template(NamedTuple):
    """A text with places in it."""

    pieces: tuple[str | Place, ...]

    @property
    def places(self) -> Iterator[Place]:
        """The places, in order."""
        return (piece for piece in self.pieces if isinstance(piece, Place))

    @property
    def single(self) -> Place | None:
        """The place, if it is all there is: its value then keeps its type."""
        return self.pieces[0] if len(self.pieces) == 1 and isinstance(self.pieces[0], Place) else None

    def fill(self, row: Row) -> str | None:
        """The text; None if one of its places is NULL."""
        texts = [piece if isinstance(piece, str) else as_text(piece.of(row)) for piece in self.pieces]
        return None if None in texts else "".join(text for text in texts if text is not None)

    def fill_name(self, row: Row) -> str | None:
        """The text as the name of something. A `:` in a value is refused: it would lead into somebody else's segment.

        Raises:
            InvalidInput: a value has one.
        """
        for place in self.places:
            text = as_text(place.of(row))
            if text is not None and ":" in text:
                raise InvalidInput(
                    f"{place.name} is {text[:60]!r}, and its ':' would make another name of it",
                    expected="a value without ':' where it becomes part of the name of a channel or a permission",
                )
        return self.fill(row)


def parse_template(text: str) -> Template:
    """Read a template.

    Raises:
        InvalidInput: a brace is not closed or not opened, or `{$...}` names nothing.
    """
    if not isinstance(text, str):
        raise InvalidInput(f"the template is {type(text).__name__}", expected="text such as 'project:{project_id}'")
    pieces: list[str | Place] = []
    for match in _PIECES.finditer(text):
        if match[0] in "{}":
            raise InvalidInput(
                f"the template {text[:60]!r} has a {match[0]} by itself",
                expected="{column}, and {{ or }} for a brace",
            )
        piece = _place(match[1], text) if match[1] else match[0].replace("{{", "{").replace("}}", "}")
        if pieces and isinstance(piece, str) and isinstance(pieces[-1], str):
            pieces[-1] += piece
        else:
            pieces.append(piece)
    return Template(tuple(pieces))


def _place(inner: str, text: str) -> Place:
    if not inner.startswith("$"):
        return Place("row", inner)
    side, dot, name = inner[1:].partition(".")
    if dot and name and side in ("new", "old"):
        return Place(side, name)
    if inner[1:] in OWN:
        return Place("$", inner[1:])
    raise InvalidInput(
        f"{{{inner}}} in the template {text[:60]!r} names nothing",
        expected=f"{{column}}, {{$new.column}}, {{$old.column}}, or one of {', '.join(f'{{${name}}}' for name in OWN)}",
    )


def as_text(value: Any) -> str | None:
    """A value of a row as it stands in a text: as in JSON, but texts without quotes; None for NULL.

    Raises:
        InvalidInput: it is an object or a list, which has no one text.
    """
    match value:
        case None | str():
            return value
        case bool():
            return "true" if value else "false"
        case dict() | list():
            raise InvalidInput("an object or a list stands in a text", expected="a column with a single value")
        case _:
            return str(value)


class Const(NamedTuple):
    """A value that is the same for every row."""

    value: Any


class Columns(NamedTuple):
    """Some columns of one side of the change, under their own names; null where there is no such row."""

    side: str
    names: tuple[str, ...]


Shape: TypeAlias = "Const | Place | Template | Columns | Mapping[str, Shape]"
"""Data to be made."""


def parse_mapping(data: Mapping[str, object], depth: int = 0) -> dict[str, Shape]:
    """Read a mapping of data. Its values: the name of a column, a template, `=` and a text that is always the same, a
    number, a truth value, nothing (null), or another mapping.

    Raises:
        InvalidInput: there is something else in it, or it is too deep.
    """
    if depth == MAX_DEPTH:
        raise InvalidInput("the data is nested too deep", expected=f"at most {MAX_DEPTH} levels")
    return {_key(key): _shape(value, depth) for key, value in data.items()}


def _shape(value: object, depth: int) -> Shape:
    match value:
        case str() if value.startswith("="):
            return Const(value[1:])
        case str() if "{" in value or "}" in value:
            template = parse_template(value)
            return template.single or template
        case str() if value:
            return Place("row", value)
        case None | bool() | int() | float():
            return Const(value)
        case Mapping():
            return parse_mapping(value, depth + 1)
    raise InvalidInput(
        f"the data has {value!r:.60}",
        expected="the name of a column, a template, '=' and a text, a number, true, false, null, or a mapping of these",
    )


def _key(key: object) -> str:
    if not isinstance(key, str):
        raise InvalidInput(f"a name in the data is {key!r:.60}", expected="text")
    return key


def places_in(shape: Shape) -> Iterator[Place]:
    """Every place of a shape."""
    match shape:
        case Place():
            yield shape
        case Template():
            yield from shape.places
        case Columns(side, names):
            yield from (Place(side, name) for name in names)
        case Mapping():
            for inner in shape.values():
                yield from places_in(inner)


def fill_shape(shape: Shape, row: Row) -> Any:
    """The data of one row."""
    match shape:
        case Const():
            return shape.value
        case Place():
            return shape.of(row)
        case Template():
            return shape.fill(row)
        case Columns(side, names):
            values = row.old if side == "old" else row.new
            return None if values is None else {name: values.get(name) for name in names}
        case _:
            return {name: fill_shape(inner, row) for name, inner in shape.items()}
