"""Installing rules in one call, as an application does."""

from __future__ import annotations

import asyncio
import sys

import pytest

from headwater.changes import Rule, install_rules
from headwater.errors import BrokerUnavailable, ConfigurationError, InvalidInput
from tests.changes.database import NEWEST, Database, seen
from tests.support.waiting import until

RULE = Rule(table="jobs", channel="c", data=["id"], event="INSERT")


@NEWEST
async def test_rules_are_installed_in_one_call(own_database: Database) -> None:
    """By several processes at the same time, too; no connection is left, also if it does not work."""
    own_database.run("CREATE TABLE jobs (id int)")
    said: list[str] = []
    done = await asyncio.gather(*(install_rules(own_database.url, [RULE], say=said.append) for _ in range(3)))
    assert max(done) == 1
    assert await install_rules(own_database.url, [RULE]) == 0
    own_database.run("INSERT INTO jobs VALUES (1)")
    assert seen(own_database.captured()) == [("jobs", "I", 1)]
    with pytest.raises(InvalidInput, match="no column 'missing'"):
        await install_rules(own_database.url, [Rule(table="jobs", channel="c", data=["missing"])])
    others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    await until(lambda: own_database.run(others) == [0], "all sessions are gone")


@NEWEST
async def test_a_database_that_objects(own_database: Database) -> None:
    """To anything, for reasons of its own: that is said in a sentence."""
    own_database.run(
        "CREATE TABLE jobs (id int); CREATE FUNCTION no() RETURNS event_trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'not on a Friday'; END $$;"
        "CREATE EVENT TRIGGER no ON ddl_command_start WHEN tag IN ('CREATE TRIGGER') EXECUTE FUNCTION no()"
    )
    with pytest.raises(BrokerUnavailable, match="not on a Friday"):
        await install_rules(own_database.url, [RULE])


async def test_a_database_that_does_not_answer() -> None:
    """Or a URL that is none."""
    with pytest.raises(BrokerUnavailable, match=r"127\.0\.0\.1:1"):
        await install_rules("postgresql://127.0.0.1:1/app", [RULE])
    with pytest.raises(ConfigurationError, match="malformed"):
        await install_rules("postgresql://localhost/app?schema=public&wait=never", [RULE])


async def test_without_the_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says how to install it."""
    monkeypatch.setitem(sys.modules, "headwater.changes.install", None)
    with pytest.raises(ConfigurationError, match="pip install"):
        await install_rules("postgresql://localhost/app", [RULE])
