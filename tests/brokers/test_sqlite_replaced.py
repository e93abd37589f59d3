"""The log is deleted, replaced or put back to an older copy while a hub uses it: a new epoch begins, and all are told."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Awaitable
from contextlib import closing
from pathlib import Path

import pytest

from headwater.brokers.sqlite import SqliteBroker
from headwater.errors import BrokerUnavailable
from headwater.event import Draft, Position
from tests.brokers.nodes import copy, delete, put, sqlite_node, write


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where this test's log is."""
    return tmp_path / "events.db"


async def other_log(path: Path, events: int) -> None:
    """Make another log, with some events."""
    broker = SqliteBroker(path)
    await broker.open()
    await broker.append([Draft(channel="a")] * events)
    await broker.aclose()


async def test_t26_another_log_is_another_epoch(path: Path) -> None:
    """It is followed from its head; positions of the old one are not taken for its."""
    await other_log(path.with_name("new.db"), 10)
    async with sqlite_node(path, follow=["a"]) as (node, _):
        await node.fill("a", 3)
        put(path.with_name("new.db"), path)
        await node.feed.until(lambda: bool(node.feed.restarts))
        (head,) = node.feed.restarts
        assert head.seq == 10
        assert head.epoch != node.head.epoch
        (position,) = await node.append(Draft(channel="a"))
        assert position.seq == 11
        assert node.feed.events[-1].position == position
        assert len(await node.seqs("a")) == 11


async def test_t26_an_older_copy_is_another_epoch(path: Path) -> None:
    """Its next positions have been given before, to other events; so it cannot go on as it was."""
    async with sqlite_node(path, follow=["a"]) as (node, _):
        await node.fill("a", 3)
        copy(path, path.with_name("copy.db"))
        await node.fill("a", 3)
        put(path.with_name("copy.db"), path)
        await node.feed.until(lambda: bool(node.feed.restarts))
        (head,) = node.feed.restarts
        assert head.seq == 3
        assert head.epoch != node.head.epoch
        (position,) = await node.append(Draft(channel="a"))
        assert (position.epoch, position.seq) == (head.epoch, 4)


async def test_t26_an_older_copy_is_noticed_by_whoever_appends_or_asks(path: Path) -> None:
    """Even if nothing is followed."""
    for notice in ("append", "head"):
        async with sqlite_node(path) as (node, broker):
            await node.fill("a", 1)
            copy(path, path.with_name("copy.db"))
            before = (await node.fill("a", 1))[0]
            put(path.with_name("copy.db"), path)
            if notice == "append":
                (position,) = await node.append(Draft(channel="a"))
                assert position.seq == before
            else:
                position = await broker.head()
                assert position.seq == before - 1
            assert position.epoch != node.head.epoch
            assert [head.epoch for head in node.feed.restarts] == [position.epoch]


async def test_a_copy_that_lacks_nothing_goes_on(path: Path) -> None:
    """Another file with the same log is no news."""
    async with sqlite_node(path, follow=["a"]) as (node, _):
        await node.fill("a", 3)
        copy(path, path.with_name("copy.db"))
        put(path.with_name("copy.db"), path)
        (position,) = await node.append(Draft(channel="a"))
        assert position.seq == 4
        async with sqlite_node(path) as (other, _):
            (position,) = await other.append(Draft(channel="a"))
        await node.feed.complete(position)
        assert node.feed.seqs() == [1, 2, 3, 4, 5]
        assert node.feed.restarts == []


async def test_a_log_that_was_restored_in_place_is_another_epoch(path: Path) -> None:
    """The same file with other contents: its epoch tells, which the operator may renew by hand."""
    async with sqlite_node(path, follow=["a"]) as (node, broker):
        await node.fill("a", 1)
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("UPDATE log SET epoch = lower(hex(randomblob(5)))")
        await node.feed.until(lambda: bool(node.feed.restarts))
        epoch = node.feed.restarts[0].epoch
        assert epoch != node.head.epoch
        assert (await broker.head()).epoch == epoch
        (position,) = await node.append(Draft(channel="a"))
        assert position.epoch == epoch
        assert node.feed.restarts[0].seq == 1


async def test_t26_reading_makes_a_new_log_where_the_old_one_was(path: Path) -> None:
    """A hub that only answers reads notices too, and goes on with an empty log."""
    async with sqlite_node(path) as (node, broker):
        await node.fill("a", 1)
        delete(path)
        assert (await broker.read(["a"], 0, 9)).events == ()
        assert len(node.feed.restarts) == 1


async def test_every_node_agrees_on_the_new_epoch(path: Path) -> None:
    """Whoever is first begins it."""
    async with sqlite_node(path, follow=["a"]) as (one, _), sqlite_node(path, follow=["a"]) as (two, _):
        await one.fill("a", 2)
        delete(path)
        await one.feed.until(lambda: bool(one.feed.restarts))
        await two.feed.until(lambda: bool(two.feed.restarts))
        assert one.feed.restarts == two.feed.restarts
        (position,) = await two.append(Draft(channel="a"))
        await one.feed.complete(position)
        assert one.feed.events[-1] == two.feed.events[-1]


async def test_a_log_that_is_gone_for_a_while_is_missed_aloud(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """While something else is in its place, everything says so; once it is back, the feed goes on where it was."""
    caplog.set_level(logging.INFO, "headwater")
    async with sqlite_node(path, follow=["a"]) as (node, broker):
        await node.fill("a", 1)
        copy(path, path.with_name("copy.db"))
        put(write(path.with_name("diary"), "not a log" * 1000), path)
        failing: list[Awaitable[object]] = [node.append(Draft(channel="a")), broker.head(), broker.prune(0)]
        for operation in failing:
            with pytest.raises(BrokerUnavailable, match="not a SQLite database"):
                await operation
        while "cannot see what other processes append" not in caplog.text:
            with pytest.raises(BrokerUnavailable):
                await broker.head()
        put(path.with_name("copy.db"), path)
        while "is seen again" not in caplog.text:
            await broker.head()
        assert caplog.text.count("cannot see") == 1
        async with sqlite_node(path) as (other, _):
            (position,) = await other.append(Draft(channel="a"))
        await node.feed.complete(position)
        assert node.feed.seqs() == [1, 2]
        assert node.feed.restarts == []


async def test_another_applications_database_in_its_place_stops_everything(path: Path) -> None:
    """While running, that may pass: `BrokerUnavailable`, and not an error of configuration."""
    async with sqlite_node(path) as (node, broker):
        with closing(sqlite3.connect(path.with_name("other.db"))) as connection:
            connection.execute("CREATE TABLE diary (day)")
        put(path.with_name("other.db"), path)
        with pytest.raises(BrokerUnavailable, match="another application's database"):
            await node.append(Draft(channel="a"))
        with pytest.raises(BrokerUnavailable, match="another application's database"):
            await broker.head()


async def test_t26_several_readers_at_once_learn_of_a_new_epoch(path: Path) -> None:
    """From the file itself, with one look by the writer; the feed is told once, before they have their answers."""
    async with sqlite_node(path) as (node, broker):
        await node.fill("a", 1)
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("UPDATE log SET epoch = 'restored'")
        head, page, again = await asyncio.gather(broker.head(), broker.read(["a"], 0, 9), broker.head())
        assert head == page.end == again == Position("restored", 1)
        assert node.feed.restarts == [head]
