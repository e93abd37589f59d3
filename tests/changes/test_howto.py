"""The guide to row changes and the reference of filters do what they say."""

from __future__ import annotations

import asyncio
import re
import sys
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from headwater.brokers import open_broker
from headwater.brokers.postgres.address import parse
from headwater.changes.declared import rules_from
from headwater.changes.grammar import Operator, parse_filter
from headwater.changes.install import connect, install
from headwater.changes.relay import Relay
from headwater.changes.rules import Rule
from headwater.cli.main import main
from headwater.cli.serve import make_hub
from headwater.cli.settings import load
from headwater.errors import InvalidInput
from headwater.testing.contract.node import Recorder
from tests.changes.database import NEWEST, Database
from tests.support.source import ROOT
from tests.support.waiting import until

GUIDE = (ROOT / "docs/howto/row-changes.md").read_text()
REFERENCE = (ROOT / "docs/reference/filters.md").read_text()


def blocks(language: str, text: str = GUIDE) -> list[str]:
    """The blocks of code in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


@pytest.fixture
def folder(own_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is the guide's headwater.toml, and the database that it is about."""
    own_database.run("DROP SCHEMA headwater CASCADE")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    Path("headwater.toml").write_text(f'database = "{own_database.url}"\ndev = true\n{blocks("toml")[0]}')


@pytest.mark.usefixtures("folder")
async def test_the_first_five_minutes(own_database: Database) -> None:
    """The table, the rule, the commands and the changes make the events that the guide shows."""
    table, changes, *_ = blocks("sql")
    own_database.run(table)
    hub = make_hub(load({}, {}))
    assert "headwater pg install" in blocks("sh")[0]
    result = await in_a_thread(["pg", "install"])
    assert "public.jobs: makes headwater_jobs.progress_update" in result
    await hub.start()
    await hub.broker.follow(["project:7"])
    own_database.run(changes)
    await until(lambda: hub.fanout.received >= 2, "two events")
    events = (await hub.broker.read_back(["project:7"], 10)).events
    await hub.stop()
    shown = [f"{event.type}: {event.data}" for event in reversed(events)]
    assert shown == blocks("text")[0].splitlines()


async def in_a_thread(arguments: list[str]) -> str:
    """What the command says; it has an event loop of its own."""
    result = await asyncio.to_thread(CliRunner().invoke, main, arguments)
    assert result.exit_code == 0, result.output
    return result.output


def test_every_rule_of_the_guide_is_one() -> None:
    """In Python and in TOML; and the table of fields has them all."""
    for block in blocks("toml"):
        assert rules_from(tomllib.loads(block)["changes"], "the guide")
    for block in blocks("python"):
        found: dict[str, object] = {}
        exec(block, found)
        assert "RULES" in found or isinstance(found["RULE"], Rule)
    fields = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`[^|]*`) \|", GUIDE, re.MULTILINE))))
    assert fields == {name for name, field in Rule.__dataclass_fields__.items() if field.init} - {"columns"}


@NEWEST
async def test_the_grants_are_enough(own_database: Database) -> None:
    """Who installs, and the hub, can do their work with these and nothing else."""
    own_database.run("DROP SCHEMA headwater CASCADE; CREATE TABLE jobs (id int)")
    installer, hub = f"installer_{own_database.name}", f"hub_{own_database.name}"
    text = blocks("sql")[2].replace("DATABASE app", f"DATABASE {own_database.name}")
    text = re.sub(r"TO installer", f"TO {installer}", re.sub(r"TO hub", f"TO {hub}", text))
    before, after = text.split("-- the hub")
    own_database.run(f"CREATE ROLE {installer} LOGIN; CREATE ROLE {hub} LOGIN")
    own_database.run(before)
    connection = await connect(parse(own_database.url.replace("postgres@", f"{installer}@")))
    rule = Rule(table="jobs", channel="jobs", data=["id"])
    try:
        await install(connection, [rule], say=lambda line: None)
        own_database.run("--" + after)
        for log in (own_database.url.replace("postgres@", f"{hub}@"), "memory://"):
            await takes(log, own_database, rule, hub)
    finally:
        await connection.close()
        own_database.run(f"DROP OWNED BY {hub}, {installer} CASCADE; DROP ROLE {hub}, {installer}")


async def takes(log: str, database: Database, rule: Rule, role: str) -> None:
    """Whether a hub with this role gets a change into a log."""
    broker = open_broker(log)
    feed = Recorder()
    relay = Relay(broker, database.url.replace("postgres@", f"{role}@"), [rule])
    await broker.open(feed)
    await broker.follow(["jobs"])
    await relay.start()
    try:
        database.run("INSERT INTO jobs VALUES (1)")
        await until(lambda: len(feed.events) == 1, f"the change in {log}")
    finally:
        await relay.stop()
        await broker.aclose()


def test_the_reference_of_filters() -> None:
    """Its examples are read, all operators are among them, and what it says is refused is refused."""
    examples = re.findall(r"\| `([^`]+=[^`]+)` \|$", REFERENCE, re.MULTILINE)
    used = {test.operator for example in examples for test in parse_filter(example)}
    assert {Operator.EQ, Operator.IN, Operator.IS, Operator.MATCH} <= used
    operators, wrong = REFERENCE.split("## What is refused")
    named = re.findall(r"^\| (`[a-z]+`(?:, `[a-z]+`)*) \|", operators, re.MULTILINE)
    assert set(re.findall(r"\w+", " ".join(named))) == set(Operator)
    inline = re.findall(r"`(\"?[a-z_=]+\"?=(?:not\.)?(?:eq|in|is|gt)\.[^`]+)`", operators)
    assert len(inline) > 5
    for text in inline:
        assert parse_filter(text)
    refused = re.findall(r"^\| `([^`]+)` \|", wrong, re.MULTILINE)
    assert len(refused) == 9
    for text in refused:
        with pytest.raises(InvalidInput):
            parse_filter(text)
