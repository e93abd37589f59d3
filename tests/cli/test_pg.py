"""`headwater pg`: flags and settings in, lines out, on a real server."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from headwater.cli.main import main
from tests.support.postgres import rows, shared_server

RULES = """
[[changes]]
table = "jobs"
event = "INSERT"
channel = "project:{project_id}"
data = ["id"]
"""


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is a headwater.toml with a rule, and nothing else."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("os.environ", {"PATH": "/usr/bin"})
    monkeypatch.setattr(sys, "path", list(sys.path))
    Path("headwater.toml").write_text(RULES)


@pytest.fixture
def url() -> Iterator[str]:
    """A database with a table."""
    with shared_server().database() as made:
        rows(made, "CREATE TABLE jobs (id int, project_id int)")
        yield made


def pg(*arguments: str, input: str | None = None) -> Result:
    """Run the command."""
    return CliRunner().invoke(main, ["pg", *arguments], input=input)


def test_from_the_first_to_the_last(url: str) -> None:
    """Install, look, mend, look at the SQL, and take it all away: each says what it did, and when all is well."""
    result = pg("status", "--database", url)
    assert (result.exit_code, result.output) == (0, "schema headwater: not installed\n")
    assert "CREATE OR REPLACE TRIGGER" in pg("sql", "--database", url).output
    result = pg("install", "--database", url)
    assert result.exit_code == 0, result.output
    assert "public.jobs: makes headwater_jobs_insert (1/1)\ntriggers made or taken away: 1\n" in result.output
    assert pg("install", "--database", url).output == "everything was there already\n"
    assert pg("sql", "--no-begin", "--database", url).output == "-- everything is there already\n"
    assert "rule jobs: on public.jobs: INSERT\n" in pg("status", "--database", url).output
    rows(url, "UPDATE headwater.lease SET until = now() + interval '1 hour'")
    result = pg("doctor", "--database", url)
    assert (result.exit_code, result.output.splitlines()[-1]) == (0, "nothing to mend")
    rows(url, "DROP TRIGGER headwater_jobs_insert ON jobs")
    result = pg("doctor", "--database", url)
    assert result.exit_code == 1
    assert "bad   rule jobs: trigger headwater_jobs_insert on public.jobs was dropped" in result.output
    assert result.output.endswith("1 to mend\n")
    assert pg("uninstall", "--database", url, "--keep-log", input="n\n").exit_code == 1
    result = pg("uninstall", "--database", url, "--keep-log", input="y\n")
    assert result.output.endswith(
        "public.jobs: drops what is left of headwater_jobs_insert (1/1)\ntriggers taken away: 1\n"
    )
    result = pg("uninstall", "--database", url, "--yes")
    assert result.output == "schema headwater: dropped\ntriggers taken away: 0\n"


def test_uninstalling_asks_first() -> None:
    """It says what goes, and nothing is done without a yes."""
    result = pg("uninstall", "--database", "postgresql://x@127.0.0.1:1/x", input="\n")
    assert result.exit_code == 1
    assert "the log with every event in it" in result.output


@pytest.mark.parametrize("setting", ["database", "broker"])
def test_the_database_of_the_settings(url: str, setting: str) -> None:
    """The one whose changes are wanted, or the log if that is one; rules may come from elsewhere."""
    Path("headwater.toml").write_text(f'{setting} = "{url}"')
    assert pg("status").output == "schema headwater: not installed\n"
    Path("rules.toml").write_text(RULES.replace("jobs", "missing"))
    result = pg("install", "--changes", "rules.toml")
    assert result.exit_code == 2
    assert "headwater: there is no table public.missing" in result.output


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """A database, or its driver."""
    result = pg("status")
    assert (result.exit_code, "no database is named" in result.output) == (2, True)
    monkeypatch.setitem(sys.modules, "headwater.brokers.postgres.address", None)
    result = pg("status", "--database", "postgresql:///x")
    assert result.exit_code == 2
    assert "pip install 'headwater[postgres]'" in result.output
