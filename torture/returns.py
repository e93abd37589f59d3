"""How clients come back after a node has sent them away: how long they wait, and whether they come as a herd.

Pure. Knows records; must not know where they come from.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Final

import msgspec

from torture.records import Closing, Hello, Opening, StreamLine

WINDOW: Final = 0.1
"""Seconds: what counts as coming at the same time."""

MOST_TOGETHER: Final = 0.30
"""Share of one restart's clients that may come within one window. Evenly spread over two seconds 5 % come in each, and of the
forty windows the fullest of a few dozen clients holds two or three times as many."""

MOST_OVERALL: Final = 0.10
"""The same for all restarts taken together, where chance evens out."""

FEWEST: Final = 20
"""Clients below which a restart says nothing about a share."""


class Return(msgspec.Struct, frozen=True, kw_only=True):
    """One client's way back.

    Attributes:
        node: that sent it away.
        closed: when (seconds of the machine's monotonic clock).
        retry: milliseconds after which it was asked to come back; None if it was not told.
        waited: seconds until it knocked at a node again.
        silent: seconds until it was connected again; None if it never was.
    """

    node: int
    closed: float
    retry: int | None
    waited: float
    silent: float | None


def returns(lines: Iterable[StreamLine]) -> list[Return]:
    """Every way back after a drain, by the time it began. The lines of each stream must be in order."""
    at: dict[int, int] = {}  # each stream's node
    away: dict[int, tuple[int, Closing, float | None]] = {}
    found = []
    for line in lines:
        match line:
            case Opening(stream=stream):
                at[stream] = line.node
                if stream in away and away[stream][2] is None:
                    away[stream] = (*away[stream][:2], line.at)
            case Closing(stream=stream, reason="drain"):
                away[stream] = (at[stream], line, None)
            case Hello(stream=stream) if stream in away:
                found.append(_return(*away.pop(stream), connected=line.at))
            case _:
                pass
    found += [_return(*each, connected=None) for each in away.values() if each[2] is not None]
    return sorted(found, key=lambda each: each.closed)


def _return(node: int, closing: Closing, opened: float | None, connected: float | None) -> Return:
    assert opened is not None
    return Return(
        node=node,
        closed=closing.at,
        retry=closing.retry,
        waited=opened - closing.at,
        silent=None if connected is None else connected - closing.at,
    )


def restarts(found: Sequence[Return], *, apart: float = 1.0) -> list[list[Return]]:
    """The ways back, by the restart that caused them: those of one node that began less than `apart` seconds after one
    another."""
    groups: list[list[Return]] = []
    for node in sorted({each.node for each in found}):
        mine = [each for each in found if each.node == node]
        groups.append(mine[:1])
        for before, after in pairwise(mine):
            if after.closed - before.closed > apart:
                groups.append([])
            groups[-1].append(after)
    return groups


def fullest(times: Sequence[float], window: float = WINDOW) -> float:
    """The largest share of `times` that lies within one window; 0 for none."""
    ordered = sorted(times)
    most = first = 0
    for last, time in enumerate(ordered):
        while ordered[first] < time - window:
            first += 1
        most = max(most, last - first + 1)
    return most / len(ordered) if ordered else 0.0


def histogram(times: Sequence[float], width: float = 0.25) -> list[tuple[float, int]]:
    """How many times lie in each interval, from the first that has any to the last: its lower end, and their number."""
    numbers = [int(time / width) for time in times]
    if not numbers:
        return []
    return [(number * width, numbers.count(number)) for number in range(min(numbers), max(numbers) + 1)]


def herds(found: Sequence[Return]) -> list[str]:
    """What is wrong with how the clients came back, as sentences."""
    wrong = [f"a client of node {each.node} was told no time to come back" for each in found if each.retry is None]
    for group in restarts(found):
        share = fullest([each.closed + each.waited for each in group])
        if len(group) >= FEWEST and share > MOST_TOGETHER:
            wrong.append(f"{share:.0%} of {len(group)} clients of node {group[0].node} came back within {WINDOW:g} s")
    overall = fullest([each.waited for each in found])
    if len(found) >= 10 * FEWEST and overall > MOST_OVERALL:
        wrong.append(f"{overall:.0%} of all {len(found)} clients waited the same time, give or take {WINDOW:g} s")
    return wrong
