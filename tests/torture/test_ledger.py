"""The ledger finds every way in which a log can differ from what was published and acknowledged."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from tests.torture.made import cursor, log, logged, published, said
from torture.ledger import Ledger
from torture.oracle import Log, Logged
from torture.records import Acknowledged, Meant, PublisherLine, Refused

Change = Callable[[list[Logged]], object]


def kinds(lines: list[PublisherLine], found: Log) -> set[str]:
    """What is wrong."""
    return {violation.kind for violation in Ledger(lines).judge(found)}


def change(events: list[Logged], **fields: object) -> None:
    """Change one of the events."""
    events[3] = msgspec.structs.replace(events[3], **fields)


def changed(change: Change) -> Log:
    """A log after a change of its events."""
    events = list(log().events)
    change(events)
    return Log(epoch="e1", head=40, events=tuple(events))


def test_a_right_log_is_right() -> None:
    """And counted."""
    ledger = Ledger(published())
    assert ledger.judge(log()) == []
    assert (ledger.meant, ledger.acknowledged, ledger.refusals) == (40, 40, 0)


@pytest.mark.parametrize(
    ("happens", "expected"),
    [
        (lambda events: events.pop(7), {"torn", "unacknowledged"}),
        (lambda events: (events.pop(6), events.pop(6)), {"lost"}),
        (lambda events: events.append(msgspec.structs.replace(events[0], seq=40)), {"doubled", "log"}),
        (
            lambda events: events.__setitem__(3, msgspec.structs.replace(events[3], id="p-99")),
            {"foreign", "torn", "unacknowledged"},
        ),
        (lambda events: events.__setitem__(3, msgspec.structs.replace(events[3], crc=1)), {"altered"}),
        (lambda events: events.__setitem__(3, msgspec.structs.replace(events[3], channel="z")), {"altered"}),
        (
            lambda events: events.__setitem__(3, msgspec.structs.replace(events[3], permissions=frozenset({"root"}))),
            {"altered"},
        ),
        (lambda events: events.insert(4, events.pop(9)), {"log"}),
        (lambda events: events.append(msgspec.structs.replace(events[0], seq=41, id="p-41")), {"foreign", "log"}),
    ],
)
def test_a_wrong_log_is_wrong(happens: Change, expected: set[str]) -> None:
    """Events missing, doubled, moved, changed or invented."""
    assert kinds(published(), changed(happens)) == expected


def test_an_answer_must_be_true() -> None:
    """The positions told are those in the log, of the same epoch."""
    lines = published()
    lines[1] = Acknowledged("p-0", 1, 2.0, (cursor(2), cursor(1)))
    assert kinds(lines, log()) == {"unacknowledged"}
    lines[1] = Acknowledged("p-0", 1, 2.0, ("e2-1", "e2-2"))
    assert kinds(lines, log()) == {"unacknowledged"}
    lines[1] = Acknowledged("p-0", 1, 2.0, ("1", "2"))
    assert "unacknowledged" in kinds(lines, log())


def test_what_was_never_answered_is_there_whole_or_not_at_all() -> None:
    """Its publisher was killed, or had no key to try again with."""
    lines = published()
    lines[5] = Refused("p-0", 5, 2.0, "Unreachable", False)
    assert kinds(lines, log()) == set()
    assert kinds(lines, log(without=[5, 6])) == set()
    assert kinds(lines, log(without=[5])) == {"torn"}


def test_what_has_a_key_is_not_given_up() -> None:
    """A refusal for good of something that may be tried again is a defect; one without a key may be left."""
    lines = published()
    lines[5] = Refused("p-0", 5, 2.0, "IdempotencyConflict", True)
    assert kinds(lines, log()) == {"given up"}
    lines[4] = Meant("p-0", 5, 1.0, False, (said(5), said(6)))
    ledger = Ledger(lines)
    assert ledger.judge(log(without=[5, 6])) == []
    assert ledger.refusals == 1


def test_a_lane_publishes_in_order() -> None:
    """What was begun after an answer lies after what that answer was about."""
    lines: list[PublisherLine] = []
    for number, seq in ((1, 3), (2, 1), (3, 5)):
        lines.append(Meant("p-0", number, 1.0, True, (said(seq),)))
        lines.append(Acknowledged("p-0", number, 2.0, (cursor(seq),)))
    found = Log(epoch="e1", head=5, events=tuple(map(logged, (1, 3, 5))))
    assert kinds(lines, found) == {"reordered"}


def test_a_batch_keeps_its_order() -> None:
    """The first of it comes first."""
    lines: list[PublisherLine] = [Meant("p-0", 1, 1.0, True, (said(2), said(1)))]
    assert kinds(lines, Log(epoch="e1", head=2, events=(logged(1), logged(2)))) == {"log"}


def test_what_was_in_an_epoch_that_is_lost_is_not_looked_for() -> None:
    """Data that was lost on purpose; what was acknowledged since must be there all the same."""
    lines = published()
    lines[1] = Acknowledged("p-0", 1, 2.0, ("e0-91", "e0-92"))
    later = msgspec.structs.replace(log(without=[1, 2]), is_later=True)
    assert kinds(lines, later) == set()
    assert kinds(lines, msgspec.structs.replace(later, is_later=False)) == {"lost"}
    assert kinds(lines, msgspec.structs.replace(log(without=[1, 2, 3, 4]), is_later=True)) == {"lost"}
