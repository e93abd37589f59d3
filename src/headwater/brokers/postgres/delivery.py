"""What the feed has been given: the hand-off between this node's own commits and what others append.

A state machine of the event loop's thread, without I/O. Own commits go to the feed from memory if nothing of others lies
before them; otherwise they wait here until the log has been read past them.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Collection, Sequence

import msgspec

from headwater.brokers.base import Feed
from headwater.brokers.postgres.reads import Batch
from headwater.event import Draft, Event, Position

_log = logging.getLogger("headwater.brokers.postgres")


class Commit(msgspec.Struct, frozen=True):
    """A commit of this node: `drafts` at base + 1, base + 2, ... `release` is called when the feed has them."""

    base: int
    drafts: Sequence[Draft]
    time: int
    release: Callable[[], None]

    @property
    def upto(self) -> int:
        """The position of the last one."""
        return self.base + len(self.drafts)


class Delivery:
    """What the feed has been given.

    Args:
        feed: None for a node that only publishes.
        look: makes somebody read the log now.

    Attributes:
        followed: the channels that the feed is given.
        at: the epoch, and the seq through which the feed is complete.
        holes: how often positions were missing that retention had not removed, which must never happen.
    """

    def __init__(self, feed: Feed | None, look: Callable[[], None]) -> None:
        self.followed: set[str] = set()
        self.at = ("", 0)
        self.holes = 0
        self._feed = feed
        self._look = look
        self._parked: deque[Commit] = deque()  # bounded by the appends that may wait

    def adopt(self, epoch: str, head: int) -> None:
        """This is what the log is now; if that is news, the feed starts over. The first time it starts here."""
        if not self.at[0]:
            self.at = (epoch, head)
        elif epoch != self.at[0]:
            self._restart(epoch, head)

    def unfollow(self, channels: Collection[str]) -> None:
        """Give no more of these channels."""
        self.followed.difference_update(channels)
        if not self.followed:  # nobody reads the log any more, and there is nothing to wait for
            self.release()

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
            self._look()

    def read(self, batch: Batch) -> None:
        """The log has been read."""
        epoch, at = self.at
        if batch.epoch != epoch or batch.after > at:
            return  # asked for before the log was replaced
        if batch.has_hole:
            self.holes += 1
            _log.error("positions between %d and %d of epoch %s are missing", batch.after, batch.upto, epoch)
            self._restart(epoch, batch.head, lost=True)
            return
        if batch.lost_unnamed or not batch.lost.isdisjoint(self.followed):
            self._restart(epoch, batch.head)
            return
        if batch.upto > at:
            self._give([e for e in batch.events if e.position.seq > at and e.channel in self.followed], batch.upto)
        self._release_through(self.at[1])

    def release(self) -> None:
        """Keep nobody waiting: the log cannot be read now. The feed gets later what it misses."""
        while self._parked:
            self._parked.popleft().release()

    def close(self) -> None:
        """The feed is not called any more."""
        self._feed = None
        self.release()

    def _give_commit(self, commit: Commit) -> None:
        epoch, at = self.at
        if commit.upto > at and not (self.followed and commit.base > at):
            self._give(
                [
                    Event.of(draft, Position(epoch, seq), commit.time)
                    for seq, draft in enumerate(commit.drafts, commit.base + 1)
                    if seq > at and draft.channel in self.followed
                ],
                commit.upto,
            )
        commit.release()
        self._release_through(self.at[1])

    def _release_through(self, seq: int) -> None:
        """Let those go on whose events the feed has."""
        waiting = [commit for commit in self._parked if commit.upto > seq]
        if len(waiting) < len(self._parked):
            done = [commit for commit in self._parked if commit.upto <= seq]
            self._parked = deque(waiting)
            for commit in done:
                commit.release()

    def _give(self, events: Sequence[Event], upto: int) -> None:
        self.at = (self.at[0], upto)
        if self._feed is not None:
            self._feed.receive(events, Position(*self.at))

    def _restart(self, epoch: str, head: int, *, lost: bool = False) -> None:
        self.at = (epoch, head)
        self.release()
        if self._feed is not None:
            self._feed.restart(Position(epoch, head), lost)
