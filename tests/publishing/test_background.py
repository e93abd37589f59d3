"""The publisher's own loop: its thread's life, and what happens to it when the process forks or ends."""

from __future__ import annotations

import asyncio
import atexit
import gc
import os
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError
from concurrent.futures import wait as wait_for

import pytest

from headwater.errors import BrokerUnavailable, ConfigurationError
from headwater.event import Draft
from headwater.publishing import background as module
from headwater.publishing.background import Background
from tests.publishing.scripted import Store

DRAFT = [Draft(channel="a")]
PATIENCE = 30.0


@pytest.fixture
def store() -> Store:
    """Where events go."""
    return Store()


@pytest.fixture
def background(store: Store) -> Iterator[Background]:
    """What they go through."""
    background = Background(store.make)
    yield background
    background.stop()


def test_a_thread_is_there_only_when_it_is_needed(background: Background, store: Store) -> None:
    """It is started by the first event, ended by `stop`, and started anew by the next."""
    assert not background.is_running
    for count in (1, 2):
        assert background.submit(DRAFT).result() == (f"e-{count}",)
        assert background.is_running
        background.stop()
        assert not background.is_running
        assert not store.threads[-1].is_alive()
        assert store.closed == count
    background.stop()


def test_many_threads_share_one_line(background: Background, store: Store) -> None:
    """Whoever publishes first opens it for all."""
    start = threading.Barrier(8)

    def publish() -> None:
        start.wait()
        background.submit(DRAFT).result()

    threads = [threading.Thread(target=publish) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(store.events), len(store.threads)) == (8, 1)


def test_errors_reach_the_caller(background: Background, store: Store) -> None:
    """As they were raised."""
    store.failures = [BrokerUnavailable("the store is away")]
    with pytest.raises(BrokerUnavailable, match="is away"):
        background.submit(DRAFT).result()


def test_an_attempt_can_be_called_off(background: Background, store: Store) -> None:
    """Cancelling the future ends it."""
    store.opens = asyncio.Event()
    future = background.submit(DRAFT)
    store.began.wait()
    assert future.cancel()
    with pytest.raises(CancelledError):
        future.result()
    background.stop()
    assert store.events == []


def test_stopping_waits_for_what_was_begun(background: Background, store: Store) -> None:
    """But not for ever: a thread that takes too long is left to end by itself."""
    store.appends = asyncio.Event()
    future = background.submit(DRAFT)
    store.began.wait()
    background.stop(0.01)
    assert not background.is_running
    assert not future.done()
    (thread,) = store.threads
    future.cancel()
    wait_for([future])
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_a_thread_may_stop_itself(background: Background, store: Store) -> None:
    """It does not wait for its own end."""
    store.then = background.stop
    assert background.submit(DRAFT).result() == ("e-1",)
    store.threads[0].join(PATIENCE)
    assert not store.threads[0].is_alive()


def test_a_thread_ends_when_nobody_holds_its_publisher(store: Store) -> None:
    """So one that is made for a single event and forgotten costs nothing for long."""
    Background(store.make).submit(DRAFT).result()
    gc.collect()
    store.threads[0].join(PATIENCE)
    assert not store.threads[0].is_alive()
    assert store.closed == 1


def test_a_server_without_threads_is_named(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """uWSGI lets applications have none unless it is told to: threads then start and do not run."""
    monkeypatch.setattr(module, "START_WITHIN", 0.01)
    monkeypatch.setattr(threading.Thread, "start", lambda thread: None)
    with pytest.raises(ConfigurationError, match="--enable-threads"):
        Background(store.make).submit(DRAFT)


def test_a_failure_to_disconnect_is_nobodys(
    background: Background, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The events are out, and the thread ends all the same."""

    async def fail(self: object) -> None:
        raise RuntimeError("cannot schedule new futures after interpreter shutdown")

    monkeypatch.setattr("tests.publishing.scripted.Scripted.aclose", fail)
    assert background.submit(DRAFT).result() == ("e-1",)
    background.stop()
    assert not store.threads[0].is_alive()


# The process


@pytest.fixture
def household(monkeypatch: pytest.MonkeyPatch) -> module._Household:
    """One that Python tells nothing."""
    monkeypatch.setattr(atexit, "register", lambda function: None)
    monkeypatch.delattr(os, "register_at_fork")
    household = module._Household()
    monkeypatch.setattr(module, "_household", lambda: household)
    return household


def test_python_is_told_once_whom_to_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of forks, before and after, and of the end."""
    told: dict[str, object] = {}
    monkeypatch.setattr(atexit, "register", lambda function: told.update(end=function))
    monkeypatch.setattr(os, "register_at_fork", told.update)
    household = module._household.__wrapped__()
    assert told == {
        "end": household.end,
        "before": household.pause,
        "after_in_parent": household.resume,
        "after_in_child": household.disown,
    }
    assert module._household() is module._household()


def test_before_a_fork_threads_end_and_none_begins(
    household: module._Household, background: Background, store: Store
) -> None:
    """A child then inherits nothing that is open; who publishes meanwhile waits until the fork is over."""
    background.submit(DRAFT).result()
    household.pause()
    assert not store.threads[0].is_alive()
    assert store.closed == 1
    waiting = threading.Thread(target=background.submit, args=(DRAFT,))
    waiting.start()
    assert not background.is_running
    household.resume()
    waiting.join()
    household.pause()  # also if nothing ran
    household.resume()
    background.stop()
    assert len(store.events) == 2


def test_a_child_owns_nothing_of_its_parent(household: module._Household, background: Background, store: Store) -> None:
    """Whatever was locked or open stays as it is, and the child starts anew."""
    idle = Background(store.make)
    household.add(idle)
    background.submit(DRAFT).result()
    household._lock.acquire()
    idle.pause()
    household.disown()
    assert [idle.submit(DRAFT).result(), background.submit(DRAFT).result()] == [("e-2",), ("e-3",)]
    assert len(store.threads) == 3
    idle.stop()
    (orphan,) = background._orphans
    orphan.end(PATIENCE)


def test_at_the_end_all_threads_have_the_same_time(
    household: module._Household, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two that hang do not hold the interpreter up twice as long."""
    monkeypatch.setattr(module, "END_WITHIN", 0.05)
    store.appends = asyncio.Event()
    held = [Background(store.make) for _ in range(2)]
    futures = [each.submit(DRAFT) for each in held]
    household.end()
    assert not any(each.is_running for each in held)
    for future in futures:
        future.cancel()
    wait_for(futures)
