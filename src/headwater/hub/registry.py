"""Who listens here: channels, and the views through which streams see them.

Streams that have the same channels, the same permissions and the same kind of writer get the same bytes for the same
events. Such a set of streams is a *view*; it is what the fan-out checks a permission for and what it joins frames for,
once. Views are interned here. Knows streams and rings; must not know brokers, clocks or HTTP.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator

from headwater.hub.live import Live
from headwater.hub.ring import Audience, Batch, Budget, Frame, Ring, merged
from headwater.stream import Stream


class Channel:
    """One channel that this node follows."""

    __slots__ = ("arrival", "idle_since", "name", "ready", "ring", "users", "views")

    def __init__(self, name: str, ring: Ring) -> None:
        self.name = name
        self.ring = ring
        self.views: dict[View, None] = {}
        self.users = 0  # streams and requests that need it; at 0 it may be unfollowed after a while
        self.idle_since = 0.0  # loop time at which users became 0
        self.ready: asyncio.Future[None] | None = None  # set while the broker has not yet confirmed that it follows
        self.arrival: asyncio.Future[None] | None = None  # done at the next event, for polls that wait

    def arrived(self) -> None:
        """Wake whoever waits for the channel's next event."""
        if self.arrival is not None:
            if not self.arrival.done():
                self.arrival.set_result(None)
            self.arrival = None


class View:
    """Streams that get the same bytes for the same events."""

    __slots__ = ("_memo", "audience", "bytes_out", "channels", "events_out", "live", "members", "pending")

    def __init__(self, channels: tuple[Channel, ...], audience: Audience) -> None:
        self.channels = channels
        self.audience = audience
        self.live = Live()  # those that the fan-out writes to
        self.members = 0  # all of them, in whatever state
        self.pending: list[Frame] = []  # received and not yet flushed; emptied in the same loop turn or soon after
        self.bytes_out = 0  # written to each stream that was live all the time
        self.events_out = 0
        self._memo: tuple[int, Batch] | None = None

    def recent(self, after: int, until: int) -> Batch:
        """What the rings hold for this view. Remembered until the position moves, for streams that return together."""
        memo = self._memo
        if memo is not None and memo[0] == after and memo[1].upto == until:
            return memo[1]
        batch = merged([channel.ring for channel in self.channels], after, until)
        if self.members > 1:  # for one stream it would only cost memory
            self._memo = (after, batch)
        return batch

    def forget(self) -> None:
        """Drop what was remembered."""
        self._memo = None

    @property
    def floor(self) -> int:
        """The position from which the rings of all its channels are complete."""
        return max(channel.ring.floor for channel in self.channels)

    @property
    def names(self) -> tuple[str, ...]:
        """Its channels' names."""
        return tuple(channel.name for channel in self.channels)


class Registry:
    """The channels followed here and the views on them."""

    def __init__(self, *, ring_events: int, ring_bytes: int) -> None:
        self.channels: dict[str, Channel] = {}
        self.budget = Budget(ring_bytes)
        self._views: dict[tuple[tuple[str, ...], Audience], View] = {}
        self._ring_events = ring_events

    @property
    def views(self) -> Iterator[View]:
        """All views that have streams."""
        return iter(self._views.values())

    @property
    def view_count(self) -> int:
        """How many views have streams."""
        return len(self._views)

    def add_channel(self, name: str, floor: int) -> Channel:
        """Begin to keep a channel whose ring is complete after `floor`."""
        channel = Channel(name, Ring(floor, max_events=self._ring_events, budget=self.budget))
        self.channels[name] = channel
        return channel

    def remove_channel(self, channel: Channel) -> None:
        """Forget a channel that no stream and no request needs any more."""
        channel.ring.restart(channel.ring.floor)
        del self.channels[channel.name]

    def join(self, stream: Stream, channels: Iterable[Channel], permissions: frozenset[str]) -> View:
        """Put a stream into the view it belongs to."""
        members = tuple(sorted(set(channels), key=lambda channel: channel.name))
        audience = Audience(permissions, len(members) > 1, stream.writer.chunked)
        key = (tuple(channel.name for channel in members), audience)
        view = self._views.get(key)
        if view is None:
            view = self._views[key] = View(members, audience)
            for channel in members:
                channel.views[view] = None
        view.members += 1
        stream.view = view
        return view

    def leave(self, stream: Stream) -> None:
        """Take a stream out of its view, and the view out of its channels if it was the last."""
        view: View = stream.view
        view.live.discard(stream)
        view.members -= 1
        if view.members == 0:
            del self._views[view.names, view.audience]
            for channel in view.channels:
                del channel.views[view]
