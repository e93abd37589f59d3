"""What a table has, as the database says."""

from __future__ import annotations

import pytest

from headwater.brokers.postgres.address import parse
from headwater.changes.install import connect
from headwater.changes.table import Column, Shape, Table, read_table
from headwater.errors import InvalidInput
from tests.changes.database import Database


async def read(database: Database, name: str, schema: str = "public") -> Table:
    """A table, as everything in this room reads it."""
    connection = await connect(parse(database.url))
    try:
        return await read_table(connection, schema, name)
    finally:
        await connection.close()


async def test_columns_and_their_types(database: Database) -> None:
    """Domains count as what is below them; a type of another schema is named with it; no type is cut to a length."""
    database.run("CREATE SCHEMA ext")
    database.run("CREATE DOMAIN ext.small AS varchar(3) CHECK (value <> '')")
    database.run("CREATE DOMAIN ext.smaller AS ext.small")
    database.run("CREATE TYPE ext.\"Odd Type\" AS ENUM ('a')")
    database.run(
        'CREATE TABLE typed (a ext.smaller, b char(4), c ext."Odd Type", d numeric(10,2), e bigint[], f json[], g point,'
        " h boolean, i xid, gone int)"
    )
    database.run("ALTER TABLE typed DROP COLUMN gone")
    table = await read(database, "typed")
    assert str(table) == "public.typed"
    assert table.owned
    assert list(table.columns.values()) == [
        Column(name="a", type="character varying", text=True),
        Column(name="b", type="bpchar", text=True),
        Column(name="c", type='ext."Odd Type"', type_schema="ext", shape=Shape("text")),
        Column(name="d", type="numeric", big="text"),
        Column(name="e", type="bigint[]", big="text[]"),
        Column(name="f", type="json[]", equal=False, ordered=False),
        Column(name="g", type="point", equal=False, ordered=False),
        Column(name="h", type="boolean", boolean=True),
        Column(name="i", type="xid", ordered=False),
    ]


async def test_types_of_others_are_taken_apart(database: Database) -> None:
    """Until only Postgres' own are left, whose way to JSON nobody else can change."""
    database.run("CREATE TYPE mood AS ENUM ('sad'); CREATE DOMAIN count AS int; CREATE TYPE pair AS (m mood, n count)")
    database.run("CREATE DOMAIN pairs AS pair")
    database.run("CREATE TABLE made_of (a count, b pair, c pairs, d mood[], e count[])")
    columns = (await read(database, "made_of")).columns
    pair = Shape("object", (("m", Shape("text")), ("n", Shape())))
    shapes = {name: column.shape for name, column in columns.items()}
    assert shapes == {"a": Shape(), "b": pair, "c": pair, "d": Shape("texts"), "e": Shape()}


async def test_generated_columns(database: Database) -> None:
    """A stored one is like any other; a virtual one has to be computed by whoever wants it in a trigger."""
    if database.connection.info.server_version >= 180000:
        database.run("CREATE TABLE made (a int, v int GENERATED ALWAYS AS (a * 2) VIRTUAL)")
    else:
        database.run("CREATE TABLE made (a int, v int)")
    database.run("ALTER TABLE made ADD COLUMN s int GENERATED ALWAYS AS (a + 1) STORED")
    columns = (await read(database, "made")).columns
    assert columns["s"].virtual is None
    assert columns["v"].virtual == ("(a * 2)" if database.connection.info.server_version >= 180000 else None)


@pytest.mark.parametrize(
    ("made", "name", "message"),
    [
        ("", "missing", "there is no table public.missing"),
        ("CREATE VIEW seen AS SELECT 1", "seen", "public.seen is a view"),
        ('CREATE TABLE "Mixed" (a int)', "mixed", "there is no table public.mixed"),
        ("CREATE TABLE indexed (a int PRIMARY KEY)", "indexed_pkey", "public.indexed_pkey is a index"),
    ],
)
async def test_what_is_no_table(database: Database, made: str, name: str, message: str) -> None:
    """Is refused with what it is."""
    if made:
        database.run(made)
    with pytest.raises(InvalidInput, match=message):
        await read(database, name)


async def test_a_column_that_is_not_there() -> None:
    """The error says which there are, and stays short."""
    columns = {name: Column(name=name) for name in (f"column_{n}" for n in range(100))}
    table = Table(schema="public", name="t", columns=columns)
    assert table.column("column_1").name == "column_1"
    with pytest.raises(InvalidInput, match=r"table public.t has no column 'x'. expected one of column_0") as caught:
        table.column("x")
    assert len(str(caught.value)) < 600


async def test_how_values_become_json(database: Database) -> None:
    """Only Postgres' own types are left to Postgres; whatever an array, a domain or a composite type is made of counts."""
    database.run(
        "CREATE TYPE colour AS ENUM ('red'); CREATE DOMAIN amount AS int; CREATE DOMAIN colours AS colour[];"
        "CREATE TYPE stroke AS (colour colour, width amount, dashes int[])"
    )
    database.run(
        "CREATE TABLE shaped (a int, b amount, c amount[], d int[], e colour, f colours, g stroke, h stroke[], i int4range)"
    )
    table = await read(database, "shaped")
    plain, stroke = Shape(), Shape("object", (("colour", Shape("text")), ("width", Shape()), ("dashes", Shape())))
    assert [column.shape for column in table.columns.values()] == [
        *(plain, plain, plain, plain),
        *(Shape("text"), Shape("texts"), stroke, Shape("texts"), plain),
    ]
    database.run(
        "CREATE FUNCTION colour_json(colour) RETURNS json LANGUAGE sql AS $$ SELECT to_json($1::text) $$;"
        "CREATE CAST (colour AS json) WITH FUNCTION colour_json(colour)"
    )
    assert (await read(database, "shaped")).column("e").shape == Shape("call", function="public.colour_json")
