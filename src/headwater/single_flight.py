"""One computation for many simultaneous askers.

`SingleFlight` runs the work of a key once while anybody waits for it and hands the outcome to everyone who asked
meanwhile. `single_flight` is the same as a decorator for async functions. Knows asyncio and the error tree; must not know
events, HTTP or a framework, so that the hub can stand on it.
"""

from __future__ import annotations

import asyncio
import copy
import inspect
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine, Hashable
from functools import wraps
from typing import Any, Final, Generic, ParamSpec, Protocol, TypeVar, cast, overload
from weakref import WeakKeyDictionary

import msgspec

from headwater.errors import ConfigurationError, HeadwaterError

P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R", covariant=True)

MAX_KEYS: Final = 1024
"""Results kept at most, where a `ttl` keeps any. The runs need no bound of their own: each has an asker waiting for it,
and askers are bounded by whoever lets them in."""

_FRAMEWORKS: Final = frozenset({"starlette", "fastapi"})


class FlightStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """What a `SingleFlight` has done so far.

    Attributes:
        calls: how often it was asked.
        shared: calls that found a run under way and joined it.
        kept: calls answered from a result that its `ttl` still kept.
        running: runs under way now, in all living event loops.
        dropped: results thrown away before their time because `max_keys` were kept.
    """

    calls: int
    shared: int
    kept: int
    running: int
    dropped: int


class SingleFlight(Generic[T]):
    """Runs the work of a key once for everyone who asks while it runs.

    - The first asker starts the work in a task of its own, with a copy of that asker's context variables. Those who join
      see its outcome, not their own context; what the work sets in a context variable, nobody sees.
    - The result is one object for all askers: treat it as read-only.
    - An error reaches every asker, each with a copy of its own where several asked, because a raised exception is changed
      by whoever raises it (traceback, context, notes).
    - An asker that is cancelled leaves the others undisturbed. When the last one leaves, the work is cancelled, and who
      asks next starts anew without waiting for its clean-up.
    - State belongs to the running event loop and goes with it; one instance may serve several loops one after another.

    Args:
        ttl: seconds for which a result (never an error) is kept and answers later calls; 0 shares only what runs.
        max_keys: results kept at most; the oldest goes first.
        clock: monotonic seconds, for the `ttl`.

    Raises:
        ConfigurationError: `ttl` is negative or `max_keys` is less than 1.
    """

    def __init__(
        self, *, ttl: float = 0.0, max_keys: int = MAX_KEYS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        if not ttl >= 0:
            raise ConfigurationError(f"single flight with a ttl of {ttl!r}", expected="seconds, 0 or more")
        if max_keys < 1:
            raise ConfigurationError(f"single flight with max_keys of {max_keys!r}", expected="1 or more")
        self._ttl = ttl
        self._max_keys = max_keys
        self._clock = clock
        self._loops: WeakKeyDictionary[asyncio.AbstractEventLoop, _LoopState[T]] = WeakKeyDictionary()
        self._calls = 0
        self._shared = 0
        self._kept = 0
        self._dropped = 0

    async def do(self, key: Hashable, factory: Callable[[], Awaitable[T]]) -> T:
        """The outcome of `factory()`, run at most once at a time per key.

        Args:
            key: what makes two calls the same work.
            factory: starts the work; called only if nobody's run can be joined.

        Raises:
            HeadwaterError: the work asks for its own key, which would wait for itself for ever.
            BaseException: whatever the work raises.
        """
        here = self._here()
        self._calls += 1
        if self._ttl and (result := here.kept.get(key)) is not None:
            if result.until > self._clock():
                self._kept += 1
                return result.value
            del here.kept[key]
        flight = here.flights.get(key)
        if flight is None or flight.task.done():
            flight = self._start(here, key, factory)
        else:
            self._join(key, flight)
        return await self._wait(here, key, flight)

    def statistics(self) -> FlightStatistics:
        """A snapshot of the counters."""
        return FlightStatistics(
            calls=self._calls,
            shared=self._shared,
            kept=self._kept,
            running=sum(len(state.flights) for state in self._loops.values()),
            dropped=self._dropped,
        )

    def _here(self) -> _LoopState[T]:
        loop = asyncio.get_running_loop()
        state = self._loops.get(loop)
        if state is None:
            # A task that a closed loop left behind refers to its loop, so weakness alone would not let go of it.
            for other in list(self._loops):
                if other.is_closed():
                    del self._loops[other]
            state = self._loops[loop] = _LoopState()
        return state

    def _start(self, here: _LoopState[T], key: Hashable, factory: Callable[[], Awaitable[T]]) -> _Flight[T]:
        flight: _Flight[T] = _Flight()
        here.flights[key] = flight
        flight.task = asyncio.get_running_loop().create_task(self._run(here, key, flight, factory))
        return flight

    def _join(self, key: Hashable, flight: _Flight[T]) -> None:
        if flight.task is asyncio.current_task():
            raise HeadwaterError(
                f"the work for {key!r} asks for itself and would wait for ever", expected="another key inside the work"
            )
        self._shared += 1
        flight.shared = True

    async def _run(
        self, here: _LoopState[T], key: Hashable, flight: _Flight[T], factory: Callable[[], Awaitable[T]]
    ) -> T:
        try:
            value = await factory()
            if self._ttl and here.flights.get(key) is flight:
                self._keep(here, key, value)
            return value
        finally:
            here.land(key, flight)

    def _keep(self, here: _LoopState[T], key: Hashable, value: T) -> None:
        now = self._clock()
        kept = here.kept
        kept.pop(key, None)
        # Every result lives equally long, so the order of keeping is the order of expiry.
        while kept:
            oldest = next(iter(kept))
            if kept[oldest].until > now:
                if len(kept) < self._max_keys:
                    break
                self._dropped += 1
            del kept[oldest]
        kept[key] = _Kept(value, now + self._ttl)

    async def _wait(self, here: _LoopState[T], key: Hashable, flight: _Flight[T]) -> T:
        task = flight.task
        flight.askers += 1
        try:
            # `wait` neither cancels the task with the asker nor raises the task's own exception here, which would
            # write this asker's frames into the traceback that all of them share.
            await asyncio.wait((task,))
        finally:
            flight.askers -= 1
            if not flight.askers and not task.done():
                here.land(key, flight)
                here.abandon(task)
            if task.done() and not task.cancelled():
                task.exception()  # seen, even if this asker was cancelled in the very moment in which it came
        return _outcome(task, flight.shared)


class _Flight(Generic[T]):
    """One run: its task, how many wait for it, and whether there was ever more than one asker."""

    __slots__ = ("askers", "shared", "task")

    task: asyncio.Task[T]

    def __init__(self) -> None:
        self.askers = 0
        self.shared = False


class _Kept(Generic[T]):
    """A result and the time until which it answers."""

    __slots__ = ("until", "value")

    def __init__(self, value: T, until: float) -> None:
        self.value = value
        self.until = until


class _LoopState(Generic[T]):
    """What one event loop has running, and what it keeps."""

    __slots__ = ("abandoned", "flights", "kept")

    def __init__(self) -> None:
        self.flights: dict[Hashable, _Flight[T]] = {}
        # Oldest first. A plain dict finds its first key ever more slowly when keys go from the front.
        self.kept: OrderedDict[Hashable, _Kept[T]] = OrderedDict()
        self.abandoned: set[asyncio.Task[T]] = set()  # a loop holds its tasks only weakly; these have no asker to do it

    def land(self, key: Hashable, flight: _Flight[T]) -> None:
        """Nobody joins this flight any more. Another run may have the key already."""
        if self.flights.get(key) is flight:
            del self.flights[key]

    def abandon(self, task: asyncio.Task[T]) -> None:
        """Cancel work that nobody waits for, and hold it until its clean-up is done."""
        self.abandoned.add(task)
        task.add_done_callback(self.abandoned.discard)
        task.cancel()


def _outcome(task: asyncio.Task[T], shared: bool) -> T:
    if not task.cancelled() and (error := task.exception()) is not None:
        raise _twin(error) if shared else error
    return task.result()


def _twin(error: BaseException) -> BaseException:
    """An equal exception that one asker may raise and change. Falls back to the error itself where it cannot be copied."""
    try:
        twin = copy.copy(error)
    except Exception:  # its class cannot be built from its args, as with required keywords
        try:
            twin = type(error).__new__(type(error), *error.args)
        except Exception:
            return error
    if type(twin) is not type(error):
        return error
    twin.__dict__.update(error.__dict__)
    twin.args = error.args  # a class may have derived its args from what it was given, and would derive them twice
    twin.__cause__, twin.__context__ = error.__cause__, error.__context__
    twin.__suppress_context__ = error.__suppress_context__
    if hasattr(error, "__notes__"):
        twin.__notes__ = list(error.__notes__)
    return twin.with_traceback(error.__traceback__)


class Shared(Protocol[P, R]):
    """What `single_flight` makes of an async function: the same function, which also tells its statistics."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        """Ask for the result of these arguments."""

    def __get__(self, instance: object, owner: type | None = None, /) -> Callable[..., Coroutine[Any, Any, R]]:
        """Bind as a method, as every function does; the instance is then one of the arguments."""

    def statistics(self) -> FlightStatistics:
        """A snapshot of the counters."""


@overload
def single_flight(function: Callable[P, Coroutine[Any, Any, R]], /) -> Shared[P, R]: ...


@overload
def single_flight(
    *, key: Callable[..., Hashable] | None = None, ttl: float = 0.0, max_keys: int = MAX_KEYS
) -> Callable[[Callable[P, Coroutine[Any, Any, R]]], Shared[P, R]]: ...


def single_flight(
    function: Callable[..., Any] | None = None,
    /,
    *,
    key: Callable[..., Hashable] | None = None,
    ttl: float = 0.0,
    max_keys: int = MAX_KEYS,
) -> Any:
    """Let simultaneous calls of an async function with equal arguments share one run.

        @app.get("/stats")
        @single_flight(ttl=1.0)
        async def stats(project: int, user: User = Depends(current_user)) -> dict[str, int]: ...

    Signature, name and annotations stay, so a decorated function works as a FastAPI route handler and in `Depends`; the
    decorator goes below the one that registers the route. The rules of `SingleFlight` hold. Share data, not a streaming
    response: a stream can be read only once.

    Args:
        function: the function itself, for `@single_flight` without parentheses.
        key: called with the function's arguments, returns what makes two calls the same. Whoever is asking must be part
            of it wherever the answer depends on it. Without it every argument is: lists, sets and dicts by content, other
            objects by their own hash; values of different types differ.
        ttl: seconds for which a result is kept and answers later calls; 0 shares only what runs.
        max_keys: results kept at most; the oldest goes first.

    Raises:
        ConfigurationError: this is no async function, `ttl` or `max_keys` is out of range; or, when called, an argument
            belongs to one request or cannot be hashed, so a `key` is needed.
    """

    def decorate(function: Callable[P, Coroutine[Any, Any, T]]) -> Shared[P, T]:
        if not inspect.iscoroutinefunction(function):
            raise ConfigurationError(
                f"single_flight decorates {function!r}", expected="a function written with `async def`, without `yield`"
            )
        flights: SingleFlight[T] = SingleFlight(ttl=ttl, max_keys=max_keys)
        key_of = key or _key_by_arguments(function)

        @wraps(function)
        async def shared(*args: P.args, **kwargs: P.kwargs) -> T:
            return await flights.do(key_of(*args, **kwargs), lambda: function(*args, **kwargs))

        shared.__dict__["statistics"] = flights.statistics
        return cast(Shared[P, T], shared)

    return decorate if function is None else decorate(function)


def _key_by_arguments(function: Callable[..., Any]) -> Callable[..., Hashable]:
    """A key function for which `f(1)`, `f(a=1)` and a default of 1 are the same call."""
    signature = inspect.signature(function)

    def key(*args: Any, **kwargs: Any) -> Hashable:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return tuple(_frozen(name, value) for name, value in bound.arguments.items())

    return key


def _frozen(name: str, value: object) -> Hashable:
    """The value as part of a key, with its type: 1, 1.0 and True are equal, and seldom the same question."""
    if isinstance(value, dict):
        return dict, frozenset((_frozen(name, key), _frozen(name, item)) for key, item in value.items())
    if isinstance(value, list | tuple):
        return type(value), tuple(_frozen(name, item) for item in value)
    if isinstance(value, set | frozenset):
        return type(value), frozenset(_frozen(name, item) for item in value)
    if _is_of_one_request(value):
        raise ConfigurationError(
            f"argument {name!r} is a {type(value).__name__}, which no two requests share",
            fix="say what makes two calls the same: single_flight(key=lambda request: ...)",
        )
    try:
        hash(value)
    except TypeError:
        raise ConfigurationError(
            f"argument {name!r} is a {type(value).__name__}, which cannot be hashed",
            fix="say what makes two calls the same with single_flight(key=...)",
        ) from None
    return type(value), value


def _is_of_one_request(value: object) -> bool:
    """Whether this is a request, a response, background tasks: equal only to itself, so that nothing would ever be shared
    and nobody would notice. Told by where its class comes from, since no framework may be imported here."""
    if type(value).__hash__ is not object.__hash__:
        return False
    frameworks = any(kind.__module__.partition(".")[0] in _FRAMEWORKS for kind in type(value).__mro__)
    return frameworks or isinstance(getattr(value, "scope", None), dict)
