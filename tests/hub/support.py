"""What tests of the hub stand on: a loop whose time leaps, a client's socket, and a hub to try things on.

A `Socket` is a stream's writer and the client at its other end. It fills up, drains, breaks and goes away when told to, and
decodes what the client has taken. It knows nothing of the log; `reader` judges what came.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from headwater.brokers.base import Broker
from headwater.brokers.memory import MemoryBroker
from headwater.channels import Principal
from headwater.hub import After, Hub, Now, Start, Subscription
from headwater.stream import Stream
from headwater.wire import Decoder, Message

START = 1_000_000.0
"""Loop time at which a leaping loop begins."""

WALL = 1_800_000_000.0
"""Unix time then."""


class _Leaping(selectors.DefaultSelector):
    """Does not wait for the time that a loop wants to sleep, but makes it pass."""

    now = START

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise AssertionError("the loop waits for something that nothing will ever bring about")
            self.now += max(0.0, timeout)
        return ready


class LeapingLoop(asyncio.SelectorEventLoop):
    """An event loop for tests without sockets and threads. Its time stands still while anything can run, and leaps to the
    next timer when nothing can."""

    def __init__(self) -> None:
        self._leaping = _Leaping()
        super().__init__(self._leaping)

    def time(self) -> float:
        return self._leaping.now


async def turns(count: int = 1) -> None:
    """Let the loop turn around `count` times."""
    for _ in range(count):
        await asyncio.sleep(0)


async def settled() -> None:
    """Return when everything that can happen without time passing has happened."""
    await turns(30)


class Socket:
    """A stream's writer and its client.

    Args:
        hub: is told what a transport tells it.
        capacity: bytes that fit before it reports that it is full; None for a client that takes everything at once.
        chunked: whether it is a bare HTTP/1.1 connection.

    Attributes:
        messages: what the client has taken and decoded.
        waiting: bytes written and not taken yet.
        fault: raised by the next write, and by every one after it.
    """

    def __init__(self, hub: Hub, *, capacity: int | None = None, chunked: bool = False) -> None:
        self.hub = hub
        self.capacity = capacity
        self.chunked = chunked
        self.stream: Stream | None = None
        self.messages: list[Message] = []
        self.decoder = Decoder()
        self.comments = 0
        self.waiting = bytearray()
        self.writes: list[bytes] = []
        self.fault: Exception | None = None
        self.is_full = False
        self.is_finished = False
        self.is_aborted = False
        self.is_gone = False
        self._taken = bytearray()  # chunks of which a part has come

    def begin(self, stream: Stream) -> Stream:
        """From now on report for this stream."""
        self.stream = stream
        if self.is_full:
            self.hub.full(stream)
        return stream

    # -- as a writer -----------------------------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        assert not self.is_finished, "something was written after the end of the body"
        assert data, "an empty write would end a chunked body"
        if self.fault is not None:
            raise self.fault
        if self.is_gone:
            return
        self.writes.append(data)
        self.waiting += data
        if self.capacity is None:
            self.take()
        elif len(self.waiting) > self.capacity and not self.is_full:
            self.is_full = True
            if self.stream is not None:
                self.hub.full(self.stream)

    def finish(self) -> None:
        if self.chunked:
            self.write(b"0\r\n\r\n")
        self.is_finished = True
        if self.capacity is None:
            asyncio.get_running_loop().call_soon(self.leave)

    def abort(self) -> None:
        self.is_aborted = True
        self.waiting.clear()
        asyncio.get_running_loop().call_soon(self.leave)

    # -- as a client -----------------------------------------------------------------------------------------------------

    def take(self, count: int | None = None) -> None:
        """Read `count` bytes, or everything there is."""
        size = len(self.waiting) if count is None else count
        data = bytes(self.waiting[:size])
        del self.waiting[:size]
        body = self._unchunked(data) if self.chunked else data
        self.comments += sum(line == b":" for line in body.split(b"\n"))
        self.messages += self.decoder.feed(body)
        if self.is_full and not self.waiting:
            self.is_full = False
            assert self.stream is not None
            self.hub.drained(self.stream)
        if self.is_finished and not self.waiting and self.capacity is not None:
            self.leave()

    def _unchunked(self, data: bytes) -> bytes:
        self._taken += data
        body = b""
        while b"\r\n" in self._taken:
            head, _, rest = bytes(self._taken).partition(b"\r\n")
            size = int(head, 16)
            if len(rest) < size + 2:
                break
            assert rest[size : size + 2] == b"\r\n"
            body += rest[:size]
            self._taken = bytearray(rest[size + 2 :])
        return body

    def leave(self) -> None:
        """The connection is gone."""
        if not self.is_gone:
            self.is_gone = True
            if self.stream is not None:
                self.hub.lost(self.stream)

    @property
    def data(self) -> list[str]:
        """The data of the published events that came."""
        return [message.data for message in self.messages if message.type == "message"]

    @property
    def types(self) -> list[str]:
        """The types of all messages that came."""
        return [message.type for message in self.messages]

    def of(self, type: str) -> list[Message]:
        """The messages of one type."""
        return [message for message in self.messages if message.type == type]


def clocks(loop: asyncio.AbstractEventLoop) -> dict[str, Any]:
    """Clocks for a hub that go with a leaping loop."""
    return {"wall": lambda: WALL + loop.time() - START, "clock": loop.time}


@asynccontextmanager
async def running(broker: Broker | None = None, **options: Any) -> AsyncIterator[Hub]:
    """A hub, in a leaping loop, from start to stop."""
    clock = clocks(asyncio.get_running_loop())
    hub = Hub(broker or MemoryBroker(), **{**clock, **options})
    await hub.start()
    try:
        yield hub
    finally:
        await hub.stop()


def subscription(
    *channels: str,
    start: Start = Now(),  # noqa: B008
    permissions: tuple[str, ...] = (),
    id: str | None = None,
    **options: Any,
) -> Subscription:
    """What a client asks for."""
    options.setdefault("heartbeat", 0)
    principal = options.pop("principal", None) or Principal(id=id, permissions=frozenset(permissions))
    return Subscription(channels=channels or ("a",), start=start, principal=principal, **options)


async def connect(hub: Hub, *channels: str, capacity: int | None = None, chunked: bool = False, **asked: Any) -> Socket:
    """Open a stream; `asked` is as for `subscription`."""
    socket = Socket(hub, capacity=capacity, chunked=chunked)
    async with hub.prepare(subscription(*channels, **asked)) as opening:
        socket.begin(opening.attach(socket))
    return socket


async def publish(hub: Hub, channel: str, *data: object, permissions: tuple[str, ...] = ()) -> None:
    """Publish events one by one."""
    for each in data:
        await hub.publish(channel, data=each, permissions=permissions)


def numbers(first: int, last: int) -> list[str]:
    """The data of numbered events."""
    return [str(number) for number in range(first, last + 1)]


def after(hub: Hub, seq: int) -> After:
    """A start after a seq of the present epoch."""
    return After(hub.cursor(seq))


def stream_of(socket: Socket) -> Stream:
    """Its stream."""
    assert socket.stream is not None
    return socket.stream


def statistics(hub: Hub) -> Mapping[str, Any]:
    """The hub's statistics as a mapping."""
    snapshot = hub.statistics()
    return {name: getattr(snapshot, name) for name in snapshot.__struct_fields__}
