"""Which channels this node follows, and for how long after the last stream has left.

Knows the registry and the broker's `follow` and `unfollow`; must not know streams or events. Channels are kept a while
when nobody needs them any more, with their rings, because the same clients come back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine, Sequence
from typing import Any

from headwater.brokers.base import Broker
from headwater.errors import Unavailable
from headwater.hub.fanout import Fanout
from headwater.hub.registry import Channel, Registry

LINGER = 60.0
"""Seconds a channel stays followed without users: longer than clients take to reconnect, with their backoff."""

MAX_IDLE = 10_000
"""Channels without users that are kept at most; the longest unused go first."""

Spawn = Callable[[Coroutine[Any, Any, None]], object]


class Following:
    """Acquires and releases channels.

    Args:
        spawn: starts a task that the hub waits for when it stops.
    """

    def __init__(
        self,
        registry: Registry,
        fanout: Fanout,
        broker: Broker,
        *,
        loop: asyncio.AbstractEventLoop,
        spawn: Spawn,
    ) -> None:
        self._registry = registry
        self._fanout = fanout
        self._broker = broker
        self._loop = loop
        self._spawn = spawn
        self._unwanted: set[str] = set()  # removed here; the broker does not know yet that it need not follow them

    async def acquire(self, names: Collection[str]) -> list[Channel]:
        """Channels that are followed and stay so until they are released.

        Raises:
            BrokerUnavailable: the broker cannot follow now; nothing is held.
        """
        channels: list[Channel] = []
        missing: list[Channel] = []
        ready: asyncio.Future[None] = self._loop.create_future()
        for name in dict.fromkeys(names):
            channel = self._registry.channels.get(name)
            if channel is None:
                channel = self._registry.add_channel(name, self._fanout.received)
                channel.ready = ready
                missing.append(channel)
            channel.users += 1
            channels.append(channel)
        if missing:
            # A task of its own: others may wait for the same channels, and this caller may be cancelled.
            self._spawn(self._follow(missing, ready))
        try:
            for channel in channels:
                if channel.ready is not None:
                    await asyncio.shield(channel.ready)
        except BaseException:
            self.release(channels)
            raise
        return channels

    async def _follow(self, channels: Sequence[Channel], ready: asyncio.Future[None]) -> None:
        try:
            position = await self._broker.follow([channel.name for channel in channels])
        except BaseException as error:
            for channel in channels:
                self._registry.remove_channel(channel)
            # The askers are not cancelled when we are: for them the hub is gone.
            ready.set_exception(error if isinstance(error, Exception) else Unavailable("the hub has stopped"))
            ready.exception()  # seen, even if every asker is gone
            if not isinstance(error, Exception):
                raise
            return
        # A position of another epoch tells of a restart that the feed has yet to bring, or has already brought.
        is_ours = position.epoch == self._fanout.epoch
        for channel in channels:
            channel.ring.start_at(position.seq if is_ours else self._fanout.received)
            channel.idle_since = self._loop.time()
            channel.ready = None
        ready.set_result(None)

    def release(self, channels: Collection[Channel]) -> None:
        """Give channels back; each `acquire` once."""
        for channel in channels:
            channel.users -= 1
            if channel.users == 0:
                channel.idle_since = self._loop.time()

    async def sweep(self, now: float) -> int:
        """Unfollow what nobody has needed for LINGER seconds, and the longest unused beyond MAX_IDLE. Returns how many
        channels went."""
        idle = [c for c in self._registry.channels.values() if c.users == 0 and c.ready is None]
        idle.sort(key=lambda channel: channel.idle_since)
        surplus = max(0, len(idle) - MAX_IDLE)
        gone = [c for index, c in enumerate(idle) if index < surplus or now - c.idle_since >= LINGER]
        for channel in gone:
            self._registry.remove_channel(channel)
            self._unwanted.add(channel.name)
        self._unwanted -= self._registry.channels.keys()
        if unwanted := frozenset(self._unwanted):
            await self._broker.unfollow(unwanted)
            self._unwanted -= unwanted  # if that failed, the next sweep tries again
        return len(gone)
