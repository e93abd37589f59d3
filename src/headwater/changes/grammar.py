"""The filter language of row changes: Supabase's, from text to values and back.

Pure: knows no table, no type and no SQL. What a filter means is `compile`'s business; that nothing malformed gets there
is settled here.

    filter  = "" | test *("," test)             all of them must hold
    test    = column "=" ["not."] operator "." value
    column  = anything without "=" | quoted
    value   = anything without a comma outside of parentheses | quoted
            | "(" item *("," item) ")"          for `in`: 1 to 100 items, each bare or quoted
            | "null" | "true" | "false" | "unknown"      for `is`
    quoted  = '"' characters, of which '"' and "\\" stand behind a "\\" '"'
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import StrEnum
from typing import Final

import msgspec

from headwater.errors import InvalidInput

MAX_FILTER_LENGTH: Final = 20_000
"""Characters of one filter: a hundred values of a list, each of which may be long, and no more than a person can check."""

MAX_ITEMS: Final = 100
"""Values of one `in` list, as in Supabase."""

_STATES: Final = ("null", "true", "false", "unknown")
_PLAIN_COLUMN = re.compile(r"[^\s\"=,().]([^=,().]*[^\s=,().])?\Z")
_PLAIN_VALUE = re.compile(r"[^\s\"(),]([^(),]*[^\s(),])?\Z")
_PLAIN_ITEM = re.compile(r"[^\s\"(),\\]([^(),\\]*[^\s(),\\])?\Z")
_FORBIDDEN = re.compile("[\x00\ud800-\udfff]")
_EXAMPLE: Final = "tests such as status=eq.open, separated by commas"


class Operator(StrEnum):
    """What a test asks of a column."""

    EQ = "eq"
    NEQ = "neq"
    LT = "lt"
    LTE = "lte"
    GT = "gt"
    GTE = "gte"
    IN = "in"
    LIKE = "like"
    ILIKE = "ilike"
    IS = "is"
    MATCH = "match"
    IMATCH = "imatch"
    ISDISTINCT = "isdistinct"


class Test(msgspec.Struct, frozen=True):
    """One condition on one column.

    Attributes:
        column: its name, exactly as the table has it.
        operator: what is asked.
        values: one, or for `in` up to `MAX_ITEMS`. For `is` one of null, true, false, unknown.
        negated: whether `not.` stands before the operator.
    """

    __test__ = False  # pytest, this is not one of yours

    column: str
    operator: Operator
    values: tuple[str, ...]
    negated: bool = False

    def __str__(self) -> str:
        """The test as a filter that `parse_filter` reads as the same test."""
        column = self.column if _PLAIN_COLUMN.match(self.column) else _quote(self.column)
        if self.operator is Operator.IN:
            value = f"({','.join(item if _is_plain_item(item) else _quote(item) for item in self.values)})"
        else:
            value = self.values[0] if _PLAIN_VALUE.match(self.values[0]) else _quote(self.values[0])
        return f"{column}={'not.' if self.negated else ''}{self.operator}.{value}"


def parse_filter(text: str) -> tuple[Test, ...]:
    """The tests of a filter, all of which must hold; none for an empty filter.

    Raises:
        InvalidInput: it is malformed. The sentence names the part that is.
    """
    if not isinstance(text, str):
        raise InvalidInput(f"the filter is {type(text).__name__}, not text", expected=_EXAMPLE)
    if len(text) > MAX_FILTER_LENGTH:
        raise InvalidInput(f"the filter has {len(text)} characters", expected=f"at most {MAX_FILTER_LENGTH}")
    if match := _FORBIDDEN.search(text):
        raise InvalidInput(
            f"the filter has the character {match[0]!a}, which no text in Postgres can have", expected=_EXAMPLE
        )
    if not text.strip():
        return ()
    return tuple(_test(segment.strip(), text) for segment in _split(text))


def _split(text: str, *, escapes: bool = False) -> Iterator[str]:
    """The parts between commas that stand in no parentheses and no quotes. A quote begins a quoted part only where a
    value or a name begins. With `escapes`, a character behind a backslash means nothing outside of quotes either."""
    depth = start = at = 0
    begins = True
    while at < len(text):
        char = text[at]
        if char == '"' and begins:
            at = _end_of_quoted(text, at)
            begins = False
            continue
        if char == "," and depth == 0:
            yield text[start:at]
            start = at + 1
        depth += (char == "(") - (char == ")" and depth > 0)
        begins = char in ".(," or (begins and char.isspace())
        at += 2 if escapes and char == "\\" else 1
    if depth:
        raise _wrong(text, "a parenthesis is not closed", 'a value with parentheses or commas in quotes: name=eq."a(b"')
    yield text[start:]


def _end_of_quoted(text: str, start: int) -> int:
    """Where the quoted part that begins at `start` has ended."""
    at = start + 1
    while at < len(text) and text[at] != '"':
        at += 2 if text[at] == "\\" else 1
    if at >= len(text):
        raise _wrong(text, "a quote is not closed", 'a " at the end, and \\" for one within')
    return at + 1


def _test(segment: str, text: str) -> Test:
    if not segment:
        raise _wrong(text, "there is nothing between two commas, or before or after one", _EXAMPLE)
    column, rest = _column(segment, text)
    negated = rest.startswith("not.")
    name, dot, value = rest.removeprefix("not.").partition(".")
    if not dot or name not in list(Operator):
        shown = f"{name[:40]!r} is no operator" if name else "there is no operator"
        raise _wrong(
            segment, shown, f"column=operator.value with one of {', '.join(Operator)}, or not. and one of them"
        )
    operator = Operator(name)
    return Test(column, operator, tuple(_values(operator, value, segment)), negated)


def _column(segment: str, text: str) -> tuple[str, str]:
    if segment.startswith('"'):
        end = _end_of_quoted(segment, 0)
        column, rest = _unquote(segment[:end]), segment[end:].lstrip()
        equals, rest = rest[:1], rest[1:]
    else:
        column, equals, rest = segment.partition("=")
        column = column.rstrip()
    if equals != "=" or not column:
        raise _wrong(segment, "there is no column with a = behind it", _EXAMPLE)
    return column, rest


def _values(operator: Operator, value: str, segment: str) -> Iterator[str]:
    if operator is Operator.IN:
        yield from _items(value, segment)
    elif operator is Operator.IS:
        if value.lower() not in _STATES:
            raise _wrong(segment, f"{value[:40]!r} is nothing that `is` can ask for", f"one of {', '.join(_STATES)}")
        yield value.lower()
    elif value.startswith('"'):
        if _end_of_quoted(value, 0) != len(value):
            raise _wrong(segment, "something follows the quoted value", 'a value wholly in quotes, as in name=eq."a,b"')
        yield _unquote(value)
    else:
        yield value


def _items(value: str, segment: str) -> Iterator[str]:
    if not (len(value) >= 2 and value[0] == "(" and value[-1] == ")"):
        raise _wrong(segment, "the list of `in` is not in parentheses", "in.(a,b)")
    items = list(_split(value[1:-1], escapes=True))
    if len(items) > MAX_ITEMS:
        raise _wrong(segment, f"the list has {len(items)} values", f"at most {MAX_ITEMS}")
    for item in map(str.strip, items):
        if not item:
            raise _wrong(segment, "a value of the list is empty", 'in.(a,b), and "" for the empty text')
        if item.lower() == "null":
            raise _wrong(
                segment, "NULL is in the list, which nothing equals", 'is.null to find NULL, or "null" for the text'
            )
        if item.startswith('"') and _end_of_quoted(item, 0) != len(item):
            raise _wrong(segment, "something follows a quoted value", 'values wholly in quotes, as in in.("a,b",c)')
        yield _unquote(item) if item.startswith('"') else _unescape(item)


def _unquote(quoted: str) -> str:
    return _unescape(quoted[1:-1])


def _unescape(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL)


def _quote(text: str) -> str:
    return '"' + re.sub(r'(["\\])', r"\\\1", text) + '"'


def _is_plain_item(item: str) -> bool:
    return _PLAIN_ITEM.match(item) is not None and item.lower() != "null"


def _wrong(part: str, what: str, expected: str) -> InvalidInput:
    shown = part if len(part) <= 80 else part[:77] + "..."
    return InvalidInput(f"the filter {shown!r} cannot be read: {what}", expected=expected)
