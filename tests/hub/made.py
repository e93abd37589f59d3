"""Values that tests of the hub's parts are given: events, frames, streams that write nowhere, and a node without streams.

For tests of one part alone; `support` has a whole hub.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence

from headwater.brokers.base import Broker
from headwater.event import Event, Position
from headwater.hub.fanout import Fanout
from headwater.hub.registry import Channel, Registry
from headwater.hub.ring import Frame
from headwater.stream import Stream


def event(seq: int, data: str = "1", *, channel: str = "a", permissions: Collection[str] = ()) -> Event:
    """An event as a log has it."""
    return Event(
        position=Position("e1", seq),
        time=seq,
        channel=channel,
        type="message",
        data=data,
        text=False,
        permissions=frozenset(permissions),
    )


def frame(seq: int, data: str = "1", *, channel: str = "a", permissions: Collection[str] = ()) -> Frame:
    """The frame of an event."""
    return Frame(event(seq, data, channel=channel, permissions=permissions))


class Nowhere:
    """A writer whose bytes go nowhere."""

    def __init__(self, *, chunked: bool = False) -> None:
        self.chunked = chunked

    def write(self, data: bytes) -> None:
        """Take bytes."""

    def finish(self) -> None:
        """End the body."""

    def abort(self) -> None:
        """End the connection."""


def stream(id: int = 1, *, chunked: bool = False) -> Stream:
    """A stream that nothing has happened to."""
    return Stream(id, Nowhere(chunked=chunked))


class Node:
    """What a hub has below its streams: it hears of the log, and nobody listens. It is its broker's feed."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.registry = Registry(ring_events=100, ring_bytes=1 << 20)
        self.fanout = Fanout(self.registry, self._broken, loop=asyncio.get_running_loop())

    async def open(self, *channels: str) -> list[Channel]:
        """Begin to hear of these channels."""
        self.fanout.restart(await self.broker.open(self))
        await self.broker.follow(channels)
        return [self.registry.add_channel(name, self.fanout.received) for name in channels]

    def receive(self, events: Sequence[Event], upto: Position) -> None:
        """See `Feed.receive`."""
        self.fanout.take(events, upto.seq)

    def restart(self, head: Position, lost: bool = False) -> None:
        """See `Feed.restart`."""
        self.fanout.restart(head)

    def _broken(self, stream: Stream, error: Exception) -> None:
        raise AssertionError("there are no streams") from error
