"""A stream's life is its table, and it costs what its slots cost."""

from __future__ import annotations

import sys
from itertools import product

import pytest

from headwater.stream import INFINITY, TRANSITIONS, Happening, State, Stream


class Nowhere:
    """A writer that nothing is written to."""

    chunked = False

    def write(self, data: bytes, /) -> None:
        """Never called."""

    def finish(self) -> None:
        """Never called."""

    def abort(self) -> None:
        """Never called."""


def in_state(state: State) -> Stream:
    """A stream that has got there."""
    stream = Stream(1, Nowhere())
    stream.state = state
    return stream


@pytest.mark.parametrize(("state", "what"), list(product(State, Happening)))
def test_a_stream_moves_as_the_table_says_and_not_otherwise(state: State, what: Happening) -> None:
    """What is in the table moves it, what is not leaves it where it is."""
    stream = in_state(state)
    moves = (state, what) in TRANSITIONS
    assert stream.happen(what) is moves
    assert stream.state is (TRANSITIONS[state, what] if moves else state)


def test_nothing_leads_out_of_the_end() -> None:
    """A closed stream stays closed, whatever its socket still reports; every other one can end."""
    assert not [here for here, _ in TRANSITIONS if here is State.CLOSED]
    assert {here for here, what in TRANSITIONS if what is Happening.ENDED} == set(State) - {State.CLOSED}


def test_only_a_stream_that_has_caught_up_is_live() -> None:
    """There is one way into the live set, so there is one place to prove that nothing is missing."""
    assert [key for key, there in TRANSITIONS.items() if there is State.LIVE] == [
        (State.REPLAYING, Happening.CAUGHT_UP)
    ]


def test_a_new_stream_replays_from_its_position() -> None:
    """It begins behind, owes nothing, and nothing is due for it."""
    writer = Nowhere()
    stream = Stream(7, writer, principal_id="ada", position=5)
    assert (stream.id, stream.principal_id, stream.position) == (7, "ada", 5)
    assert stream.state is State.REPLAYING
    assert (stream.reset, stream.release, stream.task, stream.view) == (None, None, None, None)
    assert stream.write == writer.write
    assert stream.next_due == INFINITY


@pytest.mark.parametrize("name", ["heartbeat_at", "warn_at", "expires_at", "lag_deadline"])
def test_the_next_thing_due_is_the_earliest(name: str) -> None:
    """Whatever comes first is when a stream must be looked at."""
    stream = in_state(State.LIVE)
    stream.heartbeat_at = stream.warn_at = stream.expires_at = stream.lag_deadline = 20.0
    setattr(stream, name, 10.0)
    assert stream.next_due == 10.0


def test_a_stream_is_small() -> None:
    """It has no instance dictionary, and its slots take less than 400 bytes."""
    stream = in_state(State.LIVE)
    assert not hasattr(stream, "__dict__")
    assert sys.getsizeof(stream) < 400
