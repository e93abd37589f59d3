"""What a seed decides: the streams, the events and the faults of a run."""

from __future__ import annotations

from collections import Counter
from itertools import islice

import msgspec

from torture.plan import Plan, batches, listeners
from torture.schedule import EVERY, LINK, NODE, PUBLISHER, REDIS, Fault, schedule

PLAN = Plan(seed=3)
KINDS = (*LINK, *REDIS, *NODE, *PUBLISHER)
COUNTS = {"link": 6, "store": 1, "node": 3, "publisher": 4}


def test_a_seed_repeats_itself_and_no_other() -> None:
    """The same seed plans the same run; another plans another."""
    other = msgspec.structs.replace(PLAN, seed=4)
    assert listeners(PLAN) == listeners(PLAN) != listeners(other)
    first = list(islice(batches(PLAN, "p0.0", 1, 3), 50))
    assert first == list(islice(batches(PLAN, "p0.0", 1, 3), 50)) != list(islice(batches(other, "p0.0", 1, 3), 50))
    assert schedule(3, 60, KINDS, COUNTS) == schedule(3, 60, KINDS, COUNTS) != schedule(4, 60, KINDS, COUNTS)


def test_streams_differ() -> None:
    """In channels, permissions, speed and where they begin; each sees something."""
    found = listeners(PLAN)
    assert [listener.number for listener in found] == list(range(200))
    assert {len(listener.permissions) for listener in found} == {0, 1, 2, 3}
    assert {listener.since for listener in found} == {"now", "all"}
    assert sum(listener.slow for listener in found) == 20
    assert all(listener.channels and set(listener.channels) <= set(PLAN.names) for listener in found)
    users = Counter(channel for listener in found for channel in listener.channels)
    assert len(users) > 40
    assert sum(count <= 5 for count in users.values()) > 5


def test_events_are_told_apart() -> None:
    """By ids that no other batch, lane or life of a publisher uses."""
    ids = Counter(
        said.id
        for publisher in ("p0.0", "p0.1", "p1.0")
        for lane in range(3)
        for batch in islice(batches(PLAN, publisher, lane, 3), 100)
        for said in batch.said
    )
    assert set(ids.values()) == {1}


def test_some_batches_have_keys_and_some_events_are_large() -> None:
    """Both kinds of publishing, and what fills buffers, are in every run."""
    found = list(islice(batches(PLAN, "p0.0", 0, 3), 300))
    assert 0.6 < sum(batch.keyed for batch in found) / 300 < 0.95
    assert any(said.size > 40_000 for batch in found for said in batch.said)
    assert max(len(batch.said) for batch in found) == 5


def test_a_fault_a_second() -> None:
    """One begins in every second, and all kinds come up in a few minutes."""
    found = schedule(1, 300, KINDS, COUNTS)
    assert len(found) == 300 / EVERY
    assert [fault.at for fault in found] == sorted(fault.at for fault in found)
    assert {fault.kind for fault in found} == {kind.name for kind in KINDS}
    assert all(fault.index < COUNTS[fault.target] for fault in found)


def test_faults_of_one_thing_do_not_overlap() -> None:
    """The end of one would undo the other."""
    until: dict[tuple[str, int], float] = {}
    for fault in schedule(2, 300, KINDS, COUNTS):
        assert fault.at >= until.get((fault.target, fault.index), 0)
        until[fault.target, fault.index] = fault.at + fault.length


def test_faults_end_with_the_run() -> None:
    """So that healing is what comes last."""
    for fault in schedule(5, 20, KINDS, COUNTS):
        assert fault.at + fault.length <= 20 + EVERY


def test_nothing_is_broken_that_is_not_there() -> None:
    """Without links, no faults of links; without anything, none."""
    assert {fault.target for fault in schedule(1, 60, KINDS, {**COUNTS, "link": 0})} == {"store", "node", "publisher"}
    assert schedule(1, 60, KINDS, {}) == []


def test_a_fault_is_told() -> None:
    """As in the progress of a run."""
    assert str(Fault(at=1, kind="cut", target="link", index=2, length=0.5)) == "1.0 s cut 2 for 0.5 s"
    assert str(Fault(at=1, kind="redis killed", target="store")) == "1.0 s redis killed"
