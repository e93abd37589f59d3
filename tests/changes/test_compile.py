"""Filters as conditions of triggers: what they let through is what Postgres itself answers."""

from __future__ import annotations

import re
from typing import Any

import pytest

from headwater.changes import Operation, Rule
from headwater.changes.compile import condition, schemas
from headwater.changes.table import Column, Table
from headwater.errors import InvalidInput
from tests.changes.database import Database

COMPARED = {"eq": "=", "neq": "<>", "lt": "<", "lte": "<=", "gt": ">", "gte": ">="}
DISTINCT = {"isdistinct": "IS DISTINCT FROM"}
PATTERNS = {"like": "LIKE", "ilike": "ILIKE", "match": "~", "imatch": "~*"}
EQUAL = {"eq": "=", "neq": "<>", "isdistinct": "IS DISTINCT FROM"}

TYPES: dict[str, tuple[list[str], dict[str, str]]] = {
    "smallint": (["-1", "7"], COMPARED),
    "bigint": (["9007199254740993", "9007199254740992"], COMPARED),
    "numeric(10,2)": (["1.50", "1.5", "NaN"], COMPARED | DISTINCT),
    "double precision": (["1.5", "Infinity", "NaN"], COMPARED),
    "text": (["", "B", "it's \"\\", "null"], COMPARED | DISTINCT | PATTERNS),
    "varchar(3)": (["a", "abcd"], EQUAL | PATTERNS),
    "char(4)": (["a ", "abcde"], COMPARED | {"like": "LIKE"}),
    "boolean": (["true", "f"], COMPARED | DISTINCT),
    "date": (["2026-01-02", "infinity"], COMPARED),
    "timestamptz": (["2026-01-02 03:04:05.6+02", "2026-01-02T01:04:05.6Z"], COMPARED),
    "timestamp": (["2026-01-02 03:04:05"], COMPARED),
    "interval": (["1 day", "24:00:00", "P1M"], COMPARED),
    "uuid": (["A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a12"], COMPARED),
    "bytea": (["\\x01ff", "\\x", "abc"], COMPARED),
    "int[]": (["{1,2}", "{}", "{NULL}"], COMPARED),
    "jsonb": (['{"a": 1.0}', '{"a":1}', "null"], COMPARED),
    "json": (['{"a": 1}', '{"a":1}'], EQUAL),
    "point": (["(1,2)", "(1,3)"], EQUAL),
    "inet": (["10.0.0.1", "10.0.0.0/8"], COMPARED),
    "int4range": (["[1,3)", "empty"], COMPARED),
    "mood": (["sad", "happy"], COMPARED),
    "positive": (["1", "7"], COMPARED),
    '"odd {}% Type"': (["x", "y"], COMPARED),
}
"""Types, values, and the operators that they have."""

COMPARED_AS_TEXT = ("json", "point")


def quoted(value: str) -> str:
    """As a value of a filter."""
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def literal(value: str | None) -> str:
    """As SQL, with the simplest of rules."""
    return "NULL" if value is None else "'" + value.replace("'", "''") + "'"


def filters(values: list[str], operators: dict[str, str], cast: str) -> dict[str, str]:
    """Filters for a column named c, and what each means in SQL: as Supabase documents it."""
    pairs: dict[str, str] = {}
    for value in values:
        for operator, meaning in operators.items():
            if operator not in PATTERNS:
                type = cast
                pairs[f"c={operator}.{quoted(value)}"] = f"c{type} {meaning} {literal(value)}{type}"
    for operator, meaning in operators.items():
        if operator in PATTERNS:
            for pattern in ("a", "%A%", "^[a-b]"):
                pairs[f"c={operator}.{quoted(pattern)}"] = f"c {meaning} {literal(pattern)}"
    listed = ", ".join(f"{literal(value)}{cast}" for value in values)
    pairs[f"c=in.({','.join(map(quoted, values))})"] = f"c{cast} IN ({listed})"
    pairs["c=is.null"] = "c IS NULL"
    negated = {text.replace("=", "=not.", 1): f"NOT ({meaning})" for text, meaning in pairs.items()}
    return pairs | negated


@pytest.fixture(scope="module", autouse=True)
def own_types(database: Database) -> None:
    """An enum, a domain with a check, and a type with a hostile name."""
    database.run("CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy')")
    database.run("CREATE DOMAIN positive AS int CHECK (value > 0)")
    database.run("CREATE TYPE \"odd {}% Type\" AS ENUM ('x', 'y')")


CASES = [(18, type) for type in TYPES] + [
    (16, type) for type in ("numeric(10,2)", "text", "timestamptz", "json", "mood")
]
"""Operators of types are older than all versions that we know; one version is asked for all of them."""


@pytest.mark.parametrize(("database", "type"), CASES, indirect=["database"])
async def test_a_filter_means_what_postgres_says(database: Database, type: str) -> None:
    """Each operator on each type, with values, other values and NULL: an INSERT and an UPDATE ask the new row, a DELETE
    the old one, and the events are those for which the database answers true. Negated ones are asked with INSERT."""
    table = f"t{list(TYPES).index(type)}"
    rules = meanings(type)
    whole = {n for n, text in enumerate(rules) if not text.startswith("c=not.")}
    rows = {n: literal(value) for n, value in enumerate([*(fitting(value, type) for value in TYPES[type][0]), None])}
    answers = ", ".join(f"({meaning}) IS TRUE" for meaning in rules.values())
    database.run(f"CREATE TABLE {table} (id int, c {type})")
    await database.install(*(rule_for(table, n, text) for n, text in enumerate(rules)))

    def matching() -> dict[int, set[int]]:
        """Which rows each filter lets through, by the database's own answer."""
        found = database.run(f"SELECT id, ARRAY[{answers}] FROM {table}")
        return {n: {id for id, matches in found if matches[n]} for n in range(len(rules))}

    def captured(op: str) -> dict[int, set[int]]:
        """Which rows' events there are, by filter."""
        found = [row for row in written if row.op == op]
        answer: dict[int, set[int]] = {n: set() for n in range(len(rules)) if op == "I" or n in whole}
        for row in found:
            answer[int(row.rule[1:])].add((row.new or row.old)["id"])
        assert len(found) == sum(map(len, answer.values()))
        return answer

    for id, value in rows.items():
        database.run(f"INSERT INTO {table} VALUES ({id}, {value})")
    written = database.captured()
    before = matching()
    assert captured("I") == before
    for id in rows:
        database.run(f"UPDATE {table} SET c = {rows[(id + 1) % len(rows)]} WHERE id = {id}")
    written = database.captured()
    after = {n: ids for n, ids in matching().items() if n in whole}
    assert captured("U") == after
    assert captured("L") == {n: before[n] - after[n] for n in after}
    database.run(f"DELETE FROM {table}")
    written = database.captured()
    assert captured("D") == after


def meanings(type: str) -> dict[str, str]:
    """Filters for a type, with what each means in SQL."""
    base = {"char(4)": "bpchar", "positive": "int", **dict.fromkeys(COMPARED_AS_TEXT, "text")}
    rules = filters(*TYPES[type], f"::{base.get(type, type.partition('(')[0])}")
    if type == "boolean":
        states = [(no, state) for no in ("", "not.") for state in ("true", "unknown")]
        rules |= {f"c={no}is.{state}": f"c IS {no and 'NOT '}{state}" for no, state in states}
    return rules


def fitting(value: str, type: str) -> str:
    """A value as a column of the type can hold it."""
    length = re.search(r"char\((\d)\)", type)
    return value[: int(length[1])] if length else value


def rule_for(table: str, number: int, text: str) -> Rule:
    """A rule with a filter."""
    given: dict[str, Any] = {"event": "INSERT"} if text.startswith("c=not.") else {"leave": True}
    return Rule(table=table, channel="c", filter=text, data=["id"], name=f"r{number}", **given)


async def test_several_tests_must_all_hold(database: Database) -> None:
    """They are joined by AND, also those of one column."""
    database.run("CREATE TABLE several (id int, a int)")
    await database.install(Rule(table="several", channel="c", filter="a=gt.1,a=lt.4,id=not.in.(2)", data=["id"]))
    database.run("INSERT INTO several SELECT n, n FROM generate_series(0, 5) AS n")
    assert [row.new["id"] for row in database.captured()] == [3]


WHAT = Table(
    schema="public",
    name="t",
    columns={
        column.name: column
        for column in (
            Column(name="n", type="integer"),
            Column(name="s", text=True),
            Column(name="vague", text=True, deterministic=False),
            Column(name="p", type="point", equal=False, ordered=False),
            Column(name="x", type="xid", ordered=False),
            Column(name="b", type="boolean", boolean=True),
            Column(name="at", type="timestamp with time zone"),
            Column(name="span", type="tstzrange"),
            Column(name="c", type="ext.citext", type_schema="ext", text=True),
        )
    },
)


def compiled(text: str, operation: Operation = Operation.INSERT, **given: Any) -> str:
    """The condition of a rule with a filter, as SQL."""
    rule = Rule(table="t", channel=given.pop("channel", "c"), filter=text, **given)
    made = condition(rule, WHAT, operation)
    return "" if made is None else made.as_string()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("missing=eq.1", "table public.t has no column 'missing'"),
        ("p=lt.(1,2)", "needs an order, and point has none"),
        ("x=gte.1", "needs an order, and xid has none"),
        ("n=like.a", "needs a text, and n is integer"),
        ("n=not.imatch.a", "needs a text, and n is integer"),
        ("vague=match.a", "collation"),
        ("s=like.a\\", "ends in a single backslash"),
        ("s=ilike.\\\\\\", "ends in a single backslash"),
        ("s=is.true", "needs a truth value, and s is text"),
        ("at=gt.now", "'now', which would stay"),
        ('at=in.("2026-01-01","Today 10:00")', "'Today 10:00', which would stay"),
        ('span=eq."[yesterday,)"', "which would stay"),
    ],
)
def test_a_test_that_does_not_suit_its_column_is_refused(text: str, message: str) -> None:
    """Before a trigger could fail while the application writes."""
    with pytest.raises(InvalidInput, match=message.replace("(", r"\(")) as caught:
        compiled(text)
    assert caught.value.expected


def test_what_looks_alike_and_is_right() -> None:
    """Backslashes in pairs, relative words in other types, and patterns of types that have their own."""
    assert compiled("s=like.a\\\\") == """(NEW."s" ~~  E'a\\\\\\\\'::pg_catalog.text)"""
    assert compiled("s=eq.now") == """(NEW."s" = 'now'::text)"""
    assert compiled("c=like.A") == """(NEW."c" ~~ 'A'::ext.citext)"""
    assert compiled("b=not.is.TRUE", Operation.DELETE) == """(NOT (OLD."b" IS TRUE))"""
    assert compiled("vague=eq.a") == """(NEW."vague" = 'a'::text)"""


def test_when_changed() -> None:
    """Any of the columns, compared by value, or as text where the type knows no equality; `*` looks at all of the row."""
    assert compiled("", Operation.UPDATE, when_changed=["n", "p"]) == (
        '(OLD."n" IS DISTINCT FROM NEW."n" OR OLD."p"::pg_catalog.text IS DISTINCT FROM NEW."p"::pg_catalog.text)'
    )
    assert compiled("", Operation.UPDATE, when_changed=["*"]) == "(OLD.* OPERATOR(pg_catalog.*<>) NEW.*)"
    assert compiled("n=eq.1", Operation.INSERT, when_changed=["n"]) == """(NEW."n" = '1'::integer)"""
    with pytest.raises(InvalidInput, match="no column 'missing'"):
        compiled("", Operation.UPDATE, when_changed=["missing"])


def test_leaving() -> None:
    """The old row matched, and the new one does not; or it does, and belongs to another channel. Where nobody is told of a
    row that does not match any more, a row that has moved may match or not."""
    assert compiled("n=eq.1", Operation.LEAVE, leave=True) == (
        """(OLD."n" = '1'::integer) AND ((NEW."n" = '1'::integer) IS NOT TRUE)"""
    )
    assert compiled("", Operation.MOVE, channel="x:{s}") == '(OLD."s" IS DISTINCT FROM NEW."s")'
    assert compiled("n=eq.1", Operation.MOVE, channel="x:{s}") == (
        """(OLD."n" = '1'::integer) AND (OLD."s" IS DISTINCT FROM NEW."s")"""
    )
    assert compiled("n=eq.1", Operation.MOVE, leave=True, channel="x:{s}") == (
        """(OLD."n" = '1'::integer) AND (NEW."n" = '1'::integer) AND (OLD."s" IS DISTINCT FROM NEW."s")"""
    )


def test_where_there_is_nothing_to_ask() -> None:
    """A rule without a filter has no condition."""
    assert compiled("") == ""
    assert condition(Rule(table="t", channel="c", event="TRUNCATE"), WHAT, Operation.TRUNCATE) is None


def test_where_operators_are_found() -> None:
    """In the schemas of the types, after Postgres' own."""
    rule = Rule(table="t", channel="x:{s}", filter="c=eq.1,n=eq.1", when_changed=["*"], leave=True)
    assert schemas(rule, WHAT) == ("pg_catalog", "ext")
