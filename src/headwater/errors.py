"""The one error tree: everything Headwater raises on purpose.

Each error says what happened, what was expected and what to do about it, and carries the HTTP status that tells the same
story to a client. This module knows no HTTP beyond that number, and nothing else of Headwater.

    HeadwaterError
    ├── ConfigurationError            the operator's fault: a setting, a flag, a missing key
    ├── RequestError                  the caller's fault
    │   ├── InvalidInput              400  (also a ValueError)
    │   │   ├── InvalidEvent
    │   │   ├── InvalidChannel
    │   │   └── InvalidCursor
    │   ├── NotAuthenticated          401
    │   ├── NotAllowed                403
    │   ├── NotFound                  404
    │   ├── MethodNotAllowed          405
    │   ├── NotAcceptable             406
    │   ├── RequestTimeout            408
    │   ├── IdempotencyConflict       409
    │   ├── TooLarge                  413
    │   ├── UnsupportedMedia          415
    │   └── TooManyRequests           429, with retry_after
    ├── Unavailable                   503, with retry_after: ours or the broker's fault, and it may pass
    │   ├── BrokerUnavailable
    │   ├── HubFull
    │   └── Draining
    ├── PositionLost                  the log no longer reaches back to a position; becomes a `reset` event, never a response
    └── ClientError                   raised by the Python client
        ├── ProtocolError             the bytes received are not what a hub sends
        ├── RequestRefused            the hub's own error, as the client received it
        └── Unreachable               no answer, as often as the client may try
"""

from __future__ import annotations


class HeadwaterError(Exception):
    """Base of every error that Headwater raises on purpose.

    Args:
        what: what happened, as a sentence without its full stop.
        expected: what would have been right.
        fix: what the reader can do now.
        retry_after: seconds after which the same call may succeed; None where waiting does not help.
    """

    status = 500
    title = "Internal error"

    def __init__(
        self, what: str, *, expected: str | None = None, fix: str | None = None, retry_after: float | None = None
    ) -> None:
        self.what = what
        self.expected = expected
        self.fix = fix
        self.retry_after = retry_after
        parts = [what, expected and f"expected {expected}", fix]
        super().__init__(". ".join(part for part in parts if part))


class ConfigurationError(HeadwaterError):
    """A setting is missing, malformed or unsafe; nothing was started."""

    title = "Configuration error"


class RequestError(HeadwaterError):
    """The caller asked for something that cannot be done as asked; nothing was changed."""

    status = 400
    title = "Bad request"


class InvalidInput(RequestError, ValueError):
    """A value is malformed; nothing was changed."""

    title = "Invalid input"


class InvalidEvent(InvalidInput):
    """An event may not look like this: its type, data, permissions or idempotency key breaks a rule of the wire."""

    title = "Invalid event"


class InvalidChannel(InvalidInput):
    """A channel name or a channel pattern breaks the grammar."""

    title = "Invalid channel"


class InvalidCursor(InvalidInput):
    """A `since`, `last` or cursor parameter cannot be read."""

    title = "Invalid cursor"


class NotAuthenticated(RequestError):
    """There is no valid token: none was sent, or it is expired, forged or meant for someone else.

    Args:
        what: what happened.
        code: the RFC 6750 error code; None where no credentials were sent at all (section 3.1 says to omit it then).
    """

    status = 401
    title = "Not authenticated"

    def __init__(
        self, what: str, *, expected: str | None = None, fix: str | None = None, code: str | None = None
    ) -> None:
        super().__init__(what, expected=expected, fix=fix)
        self.code = code


class NotAllowed(RequestError):
    """The token is valid and does not grant this."""

    status = 403
    title = "Not allowed"


class NotFound(RequestError):
    """Nothing lives at this path, or the thing it named is gone."""

    status = 404
    title = "Not found"


class MethodNotAllowed(RequestError):
    """The path exists and does not answer to this method."""

    status = 405
    title = "Method not allowed"


class NotAcceptable(RequestError):
    """The request's Accept header names nothing this path can send."""

    status = 406
    title = "Not acceptable"


class RequestTimeout(RequestError):
    """The request did not come whole within its time; nothing was changed."""

    status = 408
    title = "Request timeout"


class IdempotencyConflict(RequestError):
    """An idempotency key was used before for a different event; the first one stands and nothing was published."""

    status = 409
    title = "Idempotency key reused"


class TooLarge(RequestError):
    """An event, body, header or URL is over its limit."""

    status = 413
    title = "Too large"


class UnsupportedMedia(RequestError):
    """The request's Content-Type is not one this path reads."""

    status = 415
    title = "Unsupported media type"


class TooManyRequests(RequestError):
    """A limit of this principal or address is used up for now."""

    status = 429
    title = "Too many requests"


class Unavailable(HeadwaterError):
    """Not possible now; `retry_after` says when it may be."""

    status = 503
    title = "Unavailable"


class BrokerUnavailable(Unavailable):
    """The log cannot be reached or written; the event was not accepted."""

    title = "Broker unavailable"


class HubFull(Unavailable):
    """The hub holds as many streams as it may."""

    title = "Hub full"


class Draining(Unavailable):
    """The hub is shutting down and takes no new streams."""

    title = "Draining"


class PositionLost(HeadwaterError):
    """The log no longer holds every event after a position.

    Args:
        reason: the `reason` of the reset event that tells the client (see `headwater.event.ResetReason`).
    """

    title = "Position lost"

    def __init__(self, reason: str, what: str) -> None:
        super().__init__(what, fix="load the current state again and follow the log from the new cursor")
        self.reason = reason


class ClientError(HeadwaterError):
    """Raised by `headwater.client`."""

    title = "Client error"


class ProtocolError(ClientError):
    """The peer sent bytes that are no event stream, or a line longer than the decoder allows."""

    title = "Protocol error"


class RequestRefused(ClientError):
    """The hub answered with an error status.

    Args:
        status: the HTTP status received.
        what: the problem's title and detail, as received.
    """

    title = "Request refused"

    def __init__(self, status: int, what: str, *, retry_after: float | None = None) -> None:
        super().__init__(what, retry_after=retry_after)
        self.status = status


class Unreachable(ClientError):
    """The hub did not answer, or its streams kept breaking, as often in a row as the client may try."""

    title = "Unreachable"
