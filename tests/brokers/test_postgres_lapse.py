"""After nobody took changes of rows for too long: triggers first, then word to everybody, and again if it was too early."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Iterator, Sequence

import psycopg
import pytest

from headwater.brokers.postgres import parse
from headwater.brokers.postgres.lapse import Lapse
from headwater.brokers.postgres.link import Link
from headwater.brokers.postgres.outbox import Event
from headwater.errors import BrokerUnavailable
from tests.brokers.postgres_nodes import ask, fresh, plain, postgres_node

LEADER = 7
EXPIRE = "UPDATE headwater.state SET capture_until = now() - interval '1 second'"
PROMISE = f"SELECT headwater.renew({LEADER}, 6, 3600, 3600, NULL, 60)"
NOTED = "SELECT capture_until > now() + interval '59 minutes' AND lapsed FROM headwater.state"
OWED = "SELECT lapsed FROM headwater.state"


class Told:
    """A target that keeps how the triggers were when it was told.

    Args:
        url: of the database.
    """

    def __init__(self, url: str) -> None:
        self.times: list[object] = []
        self.is_away = False
        self._url = url

    async def deliver(self, leader: int, done: Sequence[int], events: Sequence[Event]) -> bool:
        """See `Target`."""
        raise AssertionError("nothing is to be delivered")

    async def lapse(self, leader: int) -> None:
        """See `Target`."""
        if self.is_away:
            raise BrokerUnavailable("the other broker is away")
        assert leader == LEADER
        self.times += ask(self._url, NOTED)


@pytest.fixture
async def url() -> AsyncIterator[str]:
    """A log whose leader has the number `LEADER`, and goes about nothing."""
    with fresh() as url:
        async with postgres_node(url):
            pass
        ask(url, "UPDATE headwater.head SET fence = %s", LEADER)
        yield url


@pytest.fixture
def told(url: str) -> Told:
    """Where word of it goes."""
    return Told(url)


@pytest.fixture
async def link(url: str) -> AsyncIterator[Link]:
    """The session's."""
    link = Link(parse(url))
    yield link
    await link.close()


@pytest.fixture
def under_way(url: str) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """A transaction that has looked at something, and ends when the test says so."""
    with psycopg.connect(plain(url)) as connection:
        connection.execute("SELECT 1")
        yield connection


def expire(url: str) -> None:
    """Nobody took changes for too long, and now somebody leads again."""
    ask(url, EXPIRE)
    ask(url, PROMISE)


async def finished(lapse: Lapse) -> None:
    """Call it until it wants nothing more. (The server's own work may be under way, and soon ends.)"""
    now = 1.0
    while (pause := await lapse.step(now)) < math.inf:
        now += pause


async def test_nothing_is_said_if_nothing_went_unnoticed(url: str, told: Told, link: Link) -> None:
    """Which is the rule."""
    ask(url, PROMISE)
    lapse = Lapse(link, told, LEADER)
    await lapse.begin()
    assert await lapse.step(1.0) == math.inf
    assert told.times == []


async def test_triggers_note_changes_again_before_anybody_is_told(url: str, told: Told, link: Link) -> None:
    """Or a change that comes right after a page has loaded its state would be lost to it."""
    expire(url)
    lapse = Lapse(link, told, LEADER)
    await lapse.begin()
    await finished(lapse)
    assert told.times[0] == (True,)
    assert ask(url, OWED) == [(False,)]


async def test_everybody_is_told_again_when_those_under_way_are_over(
    url: str, told: Told, link: Link, under_way: psycopg.Connection[tuple[object, ...]]
) -> None:
    """They may have found the triggers quiet, and have committed after pages loaded their state."""
    expire(url)
    lapse = Lapse(link, told, LEADER)
    await lapse.begin()
    assert len(told.times) == 1
    pauses = [await lapse.step(time) for time in (1.0, 1.0, 2.0, 9.0, 19.0, 29.0, 39.0, 49.0, 59.0)]
    assert pauses == pytest.approx(
        [0.1, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5, 5]
    )  # less and less often: a backup takes hours
    assert len(told.times) == 1
    await lapse.begin()  # the next promise
    assert len(told.times) == 1
    assert ask(url, OWED) == [(True,)]
    under_way.rollback()
    await finished(lapse)
    assert len(told.times) == 2
    assert ask(url, OWED) == [(False,)]


async def test_what_a_leader_owes_the_next_one_does(
    url: str, told: Told, link: Link, under_way: psycopg.Connection[tuple[object, ...]]
) -> None:
    """Though triggers have been noting changes since."""
    expire(url)
    await Lapse(link, told, LEADER).begin()
    under_way.rollback()
    lapse = Lapse(link, told, LEADER)
    await lapse.begin()
    await finished(lapse)
    assert len(told.times) >= 2
    assert ask(url, OWED) == [(False,)]


async def test_a_broker_that_is_away_is_told_later(url: str, told: Told, link: Link) -> None:
    """It remains owed until somebody could be told."""
    expire(url)
    told.is_away = True
    with pytest.raises(BrokerUnavailable):
        await Lapse(link, told, LEADER).begin()
    assert ask(url, OWED) == [(True,)]
    told.is_away = False
    lapse = Lapse(link, told, LEADER)
    await lapse.begin()
    await finished(lapse)
    assert told.times
    assert ask(url, OWED) == [(False,)]
