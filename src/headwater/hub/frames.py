"""The hub's own frames: connected, heartbeat, reset, token_expiring, closing.

Pure: values in, bytes out. What a frame says is decided by whoever calls; how it looks on the wire is decided here, so
that a stream, a test and the documentation agree on it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from headwater import wire
from headwater.errors import ConfigurationError
from headwater.event import ResetReason
from headwater.stream import CloseReason

Hello = Mapping[str, Any] | Callable[[dict[str, Any]], Any] | None
"""What an application does to the first frame's data: adds fields to it, or makes its own from the default one."""


def timestamp(unix: float) -> str:
    """Unix seconds as ISO 8601 in UTC with milliseconds, as JavaScript's `toISOString` writes it."""
    return datetime.fromtimestamp(unix, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def connected(
    cursor: str,
    channels: tuple[str, ...],
    now: float,
    *,
    id: str | None,
    name: str = "connected",
    hello: Hello = None,
    retry: int,
) -> bytes:
    """The first frame. Its `retry:` line replaces what an earlier `closing` frame may have set.

    Args:
        cursor: where the stream starts.
        id: the same, so that a client which loses the connection before its first event still resumes from here. None if a
            reset follows: a client that never gets to see it must come back with the cursor that caused it.
        channels: as asked for.
        now: Unix time in seconds.
        name: the event's type; empty for a plain message.
        hello: see `Hello`.
        retry: milliseconds.

    Raises:
        ConfigurationError: `hello` made something that is no JSON.
    """
    data: Any = {"cursor": cursor, "channels": channels, "time": timestamp(now)}
    data = hello(data) if callable(hello) else {**data, **(hello or {})}
    try:
        text = msgspec.json.encode(data).decode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"the hello of a stream is no JSON: {error}", expected="a JSON value") from error
    return wire.encode(name or None, text, id=id, retry=retry)


def heartbeat(cursor: str, now: float) -> bytes:
    """A sign of life; its id moves the client's cursor past events that were hidden from it."""
    return wire.encode("heartbeat", f'{{"timestamp":"{timestamp(now)}"}}', id=cursor)


def reset(cursor: str, reason: ResetReason) -> bytes:
    """Tell a client that it missed events and goes on from `cursor`."""
    return wire.encode("reset", f'{{"reason":"{reason}","cursor":"{cursor}"}}', id=cursor)


def token_expiring(expires_at: float) -> bytes:
    """Tell a client that its stream ends at `expires_at` (Unix seconds)."""
    return wire.encode("token_expiring", f'{{"expires_at":"{timestamp(expires_at)}"}}')


def closing(id: str | None, reason: CloseReason, retry: int | None) -> bytes:
    """The last frame. `id` is how far the client was given everything, None if it is owed a reset; `retry` in milliseconds
    tells this client when to come back."""
    return wire.encode("closing", f'{{"reason":"{reason}"}}', id=id, retry=retry)
