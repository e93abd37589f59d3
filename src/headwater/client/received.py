"""What a subscriber gets: events, resets and news of the connection. Values only."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

from headwater.errors import ProtocolError

MALFORMED = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What reading somebody else's JSON raises: it is none, it is not Unicode, or it is nested too deeply."""


class ReceivedEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One event, as the hub sent it.

    Attributes:
        id: the cursor after this event.
        type: `message` if its publisher named none; `reset` where the hub says that events before this place are missing
            and the application must load its state anew.
        data: JSON as text, or any text if it was published as text.
        channel: where it was published; None if the stream does not say.
    """

    id: str
    type: str
    data: str
    channel: str | None = None

    def json(self, type: Any = Any) -> Any:
        """The data read as JSON.

        Args:
            type: what it must be: any type that msgspec knows, such as a dataclass.

        Raises:
            ProtocolError: the data is not JSON, or not of this type.
        """
        try:
            return msgspec.json.decode(self.data, type=type)
        except MALFORMED as error:
            raise ProtocolError(f"the data of event {self.id} cannot be read as JSON: {error}") from error


class Reset(msgspec.Struct, frozen=True):
    """Events are missing before this place: load the current state again, then go on with what follows.

    Attributes:
        reason: see `headwater.event.ResetReason`.
        cursor: where the stream goes on.
    """

    reason: str = "unknown"
    cursor: str = ""

    @classmethod
    def parse(cls, data: str) -> Reset:
        """Read a reset event's data. What it cannot read it leaves at its default: that events are missing is the news."""
        try:
            return msgspec.json.decode(data, type=cls)
        except MALFORMED:
            return cls()


class State(StrEnum):
    """What a subscription is doing."""

    IDLE = "idle"  # nobody has asked for an event yet
    CONNECTING = "connecting"
    OPEN = "open"
    WAITING = "waiting"  # for the time of the next attempt
    CLOSED = "closed"  # by the consumer, or because the hub has no more
    FAILED = "failed"  # for good


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """News of the connection.

    Attributes:
        state: the new state.
        reason: why it changed, as a word or a sentence for a log.
        failures: in a row so far.
        delay: seconds until the next attempt, while `waiting`.
    """

    state: State
    reason: str = ""
    failures: int = 0
    delay: float = 0.0

    def __str__(self) -> str:
        """One line for a log or a person."""
        until = f" for {self.delay:.1f} s" if self.state is State.WAITING else ""
        return f"{self.state}{until}{': ' if self.reason else ''}{self.reason}"
