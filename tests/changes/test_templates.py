"""Templates and mappings of data: how they are read and filled."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from headwater.changes.change import Change, Operation
from headwater.changes.templates import (
    MAX_DEPTH,
    Columns,
    Const,
    Place,
    Template,
    as_text,
    fill_shape,
    parse_mapping,
    parse_template,
    places_in,
)
from headwater.errors import InvalidInput


def change(new: dict[str, Any] | None, old: dict[str, Any] | None = None) -> Change:
    """A change with these rows."""
    operation = Operation.DELETE if new is None else Operation.UPDATE
    at = datetime(2026, 11, 20, 12, tzinfo=UTC)
    return Change(rule="r", operation=operation, schema="public", table="jobs", new=new, old=old, time=at)


ROW = change({"id": 7, "name": "x", "none": None, "old": "column"}, {"id": 6, "name": "y"})


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("", ""),
        ("plain", "plain"),
        ("project:{id}", "project:7"),
        ("{id}{name}", "7x"),
        ("{{{id}}}", "{7}"),
        ("{{id}}", "{id}"),
        ("{$new.id}-{$old.id}", "7-6"),
        ("{old}", "column"),
        ("{$op} of {$schema}.{$table} by {$rule}", "UPDATE of public.jobs by r"),
        ("{$time}", "2026-11-20T12:00:00+00:00"),
        ("a {none}", None),
        ("a {missing}", None),
    ],
)
def test_a_template_is_filled(text: str, filled: str | None) -> None:
    """With the row's columns; one that is NULL makes all of it NULL."""
    assert parse_template(text).fill(ROW) == filled


@pytest.mark.parametrize(
    "text", ["{", "}", "a{b", "a}b", "{}", "{a{b}}", "{$}", "{$who}", "{$old}", "{$old.}", "{$x.y}"]
)
def test_a_malformed_template_is_refused(text: str) -> None:
    """A brace by itself, nothing in braces, and a `$` that names nothing."""
    with pytest.raises(InvalidInput, match="template"):
        parse_template(text)


def test_a_template_is_text() -> None:
    """Whatever else comes from a settings file is refused by name."""
    with pytest.raises(InvalidInput, match="the template is int"):
        parse_template(7)  # type: ignore[arg-type]


def test_without_a_new_row_the_old_one_counts() -> None:
    """As for DELETE; what asks for the new row by name gets NULL."""
    deleted = change(None, {"id": 6})
    assert parse_template("{id}").fill(deleted) == "6"
    assert parse_template("{$old.id}").fill(deleted) == "6"
    assert parse_template("{$new.id}").fill(deleted) is None
    assert change(None).row == {}
    assert deleted.row == {"id": 6}
    assert ROW.row["id"] == 7


def test_a_value_cannot_lead_into_another_segment() -> None:
    """A `:` within a value would make another channel of the name, which the row's writer was not given."""
    template = parse_template("user:{name}:inbox")
    assert template.fill_name(change({"name": "ada"})) == "user:ada:inbox"
    assert template.fill_name(change({"name": None})) is None
    with pytest.raises(InvalidInput, match=r"name is 'ada:inbox:admin', and its ':'"):
        template.fill_name(change({"name": "ada:inbox:admin"}))


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, None), ("x", "x"), (True, "true"), (False, "false"), (7, "7"), (Decimal("1.50"), "1.50")],
)
def test_values_as_text(value: object, text: str | None) -> None:
    """As in JSON, and texts without quotes."""
    assert as_text(value) == text


@pytest.mark.parametrize("value", [{}, []])
def test_what_has_no_one_text(value: object) -> None:
    """An object and a list stand in no text."""
    with pytest.raises(InvalidInput, match="an object or a list"):
        as_text(value)


def test_a_mapping_makes_data() -> None:
    """Columns keep their types, alone in braces too; `=` begins a text that is always the same; mappings nest."""
    shape = parse_mapping(
        {
            "sourceId": "id",
            "same": "{id}",
            "title": "no {id}",
            "before": "{$old.name}",
            "type": "=status_update",
            "empty": "=",
            "version": 1,
            "good": True,
            "nothing": None,
            "progress": {"name": "name", "gone": "none"},
        }
    )
    assert fill_shape(shape, ROW) == {
        "sourceId": 7,
        "same": 7,
        "title": "no 7",
        "before": "y",
        "type": "status_update",
        "empty": "",
        "version": 1,
        "good": True,
        "nothing": None,
        "progress": {"name": "x", "gone": None},
    }
    assert {(place.side, place.name) for place in places_in(shape)} == {
        ("row", "id"),
        ("old", "name"),
        ("row", "name"),
        ("row", "none"),
    }


def test_columns_of_one_side() -> None:
    """Under their own names; null where that side has no row."""
    shape = {"old": Columns("old", ("id", "name")), "new": Columns("new", ("id",))}
    assert fill_shape(shape, ROW) == {"old": {"id": 6, "name": "y"}, "new": {"id": 7}}
    assert fill_shape(shape, change(None, None)) == {"old": None, "new": None}
    assert list(places_in(shape)) == [Place("old", "id"), Place("old", "name"), Place("new", "id")]
    assert list(places_in(Const(1))) == []


@pytest.mark.parametrize("value", ["", [], object(), b"x"])
def test_what_cannot_be_data(value: object) -> None:
    """An empty text names no column; lists and everything else are refused."""
    with pytest.raises(InvalidInput, match="the data has"):
        parse_mapping({"x": value})


def test_names_are_text() -> None:
    """In the data as in JSON."""
    with pytest.raises(InvalidInput, match="a name in the data is 1"):
        parse_mapping({1: "id"})  # type: ignore[dict-item]


def test_data_has_a_depth() -> None:
    """A mapping nested without end is refused before Python's own stack ends."""
    data: dict[str, object] = {}
    for _ in range(MAX_DEPTH):
        data = {"x": data}
    with pytest.raises(InvalidInput, match="too deep"):
        parse_mapping(data)
    inner = data["x"]
    assert isinstance(inner, dict)
    assert parse_mapping(inner)


def test_a_template_knows_whether_it_is_one_place() -> None:
    """Then its value keeps its type."""
    assert parse_template("{id}").single == Place("row", "id")
    assert parse_template("x{id}").single is None
    assert parse_template("x").single is None
    assert parse_template("x}}y{{z") == Template(("x}y{z",))
