"""The hub as a web application uses it: `Hub("sqlite:///events.db")`, `hub.lifespan`, `hub.stream(request, ...)`.

What `headwater.hub.Hub` does, with a URL in front and responses behind. Knows brokers by URL, Starlette's requests, signals;
must not know tokens or routes of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.requests import HTTPConnection
from starlette.responses import Response

from headwater import hub as core
from headwater import wire
from headwater.asgi.limits import Limiter
from headwater.asgi.poll import PollResponse
from headwater.asgi.request import address_of, query_of, start_of, wants_poll
from headwater.asgi.stream import StreamResponse
from headwater.brokers import open_broker
from headwater.brokers.base import Broker, Retention
from headwater.changes.rules import Rule
from headwater.channels import ANYONE, Principal, check_channel
from headwater.errors import ConfigurationError, InvalidInput
from headwater.hub import Subscription, Timing
from headwater.hub.frames import Hello
from headwater.hub.statistics import Statistics

if TYPE_CHECKING:
    from headwater.changes.relay import Relay

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Hub(core.Hub):
    """A hub for your application.

    Args:
        broker: where the log lives: `memory://`, `sqlite:///events.db`, or a broker of your own.
        retention: what the log keeps, if `broker` is a URL.
        database: URL of a PostgreSQL database whose row changes and transactional publishes become events; None for the one
            that the log is in.
        changes: rules for its row changes. Their triggers are put there by `headwater pg install`.
        heartbeat: seconds between heartbeats.
        grace: seconds that a shutdown may take.
        options: see `headwater.hub.Hub`.
    """

    def __init__(
        self,
        broker: str | Broker = "sqlite:///headwater.db",
        *,
        retention: Retention = Retention(),  # noqa: B008 (frozen, so safe to share)
        database: str | None = None,
        changes: Sequence[Rule] = (),
        heartbeat: float = 15.0,
        grace: float = 10.0,
        **options: Any,
    ) -> None:
        timing = options.pop("timing", Timing())
        super().__init__(
            open_broker(broker, retention=retention) if isinstance(broker, str) else broker,
            timing=msgspec.structs.replace(timing, heartbeat=heartbeat),
            **options,
        )
        self.grace = grace
        self.relay = _relay(self.broker, database, changes)

    async def start(self) -> None:
        """Connect to the broker, begin to listen, and begin to take what a database has to say.

        Raises:
            BrokerUnavailable: the broker cannot be opened; the hub is as before. HeadwaterError: it runs already.
            ConfigurationError: the database is not prepared, and this role may not do it.
        """
        await super().start()
        if self.relay is not None:
            try:
                await self.relay.start()
            except BaseException:
                await super().stop()
                raise

    async def stop(self) -> None:
        """End what is still open, abruptly where `drain` was not called before, and close the broker. Idempotent."""
        if self.relay is not None:
            await self.relay.stop()
        await super().stop()

    def statistics(self) -> Statistics:
        """This hub at this moment, with what the relay of row changes has counted."""
        found = super().statistics()
        if self.relay is None:
            return found
        return msgspec.structs.replace(found, broker={**found.broker, **self.relay.counters()})

    @contextlib.asynccontextmanager
    async def lifespan(self, app: object = None) -> AsyncIterator[None]:
        """Run the hub as long as an application: `FastAPI(lifespan=hub.lifespan)`. To combine it with a lifespan of your own,
        enter it there: `async with hub.lifespan(app): ...`.

        SIGTERM and SIGINT make the hub drain at once, before the server's own handling of the signal: servers wait for open
        connections before they let the application clean up, and streams do not end by themselves.
        """
        await self.start()
        try:
            with self._signals():
                yield
        finally:
            await self.stop()

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Chain ourselves before the handlers that the server has installed. Only the main thread may; elsewhere the
        application calls `drain` itself. A signal that is ignored stays so, as when a shell starts something in the
        background; one whose handler is not Python's own could not be put back, and is left alone."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = self.loop
        found = {number: signal.getsignal(number) for number in SIGNALS}
        before = {number: each for number, each in found.items() if callable(each) or each == signal.SIG_DFL}

        def handle(number: int, frame: Any) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(self._drain_soon)
            previous = before[signal.Signals(number)]
            if callable(previous):
                previous(number, frame)
            else:
                signal.signal(number, signal.SIG_DFL)
                signal.raise_signal(number)

        for number in before:
            signal.signal(number, handle)
        try:
            yield
        finally:
            for number, previous in before.items():
                if signal.getsignal(number) is handle:
                    signal.signal(number, previous)

    def _drain_soon(self) -> None:
        if self._loop is not None and not self.is_draining:
            self.spawn(self._drain_quietly())

    async def _drain_quietly(self) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await self.drain(self.grace)

    def stream(
        self,
        request: HTTPConnection,
        *channels: str,
        principal: Principal = ANYONE,
        since: str = "now",
        connected: str = "connected",
        hello: Hello = None,
        heartbeat: float | None = None,
        heartbeat_comment: bool | str = False,
        headers: Mapping[str, str] | None = None,
        limiter: Limiter | None = None,
        release: Callable[[], object] | None = None,
    ) -> Response:
        """The response that streams channels to whoever sent `request`, from where its cursor says. A request with
        `Accept: application/json` is answered as a poll, with the same cursors (docs/reference/http.md). You have decided
        already that the caller may read these channels.

        Args:
            request: Starlette's or FastAPI's.
            channels: one or several names.
            principal: whose permissions decide what is visible, and whose `expires_at` ends the stream.
            since: where to begin if the request does not say: `now`, `all`, a duration such as `10m`, or a cursor.
            connected: event type of the first frame; empty for a plain message.
            hello: fields to add to the first frame's data, or a function that makes all of it from the default.
            heartbeat: seconds; 0 for none.
            heartbeat_comment: a comment line instead of an event, with this text or bare.
            headers: further response headers of the stream.
            limiter: counts the stream among its principal's and its address', and refuses one too many. Keep one for all
                streams.
            release: called once when the stream is over.

        Raises:
            InvalidChannel, InvalidCursor, NotAcceptable: the request or your channels are malformed.
            TooManyRequests, HubFull: the limiter refuses the stream.
            ConfigurationError: the request is of a framework that cannot stream.
        """
        if not isinstance(request, HTTPConnection):
            raise ConfigurationError(
                f"the request is a {type(request).__module__}.{type(request).__name__}",
                expected="a request of Starlette or FastAPI, under ASGI: WSGI would collect an endless response first",
                fix="from Flask or Django, publish to the log and stream from `headwater serve` beside the application",
            )
        if not channels:
            raise InvalidInput("no channel is named", expected="one or several channels")
        scope = request.scope
        query = query_of(scope)
        subscription = Subscription(
            channels=tuple(dict.fromkeys(check_channel(name) for name in channels)),
            principal=principal,
            start=start_of(scope, query, since),
            address=address_of(scope),
            connected=connected,
            hello=hello,
            heartbeat=heartbeat,
            comment_heartbeat=_comment(heartbeat_comment),
            release=release,
        )
        with _counted(subscription, limiter) as counted:
            if wants_poll(scope):
                return PollResponse(self, counted, query)
            return StreamResponse(self, counted, headers=headers)


@contextlib.contextmanager
def _counted(subscription: Subscription, limiter: Limiter | None) -> Iterator[Subscription]:
    """The subscription with a place that is given back when it is over, or at once if nothing comes of it."""
    if limiter is None:
        yield subscription
        return
    lease = limiter.connect(subscription.address or None, subscription.principal.id)

    def release() -> None:
        lease.release()
        if subscription.release is not None:
            subscription.release()

    try:
        yield msgspec.structs.replace(subscription, release=release)
    except BaseException:
        lease.release()
        raise


def _comment(choice: bool | str) -> bytes:
    if isinstance(choice, str):
        return wire.comment(choice)
    return wire.COMMENT if choice else b""


def _relay(broker: Broker, database: str | None, changes: Sequence[Rule]) -> Relay | None:
    """What takes row changes to the broker; None if there are none to take. Its driver is needed only then."""
    if database is None and not changes:
        return None
    try:
        from headwater.changes.relay import Relay
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"row changes need {error.name}, which is not installed",
            fix="install it with: pip install 'headwater[postgres]'",
        ) from error
    return Relay(broker, database, changes)
