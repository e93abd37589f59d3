"""Rules: what they say when they are right, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from headwater.changes.change import ROW_OPERATIONS, Change, Operation
from headwater.changes.rules import Rule, check_rules
from headwater.changes.templates import parse_template
from headwater.errors import InvalidInput

INSERT, UPDATE, DELETE, TRUNCATE, LEAVE, MOVE = Operation


def test_the_smallest_rule() -> None:
    """A table and a channel: all three operations, typed by table and operation, with no data."""
    rule = Rule(table="jobs", channel="jobs")
    assert rule.operations == ROW_OPERATIONS
    assert {operation: template.pieces for operation, template in rule.types.items()} == {
        INSERT: ("jobs.insert",),
        UPDATE: ("jobs.update",),
        DELETE: ("jobs.delete",),
    }
    assert (rule.schema, rule.name, rule.tests, rule.shape) == ("public", "jobs", (), {})
    assert [rule.captured(operation) for operation in Operation] == [((), ())] * 6


@pytest.mark.parametrize(
    ("event", "operations"),
    [
        ("*", ROW_OPERATIONS),
        ("update", (UPDATE,)),
        ("delete, insert", (INSERT, DELETE)),
        (["UPDATE", "INSERT"], (INSERT, UPDATE)),
        ("TRUNCATE", (TRUNCATE,)),
    ],
)
def test_events(event: Any, operations: tuple[Operation, ...]) -> None:
    """One, several, all three, or TRUNCATE; case does not matter."""
    assert Rule(table="jobs", channel="jobs", event=event).operations == operations


def test_which_columns_leave_the_database() -> None:
    """Those that the data, the channel, the type and the permissions need, of the side where they need them."""
    rule = Rule(
        table="jobs",
        channel=["project:{project_id}", "all"],
        type="{kind}",
        data={"id": "id", "from": "{$old.status}", "to": "{$new.status}"},
        old=["total"],
        permissions=["team.{team}"],
    )
    row = {"id", "project_id", "kind", "team"}
    assert [set(side) for side in rule.captured(INSERT)] == [row | {"status"}, set()]
    assert [set(side) for side in rule.captured(UPDATE)] == [row | {"status"}, {"status", "total"}]
    assert [set(side) for side in rule.captured(DELETE)] == [set(), row | {"status", "total"}]
    assert rule.moving_columns == ("project_id",)


def test_a_rule_with_leave_tells_the_old_channel_by_an_event_of_its_own() -> None:
    """So an UPDATE needs nothing of the old row, and the new row gives only what says where it is now."""
    rule = Rule(table="jobs", channel="project:{project_id}", leave=True, data=["id"])
    assert rule.leave == "leave"
    assert rule.types[LEAVE] == parse_template("leave")
    assert rule.captured(UPDATE) == (("project_id", "id"), ())
    assert rule.captured(LEAVE) == ((), ("project_id", "id"))
    assert rule.captured(MOVE) == (("project_id",), ("project_id", "id"))
    assert Rule(table="jobs", channel="all", filter="a=eq.1", leave="gone").leave == "gone"


def test_what_a_rule_tells_of_leaving() -> None:
    """That a row has moved, unless it says no; that a row does not match any more, only if it says so."""

    def leavings(**given: Any) -> tuple[Operation, ...]:
        rule = Rule(**{"table": "jobs", "channel": "project:{project_id}", **given})
        assert (LEAVE in rule.types) == bool(rule.leavings)
        assert replace(rule).leavings == rule.leavings
        return rule.leavings

    assert leavings() == leavings(leave=True) == leavings(filter="a=eq.1") == (MOVE,)
    assert leavings(leave=True, filter="a=eq.1") == (LEAVE, MOVE)
    assert leavings(leave=True, filter="a=eq.1", channel="all") == (LEAVE,)
    assert leavings(leave=False, filter="a=eq.1") == leavings(channel="all", filter="a=eq.1") == ()
    assert leavings(event="INSERT") == leavings(channel="project:{$new.project_id}") == ()
    assert leavings(leave=True, event="INSERT") == (MOVE,)


def test_a_function_makes_the_data() -> None:
    """Of the columns it declares."""

    def data(change: Change) -> dict[str, Any]:
        return dict(change.row)

    rule = Rule(table="jobs", channel="all", data=data, columns=["a", "b", "a"], old=["c"])
    assert rule.function is data
    assert rule.shape is None
    assert rule.captured(UPDATE) == (("a", "b"), ("c",))
    assert Rule(table="jobs", channel="all", data=["a"]).function is None


def test_types_by_operation() -> None:
    """Each operation may have its own."""
    rule = Rule(table="jobs", channel="all", event="INSERT,DELETE", type={"INSERT": "new", "DELETE": "gone"})
    assert {operation: template.pieces for operation, template in rule.types.items()} == {
        INSERT: ("new",),
        DELETE: ("gone",),
    }


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({}, "jobs"),
        ({"type": "progress_update"}, "jobs.progress_update"),
        ({"type": "{kind}"}, "jobs"),
        ({"table": 'my "Tüble" {}'}, "my__T_ble____"),
        ({"table": "x" * 60}, "x" * 40),
        ({"name": "own"}, "own"),
    ],
)
def test_names(given: dict[str, Any], name: str) -> None:
    """Made from the table and a type that is always the same, in characters that every log shows."""
    assert Rule(**{"table": "jobs", "channel": "all", **given}).name == name


def test_names_differ() -> None:
    """Rules are told apart by name; two of the same table without one are an error that says what to do."""
    first, second = Rule(table="jobs", channel="a"), Rule(table="jobs", channel="b", name="b")
    assert check_rules([first, second]) == (first, second)
    with pytest.raises(InvalidInput, match=r"two rules are named 'jobs'.*give one of them a name"):
        check_rules([first, Rule(table="jobs", channel="b")])


async def _coroutine(change: Change) -> None:
    """What data may not be."""


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"table": ""}, "table is ''"),
        ({"table": 7}, "table is 7"),
        ({"table": "x" * 64}, "table is 'xxx"),
        ({"table": "ü" * 32}, "table is 'üüü"),
        ({"schema": "a\0b"}, "schema is"),
        ({"event": "MERGE"}, "event is 'MERGE'"),
        ({"event": ["INSERT", "*"]}, "event is"),
        ({"event": []}, "event is empty"),
        ({"event": 7}, "event is 7"),
        ({"event": "INSERT,TRUNCATE"}, "event is"),
        ({"channel": []}, "channel is empty"),
        ({"channel": 7}, "channel is 7"),
        ({"channel": ""}, "is not a channel name"),
        ({"channel": "has space"}, "is not a channel name"),
        ({"channel": "$changes:dead"}, "begins with \\$"),
        ({"channel": "$changes:{id}"}, "begins with \\$"),
        ({"channel": "a{"}, "has a { by itself"),
        ({"filter": "a=foo.1"}, "'foo' is no operator"),
        ({"when_changed": "a"}, "when_changed is 'a'"),
        ({"when_changed": ["*", "a"]}, r"when_changed has \* and columns"),
        ({"when_changed": ["a\0"]}, "texts without NUL"),
        ({"when_changed": ["a"], "event": "INSERT"}, "for a rule without UPDATE"),
        ({"type": "connected"}, "only the hub sends"),
        ({"type": ""}, "event type '' is not a name"),
        ({"type": 7}, "type is 7"),
        ({"type": {"INSERT": "a", "UPDATE": "b"}}, "type says nothing for DELETE"),
        ({"type": {"INSERT": "a", "UPDATE": "b", "DELETE": "c", "MERGE": "d"}}, "type speaks of 'MERGE'"),
        ({"type": "a\nb"}, "is malformed"),
        ({"data": "id"}, "data is 'id'"),
        ({"data": [1]}, r"data is \[1\]"),
        ({"data": {"a": []}}, "the data has"),
        ({"data": _coroutine}, "async function"),
        ({"data": ["id"], "columns": ["id"]}, "columns is given without a function"),
        ({"data": {"old": "id"}, "old": ["id"]}, "data has a name 'old'"),
        ({"permissions": "read"}, "permissions is 'read'"),
        ({"permissions": ["has space"]}, "permission 'has space'"),
        ({"permissions": [""]}, "permission ''"),
        ({"leave": "{a}", "filter": "a=eq.1"}, "leave is"),
        ({"leave": 7, "filter": "a=eq.1"}, "type is 7"),
        ({"leave": True}, "no row can ever leave"),
        ({"big_numbers": "float"}, "big_numbers is 'float'"),
        ({"on_error": "ignore"}, "on_error is 'ignore'"),
        ({"max_bytes": 0}, "max_bytes is 0"),
        ({"max_bytes": True}, "max_bytes is True"),
        ({"max_bytes": "1"}, "max_bytes is '1'"),
        ({"name": "has space"}, "name is 'has space'"),
        ({"name": "x" * 41}, "name is"),
        ({"name": 7}, "name is 7"),
        ({"event": "TRUNCATE", "filter": "a=eq.1"}, "there is no row"),
        ({"event": "TRUNCATE", "channel": "a:{id}"}, "there is no row"),
        ({"event": "TRUNCATE", "data": ["id"]}, "there is no row"),
        ({"event": "TRUNCATE", "data": {"x": "{$old.id}"}}, "there is no row"),
        ({"event": "TRUNCATE", "data": len, "columns": ["a"]}, "there is no row"),
    ],
)
def test_a_wrong_rule_cannot_exist(given: dict[str, Any], message: str) -> None:
    """The error names the table and the field, and says what would be right."""
    with pytest.raises(InvalidInput, match=message) as caught:
        Rule(**{"table": "jobs", "channel": "all", **given})
    assert str(caught.value).startswith("rule for table ")
    assert caught.value.expected


def test_a_rule_cannot_be_changed() -> None:
    """It was checked as it is."""
    rule = Rule(table="jobs", channel="all")
    with pytest.raises(AttributeError):
        rule.filter = "a=eq.1"  # type: ignore[misc]
