"""What is installed, as the database itself knows it."""

from __future__ import annotations

from headwater.brokers.postgres.address import parse
from headwater.changes import Rule
from headwater.changes.install import connect, install
from headwater.changes.installed import Installed, read_installed
from headwater.changes.table import read_table
from headwater.changes.triggers import triggers
from tests.changes.database import Database


def installed(**given: object) -> Installed:
    """One that is as it was made."""
    return Installed(
        **{
            "name": "x",
            "rule": "r",
            "operation": "INSERT",
            "schema": "public",
            "table": "t",
            "made": "m",
            "found": "f",
            "now": "f",
            "place": ("public", "t"),
            **given,
        }  # type: ignore[arg-type]
    )


def test_what_is_intact() -> None:
    """There, as it was made, enabled, and on the table that it was made for."""
    assert installed().is_intact
    assert installed(enabled="A").is_intact
    for broken in ({"now": None}, {"now": "g"}, {"enabled": "D"}, {"enabled": "R"}, {"place": ("public", "u")}):
        assert not installed(**broken).is_intact
    assert not installed(place=None).has_moved


async def test_reading(own_database: Database) -> None:
    """From comments in the catalog, which a dump takes along. Functions of others, and clones on partitions, do not count."""
    own_database.run("CREATE TABLE p (id int) PARTITION BY LIST (id); CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1)")
    connection = await connect(parse(own_database.url))
    assert await read_installed(connection, "headwater") == {}
    rule = Rule(table="p", channel="c", name="r", event="INSERT")
    await install(connection, [rule], say=lambda line: None)
    own_database.run(
        "CREATE FUNCTION headwater.theirs() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';"
        " COMMENT ON FUNCTION headwater.theirs() IS 'something'"
    )
    (found,) = (await read_installed(connection, "headwater")).values()
    assert (found.name, found.rule, found.operation) == ("headwater_r_insert", "r", "INSERT")
    assert (found.place, found.is_intact) == (("public", "p"), True)
    table = await read_table(connection, "public", "p")
    version = connection.info.server_version
    assert [found.is_made_for(trigger) for trigger in triggers(rule, table, home="headwater", version=version)] == [
        True
    ]
    await connection.close()
