"""The way to the log in one loop: opened when needed, shared, and opened again."""

from __future__ import annotations

import asyncio

import pytest

from headwater.errors import BrokerUnavailable
from headwater.event import Draft
from headwater.publishing.line import Line
from tests.publishing.scripted import Store
from tests.support.waiting import until

DRAFT = [Draft(channel="a")]


@pytest.fixture
def store() -> Store:
    """Where the line leads."""
    return Store()


async def test_it_is_opened_once_by_what_is_sent_first(store: Store) -> None:
    """And not before; closing what was never opened is nothing."""
    line = Line(store.make)
    await line.aclose()
    assert not store.threads
    assert [await line.send(DRAFT), await line.send(DRAFT)] == [("e-1",), ("e-2",)]
    assert len(store.threads) == 1
    await line.aclose()
    await line.aclose()
    assert store.closed == 1


async def test_after_closing_it_is_opened_again(store: Store) -> None:
    """Closed is idle."""
    line = Line(store.make)
    for _ in range(2):
        await line.send(DRAFT)
        await line.aclose()
    assert (len(store.threads), store.closed) == (2, 2)


async def test_all_who_wait_for_the_opening_hear_of_its_failure(store: Store) -> None:
    """They share one attempt, and who sends afterwards makes another."""
    store.failures = [BrokerUnavailable("the store is away", retry_after=3)]
    line = Line(store.make)
    outcomes = await asyncio.gather(*(line.send(DRAFT) for _ in range(5)), return_exceptions=True)
    assert [str(outcome) for outcome in outcomes] == ["the store is away"] * 5
    assert len(store.threads) == 1
    assert await line.send(DRAFT) == ("e-1",)
    assert len(store.threads) == 2
    await line.aclose()


async def test_a_sender_that_leaves_takes_the_line_from_nobody(store: Store) -> None:
    """Cancelling one of two who wait for the opening lets the other one send."""
    store.opens = asyncio.Event()
    line = Line(store.make)
    first, second = asyncio.create_task(line.send(DRAFT)), asyncio.create_task(line.send(DRAFT))
    await until(lambda: bool(store.threads), "the line to be opened")
    first.cancel()
    store.opens.set()
    assert await second == ("e-1",)
    await line.aclose()


async def test_closing_waits_for_what_is_being_sent(store: Store) -> None:
    """An append that has begun is finished first."""
    store.appends = asyncio.Event()
    line = Line(store.make)
    sending = asyncio.create_task(line.send(DRAFT))
    await asyncio.sleep(0)
    closing = asyncio.create_task(line.aclose())
    await until(lambda: bool(store.threads), "the line to be opened")
    assert store.closed == 0
    store.appends.set()
    assert await sending == ("e-1",)
    await closing
    assert store.closed == 1


async def test_closing_ends_an_opening_that_nobody_waits_for(store: Store) -> None:
    """Its only sender has left, and the store does not answer."""
    store.opens = asyncio.Event()
    line = Line(store.make)
    sending = asyncio.create_task(line.send(DRAFT))
    await until(lambda: bool(store.threads), "the line to be opened")
    sending.cancel()
    await asyncio.wait([sending])
    await line.aclose()
    assert store.closed == 0
