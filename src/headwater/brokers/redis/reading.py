"""Reading pages of several channels: each has a stream of its own, and a page is of all of them in order.

A look at Redis takes a number of entries from each stream. How far all of them together are complete is as far as the
shortest one goes; looks follow each other until the page is full or the range is done. Events do not change, so the looks
need not be at the same moment, as long as the epoch is the same, and nothing was removed in between, which each look tells.
"""

from __future__ import annotations

from collections.abc import Awaitable, Collection, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Protocol

from headwater.brokers.redis.delivery import Entry
from headwater.brokers.redis.keys import Keys
from headwater.brokers.redis.known import State
from headwater.brokers.redis.records import read_entry
from headwater.errors import PositionLost
from headwater.event import Position, ResetReason

CHUNK = 500  # channels in one look
LEAST = 8  # entries taken of each, of however many channels


class Ask(Protocol):
    """Runs a script: see `Store`."""

    def __call__(
        self, script: str, asked: Mapping[str, object], more_keys: Iterable[str] = (), *, is_safe: bool = True
    ) -> Awaitable[tuple[State, list[Any]]]: ...


class _EpochChanged(Exception):
    """The log began a new epoch between two looks."""


class Reading:
    """Reads pages of some channels.

    Args:
        ask: runs a script.
        keys: of the log.
        channels: which to read.
    """

    def __init__(self, ask: Ask, keys: Keys, channels: Collection[str]) -> None:
        names = list(dict.fromkeys(channels))
        self._ask = ask
        self._keys = keys
        self._chunks = [names[first : first + CHUNK] for first in range(0, len(names), CHUNK)] or [[]]
        self._number = max(1, len(names))
        self._epoch: str | None = None

    async def read(self, after: int, until: int, limit: int) -> tuple[tuple[Entry, ...], Position]:
        """See `Store.read_entries`.

        Raises:
            PositionLost: an event after `after` is gone.
        """
        while True:
            self._epoch = None
            try:
                return await self._read(after, until, limit)
            except _EpochChanged:
                continue

    async def _read(self, after: int, until: int, limit: int) -> tuple[tuple[Entry, ...], Position]:
        found: list[Entry] = []
        reached, end = after, until
        while True:
            count = self._count(limit - len(found))
            page, reached, head = await self._look(reached, end, count)
            end = min(end, head)  # later events would be read of some channels and not of others
            found += page
            if len(found) >= limit:
                return tuple(found[:limit]), found[limit - 1].event.position
            if reached >= end:
                return tuple(found), self._position(end)

    async def _look(self, after: int, until: int, count: int) -> tuple[list[Entry], int, int]:
        """Some entries of all channels in order, how far they are complete, and the log's head (not after `until`, once one
        look was taken)."""
        entries: list[Entry] = []
        complete = until
        head: int | None = None
        for names in self._chunks:
            asked = {"channels": names, "after": after, "upto": complete, "count": count}
            state, (rows,) = await self._ask("read", asked, [self._keys.stream(name) for name in names])
            self._check_epoch(state)
            if head is None:
                head = state.head
                complete = min(complete, head)
            for name, (is_whole, raw, newest) in zip(names, rows, strict=True):
                run = [read_entry(state.epoch, name, id_, fields) for id_, fields in raw]
                _check_whole(name, run, after, complete, newest if len(run) < count else None, bool(is_whole))
                if len(run) == count:
                    complete = min(complete, entry_seq(run[-1]))
                entries += run
        assert head is not None
        return sorted((e for e in entries if entry_seq(e) <= complete), key=entry_seq), complete, head

    async def read_back(self, before: int, limit: int) -> tuple[tuple[Entry, ...], str]:
        """The newest entries through `before`, newest first, and the epoch."""
        while True:
            self._epoch = None
            try:
                return await self._read_back(before, limit)
            except _EpochChanged:
                continue

    async def _read_back(self, before: int, limit: int) -> tuple[tuple[Entry, ...], str]:
        found: list[Entry] = []
        while True:
            page, complete = await self._look_back(before, self._count(limit - len(found)))
            found += page
            if len(found) >= limit or complete == 0:
                assert self._epoch is not None
                return tuple(found[:limit]), self._epoch
            before = complete - 1

    async def _look_back(self, before: int, count: int) -> tuple[list[Entry], int]:
        entries: list[Entry] = []
        complete = 0
        for names in self._chunks:
            asked = {"channels": names, "before": before, "count": count}
            state, (rows,) = await self._ask("read_back", asked, [self._keys.stream(name) for name in names])
            self._check_epoch(state)
            for name, raw in zip(names, rows, strict=True):
                run = [read_entry(state.epoch, name, id_, fields) for id_, fields in raw]
                if len(run) == count:
                    complete = max(complete, entry_seq(run[-1]))
                entries += run
        return sorted((e for e in entries if entry_seq(e) >= complete), key=entry_seq, reverse=True), complete

    def _count(self, wanted: int) -> int:
        """How many to take of each channel: twice as many as wanted if they come evenly from all of them."""
        return min(wanted, max(LEAST, -(-2 * wanted // self._number)))

    def _check_epoch(self, state: State) -> None:
        if self._epoch not in (None, state.epoch):
            raise _EpochChanged
        self._epoch = state.epoch

    def _position(self, seq: int) -> Position:
        assert self._epoch is not None
        return Position(self._epoch, seq)


def entry_seq(entry: Entry) -> int:
    """The entry's seq."""
    return entry.event.position.seq


def _check_whole(channel: str, run: Sequence[Entry], after: int, upto: int, newest: int | None, is_whole: bool) -> None:
    """Refuse a run of a channel's entries with a hole: at its beginning, which the script tells; within it, or at its end,
    which can only be if somebody removed entries by hand.

    Args:
        channel: its name.
        run: its entries after `after`.
        upto: through here all of them should be in it.
        newest: of the channel, if all there are through `upto` should be in the run; None if it was cut off.
        is_whole: what the script told.
    """
    holes = any(entry_seq(one) < two.previous for one, two in pairwise(run))
    reached = entry_seq(run[-1]) if run else after
    if not is_whole or holes or (newest is not None and reached < newest <= upto):
        raise PositionLost(ResetReason.EXPIRED, f"events of channel {channel!r} after position {after} are gone")
