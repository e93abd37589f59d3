"""Whether a stream's record is its part of the log: nothing missing, nothing twice, nothing out of order, nothing foreign.

Pure: judges what was written down, line by line, against the log as it was read from the broker when all was over. A client
that keeps the cursor of a frame must have been given everything before it, so each frame is judged by its cursor, heartbeats
too: an event that comes late is a fault even if it comes.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping

import msgspec

from headwater.errors import InvalidInput
from headwater.event import Position
from torture.plan import Listener
from torture.records import Beat, Closing, Ended, Hello, Opening, Reset, Seen, StreamLine


class Logged(msgspec.Struct, frozen=True, kw_only=True):
    """An event as the log has it, without its data.

    Attributes:
        seq: its position.
        id: what its publisher called it.
        crc: of its data.
    """

    seq: int
    id: str
    channel: str
    type: str
    permissions: frozenset[str]
    crc: int


class Log(msgspec.Struct, frozen=True, kw_only=True):
    """A log as it was when all was over.

    Attributes:
        epoch: of the log.
        head: its newest position, of whatever channel.
        events: in the order in which the broker gave them.
        is_later: data was lost on purpose, so there were other epochs before this one, of which nothing more is known.
    """

    epoch: str
    head: int
    events: tuple[Logged, ...]
    is_later: bool = False


class Violation(msgspec.Struct, frozen=True, kw_only=True):
    """A broken promise.

    Attributes:
        kind: lost, doubled, reordered, foreign, altered, reset, ...
        what: a sentence for people.
    """

    kind: str
    what: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.what}"


class Judge:
    """Judges the record of one stream.

    Args:
        listener: who it was.
        log: the truth.

    Attributes:
        violations: found so far.
        delivered: events that were right.
    """

    def __init__(self, listener: Listener, log: Log, by_seq: Mapping[int, Logged]) -> None:
        self.violations: list[Violation] = []
        self.delivered = 0
        self._listener = listener
        self._log = log
        self._by_seq = by_seq
        self._visible = [e.seq for e in log.events if listener.may_see(e.channel, e.permissions)]
        self._cursor: Position | None = None
        self._got: set[int] = set()
        self._missed: dict[int, str] = {}  # which visible events were passed over, and where
        self._where = "before its first connection"

    def see(self, line: StreamLine) -> None:
        """Judge the next line."""
        match line:
            case Opening():
                self._where = f"on the connection to node {line.node} that began at {line.at:.3f} after {line.cursor!r}"
            case Hello():
                self._hello(line)
            case Seen():
                self._seen(line)
            case Beat():
                self._reach(line.id, "a heartbeat")
            case Closing():
                self._reach(line.id, "closing")
            case Reset():
                self._reset(line)
            case Ended(why="silent"):
                self._wrong("silent", "no byte came for far longer than heartbeats are apart")
            case Ended(why=why) if why.startswith("refused 4") and why != "refused 429":
                self._wrong("refused", f"a good request was answered with {why.removeprefix('refused ')}")

    def end(self) -> None:
        """The record is complete: what is missing now is lost."""
        self._where = "when all was over"
        if self._cursor is None:
            self._wrong("lost", "it never got a first position")
        elif self._cursor < Position(self._log.epoch, self._log.head) or self._cursor.epoch != self._log.epoch:
            self._wrong("late", f"it stood at {self._cursor} while the log ended at {self._log.epoch}-{self._log.head}")
            self._pass_over(self._log.head + 1, "the end")
        for seq, where in self._missed.items():
            event = self._by_seq[seq]
            self._wrong("lost", f"event {seq} ({event.id} in {event.channel}) was passed over {where}", where="")

    def _hello(self, line: Hello) -> None:
        position = self._position(line.cursor, "connected")
        if position is None:
            return
        if self._cursor is None:
            self._cursor = position
        elif line.id != line.cursor:
            self._check_reset(f"it came back from {line.id} and was told to expect a reset to {position}", position)
        elif position != self._cursor:
            self._wrong(
                "moved", f"a connection began at {position} and not where the last had ended, at {self._cursor}"
            )
            self._go_on(position, position.seq + 1, "connected")

    def _seen(self, line: Seen) -> None:
        position = self._position(line.id, "an event")
        if position is None:
            return
        if position.epoch == self._log.epoch:
            self._judge_event(position.seq, line)
        elif self._cursor is not None and position.epoch == self._cursor.epoch and position.seq <= self._cursor.seq:
            self._wrong("doubled", f"event {position}, of an epoch that is lost, came after {self._cursor}")
        if self._cursor is not None and position.epoch != self._cursor.epoch:
            self._wrong("reset", f"event {position} came after {self._cursor}, and no reset between them")
        self._go_on(position, position.seq, f"event {position.seq}")

    def _judge_event(self, seq: int, line: Seen) -> None:
        event = self._by_seq.get(seq)
        if event is None:
            self._wrong("foreign", f"an event at {seq} is not in the log")
        elif not self._listener.may_see(event.channel, event.permissions):
            self._wrong("foreign", f"event {seq} is of {event.channel} for {sorted(event.permissions)}")
        elif self._is_new(seq):
            self._compare(line, event)

    def _is_new(self, seq: int) -> bool:
        if seq in self._got:
            self._wrong("doubled", f"event {seq} came again")
            return False
        self._got.add(seq)
        if self._missed.pop(seq, None) is not None:
            self._wrong("reordered", f"event {seq} came after {self._cursor}")
        elif self._cursor is not None and self._cursor.epoch == self._log.epoch and seq <= self._cursor.seq:
            self._wrong("reordered", f"event {seq} came where the stream was at {self._cursor} already")
        else:
            self.delivered += 1
        return True

    def _compare(self, line: Seen, event: Logged) -> None:
        channel = event.channel if len(self._listener.channels) > 1 else None
        if (line.channel, line.name, line.crc) != (channel, event.type, event.crc):
            self._wrong("altered", f"event {event.seq} came as {line}, but the log has {event}")

    def _reach(self, id: str, what: str) -> None:
        """A frame says that everything up to `id` has been given."""
        position = self._position(id, what)
        if position is None or self._cursor is None:
            return
        if position.epoch != self._cursor.epoch:
            self._wrong(
                "reset", f"{what} moved the cursor from {self._cursor} to {position}, and no reset between them"
            )
        elif position < self._cursor:
            self._wrong("reordered", f"{what} moved the cursor back from {self._cursor} to {position}")
        self._go_on(position, position.seq + 1, what)

    def _reset(self, line: Reset) -> None:
        position = self._position(line.id, "reset")
        self._check_reset(f"it was reset ({line.reason}) from {self._cursor} to {line.id}", position, line.reason)
        self._cursor = position or self._cursor

    def _check_reset(self, what: str, to: Position | None, reason: str = "epoch_changed") -> None:
        """The only reset that is right tells of another epoch, after data was lost on purpose."""
        is_other = to is not None and self._cursor is not None and to.epoch != self._cursor.epoch
        if not (self._log.is_later and is_other and reason == "epoch_changed"):
            self._wrong("reset", what)

    def _go_on(self, to: Position, before: int, what: str) -> None:
        """Move the cursor forward; visible events that lie between and before `before` have been passed over."""
        if self._cursor is None or to.epoch != self._cursor.epoch:
            self._cursor = to
        elif to > self._cursor:
            self._pass_over(before, what)
            self._cursor = to

    def _pass_over(self, before: int, what: str) -> None:
        """Note the visible events after the cursor that have not come."""
        if self._cursor is None or self._cursor.epoch != self._log.epoch:
            return
        for seq in self._visible[bisect_right(self._visible, self._cursor.seq) :]:
            if seq >= before:
                break
            self._missed.setdefault(seq, f"by {what}, {self._where}")

    def _position(self, cursor: str, what: str) -> Position | None:
        """The position in a cursor, if it is of this log, or of one before it."""
        try:
            position = Position.parse(cursor)
        except InvalidInput:
            position = None
        is_ours = position is not None and position.epoch == self._log.epoch
        if position is None or (is_ours and position.seq > self._log.head) or not (is_ours or self._log.is_later):
            self._wrong("foreign", f"{what} has the cursor {cursor!r}; the log is {self._log.epoch}-{self._log.head}")
            return None
        return position

    def _wrong(self, kind: str, what: str, *, where: str | None = None) -> None:
        place = self._where if where is None else where
        told = (
            f"stream {self._listener.number}, {place}: {what}" if place else f"stream {self._listener.number}: {what}"
        )
        self.violations.append(Violation(kind=kind, what=told))


class Verdict(msgspec.Struct, kw_only=True):
    """What came of judging all streams.

    Attributes:
        delivered: events that came where they belong.
        violations: everything else.
    """

    delivered: int = 0
    violations: list[Violation] = msgspec.field(default_factory=list)


def judge_streams(listeners: Iterable[Listener], log: Log, lines: Iterable[StreamLine]) -> Verdict:
    """Judge all streams at once.

    Args:
        listeners: who should have a record.
        log: as read from the broker at the end.
        lines: the records, of all streams, each in its order.
    """
    by_seq = {event.seq: event for event in log.events}
    judges = {listener.number: Judge(listener, log, by_seq) for listener in listeners}
    for line in lines:
        judges[line.stream].see(line)
    verdict = Verdict()
    for judge in judges.values():
        judge.end()
        verdict.delivered += judge.delivered
        verdict.violations += judge.violations
    return verdict
