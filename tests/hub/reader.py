"""A client over all of its connections, who checks what comes: nothing missing, nothing twice, nothing out of order.

It knows everything that was ever published, which no real client does, and judges each frame by it: between its cursor and
the frame's id there may be no event that it may see. A reset ends that, if there was a reason for one.
"""

from __future__ import annotations

import json

from headwater.event import Event, Position, ResetReason
from headwater.wire import Message
from tests.hub.scripted import ScriptedBroker


class Reader:
    """Reads channels with permissions.

    Args:
        asks_for_what_is_left: history that retention removes before its first event is no gap to it.

    Attributes:
        cursor: up to here it has been given everything. None before the first connection.
        resets: why it was reset, in order.
    """

    def __init__(
        self,
        broker: ScriptedBroker,
        channels: tuple[str, ...],
        permissions: frozenset[str],
        *,
        asks_for_what_is_left: bool = False,
    ) -> None:
        self.channels = channels
        self.permissions = permissions
        self.cursor: Position | None = None
        self.resets: list[ResetReason] = []
        self.events: list[Event] = []
        self._broker = broker
        self._lenient = asks_for_what_is_left
        self._is_reset_due = False
        self._rights: list[tuple[str, int, frozenset[str]]] = []  # since which position of which epoch it has which
        self.connecting()

    def connecting(self) -> None:
        """A new connection begins: its permissions hold for everything that comes over it."""
        self._rights = [(next(iter(self._broker.history)), -1, self.permissions)]
        self._is_reset_due = False

    def moved(self, permissions: frozenset[str], epoch: str, seq: int) -> None:
        """The hub gave it other permissions when it had been given everything up to a position."""
        self.permissions = permissions
        self._rights.append((epoch, seq, permissions))

    def see(self, message: Message) -> None:
        """Judge the next message of a stream."""
        if message.type == "connected":
            self._connected(message)
        elif message.type == "reset":
            body = json.loads(message.data)
            assert message.id == body["cursor"]
            self.reset(ResetReason(body["reason"]), Position.parse(message.id))
        elif message.type == "closing" and message.id == str(self.cursor or ""):
            pass  # without an id, it leaves the cursor alone
        else:
            assert not self._is_reset_due, f"{message} where a reset was due"
            if message.type == "message":
                self.take(Position.parse(message.id), message)
            elif message.type in ("heartbeat", "closing"):
                self.advance(Position.parse(message.id))

    def _connected(self, message: Message) -> None:
        began = Position.parse(json.loads(message.data)["cursor"])
        if message.id == str(began):
            assert self.cursor in (None, began), f"{message} moves the cursor from {self.cursor}"
            self.cursor = began
        else:  # without an id, because it would make the client skip what the reset is about to tell
            assert message.id == str(self.cursor or "")
            self._is_reset_due = True

    def take(self, position: Position, message: Message | None = None) -> Event:
        """The event at a position comes."""
        assert self.cursor is not None
        assert position > self.cursor or position.epoch != self.cursor.epoch, f"{position} comes after {self.cursor}"
        self.advance(position, but_last=True)
        event = next(e for e in self._broker.history[position.epoch] if e.position == position)
        assert self._may_see(event), f"{event} is not for {sorted(self.permissions)}"
        if message is not None:
            assert message.data == event.data
            assert message.channel == (event.channel if len(self.channels) > 1 else None)
        self.events.append(event)
        self._lenient = False
        return event

    def advance(self, position: Position, *, but_last: bool = False) -> None:
        """It is said to have been given everything up to a position."""
        assert self.cursor is not None
        assert position.epoch == self.cursor.epoch, f"{position} after {self.cursor}, and no reset between them"
        assert position >= self.cursor, f"the cursor goes back from {self.cursor} to {position}"
        missing = self.missing(position)
        if but_last:
            missing = [event for event in missing if event.position != position]
        if self._lenient:
            missing = [event for event in missing if self._broker.has_all(self.channels, event.position)]
        assert not missing, f"between {self.cursor} and {position} there is {missing[0]}"
        self.cursor = position

    def reset(self, reason: ResetReason, position: Position) -> None:
        """It is told that it missed something."""
        epochs = list(self._broker.history)
        if self.cursor is None:  # the log began anew while it connected for the first time
            assert reason is ResetReason.EPOCH_CHANGED
        elif reason is ResetReason.EPOCH_CHANGED:
            assert epochs.index(position.epoch) > epochs.index(self.cursor.epoch)
        elif reason is ResetReason.EXPIRED:
            assert any(not self._broker.still_has(event) for event in self._later(self.cursor)), "nothing was removed"
        self.resets.append(reason)
        self.cursor = position
        self._is_reset_due = False
        self._lenient = False

    def missing(self, until: Position) -> list[Event]:
        """The events it may see between its cursor and a position."""
        assert self.cursor is not None
        return [e for e in self._later(self.cursor) if e.position <= until and self._may_see(e)]

    def _later(self, position: Position) -> list[Event]:
        of_epoch = self._broker.history[position.epoch]
        return [event for event in of_epoch if event.position > position and event.channel in self.channels]

    def _may_see(self, event: Event) -> bool:
        epochs = list(self._broker.history)
        at = (epochs.index(event.position.epoch), event.position.seq)
        held = [rights for epoch, seq, rights in self._rights if (epochs.index(epoch), seq) < at]
        return event.channel in self.channels and event.permissions <= held[-1]
