"""A subscription: the events of some channels, in order, across every loss of the connection.

The shell around `reconnect` (what to do next) and `transports` (how to receive). It pulls: bytes are read from the socket
only when the consumer asks for an event, so a slow consumer slows the hub down instead of filling memory, and there is
never more than one read's worth of events here.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Literal, Self, TypeVar

import httpx2
import msgspec

from headwater.channels import check_channel
from headwater.client.cursor import SAVE_EVERY, Cursor, Place
from headwater.client.http import Credentials, Interrupted, Runtime, Token, endpoint, new_client
from headwater.client.received import ReceivedEvent, Reset, State, Status
from headwater.client.reconnect import Budget, Ending, Fail, Policy, Refresh, Silence, Stop, Why, decide
from headwater.client.transports import PollTransport, StreamTransport, Target, Transport
from headwater.errors import InvalidInput
from headwater.wire import Message

log = logging.getLogger("headwater")

T = TypeVar("T")
Callback = Callable[[T], Awaitable[None] | None]

_HIDDEN = frozenset({"connected", "heartbeat", "token_expiring", "closing"})


def subscribe(
    url: str,
    channels: str | Iterable[str] = (),
    *,
    token: Token = None,
    since: str | None = None,
    last: int | None = None,
    last_event_id: str | None = None,
    cursor: Cursor | None = None,
    on_reset: Callback[Reset] | None = None,
    on_status: Callback[Status] | None = None,
    transport: Literal["stream", "poll"] = "stream",
    policy: Policy = Policy(),  # noqa: B008 (frozen, so safe to share)
    silence: float | None = None,
    headers: Mapping[str, str] | None = None,
    max_event_bytes: int = 1 << 20,
    client: httpx2.AsyncClient | None = None,
    runtime: Runtime = Runtime(),  # noqa: B008
) -> Subscription:
    """Follow channels of a hub.

        async with subscribe("https://hub.example", "room:42", token=token) as events:
            async for event in events:
                print(event.type, event.json())

    Connects when the first event is asked for, and comes back after every loss, resuming after the last event that the
    consumer was given. Without `async with`, call `aclose` when leaving the loop early.

    Args:
        url: of the stream; `/events` is added to a URL without a path.
        channels: one name or several; none where the URL itself says what is streamed.
        token: see `Token`. A function is called before the first request, again when the hub refuses its token (once: a
            second refusal is final), and before the next connection after the hub warned that the token is running out.
        since: where to begin without an id: `now` (the default), `all`, a cursor, or a duration like `10m`.
        last: begin with the newest so many events instead.
        last_event_id: begin after this event.
        cursor: where the place is kept between runs, such as a `FileCursor`. An id in it comes before all of the above.
        on_reset: called when events are missing, before the `reset` event itself is given to the consumer.
        on_status: called on every change of the connection. What it raises ends the subscription.
        transport: `poll` asks for JSON again and again, where something between here and the hub swallows streams.
        policy: how eagerly to come back.
        silence: seconds without a byte that mean a dead connection; 0 to wait for ever; None to learn it from the hub's
            heartbeats.
        headers: more headers for every request.
        max_event_bytes: an event larger than this is a `ProtocolError`.
        client: used for the requests, and left open, in place of an own one.
        runtime: clock, sleep and chance, for tests.

    Raises:
        InvalidInput: the URL, a channel, the token or a number makes no sense.
    """
    if transport not in ("stream", "poll"):
        raise InvalidInput(f"transport {transport!r} is not known", expected="stream or poll")
    if since is not None and last is not None:
        raise InvalidInput("both since and last were given", expected="one of them")
    start = {"since": since, "last": None if last is None else str(last)}
    names = [check_channel(name, own=True) for name in ([channels] if isinstance(channels, str) else channels)]
    target = Target(
        client=client or new_client(),
        url=endpoint(url),
        query=tuple(("channel", name) for name in names),
        start=tuple((name, value) for name, value in start.items() if value is not None),
        headers=headers or {},
        credentials=Credentials(token),
        runtime=runtime,
        silence=Silence(silence),
        max_event_bytes=max_event_bytes,
    )
    return Subscription(
        target,
        transport=PollTransport if transport == "poll" else StreamTransport,
        policy=policy,
        id=last_event_id,
        cursor=cursor,
        on_reset=on_reset,
        on_status=on_status,
        owns_client=client is None,
    )


class Subscription:
    """An asynchronous iterator over `ReceivedEvent`s, for one consumer. Made by `subscribe`.

    Every event is given at least once: the place moves past an event when the consumer asks for the next one, or calls
    `acknowledge`. Cancelling a wait for the next event (a timeout around it, say) loses nothing.

    Iterating ends when the hub says that there is no more (204) or after `aclose`. It raises `RequestRefused` where the hub
    refuses for good, `ProtocolError` where what answers is no hub, `Unreachable` after `policy.attempts` failures, and
    whatever a callback, the token function or the cursor raises; each is final.

    Attributes:
        status: the latest news of the connection.
    """

    def __init__(
        self,
        target: Target,
        *,
        transport: Callable[[Target, str | None], Transport],
        policy: Policy,
        id: str | None,
        cursor: Cursor | None,
        on_reset: Callback[Reset] | None,
        on_status: Callback[Status] | None,
        owns_client: bool,
    ) -> None:
        self.status = Status(state=State.IDLE)
        self._target = target
        self._make_transport = transport
        self._transport: Transport | None = None  # made when its first id is known
        self._policy = policy
        self._budget = Budget()
        self._first_id = id
        self._place = Place(cursor, target.runtime.clock)
        self._on_reset = on_reset
        self._on_status = on_status
        self._owns_client = owns_client
        self._channel = target.query[0][1] if len(target.query) == 1 else None
        self._messages: deque[Message] = deque()  # received and not yet looked at: of one read at most
        self._given: str | None = None  # the id of the event that the consumer is working on
        self._base: float | None = None  # seconds, from `retry:`
        self._closing: Message | None = None  # the hub's last word on this connection
        self._filling: asyncio.Task[None] | None = None

    @property
    def last_event_id(self) -> str | None:
        """The place: the last event that the consumer has finished with, or a later id of the hub's. None before any."""
        return self._place.id

    # -- for the consumer ------------------------------------------------------------------------------------------------

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ReceivedEvent:
        try:
            event = await self._next()
        except Exception as error:
            await self._fail(error)
            raise
        if event is None:
            await self._release()
            raise StopAsyncIteration
        return event

    async def acknowledge(self) -> None:
        """The event that was given last is dealt with: do not give it again, in this run or a later one. Asking for the next
        event does this, too."""
        if self._given is not None:
            self._place.move(self._given)
            self._given = None
            await self._place.save(within=SAVE_EVERY if self._messages else 0.0)

    async def aclose(self) -> None:
        """End the subscription and save its place. The event that was given last counts as not dealt with, unless
        `acknowledge` was called. Idempotent."""
        was_over = self._is_over
        if not was_over:
            self.status = Status(state=State.CLOSED, reason="closed by the consumer")
        if self._filling is not None and self._filling is not asyncio.current_task():  # else `on_status` calls us
            self._filling.cancel()
            await asyncio.gather(self._filling, return_exceptions=True)
        await self._release()
        await self._place.save()
        if not was_over:
            await _call(self._on_status, self.status)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    # -- looking at what was received ------------------------------------------------------------------------------------

    async def _next(self) -> ReceivedEvent | None:
        """The next event; None when it is over. A message leaves the queue only when it was dealt with, so that whatever is
        cancelled here is done again."""
        await self.acknowledge()
        while True:
            while self._messages:
                message = self._messages[0]
                event = await self._read(message)
                if self._is_over:  # `on_reset` has ended it
                    return None
                self._messages.popleft()
                if event is not None:
                    self._given = event.id
                    return event
                self._place.move(message.id)
            if (
                self._transport is not None and self._filling is None
            ):  # else there may be more that is not yet seen here
                self._place.move(self._transport.last_id)
            await self._place.save()
            if self._is_over:
                return None
            await self._more()

    async def _read(self, message: Message) -> ReceivedEvent | None:
        """What the consumer gets of a message, if anything."""
        match message.type:
            case "heartbeat":
                self._target.silence.heartbeat(message.data)
            case "token_expiring":
                self._target.credentials.expire()
            case "closing":
                self._closing = message
            case "reset":
                await _call(self._on_reset, Reset.parse(message.data))
        if message.type in _HIDDEN:
            return None
        channel = message.channel or self._channel
        return ReceivedEvent(id=message.id, type=message.type, data=message.data, channel=channel)

    # -- receiving -------------------------------------------------------------------------------------------------------

    @property
    def _is_over(self) -> bool:
        return self.status.state in (State.CLOSED, State.FAILED)

    async def _more(self) -> None:
        """Wait until there are messages or it is over. The work is a task of its own, so that a consumer which stops waiting
        does not interrupt it half-way."""
        filling = self._filling = self._filling or asyncio.ensure_future(self._fill())
        await asyncio.wait({filling})
        self._filling = None
        if filling.cancelled():  # by `aclose`
            return
        filling.result()

    async def _fill(self) -> None:
        if self._transport is None:
            self._transport = self._make_transport(self._target, await self._place.load(self._first_id))
        transport = self._transport
        with suppress(_Closed):
            while not (self._messages or self._is_over):
                try:
                    await self._receive(transport)
                except Interrupted as interrupted:
                    await transport.aclose()
                    await self._recover(interrupted)

    async def _receive(self, transport: Transport) -> None:
        if self.status.state is not State.OPEN:
            await self._tell(Status(state=State.CONNECTING, failures=self._budget.failures))
            await transport.connect()
            await self._tell(Status(state=State.OPEN))
        messages = await transport.receive()
        self._messages.extend(messages)
        if not any(message.type == "closing" for message in messages):  # what that one says holds once only
            self._base = transport.retry and transport.retry / 1000

    async def _recover(self, interrupted: Interrupted) -> None:
        """Do what `decide` says about the end of a connection or of an attempt."""
        ending, reason = self._explained(interrupted)
        self._budget, step = decide(
            self._budget,
            ending,
            self._policy,
            base=self._base,
            can_refresh=self._target.credentials.can_refresh,
            random=self._target.runtime.random,
        )
        if isinstance(step, Fail):
            raise interrupted.error from interrupted
        if isinstance(step, Stop):
            await self._tell(Status(state=State.CLOSED, reason="the hub has no more"))
        elif isinstance(step, Refresh):
            self._target.credentials.expire()
            await self._wait(0.0, "the hub refused the token")
        else:
            await self._wait(step.seconds, reason)

    def _explained(self, interrupted: Interrupted) -> tuple[Ending, str]:
        """An end, and its reason in words: the hub's own if it had announced it."""
        closing, self._closing = self._closing, None
        if closing is None:
            return interrupted.ending, str(interrupted)
        retry = None if closing.retry is None else closing.retry / 1000
        return msgspec.structs.replace(interrupted.ending, why=Why.CLOSING, retry=retry), f"closing: {closing.data}"

    async def _wait(self, seconds: float, reason: str) -> None:
        failures = self._budget.failures
        await self._tell(Status(state=State.WAITING, reason=reason, failures=failures, delay=seconds))
        if seconds > 0:
            await self._target.runtime.sleep(seconds)

    async def _tell(self, status: Status) -> None:
        self.status = status
        await _call(self._on_status, status)
        if self.status is not status:
            raise _Closed

    async def _fail(self, error: Exception) -> None:
        """End for good because of `error`, which is the one to raise: what the callback makes of it is not."""
        status = Status(state=State.FAILED, reason=str(error), failures=self._budget.failures)
        try:
            await self._tell(self.status if self._is_over else status)
        except Exception:
            log.exception("on_status failed while a subscription was failing")
        finally:
            await self._release()

    async def _release(self) -> None:
        """Let go of the connection, and of messages that will not be given any more; the place stays before them."""
        self._messages.clear()
        transport, self._transport = self._transport, None
        if transport is not None:
            await transport.aclose()
        if self._owns_client:
            await self._target.client.aclose()


class _Closed(Exception):
    """The consumer's `on_status` has ended the subscription."""


async def _call(callback: Callback[T] | None, value: T) -> None:
    """Call an application's function, which may be asynchronous or missing."""
    if callback is not None and inspect.isawaitable(result := callback(value)):
        await result
