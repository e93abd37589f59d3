"""What goes to the database over a link, and comes back as it was."""

from __future__ import annotations

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.brokers.postgres.link import ArrayDumper
from tests.support.postgres import shared_server

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
hostile = st.sampled_from(["", "NULL", "{}", '"', "\\", '\\"', "a,b", "{a}", " ", "\n", "é"])


@given(st.lists(st.one_of(st.none(), texts, hostile)), st.lists(st.integers(-(2**63), 2**63 - 1)))
def test_lists_arrive_as_they_are(words: list[str | None], numbers: list[int]) -> None:
    """Whatever is in them: quotes, braces, commas, backslashes, the word NULL, and nothing."""
    with psycopg.connect(shared_server().url()) as connection:
        connection.adapters.register_dumper(list, ArrayDumper)
        given = words, numbers, [None] * len(words), [None, *numbers]
        found = connection.execute("SELECT %s::text[], %s::bigint[], %s::text[], %s::bigint[]", given).fetchone()
    assert found == given


def test_a_text_that_no_database_holds_is_refused() -> None:
    """Otherwise it would end at its NUL without a word."""
    with psycopg.connect(shared_server().url()) as connection:
        connection.adapters.register_dumper(list, ArrayDumper)
        with pytest.raises(psycopg.DataError, match="NUL"):
            connection.execute("SELECT %s::text[]", (["a\0b"],))
