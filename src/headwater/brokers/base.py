"""The broker protocol: an ordered log of events shared by every node, with its guarantees as sentences.

A broker knows events and positions. It must not know subscribers, HTTP or the wire format: a node tells it which channels
to follow and gets batches of events back, and everything about streams is the hub's.

What every broker guarantees, and the contract suite in `headwater.testing` checks:

1. Order. Positions strictly increase in the order of appending. All nodes see the same events at the same positions.
2. Atomic and durable. `append` puts all its drafts in the log with increasing positions, or none. It returns after
   they are durable.
3. Idempotent. A draft whose `idempotency_key` is in the log's memory is not appended again; the position returned is
   the first one's.
4. Gap-free feed. After `follow(channels)` has returned position p, every event of these channels after p reaches the
   feed, once, in position order, in batches whose `upto` never decreases, in the event loop's thread.
5. Complete reads. `read` returns every event of the channels in its range, in order, or raises `PositionLost`; never a
   part with a hole.
6. Epochs. Positions of another life of the log are recognised by their epoch and never taken for positions of this
   one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple, Protocol, runtime_checkable

import msgspec

from headwater.event import Draft, Event, Position


class Feed(Protocol):
    """What a broker delivers to: the hub of this node. Both calls come in the event loop's thread, must not block, and
    must not raise."""

    def receive(self, events: Sequence[Event], upto: Position) -> None:
        """Take the next events of the followed channels, in order. The feed is then complete through `upto`, which may be
        later than the last event (events of other channels lie between) or come with no events at all."""

    def restart(self, head: Position, lost: bool = False) -> None:
        """The feed cannot go on from where it was, and goes on from `head`: the log has begun a new epoch, in which no
        earlier position means anything, or (in the same epoch) followed events were removed before this node got them.
        `lost` says that an event was missed which later ones have overtaken, so that it cannot come in order any more."""


class Page(msgspec.Struct, frozen=True):
    """Part of the log as some channels see it.

    Attributes:
        events: in position order (newest first from `read_back`).
        end: where the page stops: with `read`, every event of the channels up to here has been read; with
            `read_back`, every event from here on has.
    """

    events: tuple[Event, ...]
    end: Position


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """How much of the channels matching `pattern` is kept. A bound of None does not apply.

    Attributes:
        pattern: as in grants; the first matching rule counts.
        count: events per channel.
        age: seconds.
        bytes: of data per channel.
    """

    pattern: str = "**"
    count: int | None = 10_000
    age: float | None = 24 * 3600.0
    bytes: int | None = None


class Retention(msgspec.Struct, frozen=True, kw_only=True):
    """What the log keeps.

    Attributes:
        rules: per channel pattern; the first that matches a channel applies, the default rule if none does.
        total_bytes: data of all channels together; beyond it the oldest events of the log go first.
        key_age: seconds for which idempotency keys are remembered.
        keys: how many of them at most, the newest; None for no bound. They take about 250 bytes each, on top of
            `total_bytes`.
    """

    rules: tuple[Rule, ...] = (Rule(),)
    total_bytes: int | None = 1 << 30
    key_age: float = 24 * 3600.0
    keys: int | None = 1_000_000


class ChannelInfo(msgspec.Struct, frozen=True):
    """What the log holds of one channel.

    Attributes:
        name: the channel.
        events: how many events are retained.
        bytes: of their data.
        last: position of the newest.
        last_time: of the newest, in milliseconds of Unix time.
    """

    name: str
    events: int
    bytes: int
    last: Position
    last_time: int


class Broker(Protocol):
    """One log. Every method may raise `BrokerUnavailable` (nothing was appended) and none leaves anything half-done when
    it is cancelled: a cancelled `append` may or may not have happened, as with a lost connection; its key tells."""

    async def open(self, feed: Feed | None = None) -> Position:
        """Connect, create what is missing, begin feeding `feed`, and return the head of the log. A publisher passes no
        feed and may then only append and read. To be called once, before anything else."""

    async def aclose(self) -> None:
        """Let pending appends finish, release every thread, socket and file. The feed is not called afterwards.
        Idempotent."""

    async def append(self, drafts: Sequence[Draft]) -> tuple[Position, ...]:
        """Append all drafts or none; return their positions, in order, once they are durable. This node's feed has
        received them (if it follows their channels) before this returns.

        Raises:
            IdempotencyConflict: a draft's key was used before for a different draft; nothing was appended.
        """

    async def follow(self, channels: Collection[str]) -> Position:
        """Add channels to the feed. Returns a position after which the feed misses nothing of them; it is never later
        than the `upto` most recently given to the feed."""

    async def unfollow(self, channels: Collection[str]) -> None:
        """Remove channels from the feed. Unknown ones are ignored. Calls of `follow` and `unfollow` take effect in the order
        in which they were made."""

    async def read(self, channels: Collection[str], after: int, until: int, limit: int = 500) -> Page:
        """The events of `channels` with after < seq <= until, oldest first, at most `limit` of them. If the page is full
        its `end` is its last event, else `end` is `until` (or the head, if that is earlier).

        Raises:
            PositionLost: retention has removed an event of these channels after `after` (`expired`).
        """

    async def read_back(self, channels: Collection[str], before: int, limit: int = 500) -> Page:
        """The newest events of `channels` with seq <= before, newest first, at most `limit`. Retention is no error here:
        what is gone is not there. If the page is not full, `end.seq` is 0."""

    async def position_at(self, time: int) -> Position:
        """The position before the first event that was accepted at `time` (milliseconds of Unix time) or later; the head if
        there is none. Events that are gone count as accepted before: compare with `horizon`."""

    async def horizon(self, channels: Collection[str]) -> Position:
        """The earliest position from which `read` of these channels is complete: what "everything you still have" starts
        at."""

    async def head(self) -> Position:
        """The position of the newest event, freshly asked of the store: a round trip, so it proves that the store answers."""

    async def channels(self, prefix: str = "", limit: int = 1000) -> tuple[ChannelInfo, ...]:
        """Channels with retained events whose names begin with `prefix`, by name."""

    async def prune(self, now: int) -> int:
        """Apply retention as of `now` (milliseconds of Unix time); returns how many events went. Brokers also do this by
        themselves."""


@runtime_checkable
class Counting(Protocol):
    """A broker that counts what went wrong; `/metrics` and `/stats` show it. Not every broker is one."""

    def counters(self) -> Mapping[str, int]:
        """How often what has happened since the broker was made. The names are always the same ones, and few."""


@runtime_checkable
class Renewable(Protocol):
    """A broker that can be told that its log has missed something. Not every broker is one."""

    async def begin_epoch(self) -> None:
        """Begin a new epoch, so that every client of every node is told to load its state anew. Events and idempotency keys
        stay; the events belong to the new epoch."""


class Grade(StrEnum):
    """How bad a finding is."""

    GOOD = "ok"
    NOTE = "note"
    BAD = "bad"


class Finding(NamedTuple):
    """One thing that was looked at, for an operator: what is the case and, unless it is good, what to do."""

    grade: Grade
    text: str


@runtime_checkable
class Examinable(Protocol):
    """A broker that can say more of its store than that it works; `headwater doctor` asks it. Not every broker is one."""

    async def examine(self) -> Sequence[Finding]:
        """Look at the store's version and configuration, while open. Changes nothing.

        Raises:
            BrokerUnavailable: the store does not answer.
        """
