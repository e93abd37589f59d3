"""What a table really has: its columns with their types, as the database says.

Asks the catalogs, and lets Postgres itself say which types can be compared. Knows no rules.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec
import psycopg

from headwater.errors import InvalidInput

Connection = psycopg.AsyncConnection[Any]


class Shape(msgspec.Struct, frozen=True):
    """How values of a type become JSON without running code that belongs to the type.

    Postgres itself asks whether somebody has made a cast to json for the type, and the owner of the type may make one. It
    would run with the rights of whoever installed the trigger. So nothing is left to Postgres but its own types.

    Attributes:
        how: `plain`: as Postgres does; `text`: as text; `texts`: an array, as texts; `object`: field by field; `call`: by the
            cast, which a superuser has made.
        fields: of an object: names and shapes.
        function: of the cast, in SQL.
    """

    how: Literal["plain", "text", "texts", "object", "call"] = "plain"
    fields: tuple[tuple[str, Shape], ...] = ()
    function: str = ""


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """One column.

    Attributes:
        name: as the table has it.
        type: of its values, in SQL, with its schema unless that is `pg_catalog`; of a domain, the type below it.
        type_schema: where that type and its operators are.
        equal: whether values of the type can be compared for equality.
        ordered: whether one can be less than another.
        text: whether it is a kind of text, which patterns can be matched against.
        boolean: whether it is a truth value.
        deterministic: whether its collation tells all different texts apart; patterns need that before Postgres 18.
        big: the type of a text, or list of texts, that shows a number which JavaScript may round; None for other types.
        shape: how its values become JSON.
        virtual: the expression of a virtual generated column, which a trigger has to compute itself; None for others.
    """

    name: str
    type: str = "text"
    type_schema: str = "pg_catalog"
    equal: bool = True
    ordered: bool = True
    text: bool = False
    boolean: bool = False
    deterministic: bool = True
    big: str | None = None
    shape: Shape = Shape()
    virtual: str | None = None


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """One table.

    Attributes:
        schema, name: exactly as the database has them.
        columns: by name.
        oid: by which the catalogs know it.
        owned: whether the role that asked may drop its triggers, too.
    """

    schema: str
    name: str
    columns: Mapping[str, Column]
    oid: int = 0
    owned: bool = True

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"

    def column(self, name: str) -> Column:
        """The column named `name`.

        Raises:
            InvalidInput: there is none.
        """
        if name in self.columns:
            return self.columns[name]
        known = ", ".join(self.columns)
        raise InvalidInput(
            f"table {self} has no column {name!r}",
            expected=f"one of {known if len(known) < 400 else known[:400] + '...'}",
        )


async def read_table(connection: Connection, schema: str, name: str) -> Table:
    """The table as it is now. The connection must be in autocommit mode.

    Raises:
        InvalidInput: there is no such table, or it is something that has no rows of its own, such as a view.
    """
    found = await (await connection.execute(_TABLE, {"schema": schema, "name": name})).fetchone()
    if found is None:
        raise InvalidInput(
            f"there is no table {schema}.{name}",
            expected="a table of this database that this role may see",
            fix="names are as the database has them: lower case, unless they were made in quotes",
        )
    oid, kind, owned = found
    if kind not in _KINDS:
        raise InvalidInput(
            f"{schema}.{name} is a {_OTHER_KINDS.get(kind, 'thing without rows')}",
            expected="a table, which has triggers",
        )
    rows = await (await connection.execute(_COLUMNS, {"oid": oid})).fetchall()
    comparable = {type: await _comparable(connection, type) for type in {row[1] for row in rows}}
    shapes = {type: await _shape(connection, type) for type in {row[4] for row in rows}}
    columns = {row[0]: _column(row, shapes[row[4]], *comparable[row[1]]) for row in rows}
    return Table(schema=schema, name=name, columns=columns, oid=oid, owned=owned)


def _column(row: tuple[Any, ...], shape: Shape, equal: bool, ordered: bool) -> Column:
    name, type, schema, category, oid, generated, expression, deterministic = row
    return Column(
        name=name,
        type=type,
        type_schema=schema,
        equal=equal,
        ordered=ordered,
        text=category == "S",
        boolean=type == "boolean",
        deterministic=deterministic,
        big=_BIG.get(oid),
        shape=shape,
        virtual=expression if generated == "v" else None,
    )


async def _shape(connection: Connection, oid: int) -> Shape:
    """The shape of a type, of whatever it is made."""
    if oid < _FIRST_OF_OTHERS:
        return Shape()
    found = await (await connection.execute(_TYPE, {"oid": oid})).fetchone()
    assert found is not None
    oid, kind, element, relation, function = found
    if oid < _FIRST_OF_OTHERS:  # a domain's
        return Shape()
    if kind == "c":
        fields = await (await connection.execute(_FIELDS, {"oid": relation})).fetchall()
        return Shape("object", tuple([(name, await _shape(connection, type)) for name, type in fields]))
    if element:
        return Shape() if await _shape(connection, element) == Shape() else Shape("texts")
    return Shape("text") if function is None else Shape("call", function=function)


async def _comparable(connection: Connection, type: str) -> tuple[bool, bool]:
    """Whether values of a type are equal, and less, in Postgres' eyes. Asked of arrays of them, because these look into what
    a type is made of: `json[]` has an operator, which then always fails."""
    return await _answers(connection, type, "="), await _answers(connection, type, "<")


async def _answers(connection: Connection, type: str, operator: str) -> bool:
    array = f"ARRAY[NULL::{type}]"  # the type is as format_type() wrote it, quotes and all
    try:
        await connection.execute(f"SELECT {array} OPERATOR(pg_catalog.{operator}) {array}".encode())
    except psycopg.errors.UndefinedFunction:
        return False
    return True


_KINDS: Final = ("r", "p", "f")
_FIRST_OF_OTHERS: Final = 16384
"""Oid from which on things are not Postgres' own (FirstNormalObjectId)."""

_OTHER_KINDS: Final = {"v": "view", "m": "materialized view", "S": "sequence", "i": "index", "c": "composite type"}
_BIG: Final = {20: "text", 1700: "text", 1016: "text[]", 1231: "text[]"}  # int8, numeric, and arrays of them

_TABLE: Final = """
SELECT c.oid::bigint, c.relkind::text, pg_has_role(c.relowner, 'USAGE')
FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = %(schema)s AND c.relname = %(name)s
"""

_BELOW: Final = """
CROSS JOIN LATERAL (
    WITH RECURSIVE below AS (
        SELECT a.atttypid AS oid
        UNION ALL
        SELECT t.typbasetype FROM below JOIN pg_catalog.pg_type AS t ON t.oid = below.oid WHERE t.typbasetype <> 0
    )
    SELECT t.* FROM below JOIN pg_catalog.pg_type AS t ON t.oid = below.oid WHERE t.typbasetype = 0
) AS t
"""

_COLUMNS: Final = f"""
SELECT a.attname, pg_catalog.format_type(t.oid, -1), n.nspname, t.typcategory::text, t.oid::bigint,
    a.attgenerated::text, pg_catalog.pg_get_expr(d.adbin, d.adrelid), coalesce(o.collisdeterministic, true)
FROM pg_catalog.pg_attribute AS a {_BELOW}
JOIN pg_catalog.pg_namespace AS n ON n.oid = t.typnamespace
LEFT JOIN pg_catalog.pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
LEFT JOIN pg_catalog.pg_collation AS o ON o.oid = a.attcollation
WHERE a.attrelid = %(oid)s AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum
"""

_FIELDS: Final = """
SELECT a.attname, a.atttypid::bigint FROM pg_catalog.pg_attribute AS a
WHERE a.attrelid = %(oid)s AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
"""

_TYPE: Final = f"""
SELECT t.oid::bigint, t.typtype::text, CASE t.typcategory WHEN 'A' THEN t.typelem::bigint ELSE 0 END, t.typrelid::bigint, (
    SELECT pg_catalog.format('%%I.%%I', n.nspname, p.proname) FROM pg_catalog.pg_cast AS c
    JOIN pg_catalog.pg_proc AS p ON p.oid = c.castfunc JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
    JOIN pg_catalog.pg_roles AS r ON r.oid = p.proowner AND r.rolsuper
    WHERE c.castsource = t.oid AND c.casttarget = 'pg_catalog.json'::pg_catalog.regtype
)
FROM (SELECT %(oid)s::oid AS atttypid) AS a {_BELOW}
"""
