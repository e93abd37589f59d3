"""The client for programs without an event loop."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from headwater import wire
from headwater.client import FileCursor, publish_sync, subscribe_sync
from headwater.errors import ConfigurationError, RequestRefused
from tests.client.scripted import Answer, Scripted, World, answer, answer_json, sent, serving, stream


@contextmanager
def serving_elsewhere(*script: Answer) -> Iterator[Scripted]:
    """A scripted hub in a thread of its own, because this one will be blocked."""
    ready = threading.Event()
    running: list[tuple[Scripted, asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def serve() -> None:
        async with serving(*script) as server:
            stop = asyncio.Event()
            running.append((server, asyncio.get_running_loop(), stop))
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    ready.wait()
    server, loop, stop = running[0]
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()


def test_events_are_iterated() -> None:
    """A plain loop over the events, across connections, until the hub has no more."""
    with serving_elsewhere(stream(sent(1), sent(2)), stream(sent(3))) as server:
        with subscribe_sync(server.url, "room:1", runtime=World().runtime) as events:
            assert [event.data for event in events] == ["1", "2", "3"]
            assert events.last_event_id == "e-3"
    assert server.ids == [None, "e-2", "e-3"]


def test_leaving_early_saves_the_place(tmp_path: Path) -> None:
    """The place is that of the last event that was dealt with; closing twice is closing once."""
    cursor = FileCursor(tmp_path / "place")
    with serving_elsewhere(stream(sent(1), sent(2), end="hold")) as server:
        with subscribe_sync(server.url, "a", cursor=cursor) as events:
            for event in events:
                if event.data == "2":
                    break
        events.close()
    assert cursor.load() == "e-1"


def test_an_event_may_be_acknowledged(tmp_path: Path) -> None:
    """As with the asynchronous form."""
    cursor = FileCursor(tmp_path / "place")
    with serving_elsewhere(stream(sent(1), end="hold")) as server:
        with subscribe_sync(server.url, "a", cursor=cursor) as events:
            next(events)
            events.acknowledge()
            assert cursor.load() == "e-1"


def test_errors_are_raised() -> None:
    """A refusal ends the loop with its error."""
    with serving_elsewhere(answer(403)) as server, subscribe_sync(server.url, "a") as events:
        with pytest.raises(RequestRefused, match="403"):
            next(events)
        assert list(events) == []


def test_ctrl_c_ends_the_wait() -> None:
    """An interrupt reaches a program that waits for an event, and the subscription can still be left in order."""

    def interrupt() -> None:
        os.kill(os.getpid(), signal.SIGINT)

    with serving_elsewhere(stream(wire.COMMENT, interrupt, end="hold")) as server:
        with subscribe_sync(server.url, "a") as events, pytest.raises(KeyboardInterrupt):
            next(events)


def test_an_event_is_published() -> None:
    """One call publishes one event and returns its id."""
    with serving_elsewhere(answer_json({"ids": ["e-1"]}, 201)) as server:
        options: dict[str, Any] = {"token": "abc", "permissions": ["p"], "idempotency_key": "k"}
        assert publish_sync(server.url, "a", "log", {"m": 1}, **options) == "e-1"
    assert server.asked[0].json() == {
        "channel": "a",
        "type": "log",
        "data": {"m": 1},
        "permissions": ["p"],
        "idempotency_key": "k",
    }
    assert server.tokens == ["Bearer abc"]


async def test_a_loop_is_not_blocked() -> None:
    """Within an event loop the asynchronous forms are named instead."""
    with pytest.raises(ConfigurationError, match="use subscribe"):
        subscribe_sync("http://localhost", "a")
    with pytest.raises(ConfigurationError, match="use Publisher"):
        publish_sync("http://localhost", "a")
