"""What a request asks for: channels, where to begin, stream or poll, and from which address.

Pure functions over an ASGI scope. Knows query strings and headers; must not know hubs, tokens or responses.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl

from headwater.channels import check_channel
from headwater.errors import InvalidCursor, InvalidInput, NotAcceptable, TooLarge
from headwater.event import Position
from headwater.hub import After, Ago, All, Last, Now, Start

Scope = Mapping[str, Any]

MAX_FIELDS = 1000
"""Query fields that are read at all."""

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"([0-9]{1,9})([smhd])\Z", re.ASCII)
_EXPECTED_SINCE = "now, all, the id of an event, or a duration such as 10m (s, m, h, d)"
_STREAM, _POLL = "text/event-stream", "application/json"


def query_of(scope: Scope) -> list[tuple[str, str]]:
    """The query's fields, in order.

    Raises:
        InvalidInput: there are more than MAX_FIELDS, or they are not UTF-8.
    """
    try:
        return parse_qsl(
            scope.get("query_string", b"").decode("ascii"),
            keep_blank_values=True,
            max_num_fields=MAX_FIELDS,
            errors="strict",
        )
    except ValueError as error:
        raise InvalidInput(
            f"the query cannot be read: {error}", expected="UTF-8, percent-encoded, of few fields"
        ) from None


def header_of(scope: Scope, name: bytes) -> str | None:
    """A header's value; the first, if it is sent several times. `name` in lower case."""
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), None)


def address_of(scope: Scope) -> str:
    """The client's address as the server tells it, which is after any trusted proxy's say; empty if it has none."""
    client = scope.get("client")
    return client[0] if client else ""


def channels_of(query: Sequence[tuple[str, str]], most: int) -> tuple[str, ...]:
    """The channels asked for, each once, in order.

    Args:
        most: how many there may be; 0 for no bound.

    Raises:
        InvalidInput: there is none. InvalidChannel: one is no name. TooLarge: there are more than `most`.
    """
    names = tuple(dict.fromkeys(value for key, value in query if key == "channel"))
    if not names:
        raise InvalidInput("no channel is named", expected="channel=NAME in the query, once or several times")
    if 0 < most < len(names):
        raise TooLarge(f"{len(names)} channels for one stream", expected=f"at most {most}")
    for name in names:
        check_channel(name, own=True)
    return names


def start_of(scope: Scope, query: Sequence[tuple[str, str]], default: str = "now") -> Start:
    """Where the client wants to begin: header Last-Event-ID, else `lastEventId=`, else `since=`, else `last=`; else
    `default`, which is written like `since`.

    An unreadable Last-Event-ID is no error but a reset: a browser that got an error would never come back.

    Raises:
        InvalidCursor: `since` or `last` cannot be read.
    """
    fields = dict(reversed(query))  # of a repeated field the first counts
    if cursor := (header_of(scope, b"last-event-id") or fields.get("lastEventId")):
        return After(cursor)
    if since := fields.get("since"):
        return since_of(since)
    if last := fields.get("last"):
        if not (last.isascii() and last.isdigit() and len(last) < 10):
            raise InvalidCursor(f"last={last[:40]!r} cannot be read", expected="a number of events")
        return Last(int(last))
    return since_of(default)


def since_of(since: str) -> Start:
    """What the `since` of a query asks for.

    Raises:
        InvalidCursor: it cannot be read.
    """
    if since == "now":
        return Now()
    if since == "all":
        return All()
    if duration := _DURATION.match(since):
        return Ago(int(duration[1]) * _UNITS[duration[2]])
    try:
        Position.parse(since)
    except InvalidCursor:
        raise InvalidCursor(f"since={since[:40]!r} cannot be read", expected=_EXPECTED_SINCE) from None
    return After(since)


def wants_poll(scope: Scope) -> bool:
    """Whether the client wants a JSON answer (a poll) rather than a stream. Without a preference it gets the stream.

    Raises:
        NotAcceptable: it accepts neither.
    """
    accept = header_of(scope, b"accept")
    if not accept:
        return False
    stream, poll = _quality(accept, _STREAM), _quality(accept, _POLL)
    if not stream and not poll:
        raise NotAcceptable(f"the client accepts {accept[:80]!r} only", expected=f"{_STREAM} or {_POLL}")
    return poll > stream


def _quality(accept: str, media: str) -> float:
    """How much a client wants a media type: the `q` of the most specific range that matches (RFC 9110, section 12.5.1)."""
    ranges = (media, f"{media.split('/')[0]}/*", "*/*")
    asked = {name: quality for name, quality in _ranges(accept) if name in ranges}
    return next((asked[name] for name in ranges if name in asked), 0.0)


def _ranges(accept: str) -> Iterator[tuple[str, float]]:
    for part in accept.split(","):
        range_, *parameters = (piece.strip().lower() for piece in part.split(";"))
        quality = next((piece[2:] for piece in parameters if piece.startswith("q=")), "1")
        try:
            yield range_, min(1.0, max(0.0, float(quality)))
        except ValueError:
            yield range_, 0.0
