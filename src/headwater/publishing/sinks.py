"""Where a publisher's events end: in a broker's log, or at a hub that is asked over HTTP.

Both take drafts, return ids as text, and fail with the same errors, so that a program need not know which it has. Knows
brokers and the client, which is imported only for a hub's URL; must not know loops or threads.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol
from urllib.parse import urlsplit

import msgspec

from headwater.brokers import open_broker, redacted
from headwater.errors import (
    BrokerUnavailable,
    ConfigurationError,
    HeadwaterError,
    IdempotencyConflict,
    InvalidInput,
    RequestRefused,
    TooLarge,
    TooManyRequests,
    Unreachable,
)
from headwater.event import Draft

DEFAULT_MAX_EVENT_BYTES = 256 * 1024
"""Of an event's data, where a log is written without a hub that would say: what hubs allow by default."""

RETRY_AFTER = 1.0
"""Seconds to wait before publishing again where a hub does not say: about what it takes to start one."""

Token = str | Callable[[], str | Awaitable[str]] | None
"""A hub's bearer token, or a function that returns the current one; see `headwater.client.http.Token`."""


class Sink(Protocol):
    """Takes events, in the event loop in which it was opened."""

    async def open(self) -> None:
        """Connect. Called once; if it raises, nothing is left open."""

    async def append(self, drafts: Sequence[Draft]) -> tuple[str, ...]:
        """Publish all drafts, of which there is at least one, or none; return their ids once they are durable."""

    async def aclose(self) -> None:
        """Disconnect. Idempotent."""


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """What a URL means to a publisher.

    Attributes:
        shown: the URL without its passwords.
        make: makes a sink, not yet opened.
        is_remote: it is reached over the network, so each event loop may have a connection of its own. What lies in a file
            or in this process is opened once: an open SQLite file must not be there twice when a process forks.
        max_event_bytes: of an event's data; 0 where the other side decides.
    """

    shown: str
    make: Callable[[], Sink]
    is_remote: bool
    max_event_bytes: int


def target_of(url: str, token: Token = None, max_event_bytes: int | None = None) -> Target:
    """Where `url` leads.

    Raises:
        ConfigurationError: it is malformed, its scheme or an option is unknown, what it needs is not installed, or there is a
            token for a log, which asks for none.
    """
    shown = redacted(url)
    scheme = urlsplit(url).scheme
    if scheme in ("http", "https"):
        _check_hub(url, token)
        return Target(
            shown=shown, make=lambda: HubSink(url, token), is_remote=True, max_event_bytes=max_event_bytes or 0
        )
    if token is not None:
        raise ConfigurationError(
            f"there is a token for {shown}", expected="one for a hub's URL only: a log is written without"
        )
    open_broker(url)  # says now what is wrong with the URL, and not at the first event
    return Target(
        shown=shown,
        make=lambda: LogSink(url),
        is_remote=scheme not in ("sqlite", "memory"),
        max_event_bytes=DEFAULT_MAX_EVENT_BYTES if max_event_bytes is None else max_event_bytes,
    )


def _check_hub(url: str, token: Token) -> None:
    try:
        from headwater.client.http import Credentials, endpoint
    except ImportError as error:
        raise ConfigurationError(
            "publishing to a hub needs httpx2, which is not installed",
            fix="install it with: pip install 'headwater[client]'",
        ) from error
    try:
        endpoint(url)
        Credentials(token)
    except InvalidInput as error:
        raise ConfigurationError(redacted(error.what), expected=error.expected) from None


class LogSink:
    """A broker's log, written to directly.

    Args:
        url: of the log.
    """

    def __init__(self, url: str) -> None:
        self._broker = open_broker(url)

    async def open(self) -> None:
        """Connect. Raises what the broker's `open` does."""
        try:
            await self._broker.open()
        except BaseException:
            await self._broker.aclose()
            raise

    async def append(self, drafts: Sequence[Draft]) -> tuple[str, ...]:
        """Append. Raises what the broker's `append` does."""
        return tuple(str(position) for position in await self._broker.append(drafts))

    async def aclose(self) -> None:
        """Let what was begun finish, and disconnect."""
        await self._broker.aclose()


class HubSink:
    """A hub's HTTP API.

    Args:
        url: of the hub, or of its publish route.
        token: for it.
        options: see `headwater.client.Publisher`.
    """

    def __init__(self, url: str, token: Token, **options: Any) -> None:
        from headwater.client import Publisher

        self._publisher = Publisher(url, token, **options)

    async def open(self) -> None:
        """Nothing: connections are made as they are needed."""

    async def append(self, drafts: Sequence[Draft]) -> tuple[str, ...]:
        """Post the events, all in one request.

        Raises:
            InvalidInput: one of several is text, which travels alone. IdempotencyConflict, TooLarge, TooManyRequests: the hub
                says so. BrokerUnavailable: it does not answer, or cannot publish now. RequestRefused, ProtocolError: what
                else it says; the URL or the token is wrong.
        """
        try:
            if len(drafts) == 1 and drafts[0].text:
                return (await self._append_text(drafts[0]),)
            return await self._publisher.publish_all(drafts)
        except (RequestRefused, Unreachable) as error:
            raise _as_a_log_would_say(error) from error

    async def _append_text(self, draft: Draft) -> str:
        return await self._publisher.publish_text(
            draft.channel,
            draft.data,
            draft.type,
            permissions=draft.permissions,
            idempotency_key=draft.idempotency_key,
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._publisher.aclose()


def _as_a_log_would_say(error: RequestRefused | Unreachable) -> HeadwaterError:
    """The error that a log raises in the same case, so that a program catches one and the same wherever it publishes."""
    match error:
        case Unreachable():
            return BrokerUnavailable(
                f"the hub did not answer: {error.what}",
                fix="publish again, with the same idempotency key: the hub may have the event all the same",
                retry_after=RETRY_AFTER,
            )
        case RequestRefused(status=409):
            return IdempotencyConflict(error.what)
        case RequestRefused(status=413):
            return TooLarge(error.what)
        case RequestRefused(status=429):
            return TooManyRequests(error.what, retry_after=error.retry_after)
        case RequestRefused(status=status) if status >= 500:
            return BrokerUnavailable(error.what, retry_after=error.retry_after or RETRY_AFTER)
    return error
