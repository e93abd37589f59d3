"""The filter language: what it reads, what it refuses and in which words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.changes.grammar import MAX_FILTER_LENGTH, MAX_ITEMS, Operator, Test, parse_filter
from headwater.errors import InvalidInput

CASES = [
    ("", ()),
    ("   ", ()),
    ("id=eq.1", (Test("id", Operator.EQ, ("1",)),)),
    ("  id=eq.1  ", (Test("id", Operator.EQ, ("1",)),)),
    ("subject=eq.hey", (Test("subject", Operator.EQ, ("hey",)),)),
    ("subject=eq.", (Test("subject", Operator.EQ, ("",)),)),
    ("subject=eq.a.b=c", (Test("subject", Operator.EQ, ("a.b=c",)),)),
    ("subject=eq. hey", (Test("subject", Operator.EQ, (" hey",)),)),
    ("subject=not.like.hey%", (Test("subject", Operator.LIKE, ("hey%",), True),)),
    ("id=gt.0,id=lt.100", (Test("id", Operator.GT, ("0",)), Test("id", Operator.LT, ("100",)))),
    ("id=gte.0 , id=lte.100", (Test("id", Operator.GTE, ("0",)), Test("id", Operator.LTE, ("100",)))),
    ("at=neq.2026-01-01T00:00:00.5Z", (Test("at", Operator.NEQ, ("2026-01-01T00:00:00.5Z",)),)),
    ("subject=in.(hidee,ho)", (Test("subject", Operator.IN, ("hidee", "ho")),)),
    ("subject=not.in.( a , b )", (Test("subject", Operator.IN, ("a", "b"), True),)),
    ('subject=in.("a,b","c)d"," e ",\\"f)', (Test("subject", Operator.IN, ("a,b", "c)d", " e ", '"f')),)),
    ('subject=in.("","null",a\\,b,(c,d))', (Test("subject", Operator.IN, ("", "null", "a,b", "(c,d)")),)),
    ("at=in.(1),b=eq.2", (Test("at", Operator.IN, ("1",)), Test("b", Operator.EQ, ("2",)))),
    ("point=eq.(1,2),id=eq.3", (Test("point", Operator.EQ, ("(1,2)",)), Test("id", Operator.EQ, ("3",)))),
    ("point=eq.((1,2),(3,4))", (Test("point", Operator.EQ, ("((1,2),(3,4))",)),)),
    ("mood=eq.:),id=eq.3", (Test("mood", Operator.EQ, (":)",)), Test("id", Operator.EQ, ("3",)))),
    ('name=eq."a,b(c\\"d\\\\e"', (Test("name", Operator.EQ, ('a,b(c"d\\e',)),)),
    ('name=eq.a"b', (Test("name", Operator.EQ, ('a"b',)),)),
    ("name=eq.a\\b", (Test("name", Operator.EQ, ("a\\b",)),)),
    ("name=match.^(a|b),c$", None),
    ('name=match."^(a|b),c$"', (Test("name", Operator.MATCH, ("^(a|b),c$",)),)),
    ("name=imatch.^(a|b)$", (Test("name", Operator.IMATCH, ("^(a|b)$",)),)),
    ("name=ilike.%x%", (Test("name", Operator.ILIKE, ("%x%",)),)),
    ("done=is.null", (Test("done", Operator.IS, ("null",)),)),
    ("done=not.is.TRUE", (Test("done", Operator.IS, ("true",), True),)),
    ("done=isdistinct.5", (Test("done", Operator.ISDISTINCT, ("5",)),)),
    ("done=not.isdistinct.5", (Test("done", Operator.ISDISTINCT, ("5",), True),)),
    ("not=eq.not.eq", (Test("not", Operator.EQ, ("not.eq",)),)),
    ('"a=b,c"=eq.1', (Test("a=b,c", Operator.EQ, ("1",)),)),
    ('"a" = eq.1', None),
    ('"a" =eq.1,"b\\"c"=eq.2', (Test("a", Operator.EQ, ("1",)), Test('b"c', Operator.EQ, ("2",)))),
    ("Größe=eq.ß", (Test("Größe", Operator.EQ, ("ß",)),)),
    ("a'; DROP TABLE x; --=eq.'; DROP TABLE y", (Test("a'; DROP TABLE x; --", Operator.EQ, ("'; DROP TABLE y",)),)),
    ("undefined", "no column with a ="),
    ("=eq.1", "no column with a ="),
    ('"a"', "no column with a ="),
    ('""=eq.1', "no column with a ="),
    ("subject=foo.hey", "'foo' is no operator"),
    ("subject=EQ.hey", "'EQ' is no operator"),
    ("subject=not.not.eq.hey", "'not' is no operator"),
    ("subject=eq", "'eq' is no operator"),
    ("subject=", "there is no operator"),
    ("subject=not.", "there is no operator"),
    ("a=eq.1,", "nothing between two commas"),
    (",a=eq.1", "nothing between two commas"),
    ("a=eq.1,,b=eq.2", "nothing between two commas"),
    ("a=in.1,2", "list of `in` is not in parentheses"),
    ("a=in.", "list of `in` is not in parentheses"),
    ("a=in.(", "a parenthesis is not closed"),
    ("a=eq.(1", "a parenthesis is not closed"),
    ("a=in.()", "a value of the list is empty"),
    ("a=in.(1,)", "a value of the list is empty"),
    ("a=in.(1,null)", "NULL is in the list"),
    ("a=in.(NULL)", "NULL is in the list"),
    ('a=in.("b"c)', "something follows a quoted value"),
    ('a=eq."b"c', "something follows the quoted value"),
    ('a=eq."b', "a quote is not closed"),
    ('a=eq."b\\"', "a quote is not closed"),
    ('"a=eq.b', "a quote is not closed"),
    ("a=is.maybe", "'maybe' is nothing that `is` can ask for"),
    ("a=is.", "'' is nothing that `is` can ask for"),
    ("a=eq.\0", "which no text in Postgres can have"),
    ("a=eq.\ud800", "which no text in Postgres can have"),
    (f"a=in.({','.join('1' * (MAX_ITEMS + 1))})", f"the list has {MAX_ITEMS + 1} values"),
    ("a=eq." + "1" * MAX_FILTER_LENGTH, f"the filter has {MAX_FILTER_LENGTH + 5} characters"),
]


@pytest.mark.parametrize(("text", "expected"), [case for case in CASES if case[1] is not None])
def test_a_filter_is_read_or_refused(text: str, expected: tuple[Test, ...] | str) -> None:
    """The table of cases: tests in order, or an error that says which part is wrong."""
    if isinstance(expected, str):
        with pytest.raises(InvalidInput, match=expected.replace("(", r"\(")) as caught:
            parse_filter(text)
        assert caught.value.expected
        assert len(str(caught.value)) < 400
    else:
        assert parse_filter(text) == expected


def test_a_list_may_have_a_hundred_values() -> None:
    """As many as Supabase takes, and each one is kept."""
    (test,) = parse_filter(f"a=in.({','.join(map(str, range(MAX_ITEMS)))})")
    assert test.values == tuple(map(str, range(MAX_ITEMS)))


def test_a_filter_is_text() -> None:
    """Whatever else comes from a settings file is refused by name."""
    with pytest.raises(InvalidInput, match="the filter is int"):
        parse_filter(7)  # type: ignore[arg-type]


TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
SPECIAL = st.text(st.sampled_from(list(' "\\(),=.aN\n')), max_size=8)
NAMES = (TEXTS | SPECIAL).filter(bool)
VALUES = TEXTS | SPECIAL | st.sampled_from(["null", "NULL", "not.eq", "a b", " a", "a "])
ONE = st.sampled_from(sorted(set(Operator) - {Operator.IN, Operator.IS}))
TESTS = st.one_of(
    st.builds(Test, NAMES, ONE, st.tuples(VALUES), st.booleans()),
    st.builds(Test, NAMES, st.just(Operator.IN), st.lists(VALUES, min_size=1, max_size=5).map(tuple), st.booleans()),
    st.builds(Test, NAMES, st.just(Operator.IS), st.tuples(st.sampled_from(["null", "true"])), st.booleans()),
)


@given(st.lists(TESTS, max_size=4))
def test_what_is_written_is_read_as_the_same(tests: list[Test]) -> None:
    """Any tests, whatever their names and values have in them, come back from their text."""
    assert parse_filter(",".join(map(str, tests))) == tuple(tests)


@given(TEXTS | st.text(st.sampled_from(list('ab"\\(),=. ineq')), max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Nothing but tests or an `InvalidInput` comes of a text, and what is read can be written again."""
    try:
        tests = parse_filter(text)
    except InvalidInput:
        return
    assert parse_filter(",".join(map(str, tests))) == tests
