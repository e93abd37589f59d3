"""Rules and columns to SQL conditions on NEW and OLD, for the WHEN of a trigger.

Pure: builds SQL, runs none. Types decide: a value becomes a literal of its column's type, so that Postgres compares as it
always does; what cannot be compared by its type is compared as text; and what could fail while the application writes is
refused here. Every name and every value is quoted by the driver.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from psycopg import sql

from headwater.changes.change import Operation
from headwater.changes.grammar import Operator, Test
from headwater.changes.rules import ANY_COLUMN, Rule
from headwater.changes.table import Column, Table
from headwater.errors import InvalidInput

_COMPARISONS: Final = {
    Operator.EQ: "=",
    Operator.NEQ: "<>",
    Operator.LT: "<",
    Operator.LTE: "<=",
    Operator.GT: ">",
    Operator.GTE: ">=",
    Operator.ISDISTINCT: "IS DISTINCT FROM",
    Operator.LIKE: "~~",
    Operator.ILIKE: "~~*",
    Operator.MATCH: "~",
    Operator.IMATCH: "~*",
}
_ORDERS: Final = (Operator.LT, Operator.LTE, Operator.GT, Operator.GTE)
_LIKES: Final = (Operator.LIKE, Operator.ILIKE)
_PATTERNS: Final = (*_LIKES, Operator.MATCH, Operator.IMATCH)
_TIMES = re.compile(r"\b(date|time|timestamp|daterange|tsrange|tstzrange|datemultirange|tsmultirange|tstzmultirange)\b")
_RELATIVE = re.compile(r"\b(now|today|tomorrow|yesterday)\b", re.IGNORECASE)
_LONE_ESCAPE = re.compile(r"(?:\\\\|[^\\])*\\\Z", re.DOTALL)


def raw(text: str) -> sql.SQL:
    """SQL that the catalogs wrote, or that is ours."""
    return sql.SQL(text)


def condition(rule: Rule, table: Table, operation: Operation) -> sql.Composable | None:
    """When a trigger of the rule fires for an operation; None for always.

    Raises:
        InvalidInput: a column is not there, or a test does not suit its type.
    """
    match operation:
        case Operation.INSERT:
            parts = [*_all(rule.tests, table, "NEW")]
        case Operation.DELETE:
            parts = [*_all(rule.tests, table, "OLD")]
        case Operation.UPDATE:
            parts = [*_all(rule.tests, table, "NEW"), *_changed(rule.when_changed, table)]
        case Operation.LEAVE:
            parts = [*_all(rule.tests, table, "OLD"), _unmatched(rule, table)]
        case Operation.MOVE:  # a row that does not match any more has left, if that is told
            stays = _all(rule.tests, table, "NEW") if Operation.LEAVE in rule.leavings else ()
            parts = [*_all(rule.tests, table, "OLD"), *stays, *_changed(rule.moving_columns, table)]
        case _:
            parts = []
    return raw(" AND ").join(raw("({})").format(part) for part in parts) if parts else None


def _all(tests: Iterable[Test], table: Table, row: str) -> Iterator[sql.Composable]:
    return (_test(test, table.column(test.column), row) for test in tests)


def _unmatched(rule: Rule, table: Table) -> sql.Composable:
    return raw(" OR ").join(raw("({}) IS NOT TRUE").format(test) for test in _all(rule.tests, table, "NEW"))


def _changed(names: Sequence[str], table: Table) -> Iterator[sql.Composable]:
    if names == (ANY_COLUMN,):
        yield raw("OLD.* OPERATOR(pg_catalog.*<>) NEW.*")  # of the bytes: the only one that works for all types
    elif names:
        yield raw(" OR ").join(_differs(table.column(name)) for name in names)


def _differs(column: Column) -> sql.Composable:
    return raw("{} IS DISTINCT FROM {}").format(_value(column, "OLD"), _value(column, "NEW"))


def _value(column: Column, row: str) -> sql.Composable:
    """The column, as text if its type knows no equality."""
    name = raw(f"{row}.{{}}").format(sql.Identifier(column.name))
    return name if column.equal else raw("{}::pg_catalog.text").format(name)


def literal(column: Column, value: str, operator: Operator) -> sql.Composable:
    """A value as one of the column's type; a pattern, or what is compared as text, as text."""
    as_text = not column.equal or (operator in _PATTERNS and column.type_schema == "pg_catalog")
    return raw("{}::{}").format(sql.Literal(value), raw("pg_catalog.text" if as_text else column.type))


def _test(test: Test, column: Column, row: str) -> sql.Composable:
    _check(test, column)
    values = [literal(column, value, test.operator) for value in test.values]
    match test.operator:
        case Operator.IS if test.values == ("null",):
            found = raw("{} IS NOT DISTINCT FROM NULL").format(raw(f"{row}.{{}}").format(sql.Identifier(column.name)))
        case Operator.IS:
            found = raw(f"{{}} IS {test.values[0].upper()}").format(_value(column, row))
        case Operator.IN:
            found = raw("{} IN ({})").format(_value(column, row), raw(", ").join(values))
        case _:
            found = raw(f"{{}} {_COMPARISONS[test.operator]} {{}}").format(_value(column, row), *values)
    return raw("NOT ({})").format(found) if test.negated else found


def _check(test: Test, column: Column) -> None:
    """Whether the test suits the type.

    Raises:
        InvalidInput: it does not.
    """
    where = f"the filter {str(test)[:80]!r}"
    if test.operator in _ORDERS and not (column.equal and column.ordered):
        raise InvalidInput(f"{where} needs an order, and {column.type} has none", expected="eq, neq, in or isdistinct")
    if test.operator in _PATTERNS and not column.text:
        raise InvalidInput(f"{where} needs a text, and {column.name} is {column.type}", expected="a column of text")
    if test.operator in _PATTERNS and not column.deterministic:
        raise InvalidInput(
            f"{where} needs a collation that tells all texts apart, and that of {column.name} does not",
            expected="eq, neq, in or isdistinct",
        )
    if test.operator in _LIKES and _LONE_ESCAPE.match(test.values[0]):
        raise InvalidInput(f"{where} ends in a single backslash", expected="two, for a backslash in the text")
    if test.operator is Operator.IS and test.values != ("null",) and not column.boolean:
        raise InvalidInput(f"{where} needs a truth value, and {column.name} is {column.type}", expected="is.null")
    if _TIMES.search(column.type) and (relative := [value for value in test.values if _RELATIVE.search(value)]):
        raise InvalidInput(
            f"{where} has {relative[0][:40]!r}, which would stay what it was when the trigger was made",
            expected="a fixed date or time",
        )


def schemas(rule: Rule, table: Table) -> tuple[str, ...]:
    """Where the operators of the rule's types are: what the search path needs while its triggers are made."""
    names = [*(test.column for test in rule.tests), *rule.moving_columns, *rule.when_changed]
    used = [table.column(name).type_schema for name in names if name != ANY_COLUMN]
    return tuple(dict.fromkeys(["pg_catalog", *used]))
