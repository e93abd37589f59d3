"""Rules outside of code: in TOML files, and as names in modules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from headwater.changes import Change, Rule
from headwater.changes.declared import NAMES, load_rules, rules_from
from headwater.errors import ConfigurationError

RULES = [Rule(table="jobs", channel="jobs")]
TWICE = (*RULES, *RULES)
NUMBER = 7


def as_data(change: Change) -> Any:
    """A function that a rule may name."""
    return dict(change.row)


def test_a_file_declares_rules(tmp_path: Path) -> None:
    """Everything that a rule can say in Python can be said in TOML; a function by its name."""
    path = tmp_path / "changes.toml"
    path.write_text(
        """
        [[changes]]
        table = "jobs"
        event = "UPDATE"
        filter = "status=neq.draft"
        when_changed = ["progress"]
        channel = ["project:{project_id}", "jobs"]
        type = "progress"
        data = {id = "id", kind = "=job", progress = {done = "done", total = "total"}}
        old = ["done"]
        permissions = ["jobs.read"]
        leave = true

        [[changes]]
        table = "jobs"
        name = "other"
        channel = "jobs"
        event = ["INSERT", "DELETE"]
        type = {INSERT = "new", DELETE = "gone"}
        data = "tests.changes.test_declared:as_data"
        columns = ["id"]
        """
    )
    first, second = load_rules(str(path))
    assert (first.name, first.leave, first.old) == ("jobs.progress", "leave", ("done",))
    assert second.function is as_data
    (tmp_path / "none.toml").write_text("port = 1")
    assert load_rules(str(tmp_path / "none.toml")) == ()


def test_a_module_declares_rules() -> None:
    """As a list with a name."""
    assert load_rules("tests.changes.test_declared:RULES") == tuple(RULES)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("missing.toml", "missing.toml cannot be read"),
        ("rules", "'rules' names nothing"),
        (":rules", "':rules' names nothing"),
        ("tests.changes.test_declared:MISSING", "cannot be imported"),
        ("no_such_module:RULES", "cannot be imported"),
        ("tests.changes.test_declared:NUMBER", "is no list of rules"),
        ("tests.changes.test_declared:NAMES", "is no list of rules"),
        ("tests.changes.test_declared:TWICE", "two rules are named 'jobs'"),
    ],
)
def test_what_declares_no_rules_is_refused(source: str, message: str) -> None:
    """The error says where was looked."""
    with pytest.raises(ConfigurationError, match=message):
        load_rules(source)


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        (7, "is no list of rules"),
        ([7], "is no list of rules"),
        ([{"table": "a"}], "here, rule 1 has no channel"),
        ([{"channel": "a"}], "here, rule 1 has no table"),
        ([{"table": "a", "channel": "a"}, {"tabel": "a"}], "here, rule 2 sets 'tabel', which no rule has"),
        ([{"table": "a", "channel": "a", "filter": "x"}], "here, rule 1: rule for table 'a': the filter"),
        ([{"table": "a", "channel": "a", "data": "nothing"}], "'nothing' names nothing"),
        ([{"table": "a", "channel": "a"}] * 2, "here: two rules are named 'a'"),
        ("tests.changes.test_declared:NUMBER", "is no list of rules"),
    ],
)
def test_a_malformed_declaration_is_refused(tables: object, message: str) -> None:
    """The error says which rule of which file."""
    with pytest.raises(ConfigurationError, match=message):
        rules_from(tables, "here")


def test_every_argument_of_a_rule_can_be_declared() -> None:
    """And nothing that is derived from them."""
    assert {"table", "data", "on_error"} <= set(NAMES)
    assert "tests" not in NAMES
