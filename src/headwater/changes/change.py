"""`Change`: one row that was changed, as a rule's function gets it and as templates are filled with it.

Pure: values only. Where it comes from (`mapping`) and what becomes of it (`rules`) is not its business.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

import msgspec


class Operation(StrEnum):
    """What was done to the table. `LEAVE` is an UPDATE, seen from where the row no longer belongs: it does not match any
    more, or (`MOVE`, which is a LEAVE by the time anybody is told) it belongs to another channel."""

    INSERT = "INSERT"
    UPDATE = "UPDATE"
    DELETE = "DELETE"
    TRUNCATE = "TRUNCATE"
    LEAVE = "LEAVE"
    MOVE = "MOVE"


ROW_OPERATIONS: Final = (Operation.INSERT, Operation.UPDATE, Operation.DELETE)


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A change of one row, with the columns that the rule declares and no others.

    Values are as Postgres writes them in JSON: numbers with a fraction as `Decimal`, exactly; uuid, timestamps (ISO 8601,
    in UTC), intervals, enums as text; bytea as text with `\\x` and hexadecimal digits; arrays as lists; json as it is.

    Attributes:
        rule: name of the rule.
        operation: what was done.
        schema: of the table.
        table: that the rule names; of a partition's row, the table it is a part of.
        new: the row after the change; None for DELETE, TRUNCATE and LEAVE.
        old: the row before it; None for INSERT and TRUNCATE.
        time: when it was written, before the transaction was committed.
        truncated: columns whose values were too large and are left out.
    """

    rule: str
    operation: Operation
    schema: str
    table: str
    new: Mapping[str, Any] | None
    old: Mapping[str, Any] | None
    time: datetime
    truncated: tuple[str, ...] = ()

    @property
    def row(self) -> Mapping[str, Any]:
        """The new row, or the old one where there is no new one; empty for TRUNCATE."""
        if self.new is not None:
            return self.new
        return self.old if self.old is not None else {}

    def about(self, name: str) -> str:
        """One of `templates.OWN`, as text: what `{$op}`, `{$table}`... stand for."""
        match name:
            case "op":
                return self.operation
            case "time":
                return self.time.isoformat()
            case _:
                return str(getattr(self, name))
