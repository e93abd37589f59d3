"""Who is told of streams: hooks see each once, whatever they do, and nothing is made that nobody looks at."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import pytest

from headwater.hub import Hub, StreamInfo
from headwater.hub.observers import Observers
from headwater.stream import CloseReason
from tests.hub.support import connect, running, settled

INFO = StreamInfo(
    id=1,
    state="live",
    principal="ada",
    address="192.0.2.1",
    channels=("a",),
    permissions=(),
    seconds=2.0,
    events=3,
    bytes=4,
    behind=0,
)


class Watched:
    """Observers, with what they started and how many snapshots they made."""

    def __init__(self) -> None:
        self.started: list[Coroutine[Any, Any, None]] = []
        self.observers = Observers(self.started.append)
        self.snapshots = 0

    def snapshot(self) -> StreamInfo:
        """Look at a stream."""
        self.snapshots += 1
        return INFO

    def tell(self) -> None:
        """A stream opens and ends."""
        self.observers.opened(self.snapshot)
        self.observers.closed(self.snapshot, CloseReason.SLOW)


@pytest.fixture
def watched(caplog: pytest.LogCaptureFixture) -> Watched:
    """Observers where nobody looks: the log is not read either."""
    caplog.set_level(logging.WARNING, "headwater")
    return Watched()


def test_nobody_looks_and_nothing_is_made(watched: Watched) -> None:
    """Without a hook, and with the log switched off, a stream costs no snapshot."""
    watched.tell()
    assert watched.snapshots == 0


def test_every_hook_hears_of_every_stream(watched: Watched) -> None:
    """Hooks are called in the order they were given, with one snapshot for all of them; at the end also with the reason."""
    heard: list[tuple[object, ...]] = []
    watched.observers.on_connect += [
        lambda *what: heard.append(("one", *what)),
        lambda *what: heard.append(("two", *what)),
    ]
    watched.observers.on_disconnect.append(lambda *what: heard.append(("end", *what)))
    watched.tell()
    assert heard == [("one", INFO), ("two", INFO), ("end", INFO, "slow")]
    assert type(heard[-1][-1]) is str
    assert watched.snapshots == 2


def test_the_log_tells_of_every_stream(watched: Watched, caplog: pytest.LogCaptureFixture) -> None:
    """At level INFO the log says that a stream opened and why it ended, with the snapshot as data."""
    caplog.set_level(logging.INFO, "headwater")
    watched.tell()
    opened, closed = caplog.records
    assert (opened.message, closed.message) == ("connect", "disconnect")
    assert vars(opened)["stream"] is vars(closed)["stream"] is INFO
    assert vars(closed)["reason"] == "slow"


def test_a_hook_that_fails_disturbs_nobody(watched: Watched, caplog: pytest.LogCaptureFixture) -> None:
    """What a hook raises is logged with its traceback, and the next hook is called all the same."""
    heard: list[object] = []

    def fail(*what: object) -> None:
        raise ZeroDivisionError

    watched.observers.on_connect += [fail, heard.append]
    watched.observers.on_disconnect += [fail, lambda *what: heard.append(what[-1])]
    watched.tell()
    assert heard == [INFO, "slow"]
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [ZeroDivisionError] * 2


async def test_an_async_hook_runs_in_the_background(watched: Watched) -> None:
    """What an async hook returns is started and not waited for; what others return is nobody's business."""
    heard: list[str] = []

    async def hook(info: StreamInfo, reason: str) -> None:
        heard.append(reason)

    watched.observers.on_disconnect += [hook, lambda *what: "ignored"]
    watched.tell()
    assert heard == []
    (work,) = watched.started
    await work
    assert heard == ["slow"]


# In a hub


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    """A hub that runs."""
    async with running() as hub:
        yield hub


async def test_hooks_are_decorators_and_see_the_stream_as_it_is(hub: Hub) -> None:
    """A hub's hooks, sync and async, get the open stream and the ended one, each once."""
    heard: list[tuple[str, StreamInfo]] = []

    @hub.on_connect
    def opened(info: StreamInfo) -> None:
        heard.append(("opened", info))

    @hub.on_disconnect
    async def ended(info: StreamInfo, reason: str) -> None:
        await asyncio.sleep(0)
        heard.append((reason, info))

    socket = await connect(hub, "a", "b", id="ada", address="192.0.2.1")
    socket.leave()
    socket.leave()
    await settled()
    (first, info), (last, after) = heard
    assert (first, last) == ("opened", "client")
    assert (info.id, info.principal, info.address, info.channels) == (after.id, "ada", "192.0.2.1", ("a", "b"))
    assert (info.state, after.state) == ("replaying", "closed")
    assert (after.events, after.bytes) == (0, len(socket.writes[0]))


async def test_an_async_hook_that_fails_is_logged(hub: Hub, caplog: pytest.LogCaptureFixture) -> None:
    """An error in the background is logged, and the stream is as it was."""

    @hub.on_connect
    async def fail(info: StreamInfo) -> None:
        raise ZeroDivisionError

    await connect(hub, "a")
    await settled()
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [ZeroDivisionError]
    assert hub.count() == 1
