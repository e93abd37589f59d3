"""What the feed has been given, and what it must be given next: the decisions of a node that listens to Redis.

A state machine of the event loop's thread, without I/O. It is told what comes over the pub/sub connection, in its order,
and what the log says of itself, and it calls the feed. It must not know Redis: whoever asks and listens is `subscriber`.

Pub/sub alone promises nothing, so nothing is believed that the log does not confirm. Each message names the one before it
in its channel: a hole shows at once. Now and then the log is asked where it is (a *survey*), by a script that also
publishes a *marker* to this node: when both are here, the newest message of each channel must be, too. Whatever is found
missing is read from the log while live messages wait in a bounded buffer; then they follow.

Two states. Live: messages go straight to the feed. Not live (after a connection broke, or something was missed): messages
wait, and `survey`, then `entries` for as long as there is a `need`, bring it back. The marker is the seam: what the buffer
holds before it lies at or before the survey's head and is read from the log; what comes after it is later.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import msgspec

from headwater.brokers.base import Feed
from headwater.event import MAX_SEQ, Event, Position

MAX_BUFFERED = 10_000  # messages that wait while the log is read; beyond, they are dropped, and read from it, too
MAX_BUFFERED_SIZE = 16 << 20  # characters of data in them


class Entry(msgspec.Struct, frozen=True):
    """An event as it stands in its channel.

    Attributes:
        previous: seq of the channel's event before it, gone or not; 0 if there is none. When the log no longer knows it,
            a seq through which nothing is known of the channel (at most its `Survey.floor`).
    """

    event: Event
    previous: int


class Survey(msgspec.Struct, frozen=True):
    """What the log said of itself at one moment.

    Attributes:
        epoch, head: where it was.
        born: the head when its epoch began.
        last: seq of the newest event that there ever was in each channel asked for. Those that the log no longer knows
            (nothing is left of them, and that since long) are missing. One that was asked for a little later than `head`
            may be later, too.
        floor: through this seq there may be events of the missing ones that are gone.
    """

    epoch: str
    born: int
    head: int
    last: Mapping[str, int]
    floor: int = 0


class Need(msgspec.Struct, frozen=True):
    """What is to be read from the log: events of `channels` with after < seq <= until."""

    channels: tuple[str, ...]
    after: int
    until: int


class _Repair(msgspec.Struct):
    """A repair under way: from a survey, of the channels behind it, with the feed complete through `start` at first."""

    survey: Survey
    behind: tuple[str, ...]
    start: int


class Delivery:
    """What the feed has been given.

    Args:
        feed: gets the events of followed channels.

    Attributes:
        at: the position through which the feed is complete.
        followed: the channels that the feed is given, each with the seq of its newest event that is done with.
        is_live: messages go straight to the feed.
        gaps: times that something was found missing although the connection was there.
        repairs: times that missed events had to be read from the log.
        lost: times that a missed event had been overtaken, so that streams were reset.
        overflows: times that the buffer was full.
    """

    def __init__(
        self, feed: Feed, *, max_buffered: int = MAX_BUFFERED, max_buffered_size: int = MAX_BUFFERED_SIZE
    ) -> None:
        self.at = Position("0", 0)
        self.followed: dict[str, int] = {}
        self.is_live = False
        self.gaps = 0
        self.repairs = 0
        self.lost = 0
        self.overflows = 0
        self._feed = feed
        self._bounds = (max_buffered, max_buffered_size)
        self._joining: dict[str, int] = {}  # channels about to be followed, with the newest seq that has been seen
        self._pending: list[Event] = []  # accepted, and given to the feed with the next `flush`
        self._reached = 0  # seq of the newest event accepted, or of `at` if that is later
        self._buffer: list[Entry] = []  # what came while not live
        self._buffer_size = 0
        self._has_overflowed = False  # the buffer has lost something since the last marker
        self._is_suspect = False  # something vanished from a connection that was there: it may have been overtaken
        self._repair: _Repair | None = None

    def begin(self, head: Position) -> None:
        """The feed starts here."""
        self.at = head
        self._reached = head.seq

    # -- the connection --------------------------------------------------------------------------------------------------

    def arrived(self, entry: Entry) -> None:
        """A message came. `flush` must follow when there is nothing more to take at once."""
        event = entry.event
        seq = event.position.seq
        if event.position.epoch != self.at.epoch:
            self.is_live = False
        elif self._joining.get(event.channel, seq) < seq:
            self._joining[event.channel] = seq
        if not self.is_live:
            self._keep(entry)
            return
        last = self.followed.get(event.channel)
        if last is None or seq <= last:
            return
        if entry.previous > last or seq <= self._reached:
            self._miss()
            self._keep(entry)
            return
        self.followed[event.channel] = self._reached = seq
        self._pending.append(event)

    def flush(self) -> None:
        """Give the feed what has come, in one batch."""
        if self._pending:
            events, self._pending = self._pending, []
            self._give(events, events[-1].position)

    def marked(self) -> None:
        """The marker of the survey under way came: what waits lies before its head and will be read from the log."""
        self._clear_buffer()

    def disconnected(self) -> None:
        """The connection is gone, and with it whatever was under way."""
        self.flush()
        self.is_live = False
        self._repair = None
        self._clear_buffer()

    def doubt(self) -> None:
        """The log may not be what it was: nothing is given until it was surveyed."""
        self.flush()
        self.is_live = False

    # -- channels --------------------------------------------------------------------------------------------------------

    def expect(self, channels: Iterable[str]) -> None:
        """These channels are subscribed now, and are followed once a survey of them that begins now is here (`join`)."""
        self._joining = dict.fromkeys(channels, 0)

    def join(self, survey: Survey) -> bool:
        """Follow the channels that are still expected, from `at` on. False if that cannot be now: not live."""
        self.flush()
        if survey.epoch != self.at.epoch:
            self.is_live = False
        if not self.is_live:
            return False
        joining, self._joining = self._joining, {}
        for channel, seen in joining.items():
            self.followed[channel] = max(seen, survey.last.get(channel, survey.floor))
        # What has been seen of them is not given any more, so the feed must be past it.
        self._advance(max(survey.head, *joining.values(), 0))
        return True

    def unfollow(self, channels: Collection[str]) -> None:
        """Give the feed nothing more of these."""
        self.flush()
        for channel in channels:
            self.followed.pop(channel, None)
            self._joining.pop(channel, None)

    # -- the log ---------------------------------------------------------------------------------------------------------

    @property
    def need(self) -> Need | None:
        """What has to be read before messages can flow again; tell `entries` or `expired`. With nothing needed and not live,
        another survey is."""
        if self._repair is None:
            return None
        behind = tuple(channel for channel in self._repair.behind if channel in self.followed)
        return Need(behind, self.at.seq, self._repair.survey.head)

    def survey(self, survey: Survey) -> None:
        """The log was asked about all followed channels, and both its answer and the marker are here."""
        self.flush()
        self._repair = None
        if survey.epoch != self.at.epoch:
            self._begin_epoch(survey)
        if not self.is_live:
            known = self._at_head(survey)
            if known is None:
                return
            survey = known
        behind = tuple(channel for channel in self.followed if self._is_behind(channel, survey))
        if self.is_live and behind:
            self._miss()  # a new survey will show what, once nothing passes by
        elif self.is_live:
            self._advance(survey.head)
        elif behind:
            self.repairs += 1
            self._repair = _Repair(survey, behind, self.at.seq)
            if self.at.seq >= survey.head:
                self._end_repair(self._repair)
        else:
            self._resume(survey)

    def entries(self, entries: Sequence[Entry], end: Position) -> None:
        """What was needed: a page that ends at `end`."""
        repair = self._repair
        if repair is None:
            return  # the connection broke meanwhile
        if end.epoch != self.at.epoch or end.seq <= self.at.seq:
            self._repair = None  # another log, or an older copy: a survey tells
            return
        events: list[Event] = []
        for entry in entries:
            event = entry.event
            last = self.followed.get(event.channel)
            if last is None:
                continue  # unfollowed meanwhile
            if max(last, repair.survey.floor) < entry.previous <= repair.start:
                self._lose(repair.survey)
                return
            self.followed[event.channel] = event.position.seq
            events.append(event)
        self._give(events, end)
        if self.at.seq >= repair.survey.head:
            self._end_repair(repair)

    def expired(self) -> None:
        """What was needed is not in the log any more: the feed goes on after it, and streams find out for themselves."""
        repair = self._repair
        if repair is None:
            return
        if self._is_suspect:
            self._lose(repair.survey)
        else:
            self._restart(repair.survey)

    def _at_head(self, survey: Survey) -> Survey | None:
        """The survey with no channel later than its head: of those, the first event after it waits, and names the one before.
        None if that has got lost again, so that another survey is needed."""
        later = [name for name, done in self.followed.items() if survey.last.get(name, 0) > max(survey.head, done)]
        if not later:
            return survey
        before: dict[str, int] = {}
        for entry in self._buffer:
            if entry.event.position.epoch == survey.epoch and entry.event.position.seq > survey.head:
                before.setdefault(entry.event.channel, entry.previous)
        if any(before.get(name, MAX_SEQ) > max(survey.head, self.followed[name]) for name in later):
            return None
        return msgspec.structs.replace(survey, last={**survey.last, **{name: before[name] for name in later}})

    # -- decisions -------------------------------------------------------------------------------------------------------

    def _is_behind(self, channel: str, survey: Survey) -> bool:
        last = survey.last.get(channel)
        if last is None:
            # Something may have come and gone while we did not listen: reading tells.
            return not self.is_live and survey.floor > self.at.seq
        return last > self.followed[channel]

    def _begin_epoch(self, survey: Survey) -> None:
        self.is_live = False
        self._is_suspect = False
        self.followed = dict.fromkeys(self.followed, survey.born)
        self._move(Position(survey.epoch, survey.born))
        self._feed.restart(self.at)

    def _end_repair(self, repair: _Repair) -> None:
        """All pages are here. What is still missing was overtaken: it lies before the place where reading began."""
        last = repair.survey.last
        if any(last.get(channel, 0) > self.followed.get(channel, last.get(channel, 0)) for channel in repair.behind):
            self._lose(repair.survey)
        else:
            self._resume(repair.survey)

    def _lose(self, survey: Survey) -> None:
        self.lost += 1
        self._restart(survey, lost=True)

    def _restart(self, survey: Survey, *, lost: bool = False) -> None:
        for channel, last in self.followed.items():
            self.followed[channel] = max(last, survey.last.get(channel, 0))
        self._move(Position(survey.epoch, max(survey.head, self.at.seq)))
        self._feed.restart(self.at, lost)
        self._resume(survey)

    def _resume(self, survey: Survey) -> None:
        """The feed has everything through the survey's head: live again, beginning with what waited."""
        self._repair = None
        self._is_suspect = False
        self._advance(survey.head)
        if self._has_overflowed:
            return  # what was dropped has to be read: another survey
        self.is_live = True
        waiting = self._buffer
        self._clear_buffer()
        for entry in waiting:
            self.arrived(entry)
        self.flush()

    def _miss(self) -> None:
        self.gaps += 1
        self.is_live = False
        self._is_suspect = True

    # -- the buffer and the feed -----------------------------------------------------------------------------------------

    def _keep(self, entry: Entry) -> None:
        if entry.event.channel not in self.followed or self._has_overflowed:
            return
        self._buffer.append(entry)
        self._buffer_size += len(entry.event.data)
        most, most_size = self._bounds
        if len(self._buffer) > most or self._buffer_size > most_size:
            self._clear_buffer()
            self._has_overflowed = True
            self.overflows += 1

    def _clear_buffer(self) -> None:
        self._buffer = []
        self._buffer_size = 0
        self._has_overflowed = False

    def _advance(self, head: int) -> None:
        if head > self.at.seq:
            self._give((), Position(self.at.epoch, head))

    def _give(self, events: Sequence[Event], upto: Position) -> None:
        self._move(upto)
        self._feed.receive(events, upto)

    def _move(self, to: Position) -> None:
        self.at = to
        self._reached = to.seq
