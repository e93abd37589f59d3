"""A subscription on its way to become a stream.

Between finding out where it begins and the first byte, other things happen: the response's head goes out, the hub may begin
to drain, the log may begin anew. Knows the streams and the fan-out's epoch; must not know brokers or HTTP.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from headwater.errors import Draining, HeadwaterError
from headwater.event import ResetReason
from headwater.hub.fanout import Fanout
from headwater.hub.registry import Channel
from headwater.hub.start import Beginning
from headwater.hub.streams import Streams
from headwater.hub.subscription import Subscription
from headwater.stream import Stream, Writer


def check_open(draining: asyncio.Future[None]) -> None:
    """Raise `Draining` once the hub has begun to shut down."""
    if draining.done():
        raise Draining("the hub is shutting down", fix="connect again; another process takes over", retry_after=1)


class Opening:
    """A subscription whose channels are followed and whose start is known; `attach` makes it a stream.

    Args:
        draining: done when no more streams may begin.

    Raises:
        ConfigurationError: the subscription's `hello` makes no JSON. Whatever else it raises.
    """

    def __init__(
        self,
        streams: Streams,
        fanout: Fanout,
        subscription: Subscription,
        channels: Sequence[Channel],
        beginning: Beginning,
        *,
        draining: asyncio.Future[None],
    ) -> None:
        self.beginning = beginning
        self.channels = channels
        self.subscription = subscription
        self.is_attached = False
        self._streams = streams
        self._fanout = fanout
        self._draining = draining
        self._epoch = fanout.epoch  # that the beginning is in
        self._hello = streams.hello(subscription, beginning)  # now, while an error can still be answered

    def attach(self, writer: Writer) -> Stream:
        """Begin the stream. What reports on the writer's socket must call the hub's `full`, `drained` and `lost` with it from
        the moment this returns; history is written in the next turn of the loop.

        Raises:
            Draining: the hub has begun to shut down. HeadwaterError: it is a stream already.
        """
        if self.is_attached:
            raise HeadwaterError("this opening is a stream already", fix="prepare another for another stream")
        check_open(self._draining)
        if self._fanout.epoch != self._epoch:
            self._epoch = self._fanout.epoch
            self.beginning = Beginning(self._fanout.received, ResetReason.EPOCH_CHANGED)
            self._hello = self._streams.hello(self.subscription, self.beginning)
        stream = self._streams.attach(self.subscription, self.channels, self.beginning, self._hello, writer)
        self.is_attached = True
        return stream
