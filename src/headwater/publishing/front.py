"""`headwater.publisher`: what a program without a hub holds to publish, from coroutines and from plain functions.

Events are checked here, before anything is sent; where they go is a target's matter. Within `async with` a network
connection belongs to the caller's event loop. Everything else goes through the publisher's own thread, because nobody
has promised to close what it opens in a loop that may be gone by the next call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any, Self

from headwater.channels import check_channel, check_permissions
from headwater.errors import ConfigurationError, TooLarge
from headwater.event import Draft, byte_length
from headwater.publishing.background import Background
from headwater.publishing.line import Line
from headwater.publishing.sinks import Target, Token, target_of

MAX_BATCH = 1000
"""Events in one batch, as hubs limit it. A batch is atomic, so it cannot be split."""


def publisher(url: str, *, token: Token = None, max_event_bytes: int | None = None) -> Publisher:
    """A publisher for the log, or the hub, at `url`. It connects when something is first published.

        async with headwater.publisher("redis://redis.internal/0") as events:
            await events.publish("room:42", "log", {"message": "starting"})

        events = headwater.publisher("sqlite:////var/lib/app/events.db")
        events.publish_sync("room:42", "log", {"message": "from a plain function"})

    Args:
        url: of a log: `redis://`, `rediss://`, `redis+sentinel://`, `postgresql://`, `sqlite:///file.db`, with options as for
            `open_broker`; or of a hub: `http://` or `https://`. In `memory://` nobody else sees what is published.
        token: a hub's bearer token, or a function that returns the current one.
        max_event_bytes: of an event's data; 0 for no bound; None for 256 KiB in a log, and for the hub's own bound at a hub.

    Raises:
        ConfigurationError: the URL is malformed, its scheme or an option is unknown, or what it needs is not installed.
    """
    return Publisher(target_of(url, token, max_event_bytes))


class Publisher:
    """Publishes to one log or hub. Made by `headwater.publisher`. All methods may be called from any thread; those which end
    in `_sync` are for plain functions.

    It may be used as it is, or as a context manager of either kind, which closes it. It may be used again after that, and
    after a fork in parent and child; it then connects anew.

    Args:
        target: where to.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self._background = Background(target.make)
        # Of each loop that is in an `async with`. Those of a parent process stay here unused: their loops do not run here.
        self._lines: dict[asyncio.AbstractEventLoop, Line] = {}

    def __repr__(self) -> str:
        return f"<headwater.Publisher {self._target.shown}>"

    async def publish(
        self,
        channel: str,
        type: str = "message",
        data: Any = None,
        *,
        permissions: Iterable[str] = (),
        idempotency_key: str | None = None,
    ) -> str:
        """Publish one event; return its id once it is durable.

        Args:
            channel: where it goes.
            type: its name on the wire.
            data: anything that can be written as JSON.
            permissions: a reader must hold all of them to see it.
            idempotency_key: publishing again with the same key, from this process or another, changes nothing and returns the
                first event's id.

        Returns:
            The id as text, as streams and the client show it: `str()` of the position that `Hub.publish` returns.

        Raises:
            InvalidInput, TooLarge: the event is malformed or too large; nothing was sent.
            IdempotencyConflict: the key was used for another event.
            BrokerUnavailable: it was not accepted in the time that the URL's options allow (Redis: `wait`, SQLite:
                `busy_timeout`); its `retry_after` says when to try again. If it says that the outcome is unknown, the same
                idempotency key makes sure that there is one event.
            ConfigurationError: the log cannot be used as the URL says.
            TooManyRequests, RequestRefused, ProtocolError: a hub refuses, or what answered is none.
        """
        draft = Draft.json(channel, type, data, permissions=permissions, idempotency_key=idempotency_key)
        return (await self.publish_all([draft]))[0]

    async def publish_text(
        self,
        channel: str,
        text: str,
        type: str = "message",
        *,
        permissions: Iterable[str] = (),
        idempotency_key: str | None = None,
    ) -> str:
        """Publish one event whose data is plain text and no JSON; return its id. Raises as `publish`."""
        draft = _text(channel, text, type, permissions, idempotency_key)
        return (await self.publish_all([draft]))[0]

    async def publish_all(self, drafts: Iterable[Draft]) -> tuple[str, ...]:
        """Publish several events, all or none; return their ids in order. Raises as `publish`; `TooLarge` also for more than
        1,000, and a hub takes text only in a batch of one."""
        batch = self._checked(drafts)
        if not batch:
            return ()
        if (line := self._lines.get(asyncio.get_running_loop())) is not None:
            return await line.send(batch)
        return await asyncio.wrap_future(self._background.submit(batch))

    def publish_sync(
        self,
        channel: str,
        type: str = "message",
        data: Any = None,
        *,
        permissions: Iterable[str] = (),
        idempotency_key: str | None = None,
    ) -> str:
        """`publish` for plain functions, in any thread. Blocks until the event is durable.

        Raises:
            ConfigurationError: it was called in an event loop. Otherwise as `publish`.
        """
        draft = Draft.json(channel, type, data, permissions=permissions, idempotency_key=idempotency_key)
        return self._publish_sync([draft], "publish")[0]

    def publish_text_sync(
        self,
        channel: str,
        text: str,
        type: str = "message",
        *,
        permissions: Iterable[str] = (),
        idempotency_key: str | None = None,
    ) -> str:
        """`publish_text` for plain functions. Raises as `publish_sync`."""
        draft = _text(channel, text, type, permissions, idempotency_key)
        return self._publish_sync([draft], "publish_text")[0]

    def publish_all_sync(self, drafts: Iterable[Draft]) -> tuple[str, ...]:
        """`publish_all` for plain functions. Raises as `publish_sync`."""
        return self._publish_sync(drafts, "publish_all")

    def _publish_sync(self, drafts: Iterable[Draft], instead: str) -> tuple[str, ...]:
        if _is_loop_running():
            raise ConfigurationError(
                f"{instead}_sync was called inside an event loop, which it would block",
                fix=f"await {instead}(...) here",
            )
        batch = self._checked(drafts)
        return self._background.submit(batch).result() if batch else ()

    def _checked(self, drafts: Iterable[Draft]) -> Sequence[Draft]:
        batch = tuple(drafts)
        if len(batch) > MAX_BATCH:
            raise TooLarge(f"{len(batch)} events in one batch", expected=f"at most {MAX_BATCH}")
        most = self._target.max_event_bytes
        for draft in batch:
            check_channel(draft.channel)
            if most and (size := byte_length(draft.data)) > most:
                raise TooLarge(
                    f"an event of {size} bytes",
                    expected=f"at most {most}",
                    fix="publish a reference to large data, or raise max_event_bytes, here and for the hubs",
                )
        return batch

    async def aclose(self) -> None:
        """Disconnect after what is being published. Idempotent. Connections of other event loops stay until those close
        them."""
        if (line := self._lines.pop(asyncio.get_running_loop(), None)) is not None:
            await line.aclose()
        if self._background.is_running:
            await asyncio.to_thread(self._background.stop)

    def close(self) -> None:
        """`aclose` for plain functions."""
        self._background.stop()

    async def __aenter__(self) -> Self:
        if self._target.is_remote:
            self._lines.setdefault(asyncio.get_running_loop(), Line(self._target.make))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _text(channel: str, text: str, type: str, permissions: Iterable[str], idempotency_key: str | None) -> Draft:
    return Draft(
        channel=channel,
        type=type,
        data=text,
        text=True,
        permissions=check_permissions(permissions),
        idempotency_key=idempotency_key,
    )


def _is_loop_running() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
