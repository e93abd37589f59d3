"""The client for programs without an event loop: scripts, notebooks, workers.

Each object runs a loop of its own in the calling thread, and only while it is being called: no threads, and Ctrl-C works.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, ParamSpec, Self

from headwater.client.http import Token
from headwater.client.publisher import Publisher
from headwater.client.received import ReceivedEvent
from headwater.client.subscription import Subscription, subscribe
from headwater.errors import ConfigurationError

P = ParamSpec("P")


class BlockingSubscription:
    """An iterator over `ReceivedEvent`s that blocks until the next one comes. Made by `subscribe_sync`; behaves as
    `Subscription` does. Use it as a context manager, or call `close`, when leaving the loop early.

    Args:
        make: makes the subscription.
    """

    def __init__(self, make: Callable[[], Subscription]) -> None:
        _refuse_within_loop("subscribe_sync", "subscribe")
        self._subscription = make()
        self._runner = asyncio.Runner()
        self._is_closed = False

    @property
    def last_event_id(self) -> str | None:
        """See `Subscription.last_event_id`."""
        return self._subscription.last_event_id

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> ReceivedEvent:
        event = None if self._is_closed else self._runner.run(self._next())
        if event is None:
            raise StopIteration
        return event

    async def _next(self) -> ReceivedEvent | None:
        return await anext(self._subscription, None)

    def acknowledge(self) -> None:
        """See `Subscription.acknowledge`."""
        self._runner.run(self._subscription.acknowledge())

    def close(self) -> None:
        """End the subscription and save its place. Idempotent."""
        if self._is_closed:
            return
        self._is_closed = True
        with self._runner:
            self._runner.run(self._subscription.aclose())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _blocking(make: Callable[P, Subscription]) -> Callable[P, BlockingSubscription]:
    def subscribe_sync(*args: P.args, **kwargs: P.kwargs) -> BlockingSubscription:
        return BlockingSubscription(lambda: make(*args, **kwargs))

    return subscribe_sync


subscribe_sync = _blocking(subscribe)
"""`subscribe` with the same arguments, as a plain iterator: `for event in subscribe_sync(url, "room:42"): ...`"""


def publish_sync(
    url: str,
    channel: str,
    type: str = "message",
    data: Any = None,
    *,
    token: Token = None,
    permissions: Iterable[str] = (),
    idempotency_key: str | None = None,
) -> str:
    """Publish one event and return its id: `Publisher.publish` for a program that does it now and then. One that publishes
    all the time keeps a `Publisher` and its connections.

    Raises:
        See `Publisher.publish`.
    """
    _refuse_within_loop("publish_sync", "Publisher")

    async def publish() -> str:
        async with Publisher(url, token) as publisher:
            return await publisher.publish(
                channel, type, data, permissions=permissions, idempotency_key=idempotency_key
            )

    return asyncio.run(publish())


def _refuse_within_loop(name: str, instead: str) -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise ConfigurationError(f"{name} was called inside an event loop, which it would block", fix=f"use {instead}")
