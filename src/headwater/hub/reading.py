"""Pages of the log as frames, read from the broker once for everyone who needs the same page.

The only way in which streams and polls read history that the rings no longer hold. Knows the broker, channels' rings and
which epoch the node is in; must not know streams.
"""

from __future__ import annotations

from collections.abc import Sequence

from headwater.brokers.base import Broker
from headwater.errors import BrokerUnavailable
from headwater.event import Position
from headwater.hub.fanout import Fanout
from headwater.hub.registry import Channel
from headwater.hub.ring import Batch, Frame
from headwater.single_flight import SingleFlight

FIRST_PAGE = 32
"""Events of the first page that anyone reads: all that many streams with a short gap need, and at 256 KiB each no more than
a few megabytes."""

MAX_PAGE = 500
"""Events in a page."""

PAGE_BYTES = 1 << 20
"""What a page should weigh; the next one's number of events is chosen for it."""


def next_limit(limit: int, batch: Batch) -> int:
    """How many events to ask for after a page of `limit` that turned out to be `batch`."""
    return max(1, min(MAX_PAGE, limit * PAGE_BYTES // max(1, batch.size)))


class Reader:
    """Reads for one hub."""

    def __init__(self, broker: Broker, fanout: Fanout) -> None:
        self._broker = broker
        self._fanout = fanout
        self._flights: SingleFlight[Batch] = SingleFlight()

    async def read(self, channels: Sequence[Channel], after: int, until: int, limit: int) -> Batch:
        """At most `limit` events of the channels after one seq, through another.

        Raises:
            PositionLost: they are no longer all there.
            BrokerUnavailable: they cannot be read now.
        """
        names = tuple(channel.name for channel in channels)

        async def read() -> Batch:
            page = await self._broker.read(names, after, until, limit)
            batch = Batch([Frame(event) for event in page.events], self._seq(page.end))
            if batch.upto <= after:  # asking again at once would only spin
                raise BrokerUnavailable("the store is behind its own feed", fix="try again", retry_after=1)
            _keep(channels, batch, after)
            return batch

        return await self._flights.do((self._fanout.epoch, names, after, until, limit), read)

    async def horizon(self, channels: Sequence[Channel]) -> int:
        """The earliest seq from which reading the channels is complete.

        Raises:
            BrokerUnavailable: that cannot be said now.
        """
        return self._seq(await self._broker.horizon([channel.name for channel in channels]))

    def _seq(self, position: Position) -> int:
        """A position's seq, if it is one of the log that this node has been told of. A store that was replaced may answer
        with positions of its new life before the feed has heard of it; mixed with the old ones they would mean nothing."""
        if position.epoch != self._fanout.epoch:
            raise BrokerUnavailable("the log has begun anew and the feed has not", fix="try again", retry_after=1)
        return position.seq


def _keep(channels: Sequence[Channel], batch: Batch, after: int) -> None:
    """Let the ring have what was read, where it continues the ring downwards: the next reconnect is spared the broker."""
    ring = channels[0].ring
    if len(channels) == 1 and ring.floor == batch.upto:
        ring.extend_back(batch.frames, after)
