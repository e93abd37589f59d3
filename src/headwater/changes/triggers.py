"""The triggers of a rule: one for each operation, with a function of its own, as SQL.

Pure: makes statements, runs none. A trigger's WHEN is the only place where its condition stands: Postgres follows the
columns in it when they are renamed, and refuses to drop them. That is why each rule has its own triggers, instead of all
rules of a table one: which rules a row matches would then have to be asked again within a function, and functions are not
followed.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from importlib.resources import files
from itertools import islice
from typing import Final, NamedTuple

from psycopg import sql

from headwater.changes.change import Operation
from headwater.changes.compile import condition, raw, schemas
from headwater.changes.rules import Rule
from headwater.changes.table import Column, Shape, Table

OR_REPLACE: Final = 140000
"""The version of Postgres from which on a trigger can be replaced."""

_PER_CALL: Final = 50  # columns; a function takes at most 100 arguments
LETTERS: Final = {operation: operation[0] for operation in Operation}


def _statements() -> dict[str, str]:
    text = files(__package__).joinpath("capture.sql").read_text("utf-8")
    pieces = re.split(r"^-- name: (\w+)\n", text, flags=re.MULTILINE)
    return {name: statement.strip("\n") for name, statement in zip(pieces[1::2], pieces[2::2], strict=True)}


SQL: Final = _statements()


class Trigger(NamedTuple):
    """One trigger to be made, and its function.

    Attributes:
        rule, operation: whose it is and what for.
        name: of the trigger and of the function.
        table: on which.
        home: the schema that is Headwater's own.
        path: where the operators of its condition are looked for.
        statements: that make both, in one transaction.
        fingerprint: differs if a statement does.
    """

    rule: Rule
    operation: Operation
    name: str
    table: Table
    home: str
    statements: tuple[sql.Composed, ...]
    fingerprint: str


def triggers(rule: Rule, table: Table, *, home: str, version: int) -> Iterator[Trigger]:
    """The triggers that a rule needs.

    Args:
        rule: what is declared.
        table: the one it names, as it is.
        home: the schema that is Headwater's own.
        version: of the server, as 180004.

    Raises:
        InvalidInput: a column is not there, or a test of the filter does not suit its type.
    """
    for operation in (*rule.operations, *rule.leavings):
        name = trigger_name(home, rule.name, operation)
        function = sql.Identifier(home, name)
        parts: list[sql.Composed] = [
            _make("path", path=raw(", ").join(map(sql.Identifier, schemas(rule, table)))),
            _make("function", function=function, body=dollar_quoted(_body(rule, table, operation, home))),
            _make("revoke", function=function),
            *_trigger(rule, table, operation, name, function, version),
            _make("path", path=sql.Identifier("pg_catalog")),
        ]
        fingerprint = hashlib.sha256("\0".join(part.as_string() for part in parts).encode()).hexdigest()[:32]
        seal = _seal(rule, table, operation, name, function, fingerprint)
        yield Trigger(rule, operation, name, table, home, (*parts, seal), fingerprint)


def trigger_name(home: str, rule: str, operation: Operation) -> str:
    """A name of at most 63 bytes that no trigger of another rule or another installation has."""
    rest = f"_{rule}_{operation.lower()}"
    prefix = home if len(home.encode()) + len(rest) <= 63 else hashlib.sha256(home.encode()).hexdigest()[:12]
    return prefix + rest


def drop(home: str, name: str, table: tuple[str, str] | None) -> Iterator[sql.Composed]:
    """The statements that take a trigger and its function away; without a table, which has gone, only the function."""
    if table is not None:
        yield _make("drop_trigger", trigger=sql.Identifier(name), table=sql.Identifier(*table))
    yield _make("drop_function", function=sql.Identifier(home, name))


def dollar_quoted(text: str) -> sql.Composable:
    """A text between dollar signs, which is how people write and read functions."""
    tag = "$headwater$"
    while tag in text:
        tag = tag[:-1] + "_$"
    return raw(f"{tag}\n{text}\n{tag}")


def _make(statement: str, /, **parts: sql.Composable) -> sql.Composed:
    return sql.SQL(SQL[statement]).format(**parts)


def _trigger(
    rule: Rule, table: Table, operation: Operation, name: str, function: sql.Identifier, version: int
) -> Iterator[sql.Composed]:
    when = condition(rule, table, operation)
    parts: dict[str, sql.Composable] = {
        "trigger": sql.Identifier(name),
        "event": raw("UPDATE" if operation in (Operation.LEAVE, Operation.MOVE) else operation.value),
        "table": sql.Identifier(table.schema, table.name),
        "level": raw("STATEMENT" if operation is Operation.TRUNCATE else "ROW"),
        "condition": raw("") if when is None else raw("\nWHEN ({})").format(when),
        "function": function,
    }
    if version < OR_REPLACE:
        yield _make("drop_trigger", trigger=parts["trigger"], table=parts["table"])
    yield _make("create" if version < OR_REPLACE else "replace", **parts)


def _body(rule: Rule, table: Table, operation: Operation, home: str) -> str:
    """The text of the function."""
    new, old = rule.captured(operation)
    literal = sql.Literal(rule.name)
    handler = _make("warning", rule=literal) if rule.on_error == "warn" else raw("")
    return _make(
        "body",
        schema=sql.Identifier(home),
        projection=_projection(rule, table, operation, {"NEW": new, "OLD": old}),
        rule=literal,
        operation=sql.Literal(LETTERS[operation]),
        flag=sql.Literal(f"headwater.on_{hashlib.sha256(home.encode()).hexdigest()[:12]}"),
        handler=handler,
    ).as_string()


def _projection(rule: Rule, table: Table, operation: Operation, captured: dict[str, tuple[str, ...]]) -> sql.Composable:
    """What fills `new_row` and `old_row` from the declared columns."""
    sides = {"NEW": ("INSERT", "UPDATE", "MOVE"), "OLD": ("UPDATE", "DELETE", "LEAVE", "MOVE")}
    assignments, pieces, limits = [], [], []
    for side, row in (("NEW", raw("new_row")), ("OLD", raw("old_row"))):
        names = captured[side]
        if operation not in sides[side] or (side == "OLD" and operation is Operation.UPDATE and not names):
            continue
        columns = [(name, _value(table.column(name), side, rule)) for name in names]
        assignments.append(_make("assignment", row=row, columns=_columns(columns)))
        pieces.append(_make("begin", row=row))
        for name, value in columns:
            key = sql.Literal(name)
            pieces.append(_make("piece", row=row, pair=raw("{}, {}").format(key, value), name=key))
        limits.append(_make("limit", row=row, most=sql.Literal(rule.max_bytes)))
    if not any(captured.values()):
        return raw("\n").join(assignments)
    lines = {"assignments": assignments, "pieces": pieces, "limits": limits}
    return _make("projection", **{name: raw("\n").join(parts) for name, parts in lines.items()})


def _columns(columns: Iterable[tuple[str, sql.Composable]]) -> sql.Composable:
    """A jsonb with some columns. In several calls if it must be, because a function takes at most 100 arguments."""
    pairs = iter([raw("{}, {}").format(sql.Literal(name), value) for name, value in columns])
    calls = []
    while several := list(islice(pairs, _PER_CALL)):
        calls.append(_make("columns", pairs=raw(", ").join(several)))
    return raw(" || ").join(calls) if calls else _make("columns", pairs=raw(""))


def _value(column: Column, side: str, rule: Rule) -> sql.Composable:
    value: sql.Composable = raw(f"{side}.{{}}").format(sql.Identifier(column.name))
    if column.virtual is not None:  # which is NULL in a trigger: nobody has computed it yet
        value = raw(f"(SELECT {{}} FROM (SELECT {side}.*) AS computed)").format(raw(column.virtual))
    if column.big is not None and rule.big_numbers == "text":
        value = raw("({})::{}").format(value, raw(column.big))
    return _json(value, column.shape)


def _json(value: sql.Composable, shape: Shape) -> sql.Composable:
    """The value as something that becomes JSON without code of its type's."""
    made: sql.Composable
    match shape.how:
        case "plain":
            return value
        case "text":
            made = raw("format('%s', {})").format(value)
        case "texts":
            made = raw("format('%s', {})::text[]").format(value)
        case "call":
            return raw("{}({})").format(raw(shape.function), value)
        case _:  # an object
            made = _columns(
                (name, _json(raw("({}).{}").format(value, sql.Identifier(name)), inner)) for name, inner in shape.fields
            )
    return raw("CASE WHEN {} IS DISTINCT FROM NULL THEN {} END").format(value, made)


def _seal(
    rule: Rule, table: Table, operation: Operation, name: str, function: sql.Identifier, fingerprint: str
) -> sql.Composed:
    """The statement that writes into the function's comment what was made and what Postgres made of it, by which a later
    change is noticed."""
    known = {
        "rule": rule.name,
        "operation": operation,
        "schema": table.schema,
        "table": table.name,
        "made": fingerprint,
    }
    sealing = _make(
        "sealing",
        function=sql.Literal(function.as_string()),
        known=sql.Literal(json.dumps(known)),
        table=sql.Literal(sql.Identifier(table.schema, table.name).as_string()),
        trigger=sql.Literal(name),
    )
    return _make("seal", body=dollar_quoted(sealing.as_string()))
