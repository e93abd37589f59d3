"""One subscriber's life as data: replaying, live, lagging, closed.

Pure: a state machine over a small `Writer` protocol. It knows what the subscriber still owes and what may happen next; it
must not know channels' other streams, brokers, HTTP or the clock. The hub asks and acts.

    replaying --caught_up--> live           everything up to now was written; the fan-out writes from here on
    replaying --full-------> lagging        the socket is full: nothing more is written until it drains
    live      --full-------> lagging
    lagging   --drained----> replaying      catch up from the log, from exactly where it stopped
    live      --rewound----> replaying      its place or its rights changed: begin again from its position
    (any)     --ended------> closed
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any, Final, Protocol

from headwater.event import ResetReason

INFINITY: Final = float("inf")


class State(StrEnum):
    """Where a stream is in its life."""

    REPLAYING = "replaying"
    LIVE = "live"
    LAGGING = "lagging"
    CLOSED = "closed"


class Happening(StrEnum):
    """What moves a stream from one state to another."""

    CAUGHT_UP = "caught_up"
    FULL = "full"
    DRAINED = "drained"
    REWOUND = "rewound"
    ENDED = "ended"


class CloseReason(StrEnum):
    """Why a stream ended; counted, logged, and told to the client in `closing` wherever it can still be told."""

    CLIENT = "client"  # the client went away
    DRAIN = "drain"  # the hub is shutting down
    EXPIRED = "expired"  # its token's time is over
    REVOKED = "revoked"  # its principal lost the right to it
    SLOW = "slow"  # it stayed full for too long or fell too far behind
    PIPELINED = "pipelined"  # it sent another request on a connection that will never answer one
    ADMIN = "admin"  # closed by hand
    ERROR = "error"  # writing to it failed


TRANSITIONS: Final[dict[tuple[State, Happening], State]] = {
    (State.REPLAYING, Happening.CAUGHT_UP): State.LIVE,
    (State.REPLAYING, Happening.FULL): State.LAGGING,
    (State.LIVE, Happening.FULL): State.LAGGING,
    (State.LAGGING, Happening.DRAINED): State.REPLAYING,
    (State.LIVE, Happening.REWOUND): State.REPLAYING,
    (State.REPLAYING, Happening.ENDED): State.CLOSED,
    (State.LIVE, Happening.ENDED): State.CLOSED,
    (State.LAGGING, Happening.ENDED): State.CLOSED,
}
"""The whole life in one table. What is not in it does not move the stream: a second `full` while lagging, a `drained`
that comes after the end."""


class Writer(Protocol):
    """Where a stream's bytes go. Nothing here blocks or raises for a client that is gone; the writer tells the hub
    (`full`, `drained`, `lost`) instead."""

    chunked: bool
    """Whether bytes must arrive as HTTP/1.1 chunks (the writer is a bare transport) or as they are."""

    def write(self, data: bytes, /) -> Any:
        """Take bytes in order; buffers what the socket cannot take yet."""

    def finish(self) -> None:
        """End the response cleanly after everything written so far."""

    def abort(self) -> None:
        """End the connection now and drop what is buffered."""


class Stream:
    """One open stream. Slots and no instance dictionary: idle streams are the hub's main memory cost.

    Args:
        id: unique within the hub.
        writer: where bytes go.
        principal_id: whose stream it is; None for an anonymous one.
        position: everything visible up to this seq has been written. Not kept up to date while live (the fan-out's
            position is every live stream's), so read it through the hub.
    """

    __slots__ = (
        "address",  # the client's address, for limits and logs
        "began",  # the seq after which it was given everything: where it began, or was told that it missed something
        "bytes_base",  # with view counters: bytes written = own + view's since it went live
        "comment_heartbeat",  # the comment line that is its heartbeat; empty if it gets events
        "due",  # the wheel's tick at which something is due for it
        "events_base",
        "expires_at",  # loop time at which it must end; INFINITY for never
        "heartbeat",  # seconds between heartbeats; 0 for none
        "heartbeat_at",  # loop time of the next one
        "id",
        "is_renewed",  # whether it had been given events before `began`, which then is where it was told of a reset
        "lag_deadline",  # loop time at which a lagging stream is evicted, or an ended one cut off
        "lag_from",  # the log's seq when its socket became full
        "opened_at",  # loop time
        "origin",  # where it began, while it is no gap if retention is quicker than its first read; else -1
        "position",
        "principal_id",
        "release",  # gives back what the limits lent; called once
        "reset",  # a reset still to be told, because the socket was full when it happened
        "state",
        "task",  # the catch-up task, while there is one
        "view",
        "warn_at",  # loop time of the token_expiring event
        "write",  # writer.write, kept here because the fan-out calls it once per delivery
        "writer",
    )

    def __init__(self, id: int, writer: Writer, *, principal_id: str | None = None, position: int = 0) -> None:
        self.id = id
        self.writer = writer
        self.write = writer.write
        self.principal_id = principal_id
        self.position = self.began = position
        self.state = State.REPLAYING
        self.address = ""
        self.is_renewed = False
        self.view: Any = None
        self.task: Any = None
        self.reset: ResetReason | None = None
        self.release: Callable[[], object] | None = None
        self.comment_heartbeat = b""
        self.heartbeat = 0.0
        self.heartbeat_at = self.expires_at = self.warn_at = self.lag_deadline = INFINITY
        self.opened_at = 0.0
        self.bytes_base = self.events_base = self.lag_from = 0
        self.due = self.origin = -1

    def happen(self, what: Happening) -> bool:
        """Move as the table says; whether anything changed."""
        state = TRANSITIONS.get((self.state, what))
        if state is None:
            return False
        self.state = state
        return True

    @property
    def next_due(self) -> float:
        """The earliest loop time at which something must be done for this stream."""
        return min(self.heartbeat_at, self.warn_at, self.expires_at, self.lag_deadline)
