"""Captured rows as events: where they go, what they say, and what becomes of a row that cannot be mapped."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from headwater.brokers.postgres.outbox import Row
from headwater.changes import Change, Operation, Rule
from headwater.changes.mapping import DEAD, Mapper
from headwater.errors import InvalidInput
from headwater.event import Draft


def row(op: str, new: Any = None, old: Any = None, *, rule: str = "jobs", left_out: list[str] | None = None) -> Row:
    """A row as a trigger writes it; values that are text already are JSON."""

    def as_json(value: Any) -> str | None:
        return value if value is None or isinstance(value, str) else json.dumps(value)

    return Row(
        seq=7,
        time=1_767_323_045_500,
        kind="c",
        source=rule,
        op=op,
        new=as_json(new),
        old=as_json(old),
        data=as_json(left_out),
    )


def mapped(rule: Rule, *rows: Row) -> list[tuple[str, str, Any]]:
    """Channel, type and data of the events of rows."""
    mapper = Mapper([rule])
    return [(draft.channel, draft.type, json.loads(draft.data)) for each in rows for draft in mapper(each)]


def test_each_operation_becomes_an_event() -> None:
    """Of the row's channel, with the declared columns: of the new row, or of the old where there is no new one."""
    rule = Rule(table="jobs", channel="project:{project_id}", data=["id"])
    row_1, row_2 = {"id": 1, "project_id": 5, "secret": "no"}, {"id": 2, "project_id": 5}
    assert mapped(rule, row("I", row_1), row("U", row_2, row_1), row("D", None, row_2)) == [
        ("project:5", "jobs.insert", {"id": 1}),
        ("project:5", "jobs.update", {"id": 2}),
        ("project:5", "jobs.delete", {"id": 2}),
    ]
    assert mapped(Rule(table="jobs", channel="all", event="TRUNCATE"), row("T")) == [("all", "jobs.truncate", {})]


def test_a_row_that_moves_is_told_to_both_channels() -> None:
    """The old one gets the row as it was, and nothing of the new one; channels where the row still is get only the update."""
    rule = Rule(
        table="jobs",
        channel=["project:{project_id}", "user:{user_id}", "all"],
        data={"id": "id", "text": "text", "now": "{$new.text}"},
        old=["text"],
        permissions=["of.{project_id}"],
    )
    old = {"id": 1, "text": "ours", "project_id": 5, "user_id": 7}
    new = {"id": 1, "text": "theirs", "project_id": 6, "user_id": 7}
    mapper = Mapper([rule])
    (left,) = mapper(row("M", {"project_id": 6, "user_id": 7, "text": "theirs"}, old))
    assert (left.channel, left.type, left.permissions) == ("project:5", "leave", frozenset({"of.5"}))
    assert json.loads(left.data) == {"id": 1, "text": "ours", "now": None, "old": {"text": "ours"}}
    assert [draft.channel for draft in mapper(row("U", new, {"text": "ours"}))] == ["project:6", "user:7", "all"]
    assert mapper(row("M", new, {**old, "project_id": None})) == ()
    assert mapper.unaddressed == 0


@pytest.mark.parametrize("unfit", ["6:7", "no name"])
def test_a_row_that_moves_to_no_channel_still_leaves_the_old_one(unfit: str) -> None:
    """Only the row itself cannot be told of: those who had it must not keep it for ever."""
    rule = Rule(table="jobs", channel="project:{project_id}", data=["id"])
    old, new = {"id": 1, "project_id": "5"}, {"id": 1, "project_id": unfit}
    mapper = Mapper([rule])
    assert [(draft.channel, draft.type) for draft in mapper(row("M", new, old))] == [("project:5", "leave")]
    assert [draft.channel for draft in mapper(row("U", new, old))] == [DEAD]


def test_a_rule_with_leave_tells_the_old_channel_that_the_row_has_left() -> None:
    """With the row as it was, in place of the update."""
    rule = Rule(table="jobs", channel="project:{project_id}", data=["id", "status"], leave="gone")
    old, new = {"id": 1, "status": "a", "project_id": 5}, {"id": 1, "status": "b", "project_id": 6}
    assert mapped(rule, row("L", None, old), row("U", new)) == [
        ("project:5", "gone", {"id": 1, "status": "a"}),
        ("project:6", "jobs.update", {"id": 1, "status": "b"}),
    ]


def test_a_channel_whose_column_is_null_gets_nothing() -> None:
    """The row belongs to nobody; if it belonged to somebody before, that channel is told that it has left."""
    mapper = Mapper([Rule(table="jobs", channel="project:{project_id}")])
    assert mapper(row("I", {"project_id": None})) == ()
    assert mapper.unaddressed == 1
    (draft,) = mapper(row("M", {"project_id": None}, {"project_id": 5}))
    assert (draft.channel, draft.type) == ("project:5", "leave")
    assert (mapper.events, mapper.unaddressed, mapper.dead) == (1, 1, 0)


def test_old_values() -> None:
    """Under `old`; null for an operation without an old row."""
    rule = Rule(table="jobs", channel="all", data=["status"], old=["status"], event="INSERT,UPDATE")
    assert mapped(rule, row("U", {"status": "b"}, {"status": "a"}), row("I", {"status": "a"})) == [
        ("all", "jobs.update", {"status": "b", "old": {"status": "a"}}),
        ("all", "jobs.insert", {"status": "a", "old": None}),
    ]


def test_numbers_are_what_postgres_wrote() -> None:
    """Neither rounded nor shortened, however many digits they have."""
    text = '{"a":123456789012345678901234567890,"b":1.50,"c":9007199254740993,"d":1e400,"e":"NaN"}'
    (draft,) = Mapper([Rule(table="jobs", channel="all", data=["a", "b", "c", "e"])])(row("I", text))
    assert draft.data == '{"a":123456789012345678901234567890,"b":1.50,"c":9007199254740993,"e":"NaN"}'


def test_a_function_makes_the_data() -> None:
    """Of a `Change`, which says everything about it."""
    seen: list[Change] = []

    def data(change: Change) -> Any:
        seen.append(change)
        return {"row": change.row, "at": change.time}

    rule = Rule(table="jobs", schema="app", channel="all", data=data, columns=["id"], name="f")
    assert mapped(rule, row("U", {"id": 1}, {"id": 0}, rule="f", left_out=["x", "x"])) == [
        ("all", "jobs.update", {"row": {"id": 1}, "at": "2026-01-02T03:04:05.500000Z"})
    ]
    (change,) = seen
    assert (change.rule, change.operation, change.schema, change.table) == ("f", Operation.UPDATE, "app", "jobs")
    assert (change.new, change.old, change.truncated) == ({"id": 1}, {"id": 0}, ("x",))


def test_what_was_left_out_is_named() -> None:
    """The data says so, and the columns are null."""
    rule = Rule(table="jobs", channel="all", data={"id": "id", "text": "body"})
    assert mapped(rule, row("I", {"id": 1}, left_out=["body"])) == [
        ("all", "jobs.insert", {"id": 1, "text": None, "truncated": ["body"]})
    ]


def test_types_and_permissions_may_come_from_the_row() -> None:
    """An event asks for the permissions of the row that it shows."""
    rule = Rule(table="jobs", channel="all", type="{kind}", permissions=["team.{team}.read", "jobs.read"])
    (draft,) = Mapper([rule])(row("I", {"kind": "urgent", "team": 5}))
    assert draft.type == "urgent"
    assert draft.permissions == {"team.5.read", "jobs.read"}


@pytest.mark.parametrize(
    ("given", "captured", "error"),
    [
        ({"channel": "user:{name}"}, row("I", {"name": "a:b"}), "its ':' would make another name"),
        ({"channel": "user:{name}"}, row("I", {"name": "a b"}), "is not a channel name"),
        ({"channel": "{name}"}, row("I", {"name": "$changes"}), "Headwater's own"),
        ({"channel": "user:{name}"}, row("I", {"name": [1]}), "an object or a list"),
        ({"channel": "user:{name}"}, row("I", {}, left_out=["name"]), "column name was left out"),
        ({"channel": "all", "type": "{kind}"}, row("I", {"kind": None}), "a column in the event's type is NULL"),
        ({"channel": "all", "type": "{kind}"}, row("I", {"kind": "reset"}), "only the hub sends"),
        ({"channel": "all", "permissions": ["{team}"]}, row("I", {"team": None}), "a column in a permission is NULL"),
        ({"channel": "all", "permissions": ["{team}"]}, row("I", {"team": "a b"}), "permission 'a b'"),
        ({"channel": "all", "data": lambda change: 1 / 0}, row("I", {}), "ZeroDivisionError: division by zero"),
        ({"channel": "all", "data": lambda change: object()}, row("I", {}), "TypeError"),
        ({"channel": "all", "event": "INSERT"}, row("U", {}), "KeyError"),
        ({"channel": "all"}, row("X", {"id": 1}), "KeyError"),
    ],
)
def test_a_row_that_cannot_be_mapped_goes_to_the_dead(
    given: dict[str, Any], captured: Row, error: str, caplog: pytest.LogCaptureFixture
) -> None:
    """With its values and the reason, for administrators alone; it is counted and logged, and stalls nothing."""
    mapper = Mapper([Rule(**{"table": "jobs", "name": "jobs", **given})])
    with caplog.at_level(logging.WARNING, "headwater.changes"):
        (draft,) = mapper(captured)
    assert (draft.channel, draft.type, set(draft.permissions)) == (DEAD, "dead", {"headwater.admin"})
    data = json.loads(draft.data)
    assert error in data["error"]
    assert (data["rule"], data["seq"], data["table"]) == ("jobs", 7, "jobs")
    assert data["new"] == json.loads(captured.new or "null")
    assert mapper.dead == 1
    assert "row 7 of rule jobs cannot be mapped" in caplog.text


def test_a_failed_function_says_even_what_cannot_be_encoded() -> None:
    """The reason is shown, with what UTF-8 cannot carry replaced, and cut."""

    def data(change: Change) -> Any:
        raise ValueError("\ud800" + "x" * 5000)

    (draft,) = Mapper([Rule(table="jobs", channel="all", data=data)])(row("I", {}))
    assert len(json.loads(draft.data)["error"]) == 2000


def test_rows_of_rules_that_are_gone_are_counted() -> None:
    """They were written by triggers that nobody has taken away."""
    mapper = Mapper([])
    assert mapper(row("I", {})) == ()
    assert mapper.unknown == 1
    with pytest.raises(InvalidInput, match="two rules are named"):
        Mapper([Rule(table="a", channel="b", name="x"), Rule(table="c", channel="d", name="x")])


def test_a_value_in_a_channel_is_text_as_in_json() -> None:
    """Numbers and truth values as JSON has them."""
    rule = Rule(table="jobs", channel="a:{n}:{flag}", data=["n"])
    (draft,) = Mapper([rule])(row("I", {"n": 5, "flag": True}))
    assert draft == Draft(channel="a:5:true", type="jobs.insert", data='{"n":5}')


def test_a_row_that_cannot_even_be_told_of_whole() -> None:
    """One that nobody can read, and one that is too large, are told of without what is in them."""
    mapper = Mapper([Rule(table="jobs", channel="all", data=lambda change: 1 / 0)])
    for new in ('{"deep":' + "[" * 5000 + "]" * 5000 + "}", {"large": "x" * 300_000}):
        (draft,) = mapper(row("I", new, {"small": 1}))
        told = json.loads(draft.data)
        assert (draft.channel, told["seq"], told["new"], told["old"]) == (DEAD, 7, None, None)
    assert mapper.dead == 2
