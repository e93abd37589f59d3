"""A captured row to events: `Mapper`, which knows the rules, finds the channels and makes the data.

Pure: no database and no broker. Which rule a row matched was settled by Postgres, in the trigger's WHEN; here it is only
looked up. A row that cannot be mapped becomes an event of `DEAD` and stalls nothing.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

import msgspec

from headwater.brokers.postgres.outbox import Row
from headwater.changes.change import Change, Operation
from headwater.changes.rules import MAX_BYTES, Rule, check_rules
from headwater.changes.templates import Template, fill_shape
from headwater.channels import check_channel
from headwater.errors import InvalidEvent, InvalidInput
from headwater.event import Draft

DEAD: Final = "$changes:dead"
"""The channel of rows that could not be mapped. Each event says which row, and why; for administrators only."""

ADMIN: Final = "headwater.admin"

_OPERATIONS: Final = {operation[0]: operation for operation in Operation}  # as triggers write them
_MOVE: Final = Operation.MOVE[0]

log = logging.getLogger("headwater.changes")


class Mapper:
    """Makes events of captured rows.

    Args:
        rules: with different names.

    Attributes:
        events: made so far.
        dead: rows that could not be mapped.
        unknown: rows of rules that are not ours: left by a trigger whose rule has gone.
        unaddressed: rows that had no channel to go to, because a column in its name was NULL.

    Raises:
        InvalidInput: two rules have the same name.
    """

    def __init__(self, rules: Iterable[Rule]) -> None:
        self.events = self.dead = self.unknown = self.unaddressed = 0
        self._rules = {rule.name: rule for rule in check_rules(rules)}

    def __call__(self, row: Row) -> tuple[Draft, ...]:
        """The events of a row of the outbox, in order; none if nobody is meant by it. Never raises."""
        rule = self._rules.get(row.source or "")
        if rule is None:
            self.unknown += 1
            return ()
        try:
            drafts = tuple(_drafts(rule, _change(rule, row)))
        except Exception as error:  # a rule's function may raise anything
            self.dead += 1
            log.warning("row %d of rule %s cannot be mapped: %r", row.seq, rule.name, error)
            return (_dead(rule, row, error),)
        self.events += len(drafts)
        self.unaddressed += not drafts and row.op != _MOVE  # which may have come from nowhere
        return drafts


def _change(rule: Rule, row: Row) -> Change:
    left_out: list[str] = json.loads(row.data) if row.data else []
    return Change(
        rule=rule.name,
        operation=_OPERATIONS[row.op or ""],
        schema=rule.schema,
        table=rule.table,
        new=_decode(row.new),
        old=_decode(row.old),
        time=datetime.fromtimestamp(row.time / 1000, UTC),
        truncated=tuple(dict.fromkeys(left_out)),
    )


def _decode(text: str | None) -> Any:
    """JSON with its numbers as they were written: Python's own reader, because it leaves the choice of their type."""
    return None if text is None else json.loads(text, parse_float=Decimal)


def _drafts(rule: Rule, change: Change) -> Iterator[Draft]:
    if lacking := {place.name for template in rule.templates for place in template.places} & set(change.truncated):
        raise InvalidInput(
            f"column {min(lacking)} was left out, and the event needs it",
            expected="a column of the table that is not too large",
            fix="see what `headwater pg doctor` says of it",
        )
    channels = _channels(rule, change)
    if change.operation is Operation.MOVE:
        change = msgspec.structs.replace(change, operation=Operation.LEAVE, new=None)
    if not channels:
        return
    data = _data(rule, change)
    type = rule.types[change.operation].fill(change)
    if type is None:
        raise InvalidInput("a column in the event's type is NULL", expected="a value")
    needed = frozenset(_permission(template, change) for template in rule.needed)
    for channel in channels:
        yield Draft(channel=channel, type=type, data=data, permissions=needed)


def _channels(rule: Rule, change: Change) -> tuple[str, ...]:
    """Where it goes: to the row's channels, as they are called after the change. A row that moves is told of by two changes:
    this one comes from another trigger, and goes to the channels that the row was in and is not in now."""
    if change.operation is Operation.MOVE:
        before = msgspec.structs.replace(change, new=None)
        moved = [template for template in rule.channels if _may_move(template)]
        found = [template.fill_name(before) for template in moved]
        now = {template.fill(change) for template in rule.channels}  # even if that is no name: they are to hear of it
        found = [channel for channel in found if channel not in now]
    else:
        found = [template.fill_name(change) for template in rule.channels]
    return tuple(dict.fromkeys(check_channel(channel) for channel in found if channel is not None))


def _may_move(template: Template) -> bool:
    return any(place.side == "row" for place in template.places)


def _permission(template: Template, change: Change) -> str:
    name = template.fill_name(change)
    if name is None:
        raise InvalidInput("a column in a permission is NULL", expected="a value", fix="nobody was shown the event")
    return name


def _data(rule: Rule, change: Change) -> str:
    if rule.shape is None:
        assert rule.function is not None
        data = rule.function(change)
    else:
        data = fill_shape(rule.shape, change)
        if change.truncated:
            data = {**data, "truncated": list(change.truncated)}
    return msgspec.json.Encoder(decimal_format="number").encode(data).decode()


def _dead(rule: Rule, row: Row, error: Exception) -> Draft:
    """Everything that is needed to mend the rule and send the event by hand; without the row, if that is what cannot be read
    or is larger than an event should be."""
    data = {
        "rule": rule.name,
        "operation": _OPERATIONS.get(row.op or ""),
        "schema": rule.schema,
        "table": rule.table,
        "seq": row.seq,
        "error": f"{type(error).__name__}: {error}"[:2000].encode(errors="replace").decode(),
    }
    sides = {"new": row.new, "old": row.old}
    if sum(len(text) for text in sides.values() if text is not None) <= MAX_BYTES:
        with suppress(InvalidEvent):
            whole = {side: None if text is None else msgspec.Raw(text.encode()) for side, text in sides.items()}
            return Draft.json(DEAD, "dead", {**data, **whole}, permissions=[ADMIN])
    return Draft.json(DEAD, "dead", {**data, "new": None, "old": None}, permissions=[ADMIN])
