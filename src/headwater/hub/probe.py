"""The end-to-end probe: what is published arrives here.

Goes the way that every event goes, through the broker and back by its feed, so it fails whenever delivery does, whatever the
sockets say. Knows the broker, the following and the fan-out; must not know who asks.
"""

from __future__ import annotations

import asyncio
import time

from headwater.brokers.base import Broker
from headwater.errors import Unavailable
from headwater.event import Draft
from headwater.hub.fanout import Fanout
from headwater.hub.following import Following


async def probe(broker: Broker, following: Following, fanout: Fanout, channel: str, within: float) -> float:
    """Append an event to one of the hub's own channels and wait until the feed has brought it.

    Returns:
        Seconds that took.

    Raises:
        Unavailable: it could not be published, or did not arrive within `within` seconds.
    """
    begun = time.perf_counter()
    try:
        async with asyncio.timeout(within):
            channels = await following.acquire([channel])
            try:
                (position,) = await broker.append([Draft.json(channel, "probe")])
                await fanout.reached(position.seq)
            finally:
                following.release(channels)
    except TimeoutError:
        raise Unavailable(f"a probe did not come back within {within:g} s", retry_after=1) from None
    if fanout.epoch != position.epoch:
        raise Unavailable("the log was replaced while a probe was on its way", retry_after=1)
    return time.perf_counter() - begun
