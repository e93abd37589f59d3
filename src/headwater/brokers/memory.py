"""The log in this process's memory: the reference broker, for tests and for trying things out.

It knows one node, its own, and forgets everything when the process ends. What other brokers do with transactions and
threads it does by never awaiting in the middle: every method runs whole between two turns of the event loop.
"""

from __future__ import annotations

import time as clock
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Collection, Sequence
from heapq import merge
from itertools import islice
from urllib.parse import urlsplit

import msgspec

from headwater.brokers import redacted
from headwater.brokers.base import ChannelInfo, Feed, Page, Retention
from headwater.brokers.shared import fingerprint, new_epoch, rule_for
from headwater.errors import BrokerUnavailable, ConfigurationError, IdempotencyConflict, PositionLost
from headwater.event import Draft, Event, Position, ResetReason, byte_length

SWEEP_INTERVAL = 10_000  # milliseconds between looks at every channel's age; an append looks only at its own channels
MAX_MARKS = 10_000  # channels without events whose pruning is remembered one by one


def from_url(url: str, retention: Retention) -> MemoryBroker:
    """The broker for `memory://`.

    Raises:
        ConfigurationError: the URL says more than that.
    """
    if urlsplit(url)[1:] != ("", "", "", ""):
        raise ConfigurationError(
            f"the URL {redacted(url)!r} names a place in memory", expected="memory:// and nothing after it"
        )
    return MemoryBroker(retention)


class MemoryBroker:
    """A log in memory. See `headwater.brokers.base.Broker` for what it promises; "durable" means until the process ends.

    Args:
        retention: what the log keeps.
    """

    def __init__(self, retention: Retention = Retention()) -> None:  # noqa: B008 (frozen, so safe to share)
        self._retention = retention
        self._feed: Feed | None = None
        self._followed: set[str] = set()
        self._is_open = False
        self._begin()

    def _begin(self) -> None:
        self._epoch = new_epoch()
        self._head = 0
        self._time = 0  # of the newest event: times never run backwards, or `position_at` would mean nothing
        self._log: OrderedDict[int, Event] = OrderedDict()  # everything retained, by seq
        self._channels: dict[str, _Channel] = {}
        self._bytes = 0
        self._keys: OrderedDict[str, tuple[int, bytes, int]] = OrderedDict()  # key -> (time, fingerprint, seq)
        self._marks: OrderedDict[str, int] = OrderedDict()  # channels without events -> the newest seq removed there
        self._floor = 0  # the same for all channels that are in neither `_channels` nor `_marks`
        self._next_sweep = 0

    async def open(self, feed: Feed | None = None) -> Position:
        self._feed = feed
        self._is_open = True
        return self._position(self._head)

    async def aclose(self) -> None:
        self._is_open = False
        self._feed = None

    def wipe(self) -> None:
        """Forget everything and begin a new epoch, as a store does that was deleted under a running hub."""
        self._begin()
        if self._feed is not None:
            self._feed.restart(self._position(0))

    async def begin_epoch(self) -> None:
        """See `headwater.brokers.base.Renewable`."""
        self._check_open()
        self._epoch = new_epoch()
        for seq, event in self._log.items():
            self._log[seq] = msgspec.structs.replace(event, position=self._position(seq))
        for channel in self._channels.values():
            channel.events = [self._log[event.position.seq] for event in channel.events]
        if self._feed is not None:
            self._feed.restart(self._position(self._head))

    async def append(self, drafts: Sequence[Draft]) -> tuple[Position, ...]:
        self._check_open()
        now = max(self._time, int(clock.time() * 1000))
        self._forget_keys(now)
        known = self._known_keys(drafts)
        events: list[Event] = []
        positions = []
        for draft in drafts:
            seq = known.get(draft.idempotency_key or "")
            if not seq:
                seq = self._head + 1
                events.append(self._add(draft, seq, now))
                if draft.idempotency_key is not None:
                    known[draft.idempotency_key] = seq
            positions.append(self._position(seq))
        self._deliver(events)
        self._retain({event.channel for event in events}, now)
        return tuple(positions)

    def _known_keys(self, drafts: Sequence[Draft]) -> dict[str, int]:
        """The seq of each key of `drafts` that is remembered. Checks the whole batch before anything is appended."""
        known: dict[str, int] = {}
        fresh: dict[str, bytes] = {}
        for draft in drafts:
            key = draft.idempotency_key
            if key is None:
                continue
            print_ = fingerprint(draft)
            if key in self._keys:
                _, first, known[key] = self._keys[key]
            else:
                first = fresh.setdefault(key, print_)
            if first != print_:
                raise IdempotencyConflict(
                    f"idempotency key {key!r} was used before for a different event",
                    fix="use a new key for each event; repeat a key only with the very same event",
                )
        return known

    def _add(self, draft: Draft, seq: int, now: int) -> Event:
        event = Event.of(draft, self._position(seq), now)
        self._head, self._time = seq, now
        self._log[seq] = event
        channel = self._channels.get(draft.channel)
        if channel is None:
            mark = self._marks.pop(draft.channel, self._floor)
            channel = self._channels[draft.channel] = _Channel(mark)
        size = byte_length(draft.data)
        channel.events.append(event)
        channel.bytes += size
        self._bytes += size
        if draft.idempotency_key is not None:
            self._keys[draft.idempotency_key] = (now, fingerprint(draft), seq)
        return event

    def _deliver(self, events: Sequence[Event]) -> None:
        if self._feed is not None and events:
            followed = [event for event in events if event.channel in self._followed]
            self._feed.receive(followed, self._position(self._head))

    async def follow(self, channels: Collection[str]) -> Position:
        self._check_open()
        self._followed.update(channels)
        return self._position(self._head)

    async def unfollow(self, channels: Collection[str]) -> None:
        self._followed.difference_update(channels)

    async def read(self, channels: Collection[str], after: int, until: int, limit: int = 500) -> Page:
        self._check_open()
        for name in channels:
            if after < self._mark(name):
                raise PositionLost(ResetReason.EXPIRED, f"events of channel {name!r} after position {after} are gone")
        runs = [islice(found.events, found.count_through(after), None) for found in self._find(channels)]
        events = []
        for event in islice(merge(*runs, key=_seq), limit):
            if event.position.seq > until:
                break
            events.append(event)
        full = len(events) == limit
        return Page(tuple(events), events[-1].position if full else self._position(min(until, self._head)))

    async def read_back(self, channels: Collection[str], before: int, limit: int = 500) -> Page:
        self._check_open()
        runs = [reversed(found.events[: found.count_through(before)]) for found in self._find(channels)]
        events = tuple(islice(merge(*runs, key=_seq, reverse=True), limit))
        return Page(events, events[-1].position if len(events) == limit else self._position(0))

    async def position_at(self, time: int) -> Position:
        self._check_open()
        # Times rise with positions, so each channel can be searched by halves; a walk over the log would hold up the loop.
        later = (channel.first_at(time) for channel in self._channels.values())
        return self._position(min((seq - 1 for seq in later if seq is not None), default=self._head))

    async def horizon(self, channels: Collection[str]) -> Position:
        self._check_open()
        return self._position(max((self._mark(name) for name in channels), default=0))

    async def head(self) -> Position:
        self._check_open()
        return self._position(self._head)

    async def channels(self, prefix: str = "", limit: int = 1000) -> tuple[ChannelInfo, ...]:
        self._check_open()
        names = sorted(name for name in self._channels if name.startswith(prefix))
        return tuple(self._channels[name].info(name) for name in names[:limit])

    async def prune(self, now: int) -> int:
        self._check_open()
        return self._sweep(now)

    def _sweep(self, now: int) -> int:
        self._next_sweep = now + SWEEP_INTERVAL
        self._forget_keys(now)
        return self._retain(list(self._channels), now)

    def _retain(self, channels: Collection[str], now: int) -> int:
        """Remove what retention does not keep in these channels, then the log's oldest while it is too large."""
        if now >= self._next_sweep:
            return self._sweep(now)
        removed = sum(self._retain_channel(name, now) for name in channels)
        most = self._retention.total_bytes
        while most is not None and self._bytes > most:
            removed += self._remove_first(next(iter(self._log.values())).channel)
        return removed

    def _retain_channel(self, name: str, now: int) -> int:
        rule = rule_for(self._retention, name)
        removed = 0
        while (channel := self._channels.get(name)) is not None and (
            (rule.count is not None and len(channel.events) > rule.count)
            or (rule.bytes is not None and channel.bytes > rule.bytes)
            or (rule.age is not None and channel.events[0].time < now - rule.age * 1000)
        ):
            removed += self._remove_first(name)
        return removed

    def _remove_first(self, name: str) -> int:
        channel = self._channels[name]
        event = channel.events.pop(0)
        size = byte_length(event.data)
        channel.mark = event.position.seq
        channel.bytes -= size
        self._bytes -= size
        del self._log[event.position.seq]
        if not channel.events:
            del self._channels[name]
            self._marks[name] = channel.mark
        if len(self._marks) > MAX_MARKS:
            _, mark = self._marks.popitem(last=False)
            self._floor = max(self._floor, mark)
        return 1

    def _forget_keys(self, now: int) -> None:
        oldest = now - self._retention.key_age * 1000
        while self._keys and next(iter(self._keys.values()))[0] < oldest:
            self._keys.popitem(last=False)
        most = self._retention.keys
        while most is not None and len(self._keys) > most:
            self._keys.popitem(last=False)

    def _mark(self, name: str) -> int:
        """The newest seq removed from a channel; at least that, for a channel that has long been empty."""
        channel = self._channels.get(name)
        return self._marks.get(name, self._floor) if channel is None else channel.mark

    def _find(self, channels: Collection[str]) -> list[_Channel]:
        return [self._channels[name] for name in set(channels) if name in self._channels]

    def _position(self, seq: int) -> Position:
        return Position(self._epoch, seq)

    def _check_open(self) -> None:
        if not self._is_open:
            raise BrokerUnavailable("the broker is not open", fix="call open() first, and nothing after aclose()")


class _Channel:
    """The retained events of one channel, how many bytes their data has, and the newest seq that was removed."""

    __slots__ = ("bytes", "events", "mark")

    def __init__(self, mark: int) -> None:
        self.events: list[Event] = []
        self.bytes = 0
        self.mark = mark

    def count_through(self, seq: int) -> int:
        return bisect_right(self.events, seq, key=_seq)

    def first_at(self, time: int) -> int | None:
        """The seq of the first event that was accepted at `time` or later."""
        index = bisect_left(self.events, time, key=_time)
        return self.events[index].position.seq if index < len(self.events) else None

    def info(self, name: str) -> ChannelInfo:
        last = self.events[-1]
        return ChannelInfo(name, len(self.events), self.bytes, last.position, last.time)


def _seq(event: Event) -> int:
    return event.position.seq


def _time(event: Event) -> int:
    return event.time
