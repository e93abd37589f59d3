"""A timer wheel: one timer for all streams' heartbeats, warnings, expiries and eviction deadlines.

Pure: it holds items under ticks of time and gives back the due ones. It has no clock; whoever owns it says what time it is.
A stream costs one set entry here instead of a timer handle, and thousands of streams cost one wake-up per tick.
"""

from __future__ import annotations

from headwater.stream import INFINITY, Stream

RESOLUTION = 0.25
"""Seconds per tick. Coarse enough that an idle hub wakes four times a second at most, fine enough for heartbeats, and for
ending a stream less than a second before its token does."""

LOOKAHEAD = 2 * RESOLUTION
"""Seconds by which whoever owns a wheel must be ahead of the clock so that nothing happens late: until it looks again one
tick passes, and the loop may keep it waiting for up to another."""


class Wheel:
    """Streams by the tick at which something is due for them; each stream is in it once at most."""

    __slots__ = ("_now", "_ticks")

    def __init__(self, now: float) -> None:
        self._now = int(now / RESOLUTION)  # the last tick that was handed out
        self._ticks: dict[int, set[Stream]] = {}

    def __len__(self) -> int:
        return sum(len(streams) for streams in self._ticks.values())

    def schedule(self, stream: Stream) -> None:
        """Place a stream at its next due time, instead of where it was."""
        self.remove(stream)
        at = stream.next_due
        if at == INFINITY:
            return
        tick = max(int(at / RESOLUTION), self._now + 1)
        stream.due = tick
        self._ticks.setdefault(tick, set()).add(stream)

    def remove(self, stream: Stream) -> None:
        """Forget a stream; at once, so that a closed stream is not kept alive by a heartbeat that lies ahead."""
        tick, stream.due = stream.due, -1
        streams = self._ticks.get(tick)
        if streams is not None:
            streams.discard(stream)
            if not streams:
                del self._ticks[tick]

    def advance(self, now: float) -> list[Stream]:
        """Take out every stream that is due by `now`. Time that was slept through is made up for in one step."""
        tick = int(now / RESOLUTION)
        if tick - self._now > len(self._ticks):
            due = sorted(at for at in self._ticks if at <= tick)
        else:
            due = [at for at in range(self._now + 1, tick + 1) if at in self._ticks]
        self._now = max(self._now, tick)
        streams = [stream for at in due for stream in self._ticks.pop(at)]
        for stream in streams:
            stream.due = -1
        return streams
