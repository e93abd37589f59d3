"""Asks Postgres whether the values of a rule can be what its filter takes them for.

A value that is no number, a label that an enum does not have, a regular expression that is none or takes forever: all of
them are found here, by evaluating them alone, before they can fail or delay an application's write.
"""

from __future__ import annotations

from typing import Final

import psycopg
from psycopg import sql

from headwater.changes.compile import literal, raw, schemas
from headwater.changes.grammar import Operator, Test
from headwater.changes.rules import Rule
from headwater.changes.table import Connection, Table
from headwater.errors import InvalidInput

_REGULAR: Final = (Operator.MATCH, Operator.IMATCH)
_PATIENCE: Final = "1s"
_SAMPLE: Final = "aA0 _-./:@" * 40 + "!"  # what makes an expression that tries everything show it


async def check_values(connection: Connection, rule: Rule, table: Table) -> None:
    """Let Postgres read each value of the filter.

    Raises:
        InvalidInput: it cannot.
    """
    for test in rule.tests:
        if test.operator is Operator.IS:
            continue
        values = [literal(table.column(test.column), value, test.operator) for value in test.values]
        if test.operator in _REGULAR:
            values = [raw("{} ~ {}").format(sql.Literal(_SAMPLE), value) for value in values]
        try:
            async with connection.transaction():
                path = raw(", ").join(map(sql.Identifier, schemas(rule, table)))
                await connection.execute(raw("SET LOCAL search_path = {}").format(path))
                await connection.execute(raw(f"SET LOCAL statement_timeout = '{_PATIENCE}'"))
                await connection.execute(raw("SELECT {}").format(raw(", ").join(values)))
        except psycopg.errors.QueryCanceled:
            raise _refused(rule, test, f"it takes longer than {_PATIENCE} to match") from None
        except (psycopg.DataError, psycopg.ProgrammingError, psycopg.errors.ProgramLimitExceeded) as error:
            raise _refused(rule, test, str(error.diag.message_primary)) from None


def _refused(rule: Rule, test: Test, why: str) -> InvalidInput:
    return InvalidInput(
        f"rule {rule.name}: Postgres does not take the filter {str(test)[:80]!r}: {why}",
        expected=f"a value of the type of {test.column}",
    )
