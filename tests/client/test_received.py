"""What a subscriber gets."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from headwater.client import ReceivedEvent, Reset, State, Status
from headwater.errors import ProtocolError


@dataclass
class Log:
    """What an application expects in an event."""

    message: str


def test_data_is_read_as_json() -> None:
    """As plain values, or as a type of the application's own."""
    event = ReceivedEvent(id="e-1", type="log", data='{"message":"Starting"}')
    assert event.json() == {"message": "Starting"}
    assert event.json(Log) == Log("Starting")


@pytest.mark.parametrize("data", ["", "hello", '{"message":1}', "1e999", pytest.param("[" * 100_000, id="deep")])
def test_data_that_is_not_what_was_expected(data: str) -> None:
    """Text, or JSON of another type, is an error that names the event."""
    with pytest.raises(ProtocolError, match="event e-1"):
        ReceivedEvent(id="e-1", type="log", data=data).json(Log)


@pytest.mark.parametrize(
    ("data", "reset"),
    [
        ('{"reason":"expired","cursor":"e-5"}', Reset("expired", "e-5")),
        ('{"reason":"expired","cursor":"e-5","more":1}', Reset("expired", "e-5")),
        ('{"reason":"overflow"}', Reset("overflow", "")),
        ("{}", Reset("unknown", "")),
        ("null", Reset("unknown", "")),
        ("{", Reset("unknown", "")),
        pytest.param('{"more":' + "[" * 100_000, Reset("unknown", ""), id="deep"),
    ],
)
def test_a_reset_is_read_as_far_as_possible(data: str, reset: Reset) -> None:
    """A reset is news even where its details cannot be read."""
    assert Reset.parse(data) == reset


@pytest.mark.parametrize(
    ("status", "line"),
    [
        (Status(state=State.OPEN), "open"),
        (Status(state=State.FAILED, reason="403 Forbidden"), "failed: 403 Forbidden"),
        (Status(state=State.WAITING, reason="the stream ended", delay=2.25), "waiting for 2.2 s: the stream ended"),
    ],
)
def test_a_status_in_one_line(status: Status, line: str) -> None:
    """As a person would say it."""
    assert str(status) == line
