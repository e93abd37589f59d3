"""Values and patterns of filters, as Postgres takes them or does not."""

from __future__ import annotations

import pytest

from headwater.brokers.postgres.address import parse
from headwater.changes import Rule
from headwater.changes import probe as module
from headwater.changes.install import connect
from headwater.changes.probe import check_values
from headwater.changes.table import read_table
from headwater.errors import InvalidInput
from tests.changes.database import Database


@pytest.fixture(scope="module", autouse=True)
def table(database: Database) -> None:
    """With a column of each kind."""
    database.run("CREATE TYPE mood AS ENUM ('sad', 'ok')")
    database.run("CREATE TABLE t (n int, s text, u uuid, m mood, at timestamptz, b boolean)")


async def probe(database: Database, filter: str) -> None:
    """Check the values of a filter."""
    connection = await connect(parse(database.url))
    try:
        await check_values(
            connection, Rule(table="t", channel="c", filter=filter), await read_table(connection, "public", "t")
        )
        assert (await (await connection.execute("SHOW statement_timeout")).fetchone()) == ("0",)
    finally:
        await connection.close()


@pytest.mark.parametrize(
    "filter",
    [
        "",
        "n=eq.1,s=in.(a,b)",
        "m=eq.ok",
        "s=match.^a+$,s=not.imatch.(b|c)",
        "b=is.true",
        "s=like.%",
        "at=lt.2026-01-01",
    ],
)
async def test_good_values(database: Database, filter: str) -> None:
    """Are taken, and leave no setting behind."""
    await probe(database, filter)


@pytest.mark.parametrize(
    ("filter", "message"),
    [
        ("n=eq.one", 'invalid input syntax for type integer: "one"'),
        ("n=in.(1,2147483648)", "out of range"),
        ("u=neq.1", "invalid input syntax for type uuid"),
        ("m=eq.happy", "invalid input value for enum"),
        ("at=gt.soon", "invalid input syntax for type timestamp"),
        ('s=match."("', "invalid regular expression"),
        ("s=match.[", "invalid regular expression"),
        ('s=imatch."a{1,300}"', "invalid regular expression"),
        ('s=match."((((a{1,200}){1,200}){1,200}){1,200})"', "Postgres does not take the filter"),
        (r's=match."(.+)(.+)(.+)(.+)\\4\\3\\2\\1!"', "it takes longer than 100ms to match"),
        ("n=eq.1'); DROP TABLE t; --", "invalid input syntax for type integer"),
    ],
)
async def test_bad_values(database: Database, filter: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Are refused with the rule, the test and Postgres' own words, before any trigger is made; nothing in them is
    executed."""
    monkeypatch.setattr(module, "_PATIENCE", "100ms")
    with pytest.raises(InvalidInput, match="rule t: Postgres does not take the filter") as caught:
        await probe(database, filter)
    assert message in str(caught.value)
    assert database.run("SELECT count(*) FROM t") == [0]
