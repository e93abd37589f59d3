"""Event, Draft and Position: the values everything else passes around.

Frozen and validated when built, so an illegal event cannot exist and nobody further down checks again. Pure: knows
channel names and JSON, and neither the wire format nor a broker.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum
from typing import Any

import msgspec

from headwater.channels import check_channel, check_permissions
from headwater.errors import InvalidCursor, InvalidEvent, InvalidInput

RESERVED_TYPES = frozenset({"connected", "heartbeat", "reset", "token_expiring", "closing"})
"""Event types that only the hub itself sends; refused on publish."""

MAX_TYPE_LENGTH = 200
MAX_KEY_LENGTH = 200
MAX_PERMISSIONS = 32
MAX_SEQ = 2**63 - 1  # what SQLite's and Postgres' integers hold

_EPOCH = re.compile(r"[a-z0-9]{1,16}\Z")
_CURSOR = re.compile(r"([a-z0-9]{1,16})-(0|[1-9][0-9]{0,18})\Z")
_FORBIDDEN_IN_LINE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_LINE_ENDS = re.compile(r"\r\n?")
_json = msgspec.json.Decoder(msgspec.Raw)


class ResetReason(StrEnum):
    """Why a client must load its state anew: the `reason` of a `reset` event."""

    UNKNOWN_ID = "unknown_id"  # the cursor is not one of ours, or is ahead of the log
    EXPIRED = "expired"  # retention removed events after the cursor
    EPOCH_CHANGED = "epoch_changed"  # the log was wiped, restored or replaced
    OVERFLOW = "overflow"  # a bound of the hub was reached; what lies between was not sent


class Position(msgspec.Struct, frozen=True, order=True):
    """A place in one log: after its `seq`-th event. Its text form is the opaque cursor that clients carry.

    Attributes:
        epoch: names one life of the log; a wiped or restored log gets another. 1-16 characters from a-z and 0-9.
        seq: 0 before the first event; strictly increasing, gaps allowed.
    """

    epoch: str
    seq: int

    def __post_init__(self) -> None:
        if not _EPOCH.match(self.epoch):
            raise InvalidInput(f"epoch {self.epoch!r} is malformed", expected="1-16 characters from a-z and 0-9")
        if not 0 <= self.seq <= MAX_SEQ:
            raise InvalidInput(f"position {self.seq} is out of range", expected=f"0 to {MAX_SEQ}")

    def __str__(self) -> str:
        return f"{self.epoch}-{self.seq}"

    @classmethod
    def parse(cls, cursor: str) -> Position:
        """Read a cursor.

        Raises:
            InvalidCursor: this was never a cursor of any Headwater log.
        """
        match = _CURSOR.match(cursor)
        if match is None or int(match[2]) > MAX_SEQ:
            raise InvalidCursor("this is not a cursor", expected="the id of an event as the hub sent it")
        return cls(match[1], int(match[2]))


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """An event that has no position yet: what a publisher hands over.

    Attributes:
        channel: where it goes.
        type: the SSE `event:` name; `message`, the default, is omitted on the wire.
        data: what the data lines say: compact JSON, or any text if `text` is set (its line ends become LF, because the
            wire cannot carry a CR).
        text: `data` is plain text and not JSON.
        permissions: a principal must hold all of them to see the event.
        idempotency_key: a second draft with the same key is not appended; its publisher gets the first one's position.

    Raises:
        InvalidChannel, InvalidEvent: on building, if any of them breaks a rule.
    """

    channel: str
    type: str = "message"
    data: str = "null"
    text: bool = False
    permissions: frozenset[str] = frozenset()
    idempotency_key: str | None = None

    def __post_init__(self) -> None:
        check_channel(self.channel, own=True)  # whoever takes drafts from outside refuses `$` there
        _check_type(self.type)
        _check_line("idempotency_key", self.idempotency_key, MAX_KEY_LENGTH)
        if self.permissions != frozenset():  # most have none
            msgspec.structs.force_setattr(self, "permissions", _check_permissions(self.permissions))
        _check_encodable(self.data)
        if not self.text:
            _check_json(self.data)
        elif "\r" in self.data:
            msgspec.structs.force_setattr(self, "data", _LINE_ENDS.sub("\n", self.data))

    @classmethod
    def json(
        cls,
        channel: str,
        type: str = "message",
        data: Any = None,
        *,
        permissions: Iterable[str] = (),
        idempotency_key: str | None = None,
    ) -> Draft:
        """A draft whose data is `data` as JSON: anything msgspec encodes (dicts, dataclasses, datetimes, UUIDs...), or
        `msgspec.Raw` holding JSON that is kept as it is but for its white space.

        Raises:
            InvalidEvent: `data` cannot be written as JSON.
        """
        return cls(
            channel=channel,
            type=type,
            data=_compact_json(data),
            permissions=_check_permissions(permissions),
            idempotency_key=idempotency_key,
        )


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """A draft that the log has accepted. Only brokers build these, from drafts that were valid.

    Attributes:
        position: its place in the log.
        time: when the broker accepted it, in milliseconds of Unix time.
        channel, type, data, text, permissions: as in the `Draft`.
    """

    position: Position
    time: int
    channel: str
    type: str
    data: str
    text: bool
    permissions: frozenset[str]

    @classmethod
    def of(cls, draft: Draft, position: Position, time: int) -> Event:
        """The event that `draft` becomes at `position`."""
        return cls(
            position=position,
            time=time,
            channel=draft.channel,
            type=draft.type,
            data=draft.data,
            text=draft.text,
            permissions=draft.permissions,
        )


def byte_length(text: str) -> int:
    """Bytes of `text` as UTF-8. For ASCII, which most data is, without making them."""
    return len(text) if text.isascii() else len(text.encode())


def _check_type(type: object) -> None:
    if not isinstance(type, str) or not type:
        raise InvalidEvent(f"event type {type!r} is not a name", expected=f"1 to {MAX_TYPE_LENGTH} characters")
    if type in RESERVED_TYPES:
        raise InvalidEvent(
            f"event type {type!r} is one that only the hub sends",
            expected=f"none of {', '.join(sorted(RESERVED_TYPES))}",
        )
    _check_line("type", type, MAX_TYPE_LENGTH)


def _check_line(field: str, value: object, most: int) -> None:
    """Refuse what would break out of its line: a CR, LF or NUL in a field lets a publisher forge frames (CWE-93)."""
    if value is None:
        return
    if not isinstance(value, str) or not 0 < len(value) <= most or _FORBIDDEN_IN_LINE.search(value):
        shown = repr(value)[:80]
        raise InvalidEvent(
            f"{field} {shown} is malformed", expected=f"1 to {most} characters, none of them a control character"
        )


def _check_permissions(permissions: Iterable[str]) -> frozenset[str]:
    try:
        names = check_permissions(permissions)
    except InvalidInput as error:
        raise InvalidEvent(error.what, expected=error.expected) from None
    if len(names) > MAX_PERMISSIONS:
        raise InvalidEvent(f"{len(names)} permissions on one event", expected=f"at most {MAX_PERMISSIONS}")
    return names


def _check_encodable(data: object) -> None:
    if not isinstance(data, str):
        raise InvalidEvent(f"data is {type(data).__name__}", expected="text", fix="build the draft with Draft.json")
    try:
        data.encode()
    except UnicodeEncodeError:
        raise InvalidEvent("the data has a lone surrogate, which UTF-8 cannot carry", expected="Unicode text") from None


def _check_json(data: str) -> None:
    """Refuse what a client could not parse, and white space that would need more than one data line."""
    if "\n" in data or "\r" in data:
        raise InvalidEvent("the JSON has line breaks", expected="compact JSON", fix="build the draft with Draft.json")
    try:
        _json.decode(data)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise InvalidEvent(
            f"the data is not JSON: {error}",
            expected="a JSON value, or text=True",
            fix="build the draft with Draft.json",
        ) from None


def _compact_json(data: Any) -> str:
    try:
        if isinstance(data, msgspec.Raw):
            return msgspec.json.format(bytes(data), indent=-1).decode()
        return msgspec.json.encode(data).decode()
    except (TypeError, ValueError, msgspec.MsgspecError, RecursionError) as error:
        raise InvalidEvent(f"the data cannot be written as JSON: {error}", expected="a JSON value") from error
