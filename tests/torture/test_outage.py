"""What counts as a broken promise while the store is away."""

from __future__ import annotations

import msgspec
import pytest

from torture.outage import Answer, Outage, Sight, judge_outage
from torture.records import Beat, Ended, Hello, Opening, StreamLine

HEARTBEAT = 1.0


def sights(red: float = 2.0, green: float = 1.0) -> list[Sight]:
    """Two nodes, asked every half second from 100 on: an outage from 110 to 120."""
    times = [100 + 0.5 * step for step in range(60)]
    return [Sight(node=node, at=at, is_ready=not 110 + red <= at < 120 + green) for at in times for node in (0, 1)]


def answer(**changes: object) -> Answer:
    """A refusal as it should be."""
    return msgspec.structs.replace(Answer(status=503, took=2.1, retry_after="1"), **changes)


def outage(**changes: object) -> Outage:
    """An outage as it should be seen."""
    good = Outage(how="killed", begun=110, over=120, until=125, wait=2.0, sights=sights(), answers=[answer()])
    return msgspec.structs.replace(good, **changes)


def lines() -> list[StreamLine]:
    """A stream that stays open and hears a heartbeat every second."""
    beats = [Beat(1, 100.0 + second, "e-1") for second in range(30)]
    return [Opening(1, 99.0, 0, ""), Hello(1, 99.5, "e-1", "e-1"), *beats]


def wrong(seen: Outage, found: list[StreamLine] | None = None) -> list[str]:
    """What is wrong, as sentences."""
    return [each.what for each in judge_outage(seen, lines() if found is None else found, heartbeat=HEARTBEAT)]


def test_a_good_outage_is_good() -> None:
    """Red in time, green in time, refusals in time, streams that hear something."""
    assert wrong(outage()) == []
    assert outage().red_after == pytest.approx(2.0)
    assert outage().green_after == pytest.approx(1.0)


@pytest.mark.parametrize(("red", "green", "part"), [(6.0, 1.0, "not ready (6"), (2.0, 6.0, "is ready (6")])
def test_readiness_must_follow(red: float, green: float, part: str) -> None:
    """Within five seconds, both ways."""
    (what,) = wrong(outage(sights=sights(red, green)))
    assert part in what


def test_one_node_that_notices_nothing_is_enough() -> None:
    """Every node has to say it."""
    deaf = [msgspec.structs.replace(each, is_ready=each.is_ready or each.node == 1) for each in sights()]
    assert outage(sights=deaf).red_after is None
    (what,) = wrong(outage(sights=deaf))
    assert "not every node" in what
    hopeless = [msgspec.structs.replace(each, is_ready=each.is_ready and each.at < 110) for each in sights()]
    assert outage(sights=hopeless).green_after is None


def test_readiness_does_not_flicker() -> None:
    """Once red, a node stays red until the store is back."""
    flicker = Sight(node=1, at=115.0, is_ready=True)
    assert wrong(outage(sights=[*sights(), flicker])) == ["store killed: node 1 said that it is ready, 5.0 s into it"]


@pytest.mark.parametrize(
    ("bad", "part"),
    [
        (answer(status=201), "answered with 201"),
        (answer(status=500), "answered with 500"),
        (answer(retry_after=None), "Retry-After None"),
        (answer(retry_after="soon"), "Retry-After 'soon'"),
        (answer(took=0.1), "took 0.1 s"),
        (answer(took=8.0), "took 8.0 s"),
    ],
)
def test_refusals_are_clear_and_in_time(bad: Answer, part: str) -> None:
    """503, with a time to come back, after the configured wait: neither at once nor much later."""
    (what,) = wrong(outage(answers=[answer(), bad]))
    assert part in what


def test_streams_stay_open() -> None:
    """One that was open must not end; one that ended before, or comes later, is no matter."""
    (what,) = wrong(outage(), [*lines(), Ended(1, 121.0, "lost")])
    assert "stream 1 ended (lost) 11.0 s into it" in what
    assert wrong(outage(), [Hello(1, 99.0, "e-1", "e-1"), Ended(1, 109.0, "left")]) == []
    assert wrong(outage(), [*lines(), Ended(1, 126.0, "left")]) == []
    assert wrong(outage(), [Hello(1, 112.0, "e-1", "e-1"), Ended(1, 113.0, "left")]) == []


def test_streams_hear_heartbeats() -> None:
    """All the time, not only at its beginning."""
    silent = [line for line in lines() if not (isinstance(line, Beat) and 112 < line.at < 120)]
    (what,) = wrong(outage(), silent)
    assert "no heartbeat for 8.0 s" in what
