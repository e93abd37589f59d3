"""How clients' ways back are found in the records, and when they count as a herd."""

from __future__ import annotations

import random

import pytest

from torture.records import Closing, Ended, Hello, Opening, StreamLine
from torture.returns import FEWEST, Return, fullest, herds, histogram, restarts, returns


def back(node: int, closed: float, waited: float, retry: int | None = 1000) -> Return:
    """A client's way back."""
    return Return(node=node, closed=closed, retry=retry, waited=waited, silent=waited)


def spread(count: int, node: int = 0, closed: float = 0.0, seed: int = 1) -> list[Return]:
    """Clients that come back over two seconds, as they are asked to."""
    chance = random.Random(seed)
    return [back(node, closed, chance.uniform(0.5, 2.5)) for _ in range(count)]


def test_ways_back_are_found() -> None:
    """From the closing frame to the next knock, and to the next `connected`, wherever that is."""
    lines: list[StreamLine] = [
        Opening(1, 0.0, 2, ""),
        Opening(2, 0.0, 1, ""),
        Hello(1, 0.1, "e-1", "e-1"),
        Closing(1, 5.0, "drain", "e-1", 700),
        Closing(2, 5.1, "expired", "e-1", None),
        Ended(1, 5.0, "whole"),
        Opening(1, 5.7, 0, "e-1"),
        Ended(1, 5.7, "unreachable"),
        Opening(1, 5.9, 0, "e-1"),
        Opening(2, 6.0, 0, "e-1"),
        Hello(2, 6.0, "e-1", "e-1"),
        Hello(1, 6.0, "e-1", "e-1"),
    ]
    (found,) = returns(lines)
    assert (found.node, found.closed, found.retry) == (2, 5.0, 700)
    assert found.waited == pytest.approx(0.7)
    assert found.silent == pytest.approx(1.0)


def test_a_client_that_did_not_get_in_again_counts_as_waiting() -> None:
    """One that never even knocked does not: the run was over first."""
    gone: list[StreamLine] = [Opening(1, 0.0, 0, ""), Closing(1, 1.0, "drain", "e-1", 500)]
    assert returns(gone) == []
    (found,) = returns([*gone, Opening(1, 2.0, 0, "e-1")])
    assert found.silent is None


def test_restarts_are_told_apart() -> None:
    """By node, and by time."""
    found = [back(0, 1.0, 1), back(0, 1.1, 1), back(0, 9.0, 1), back(1, 1.05, 1)]
    assert [len(group) for group in restarts(found)] == [2, 1, 1]


def test_the_fullest_window() -> None:
    """The largest share of times that lie close together."""
    assert fullest([]) == 0
    assert fullest([0, 1, 2, 3]) == 0.25
    assert fullest([0, 1, 1.05, 1.1, 3, 4]) == 0.5


def test_a_histogram() -> None:
    """With its empty intervals."""
    assert histogram([0.6, 0.5, 1.3], 0.25) == [(0.5, 2), (0.75, 0), (1.0, 0), (1.25, 1)]
    assert histogram([]) == []


def test_spread_clients_are_no_herd() -> None:
    """Many restarts of a few dozen clients each, as the hub asks them to come back."""
    found = [each for number in range(50) for each in spread(60, number % 3, 10.0 * number, seed=number)]
    assert herds(found) == []


def test_a_herd_is_found() -> None:
    """Most of one restart's clients at the same time; the same wait for all over all restarts; no word at all."""
    (wrong,) = herds([*spread(FEWEST), *(back(0, 0.1, 0.5) for _ in range(FEWEST))])
    assert "clients of node 0 came back within" in wrong
    few = [back(node, 10.0 * number, 1.0) for number in range(20) for node in range(10)]
    (wrong,) = herds(few)
    assert "100% of all 200 clients" in wrong
    assert herds([back(0, 0, 1, retry=None)]) == ["a client of node 0 was told no time to come back"]
