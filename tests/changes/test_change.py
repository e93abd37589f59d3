"""A changed row, as functions and templates see it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from headwater.changes import Change, Operation


@pytest.mark.parametrize(
    ("operation", "new", "old", "row"),
    [
        (Operation.INSERT, {"id": 1}, None, {"id": 1}),
        (Operation.UPDATE, {"id": 2}, {"id": 1}, {"id": 2}),
        (Operation.DELETE, None, {"id": 1}, {"id": 1}),
        (Operation.TRUNCATE, None, None, {}),
    ],
)
def test_the_row(
    operation: Operation, new: dict[str, int] | None, old: dict[str, int] | None, row: dict[str, int]
) -> None:
    """The new one, or the old one where there is no new one, or nothing."""
    at = datetime(2026, 1, 2, tzinfo=UTC)
    change = Change(rule="r", operation=operation, schema="s", table="t", new=new, old=old, time=at)
    assert change.row == row
    assert [change.about(name) for name in ("op", "schema", "table", "rule", "time")] == [
        operation,
        "s",
        "t",
        "r",
        "2026-01-02T00:00:00+00:00",
    ]
