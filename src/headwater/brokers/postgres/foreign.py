"""The application's own connections: one statement on any of them, within the transaction that it is in.

They are told apart by the package that their classes come from, and none of these packages is imported here: whoever has
such a connection has imported it already. An answer from one that is asynchronous has to be awaited.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Awaitable, Callable, Sequence
from itertools import count
from typing import Any

from headwater.errors import InvalidInput

PARAMETER = "\x00"
"""Stands for a parameter in a statement, because a schema's name may hold any other character."""

Row = tuple[Any, ...]

_EXPECTED = (
    "a connection or cursor of psycopg 3, a connection of asyncpg, a session or connection of SQLAlchemy (each of them"
    " synchronous or not), or a connection of Django"
)


def ask(connection: Any, statement: str, parameters: Sequence[Any] = ()) -> Row | Awaitable[Row]:
    """Run a statement that answers with one row, or with none.

    Args:
        connection: of the application, in whatever transaction it is.
        statement: with `PARAMETER` for each parameter.
        parameters: texts, booleans or None.

    Returns:
        the row (of no columns if there is none), or an awaitable of it if the connection is asynchronous.

    Raises:
        InvalidInput: this is no connection that we know.
    """
    for each in type(connection).__mro__:
        if (speak := _LANGUAGES.get(each.__module__.partition(".")[0])) is not None:
            return speak(connection, statement, parameters)
    raise InvalidInput(f"{type(connection).__qualname__} is no connection to PostgreSQL", expected=_EXPECTED)


def _psycopg(connection: Any, statement: str, parameters: Sequence[Any]) -> Row | Awaitable[Row]:
    """A cursor of its own, so that neither the caller's rows nor his kind of rows matter."""
    connection = getattr(connection, "connection", connection)
    cursor = connection.cursor(row_factory=sys.modules["psycopg.rows"].tuple_row)
    is_raw = "Raw" in type(cursor).__name__
    done = cursor.execute(_numbered(statement) if is_raw else _formatted(statement), parameters)
    if not inspect.isawaitable(done):
        return _fetched(cursor)

    async def answer() -> Row:
        await done
        return tuple(await cursor.fetchone()) if cursor.description else ()

    return answer()


def _asyncpg(connection: Any, statement: str, parameters: Sequence[Any]) -> Awaitable[Row]:
    async def answer() -> Row:
        return tuple(await connection.fetchrow(_numbered(statement), *parameters) or ())

    return answer()


def _sqlalchemy(connection: Any, statement: str, parameters: Sequence[Any]) -> Row | Awaitable[Row]:
    values = {f"p{number}": value for number, value in enumerate(parameters, 1)}
    named = _replaced(statement.replace(":", "\\:"), ":p{}")
    done = connection.execute(sys.modules["sqlalchemy"].text(named), values)
    if not inspect.isawaitable(done):
        return _only(done)

    async def answer() -> Row:
        return _only(await done)

    return answer()


def _only(result: Any) -> Row:
    return tuple(result.one()) if result.returns_rows else ()


def _django(connection: Any, statement: str, parameters: Sequence[Any]) -> Row:
    if connection.vendor != "postgresql":
        raise InvalidInput(f"this is a connection to {connection.vendor}", expected=_EXPECTED)
    with connection.cursor() as cursor:
        cursor.execute(_formatted(statement), list(parameters))
        return _fetched(cursor)


def _fetched(cursor: Any) -> Row:
    return tuple(cursor.fetchone()) if cursor.description else ()


def _formatted(statement: str) -> str:
    return statement.replace("%", "%%").replace(PARAMETER, "%s")


def _numbered(statement: str) -> str:
    return _replaced(statement, "${}")


def _replaced(statement: str, form: str) -> str:
    numbers = count(1)
    first, *others = statement.split(PARAMETER)
    return first + "".join(form.format(next(numbers)) + other for other in others)


_LANGUAGES: dict[str, Callable[[Any, str, Sequence[Any]], Row | Awaitable[Row]]] = {
    "psycopg": _psycopg,
    "asyncpg": _asyncpg,
    "sqlalchemy": _sqlalchemy,
    "django": _django,
}
