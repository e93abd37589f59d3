"""What the feed has been given: the hand-off between this node's own commits and what other processes append.

A state machine of the event loop's thread, without I/O. Own commits go to the feed from memory, as long as nothing of
others lies before them; if something does they wait here, and the watcher reads up to them from the file.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Sequence

import msgspec

from headwater.brokers.base import Feed
from headwater.brokers.sqlite.reads import Batch
from headwater.event import Draft, Event, Position


class Commit(msgspec.Struct, frozen=True):
    """A commit of this node: `drafts` at base + 1, base + 2, ... `release` is called when the feed has them."""

    base: int
    drafts: Sequence[Draft]
    time: int
    release: Callable[[], None]


class Delivery:
    """What the feed has been given.

    Args:
        feed: None for a node that only publishes.

    Attributes:
        followed: the channels that the feed is given.
        at: the epoch, and the seq through which the feed is complete. Replaced as a whole: other threads may read it.
        gap: the watcher must read the file up to here, even if nothing happens there any more.
    """

    def __init__(self, feed: Feed | None) -> None:
        self.followed: set[str] = set()
        self.at = ("", 0)
        self.gap = 0
        self._feed = feed
        self._parked: deque[Commit] = deque()  # bounded by the appends that may wait

    def begin(self, epoch: str, head: int) -> None:
        self.at = (epoch, head)

    def adopt(self, epoch: str, head: int) -> None:
        """This is what the log is now; if that is news, the feed starts over."""
        if epoch != self.at[0]:
            self._restart(epoch, head)

    def unfollow(self, channels: Collection[str]) -> None:
        self.followed.difference_update(channels)
        while not self.followed and self._parked:  # the watcher sleeps now, and there is nothing to wait for
            self._give_commit(self._parked.popleft())

    def skip_to(self, epoch: str, head: int) -> None:
        """Pass over everything up to `head`, if no channel is followed."""
        if not self.followed and self.at[0] == epoch and head > self.at[1]:
            self._give((), head)

    def committed(self, commit: Commit) -> None:
        """This node has appended something."""
        if self._feed is None or not self.followed or commit.base <= self.at[1]:
            self._give_commit(commit)
        else:
            self._parked.append(commit)
            self.gap = commit.base

    def read(self, batch: Batch) -> None:
        """The watcher has read something."""
        epoch, at = self.at
        if batch.epoch != epoch or batch.after > at:
            return  # asked for before the log was replaced
        if batch.lost_unnamed or not batch.lost.isdisjoint(self.followed):
            self._restart(epoch, batch.head)
            return
        if batch.upto > at:
            wanted = [e for e in batch.events if e.position.seq > at and e.channel in self.followed]
            self._give(wanted, batch.upto)
        while self._parked and self._parked[0].base <= self.at[1]:
            self._give_commit(self._parked.popleft())

    def close(self) -> None:
        """The feed is not called any more."""
        self._feed = None
        self._release_parked()

    def _give_commit(self, commit: Commit) -> None:
        epoch, at = self.at
        head = commit.base + len(commit.drafts)
        if head > at:
            self._give(
                [
                    Event.of(draft, Position(epoch, seq), commit.time)
                    for seq, draft in enumerate(commit.drafts, commit.base + 1)
                    if seq > at and draft.channel in self.followed
                ],
                head,
            )
        commit.release()

    def _give(self, events: Sequence[Event], upto: int) -> None:
        self.at = (self.at[0], upto)
        if self._feed is not None:
            self._feed.receive(events, Position(*self.at))

    def _restart(self, epoch: str, head: int) -> None:
        self.at = (epoch, head)
        self.gap = 0
        self._release_parked()
        if self._feed is not None:
            self._feed.restart(Position(epoch, head))

    def _release_parked(self) -> None:
        while self._parked:
            self._parked.popleft().release()
