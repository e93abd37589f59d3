"""Reading a SQLite log, where the contract does not look: holes, bounds of a batch, positions by time."""

from __future__ import annotations

import random
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from headwater.brokers.sqlite import Options, reads
from headwater.brokers.sqlite.appends import read_log, write_group
from headwater.brokers.sqlite.file import Link
from headwater.event import Draft


@pytest.fixture
def link(tmp_path: Path) -> Iterator[Link]:
    """An empty log."""
    with closing(Link(tmp_path / "events.db", Options(synchronous="normal"), create=True)) as link:
        yield link


def append(link: Link, *drafts: Draft, now: int = 0) -> None:
    """Append a batch."""
    with link.transaction() as connection:
        write_group(connection, read_log(connection), [drafts], now, 0)


def test_a_batch_is_bounded_in_events_and_bytes(link: Link, monkeypatch: pytest.MonkeyPatch) -> None:
    """But never empty while there is something: an event over the bound comes alone."""
    monkeypatch.setattr(reads, "BATCH_EVENTS", 3)
    monkeypatch.setattr(reads, "BATCH_BYTES", 10)
    append(link, *[Draft(channel="a", data=data, text=True) for data in ("x", "x", "x", "x", "é" * 5, "x" * 99, "x")])
    sizes, after, head = [], 0, 7
    while after < head:
        batch = reads.since(link.use(), after)
        assert (batch.after, batch.head, batch.lost) == (after, head, frozenset())
        assert [event.position.seq for event in batch.events] == list(range(after + 1, batch.upto + 1))
        sizes.append(len(batch.events))
        after = batch.upto
    assert sizes == [3, 2, 1, 1]
    assert reads.since(link.use(), 7).events == []


def test_holes_are_noticed(link: Link) -> None:
    """With the channels that they were in, as far as these are still known; also when all is gone."""
    append(link, *[Draft(channel=name) for name in "abcabc"])
    connection = link.use()
    assert reads.since(connection, 0).lost == frozenset()
    connection.execute("DELETE FROM event WHERE seq = 2")
    connection.execute("UPDATE channel SET mark = 2, events = 1 WHERE name = 'b'")
    batch = reads.since(connection, 0)
    assert (len(batch.events), batch.upto, batch.lost, batch.lost_unnamed) == (5, 6, frozenset("b"), False)
    assert reads.since(connection, 2).lost == frozenset()
    connection.execute("DELETE FROM event")
    connection.execute("UPDATE channel SET mark = 6, events = 0 WHERE name = 'c'")
    connection.execute("UPDATE log SET floor = 5")
    batch = reads.since(connection, 4)
    assert (batch.events, batch.upto, batch.lost, batch.lost_unnamed) == ([], 6, frozenset("c"), True)


def test_position_at_finds_any_time_among_any_holes(link: Link) -> None:
    """Halving the range agrees with looking at every event."""
    dice = random.Random(3)
    now, times = 1000, []
    for _ in range(60):
        now += dice.choice((0, 0, 1, 5))
        append(link, Draft(channel="a"), now=now)
        times.append(now)
    left = list(range(1, 61))
    while left:
        for time in range(998, now + 3, dice.randrange(1, 4)):
            place = bisect_left([times[seq - 1] for seq in left], time)
            expected = left[place] - 1 if place < len(left) else 60
            assert reads.position_at(link.use(), time)[1].seq == expected
        gone = dice.choice(left)
        left.remove(gone)
        link.use().execute("DELETE FROM event WHERE seq = ?", (gone,))
    assert reads.position_at(link.use(), 1000)[1].seq == 60


def test_a_page_of_many_channels_is_the_earliest_of_all(link: Link) -> None:
    """However the events are spread over them."""
    dice = random.Random(5)
    channels = [f"c{number}" for number in range(30)]
    placed = [dice.choice(channels[: dice.randrange(1, 30)]) for _ in range(500)]
    append(link, *[Draft(channel=name) for name in placed])
    for _ in range(50):
        wanted = dice.sample(channels, dice.randrange(1, 30))
        after, until, limit = dice.randrange(500), dice.randrange(500), dice.randrange(1, 60)
        expected = [seq for seq, name in enumerate(placed, 1) if name in wanted and after < seq <= until][:limit]
        _, page = reads.page(link.use(), wanted, after, until, limit)
        assert [event.position.seq for event in page.events] == expected
        assert [event.channel for event in page.events] == [placed[seq - 1] for seq in expected]
        expected = [seq for seq, name in enumerate(placed, 1) if name in wanted and seq <= until][::-1][:limit]
        _, page = reads.page_back(link.use(), wanted, until, limit)
        assert [event.position.seq for event in page.events] == expected


def test_permissions_come_back_as_a_set(link: Link) -> None:
    """None of them for an event that everybody may see. Others have not read these before: such sets are remembered."""
    append(link, Draft(channel="a", permissions=frozenset({"reads.one", "reads.two"})), Draft(channel="a"))
    _, page = reads.page(link.use(), ["a"], 0, 2, 10)
    assert [event.permissions for event in page.events] == [{"reads.one", "reads.two"}, set()]
