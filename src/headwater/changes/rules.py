"""`Rule`: which changes of which table become which events. Validated when built, so a wrong rule cannot exist.

Pure: knows filters, templates and channels; must not know the table's real columns and types (`compile` asks the database)
nor how a rule is installed.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from headwater.changes.change import ROW_OPERATIONS, Change, Operation
from headwater.changes.grammar import Test, parse_filter
from headwater.changes.templates import (
    Columns,
    Place,
    Shape,
    Template,
    parse_mapping,
    parse_template,
    places_in,
)
from headwater.channels import RESERVED_PREFIX, check_channel, check_permission
from headwater.errors import InvalidInput
from headwater.event import Draft

MAX_NAME_LENGTH: Final = 40  # a trigger's name has 63 bytes, and has to say more than this
MAX_BYTES: Final = 256 * 1024
"""Bytes of one row's declared columns by default; as many as an event's data may have by default."""

ANY_COLUMN: Final = "*"

_NAME = re.compile(rf"[A-Za-z0-9_.\-]{{1,{MAX_NAME_LENGTH}}}\Z")
_OPERATIONS: Final = "INSERT, UPDATE, DELETE, several of them, * for all three, or TRUNCATE by itself"


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Which changes of a table become events, and what these say.

    Args:
        table: its name, exactly as the database has it.
        schema: of the table.
        event: `INSERT`, `UPDATE`, `DELETE`, a list of them, `*` for all three, or `TRUNCATE`.
        filter: which rows count, in Supabase's grammar (see docs/reference/filters.md): INSERT and UPDATE ask the new
            row, DELETE the old one.
        when_changed: an UPDATE counts only if one of these columns changed; `*` for any.
        channel: a template, or several, each of which gets the event. NULL in one: that channel gets nothing.
        type: the event's type, a template; or one for each operation. By default as in `jobs.update`.
        data: the columns that become the data; or a mapping (see `templates.parse_mapping`); or a function that makes it
            from a `Change`.
        columns: with a function, the columns that it gets of the row. No others leave the database.
        old: columns of which the event also gets the values before an UPDATE, under `old`.
        permissions: templates of what a principal must hold to see the event.
        leave: the type of the event that tells a channel that a row has left it: it no longer matches the filter, or the
            columns in the channel's name have changed. True for `leave`. It has the row's data as it was before, and nothing
            of the new one, which may be somebody else's by now. By default only a change of the channel's name is told,
            as `leave`; False for never.
        big_numbers: `text` makes texts of bigint and numeric columns, which JavaScript would round.
        max_bytes: of a row's declared columns; of a larger row, the longest values are left out, and the data names them
            under `truncated`.
        on_error: what happens to the application's own write if its change cannot be recorded: `raise` fails it, so that
            a change without its event does not exist; `warn` lets it go on and loses the event.
        name: says which rule it is, in triggers, logs and errors; by default made from the table and the type.

    Raises:
        InvalidInput: on building, if any of it is malformed or does not fit together.
    """

    table: str
    channel: str | Sequence[str]
    schema: str = "public"
    event: str | Sequence[str] = "*"
    filter: str = ""
    when_changed: Sequence[str] = ()
    type: str | Mapping[str, str] | None = None
    data: Sequence[str] | Mapping[str, Any] | Callable[[Change], Any] = ()
    columns: Sequence[str] = ()
    old: Sequence[str] = ()
    permissions: Sequence[str] = ()
    leave: str | bool | None = None
    big_numbers: Literal["number", "text"] = "number"
    max_bytes: int = MAX_BYTES
    on_error: Literal["raise", "warn"] = "raise"
    name: str = ""

    operations: tuple[Operation, ...] = field(init=False)
    tests: tuple[Test, ...] = field(init=False)
    channels: tuple[Template, ...] = field(init=False)
    leavings: tuple[Operation, ...] = field(init=False)
    types: Mapping[Operation, Template] = field(init=False)
    needed: tuple[Template, ...] = field(init=False)
    shape: Shape | None = field(init=False)

    def __post_init__(self) -> None:
        for name, value in _checked(self):
            object.__setattr__(self, name, value)

    @property
    def function(self) -> Callable[[Change], Any] | None:
        """The function that makes the data, if one does."""
        return self.data if callable(self.data) else None

    @property
    def moving_columns(self) -> tuple[str, ...]:
        """The columns that decide about the channel: if they change, the row moves."""
        return _once(place.name for channel in self.channels for place in channel.places if place.side == "row")

    def captured(self, operation: Operation) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The columns that leave the database: of the new row, and of the old one."""
        row = _once([*self.columns, *self._of("row")])
        new, old = _once([*row, *self._of("new")]), _once([*self.old, *self._of("old")])
        match operation:
            case Operation.INSERT:
                return new, ()
            case Operation.UPDATE:
                return new, old
            case Operation.TRUNCATE:
                return (), ()
            case Operation.MOVE:
                places = [place for channel in self.channels for place in channel.places]
                return _once(place.name for place in places if place.side in ("row", "new")), _once([*row, *old])
            case _:
                return (), _once([*row, *old])

    def _of(self, side: str) -> Iterator[str]:
        """The columns of one side that the templates and the data name."""
        places = [place for template in self.templates for place in template.places]
        if self.shape is not None:
            places += places_in(self.shape)
        return (place.name for place in places if place.side == side)

    @property
    def templates(self) -> Iterator[Template]:
        """Everything a row is filled into but the data."""
        return iter((*self.channels, *self.types.values(), *self.needed))


def check_rules(rules: Iterable[Rule]) -> tuple[Rule, ...]:
    """Rules that are to be used together.

    Raises:
        InvalidInput: two have the same name.
    """
    known: dict[str, Rule] = {}
    for rule in rules:
        if rule.name in known:
            raise InvalidInput(
                f"two rules are named {rule.name!r}", expected="different names", fix="give one of them a name"
            )
        known[rule.name] = rule
    return tuple(known.values())


def _checked(rule: Rule) -> Iterator[tuple[str, Any]]:
    """The fields as they are kept, and what is made of them; an error says which field is wrong."""
    where = f"rule for table {rule.table!r:.80}"
    try:
        _check_identifier("table", rule.table)
        _check_identifier("schema", rule.schema)
        operations = _operations(rule.event)
        channels = tuple(_channel(text) for text in _texts("channel", rule.channel, alone=True))
        tests = parse_filter(rule.filter)
        leavings = _leavings(rule, operations, channels, has_filter=bool(tests))
        types = _types(rule, operations, is_left=bool(leavings))
        found: dict[str, Any] = {
            "operations": operations,
            "channels": channels,
            "leavings": leavings,
            "types": types,
            "tests": tests,
            "needed": tuple(_permission(text) for text in _texts("permissions", rule.permissions)),
            "shape": _shape(rule),
            "leave": types[Operation.LEAVE].pieces[0] if rule.leave else rule.leave,
            "name": _name(rule, types),
        }
        for columns in ("when_changed", "columns", "old"):
            found[columns] = _texts(columns, getattr(rule, columns))
        yield from found.items()
        _check_options(rule)
        _check_together(rule)
    except InvalidInput as error:
        raise InvalidInput(f"{where}: {error.what}", expected=error.expected, fix=error.fix) from None


def _check_identifier(what: str, name: object) -> None:
    if not isinstance(name, str) or not name or "\0" in name or len(name.encode(errors="replace")) > 63:
        raise InvalidInput(f"{what} is {name!r:.100}", expected="a name of 1 to 63 bytes, without quotes around it")


def _texts(what: str, value: object, *, alone: bool = False) -> tuple[str, ...]:
    """A list of texts; `alone`, also a single one, and at least one."""
    items = [value] if alone and isinstance(value, str) else value
    if isinstance(items, str) or not isinstance(items, Sequence) or not all(isinstance(item, str) for item in items):
        raise InvalidInput(f"{what} is {value!r:.100}", expected="a list of texts" + (", or a text" if alone else ""))
    if alone and not items:
        raise InvalidInput(f"{what} is empty", expected="at least one")
    if wrong := [item for item in items if "\0" in item]:
        raise InvalidInput(f"{what} has {wrong[0]!r:.100}", expected="texts without NUL")
    return _once(items)


def _operations(event: object) -> tuple[Operation, ...]:
    given = event.split(",") if isinstance(event, str) else event
    names = [name.strip().upper() for name in _texts("event", given, alone=True)]
    if names == ["*"]:
        return ROW_OPERATIONS
    if names == [Operation.TRUNCATE]:
        return (Operation.TRUNCATE,)
    if not set(names) <= set(ROW_OPERATIONS):
        raise InvalidInput(f"event is {event!r:.100}", expected=_OPERATIONS)
    return tuple(operation for operation in ROW_OPERATIONS if operation in names)


def _channel(text: str) -> Template:
    template = parse_template(text)
    first = template.pieces[0] if template.pieces else ""
    if not any(template.places) or (isinstance(first, str) and first.startswith(RESERVED_PREFIX)):
        check_channel(first)
    return template


def _permission(text: str) -> Template:
    template = parse_template(text)
    if not any(template.places):
        check_permission(template.pieces[0] if template.pieces else "")
    return template


def _leavings(
    rule: Rule, operations: Iterable[Operation], channels: Iterable[Template], *, has_filter: bool
) -> tuple[Operation, ...]:
    """How a row may leave a channel, as far as the rule tells of it."""
    may_move = any(place.side == "row" for channel in channels for place in channel.places)
    if rule.leave is None:
        return (Operation.MOVE,) if may_move and Operation.UPDATE in operations else ()
    if not rule.leave:
        return ()
    return (*([Operation.LEAVE] if has_filter else []), *([Operation.MOVE] if may_move else []))


def _types(rule: Rule, operations: Iterable[Operation], *, is_left: bool) -> dict[Operation, Template]:
    """A template for each operation, and for leaving."""
    types: dict[Operation, Template] = {}
    for operation in operations:
        if isinstance(rule.type, Mapping):
            if operation not in rule.type:
                raise InvalidInput(f"type says nothing for {operation}", expected="a type for each operation")
            text = rule.type[operation]
        else:
            text = f"{_escaped(rule.table)}.{operation.lower()}" if rule.type is None else rule.type
        types[operation] = _type(text)
    if isinstance(rule.type, Mapping) and (unknown := set(rule.type) - set(types)):
        raise InvalidInput(f"type speaks of {', '.join(map(str, unknown))!r:.100}", expected=f"only {', '.join(types)}")
    if is_left or rule.leave:
        types[Operation.LEAVE] = _type("leave" if rule.leave in (None, True) else rule.leave)
        if any(types[Operation.LEAVE].places):
            raise InvalidInput(f"leave is {rule.leave!r:.100}", expected="a type that is always the same, or true")
    return types


def _type(text: object) -> Template:
    if not isinstance(text, str):
        raise InvalidInput(f"type is {text!r:.100}", expected="text, or a mapping of operations to texts")
    template = parse_template(text)
    if not any(template.places):
        Draft(channel="-", type=str(template.pieces[0]) if template.pieces else "")  # which raises if it may not be
    return template


def _escaped(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


def _shape(rule: Rule) -> Shape | None:
    """The data as a shape; None if a function makes it."""
    data = rule.data
    if callable(data):
        if inspect.iscoroutinefunction(data):
            raise InvalidInput("data is an async function", expected="one that answers at once")
        return None
    if rule.columns:
        raise InvalidInput("columns is given without a function", expected="the columns in data")
    shape = parse_mapping(data) if isinstance(data, Mapping) else _under_own_names(data)
    if rule.old:
        if "old" in shape:
            raise InvalidInput("data has a name 'old', which is where the old values go", expected="another name")
        shape["old"] = Columns("old", _texts("old", rule.old))
    return shape


def _under_own_names(columns: object) -> dict[str, Shape]:
    return {name: Place("row", name) for name in _texts("data", columns)}


def _name(rule: Rule, types: Mapping[Operation, Template]) -> str:
    name = rule.name
    if name == "":
        only = next(iter(types.values())).pieces[0]
        text = f"{rule.table}.{only}" if isinstance(rule.type, str) and isinstance(only, str) else rule.table
        name = re.sub(r"[^A-Za-z0-9_.\-]", "_", text)[:MAX_NAME_LENGTH]
    if not isinstance(name, str) or not _NAME.match(name):
        raise InvalidInput(
            f"name is {name!r:.100}", expected=f"1 to {MAX_NAME_LENGTH} characters from letters, digits and _ . -"
        )
    return name


def _check_options(rule: Rule) -> None:
    for name, values in (("big_numbers", ("number", "text")), ("on_error", ("raise", "warn"))):
        if getattr(rule, name) not in values:
            raise InvalidInput(f"{name} is {getattr(rule, name)!r:.100}", expected=" or ".join(values))
    if isinstance(rule.max_bytes, bool) or not isinstance(rule.max_bytes, int) or not 1 <= rule.max_bytes <= 1 << 28:
        raise InvalidInput(f"max_bytes is {rule.max_bytes!r:.100}", expected=f"1 to {1 << 28}")


def _check_together(rule: Rule) -> None:
    """What is right by itself and means nothing beside the rest."""
    if rule.when_changed and Operation.UPDATE not in rule.operations:
        raise InvalidInput("when_changed is given for a rule without UPDATE", expected="UPDATE among its events")
    if ANY_COLUMN in rule.when_changed and len(rule.when_changed) > 1:
        raise InvalidInput("when_changed has * and columns", expected="* alone, or columns")
    if rule.leave and not rule.leavings:
        raise InvalidInput(
            "leave is given, and no row can ever leave", expected="a filter, or columns in the name of the channel"
        )
    if Operation.TRUNCATE in rule.operations:
        used = [
            *rule.tests,
            *rule.columns,
            *rule.old,
            *(side for name in ("row", "new", "old") for side in rule._of(name)),
        ]
        if used or rule.leave:
            raise InvalidInput(
                "a rule for TRUNCATE uses columns, and there is no row", expected="no filter, leave or column in it"
            )


def _once(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))
