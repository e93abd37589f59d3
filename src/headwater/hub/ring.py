"""Encoded frames: of one event, of a range of the log, and of the recent past of one channel.

Pure. Knows the wire format and who may see an event; must not know streams, sockets or brokers. Here "encode once" is
kept: a frame has its bytes once per form it is needed in, and a batch has its joined bytes once per audience.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from headwater import wire
from headwater.event import Event, byte_length

PIECE_BYTES = 64 * 1024
"""How much replay is written before looking whether the socket is full: the transport's default high-water mark."""


class Audience(NamedTuple):
    """Streams that get the same bytes for the same event."""

    permissions: frozenset[str]
    labelled: bool  # frames carry a `channel:` field, because the stream has several channels
    chunked: bool  # bytes are framed as HTTP/1.1 chunks


class Frame:
    """One event with its encodings, each made when first needed."""

    __slots__ = ("_chunks", "_labelled", "_plain", "event", "permissions", "seq", "size")

    def __init__(self, event: Event) -> None:
        self.event = event
        self.seq = event.position.seq
        self.permissions = event.permissions
        # What it weighs in a ring: its data three times (event, frame, chunk), and about 600 bytes for what is around it,
        # measured with tracemalloc.
        self.size = 3 * byte_length(event.data) + 600
        self._plain: bytes | None = None
        self._labelled: bytes | None = None
        self._chunks: list[bytes | None] = [None, None]  # plain, labelled

    def encoded(self, labelled: bool) -> bytes:
        """The frame's bytes, with or without its `channel:` field."""
        if labelled:
            if self._labelled is None:
                self._labelled = wire.encode_event(self.event, channel=True)
            return self._labelled
        if self._plain is None:
            self._plain = wire.encode_event(self.event)
        return self._plain

    def written(self, audience: Audience) -> bytes:
        """The frame as one write of its own."""
        if not audience.chunked:
            return self.encoded(audience.labelled)
        chunk = self._chunks[audience.labelled]
        if chunk is None:
            chunk = self._chunks[audience.labelled] = wire.chunk(self.encoded(audience.labelled))
        return chunk


class Piece(NamedTuple):
    """Bytes to write in one go; afterwards the stream is at `upto`."""

    data: bytes
    upto: int
    events: int


class Batch:
    """Consecutive frames of some channels: everything of theirs after some position, up to `upto`."""

    __slots__ = ("_pieces", "_size", "frames", "upto")

    def __init__(self, frames: Sequence[Frame], upto: int) -> None:
        self.frames = frames
        self.upto = upto
        self._pieces: dict[Audience, list[Piece]] = {}
        self._size = -1

    @property
    def size(self) -> int:
        """What its frames weigh, as a ring counts them."""
        if self._size < 0:
            self._size = sum(frame.size for frame in self.frames)
        return self._size

    def pieces(self, audience: Audience) -> list[Piece]:
        """The batch as an audience gets it, in pieces of about PIECE_BYTES. Joined once for all streams of the audience
        that need this batch: in a reconnect storm that is nearly all of them."""
        pieces = self._pieces.get(audience)
        if pieces is None:
            pieces = self._pieces[audience] = list(self._cut(audience))
        return pieces

    def _cut(self, audience: Audience) -> Iterator[Piece]:
        held: list[bytes] = []
        size = 0
        for frame in self.frames:
            if not frame.permissions <= audience.permissions:
                continue
            data = frame.encoded(audience.labelled)
            held.append(data)
            size += len(data)
            if size >= PIECE_BYTES:
                yield Piece(joined(held, audience.chunked), frame.seq, len(held))
                held, size = [], 0
        # The last piece moves the stream to the end of the batch, past hidden events, even if it has no bytes.
        yield Piece(joined(held, audience.chunked) if held else b"", self.upto, len(held))


class Budget:
    """Bytes that all rings of a hub may hold together."""

    __slots__ = ("most", "used")

    def __init__(self, most: int) -> None:
        self.most = most
        self.used = 0


class Ring:
    """The recent frames of one channel.

    Holds every event of the channel with `floor` < seq up to where the feed has come, within bounds of number and bytes;
    what does not fit raises the floor.

    Args:
        floor: the seq after which it is complete.
        max_events: frames it holds at most.
        budget: bytes, shared with the other rings. When it is used up, the ring that grows pays.
    """

    __slots__ = ("_budget", "_dropped_at", "_frames", "_max_events", "floor")

    def __init__(self, floor: int, *, max_events: int, budget: Budget) -> None:
        self.floor = floor
        self._frames: deque[Frame] = deque()
        self._max_events = max_events
        self._budget = budget
        self._dropped_at = -1  # time of the newest event that it has given up

    def __len__(self) -> int:
        return len(self._frames)

    def append(self, frame: Frame) -> None:
        """Take the channel's next event."""
        self._frames.append(frame)
        self._budget.used += frame.size
        while self._frames and (len(self._frames) > self._max_events or self._budget.used > self._budget.most):
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        frame = self._frames.popleft()
        self._budget.used -= frame.size
        self._dropped_at = frame.event.time
        self.floor = frame.seq

    def start_at(self, floor: int) -> None:
        """Raise the floor; frames up to there that came early are dropped. It never sinks: what lies below may have been
        dropped already."""
        while self._frames and self._frames[0].seq <= floor:
            self._drop_oldest()
        self.floor = max(self.floor, floor)

    def restart(self, floor: int) -> None:
        """Give up everything and be complete after `floor`, which may belong to another epoch."""
        while self._frames:
            self._drop_oldest()
        self.floor = floor

    def extend_back(self, frames: Sequence[Frame], after: int) -> None:
        """Take older frames, complete from `after` to the floor, as far as they fit: the next reconnect is then spared the
        broker."""
        for frame in reversed(frames):
            if len(self._frames) >= self._max_events or self._budget.used + frame.size > self._budget.most:
                self.floor = frame.seq
                return
            self._frames.appendleft(frame)
            self._budget.used += frame.size
        self.floor = after

    @property
    def newest(self) -> int | None:
        """When its newest event was accepted, in milliseconds of Unix time; None if it holds none."""
        return self._frames[-1].event.time if self._frames else None

    def pace(self, since: int, now: int) -> float:
        """Events per second between two times (milliseconds of Unix time). If the ring does not reach back that far, as
        far as it does."""
        frames = self._frames
        # Logs' times never run backwards. A few steps in the deque, where to walk through it would be a thousand for each of
        # many channels.
        first = bisect_left(frames, since, key=_time)
        count = len(frames) - first
        span = now - (frames[0].event.time if count and self._dropped_at >= since else since)
        return 1000 * count / max(1000, span)

    def after(self, seq: int, until: int) -> list[Frame]:
        """Its frames with seq < frame.seq <= until. Complete only if `seq` is not below the floor."""
        frames = self._frames
        if not frames or frames[-1].seq <= seq:
            return []
        seqs = [frame.seq for frame in frames]  # bisecting the deque itself would walk it at each step
        return list(islice(frames, bisect_right(seqs, seq), bisect_right(seqs, until)))


def _time(frame: Frame) -> int:
    return frame.event.time


def joined(frames: Iterable[bytes], chunked: bool) -> bytes:
    """Frames as one write, framed as one HTTP chunk where the writer is a bare transport."""
    data = b"".join(frames)
    return wire.chunk(data) if chunked else data


def merged(rings: Sequence[Ring], after: int, until: int) -> Batch:
    """What several channels' rings hold after a position, in log order."""
    if len(rings) == 1:
        return Batch(rings[0].after(after, until), until)
    frames = [frame for ring in rings for frame in ring.after(after, until)]
    frames.sort(key=lambda frame: frame.seq)
    return Batch(frames, until)
