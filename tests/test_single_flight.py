"""Single flight: one run per key while anybody waits, every outcome reaches every asker, and nothing outlives its use."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import inspect
import traceback
import weakref
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import httpx
import pytest
from fastapi import Depends, FastAPI
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from headwater.errors import ConfigurationError, HeadwaterError, NotAuthenticated, PositionLost
from headwater.single_flight import SingleFlight, single_flight


class Work:
    """Work that runs until it is told to finish, and counts its runs."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.started = asyncio.Event()
        self.runs = 0
        self.cancelled = 0
        self.error: BaseException | None = None

    async def __call__(self) -> int:
        self.runs += 1
        run = self.runs
        self.started.set()
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.error is not None:
            raise self.error
        return run


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


async def until(condition: Callable[[], bool]) -> None:
    """Let everything else run until the condition holds."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - a counter has no event to wait for
            await asyncio.sleep(0)


async def asked(flights: SingleFlight[Any], work: Callable[[], Awaitable[Any]], count: int) -> list[asyncio.Task[Any]]:
    """Tasks that have all asked for the same key and now wait."""
    before = flights.statistics().calls
    tasks = [asyncio.create_task(flights.do("key", work)) for _ in range(count)]
    await until(lambda: flights.statistics().calls == before + count)
    return tasks


async def test_simultaneous_askers_share_one_run() -> None:
    """Fifty askers of one key run the work once and all get its result."""
    flights: SingleFlight[int] = SingleFlight()
    work = Work()
    tasks = await asked(flights, work, 50)
    assert flights.statistics().running == 1
    work.gate.set()
    assert await asyncio.gather(*tasks) == [1] * 50
    figures = flights.statistics()
    assert (figures.calls, figures.shared, figures.kept, figures.running) == (50, 49, 0, 0)


async def test_a_later_asker_starts_anew() -> None:
    """Without a ttl nothing is kept: who asks after the result is there gets a new run."""
    flights: SingleFlight[int] = SingleFlight()
    work = Work()
    work.gate.set()
    assert [await flights.do("key", work) for _ in range(3)] == [1, 2, 3]


async def test_different_keys_do_not_meet() -> None:
    """Each key has its own run."""
    flights: SingleFlight[int] = SingleFlight()
    one, two = Work(), Work()
    tasks = [asyncio.create_task(flights.do(key, work)) for key, work in (("one", one), ("two", two))]
    await until(lambda: flights.statistics().running == 2)
    one.gate.set()
    two.gate.set()
    assert await asyncio.gather(*tasks) == [1, 1]
    assert flights.statistics().shared == 0


@pytest.mark.parametrize(
    "error",
    [PositionLost("expired", "the log begins later"), NotAuthenticated("no", code="invalid_token"), KeyError("k")],
)
async def test_an_error_reaches_every_asker_as_its_own_copy(error: Exception) -> None:
    """Each of several askers raises an equal exception of the same class that is not the others'."""
    flights: SingleFlight[int] = SingleFlight()
    work = Work()
    error.add_note("seen once")
    cause = ValueError("why")
    error.__cause__ = cause
    work.error = error
    tasks = await asked(flights, work, 5)
    work.gate.set()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert len({id(outcome) for outcome in [error, *outcomes]}) == 6
    for outcome in outcomes:
        assert isinstance(outcome, type(error))
        assert outcome.args == error.args
        assert {k: v for k, v in vars(outcome).items() if k != "__notes__"} == {
            k: v for k, v in vars(error).items() if k != "__notes__"
        }
        assert outcome.__cause__ is cause
        assert outcome.__notes__ == ["seen once"]
        outcome.add_note("mine")
    assert error.__notes__ == ["seen once"]


async def test_tracebacks_of_askers_do_not_grow_with_their_number() -> None:
    """The fiftieth asker's traceback is as short as the first one's, and shows where the work failed."""
    flights: SingleFlight[int] = SingleFlight()
    work = Work()
    work.error = LookupError("nothing there")
    tasks = await asked(flights, work, 50)
    work.gate.set()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    depths = {
        len(traceback.extract_tb(outcome.__traceback__)) for outcome in outcomes if isinstance(outcome, LookupError)
    }
    assert len(depths) == 1
    assert all(
        "__call__" in {frame.name for frame in traceback.extract_tb(outcome.__traceback__)}
        for outcome in outcomes
        if isinstance(outcome, LookupError)
    )


async def test_a_lone_asker_gets_the_very_exception() -> None:
    """Nothing is copied where nothing is shared."""
    flights: SingleFlight[int] = SingleFlight()
    error = LookupError("mine")

    async def fail() -> int:
        raise error

    with pytest.raises(LookupError) as caught:
        await flights.do("key", fail)
    assert caught.value is error


class Doubles(Exception):
    """Its args are derived from its argument, and would be derived again by a copy."""

    def __init__(self, name: str) -> None:
        super().__init__(f"cannot find {name}")


class NeedsKeywords(Exception):
    """Cannot be built from its args at all."""

    def __init__(self, *, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class Uncopyable(Exception):
    """Refuses every way of making another one from its args."""

    def __new__(cls, *args: object, made: bool = False) -> Uncopyable:
        if not made:
            raise TypeError("only with made=True")
        return super().__new__(cls, *args)

    def __init__(self, *args: object, made: bool = False) -> None:
        super().__init__(*args)


class CopiesToSomethingElse(Exception):
    """Its copy is of another class."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (ValueError, ("other",))


@pytest.mark.parametrize("error", [Doubles("x"), NeedsKeywords(detail="d"), OSError(2, "gone", "file")])
async def test_an_awkward_exception_is_copied_faithfully(error: Exception) -> None:
    """Whatever its constructor asks for, an asker's copy says what the original says."""
    outcomes = await failing_together(error)
    for outcome in outcomes:
        assert type(outcome) is type(error)
        assert outcome is not error
        assert str(outcome) == str(error)
        assert vars(outcome) == vars(error)


@pytest.mark.parametrize("error", [Uncopyable("x", made=True), CopiesToSomethingElse("x")])
async def test_an_exception_that_cannot_be_copied_is_shared(error: Exception) -> None:
    """The askers then get the one there is, rather than another error or none."""
    assert all(outcome is error for outcome in await failing_together(error))


async def failing_together(error: Exception) -> list[BaseException]:
    """What two simultaneous askers catch."""
    flights: SingleFlight[int] = SingleFlight()
    work = Work()
    work.error = error
    tasks = await asked(flights, work, 2)
    work.gate.set()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    return [outcome for outcome in outcomes if isinstance(outcome, BaseException)]


async def test_an_error_is_not_kept() -> None:
    """A ttl keeps results only: who asks after a failure gets a new run."""
    flights: SingleFlight[int] = SingleFlight(ttl=60)
    work = Work()
    work.gate.set()
    work.error = LookupError("now")
    with pytest.raises(LookupError):
        await flights.do("key", work)
    work.error = None
    assert await flights.do("key", work) == 2


async def test_cancelling_one_asker_leaves_the_others() -> None:
    """The asker that started the work and one that joined are cancelled; the rest still get the result."""
    flights: SingleFlight[int] = SingleFlight()
    work = Work()
    tasks = await asked(flights, work, 4)
    tasks[0].cancel()
    tasks[2].cancel()
    await asyncio.wait({tasks[0], tasks[2]})
    work.gate.set()
    assert [await tasks[1], await tasks[3]] == [1, 1]
    assert tasks[0].cancelled()
    assert work.cancelled == 0


async def test_work_without_askers_is_cancelled() -> None:
    """When every asker has been cancelled, so is the work."""
    flights: SingleFlight[int] = SingleFlight()
    work = Work()
    tasks = await asked(flights, work, 3)
    await work.started.wait()
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert flights.statistics().running == 0
    await until(lambda: work.cancelled == 1)


async def test_work_cancelled_before_it_began_never_runs() -> None:
    """An asker cancelled before the loop came to the work takes it away, and the key is free."""
    flights: SingleFlight[int] = SingleFlight()
    work = Work()
    work.gate.set()
    asker = flights.do("key", work)
    asker.send(None)  # as far as waiting for work that the loop has not begun
    asker.close()
    assert flights.statistics().running == 0
    assert await flights.do("key", work) == 1


async def test_who_asks_while_abandoned_work_cleans_up_starts_anew() -> None:
    """Abandoned work is not joined, and its late end changes nothing for the run that followed."""
    flights: SingleFlight[str] = SingleFlight(ttl=60)
    may_end = asyncio.Event()
    began = asyncio.Event()

    async def stubborn() -> str:
        began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await may_end.wait()
        return "late"

    asker = asyncio.create_task(flights.do("key", stubborn))
    await began.wait()
    asker.cancel()
    await asyncio.wait({asker})
    second = Work()

    async def fresh() -> str:
        await second()
        return "fresh"

    next_asker = asyncio.create_task(flights.do("key", fresh))
    await second.started.wait()
    may_end.set()
    joined = asyncio.create_task(flights.do("key", fresh))
    await until(lambda: flights.statistics().shared == 1)
    second.gate.set()
    assert [await next_asker, await joined] == ["fresh", "fresh"]
    assert await flights.do("key", fresh) == "fresh"
    assert second.runs == 1


async def test_work_cancelled_by_others_frees_its_key() -> None:
    """If someone else cancels the work, its askers are told so, and the next one gets a new run."""
    flights: SingleFlight[int] = SingleFlight()
    work = Work()
    before = asyncio.all_tasks()
    (asker,) = await asked(flights, work, 1)
    (inner,) = asyncio.all_tasks() - before - {asker}
    inner.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asker
    work.gate.set()
    assert isinstance(await flights.do("key", work), int)


async def test_a_finished_run_is_not_joined() -> None:
    """Work that was cancelled before its first step could not leave the table itself; nobody joins its corpse."""
    flights: SingleFlight[int] = SingleFlight()
    work = Work()
    work.gate.set()
    before = asyncio.all_tasks()
    asker = asyncio.create_task(flights.do("key", work))
    inner: set[asyncio.Task[Any]] = set()

    def kill() -> None:
        inner.update(asyncio.all_tasks() - before - {asker})
        for task in inner:
            task.cancel()

    asyncio.get_running_loop().call_soon(kill)
    with pytest.raises(asyncio.CancelledError):
        await asker
    assert inner
    assert flights.statistics().running == 1
    assert await flights.do("key", work) == 1
    assert flights.statistics().running == 0


async def test_work_that_asks_for_itself_is_refused() -> None:
    """Asking for the own key inside the work would wait for ever, so it is an error at once."""
    flights: SingleFlight[int] = SingleFlight()

    async def circular() -> int:
        return await flights.do("key", circular)

    with pytest.raises(HeadwaterError, match="asks for itself"):
        await flights.do("key", circular)


async def test_a_ttl_answers_later_calls() -> None:
    """Within its ttl a result answers without a run, and after it the work runs again."""
    clock = Clock()
    flights: SingleFlight[int] = SingleFlight(ttl=5, clock=clock)
    work = Work()
    work.gate.set()
    assert [await flights.do("key", work), await flights.do("key", work)] == [1, 1]
    clock.now += 5
    assert [await flights.do("key", work), await flights.do("key", work)] == [2, 2]
    figures = flights.statistics()
    assert (figures.calls, figures.kept, figures.shared, figures.dropped) == (4, 2, 0, 0)


async def test_kept_results_are_bounded() -> None:
    """At most max_keys results are kept; the oldest goes first and is counted, an expired one just goes."""
    clock = Clock()
    flights: SingleFlight[str] = SingleFlight(ttl=5, max_keys=2, clock=clock)
    runs: list[str] = []

    async def ask(key: str) -> None:
        async def work() -> str:
            runs.append(key)
            return key

        await flights.do(key, work)

    for key in "abcbca":
        await ask(key)
    assert runs == ["a", "b", "c", "a"]
    assert flights.statistics().dropped == 2
    clock.now += 6
    await ask("d")
    await ask("c")
    assert flights.statistics().dropped == 2
    assert runs == ["a", "b", "c", "a", "d", "c"]


async def test_none_can_be_kept() -> None:
    """A result of None is a result."""
    flights: SingleFlight[None] = SingleFlight(ttl=5, clock=Clock())
    runs: list[int] = []

    async def work() -> None:
        runs.append(1)

    await flights.do("key", work)
    await flights.do("key", work)
    assert len(runs) == 1


@pytest.mark.parametrize("settings", [{"ttl": -1.0}, {"ttl": float("nan")}, {"max_keys": 0}])
def test_impossible_settings_are_refused(settings: dict[str, Any]) -> None:
    """A negative ttl, one that is no number, and no keys at all are configuration errors."""
    with pytest.raises(ConfigurationError, match="single flight"):
        SingleFlight(**settings)


async def test_the_work_runs_in_the_first_askers_context() -> None:
    """Context variables are the first asker's, and what the work sets stays inside it."""
    who: contextvars.ContextVar[str] = contextvars.ContextVar("who", default="nobody")
    flights: SingleFlight[str] = SingleFlight()
    gate = asyncio.Event()

    async def work() -> str:
        await gate.wait()
        seen = who.get()
        who.set("the work")
        return seen

    async def ask(name: str) -> tuple[str, str]:
        who.set(name)
        return await flights.do("key", work), who.get()

    tasks = [asyncio.create_task(ask(name)) for name in ("first", "second")]
    await until(lambda: flights.statistics().calls == 2)
    gate.set()
    assert await asyncio.gather(*tasks) == [("first", "first"), ("first", "second")]


def test_one_instance_serves_several_loops_in_turn() -> None:
    """Every loop has its own runs and results, and a finished loop is not kept alive, even by work it left behind."""
    flights: SingleFlight[int] = SingleFlight(ttl=60)
    loops: list[weakref.ref[asyncio.AbstractEventLoop]] = []

    async def ask() -> int:
        work = Work()
        work.gate.set()
        return await flights.do("key", work)

    async def leave_behind() -> None:
        loops.append(weakref.ref(asyncio.get_running_loop()))
        await asked(flights, Work(), 1)

    abandoned = asyncio.new_event_loop()
    abandoned.run_until_complete(leave_behind())
    for task in asyncio.all_tasks(abandoned):
        task.cancel()
    abandoned.close()
    del abandoned, task
    assert asyncio.run(ask()) == 1
    assert asyncio.run(ask()) == 1
    gc.collect()
    assert loops[0]() is None
    assert flights.statistics().running == 0


def test_loops_that_live_side_by_side_keep_their_own_results() -> None:
    """A second loop neither sees nor clears what the first one keeps."""
    flights: SingleFlight[int] = SingleFlight(ttl=60, clock=Clock())
    results = iter(range(10))

    async def work() -> int:
        return next(results)

    with asyncio.Runner() as one, asyncio.Runner() as two:
        assert [runner.run(flights.do("key", work)) for runner in (one, two, one, two)] == [0, 1, 0, 1]


@given(st.lists(st.tuples(st.sampled_from("ab"), st.booleans()), max_size=12))
def test_every_asker_gets_an_outcome(steps: list[tuple[str, bool]]) -> None:
    """Whoever asks, in whatever order and whoever is cancelled, either gets a result of its key or was cancelled; each
    key runs once; nothing stays behind."""

    async def scenario() -> None:
        flights: SingleFlight[str] = SingleFlight()
        gate = asyncio.Event()
        runs: list[str] = []

        async def work(key: str) -> str:
            runs.append(key)
            await gate.wait()
            return key

        tasks = [(key, stays, asyncio.create_task(flights.do(key, partial(work, key)))) for key, stays in steps]
        await until(lambda: flights.statistics().calls == len(steps))
        for _, stays, task in tasks:
            if not stays:
                task.cancel()
        gate.set()
        for key, stays, task in tasks:
            if stays:
                assert await task == key
            else:
                await asyncio.wait({task})
                assert task.cancelled()
        assert all(runs.count(key) <= 1 for key in "ab")
        assert flights.statistics().running == 0

    asyncio.run(scenario())


async def test_the_decorator_shares_equal_arguments() -> None:
    """Arguments are compared as the function receives them: by position, by name and by default is the same."""
    gate = asyncio.Event()
    runs: list[tuple[int, str]] = []

    @single_flight
    async def report(project: int, kind: str = "short") -> int:
        runs.append((project, kind))
        await gate.wait()
        return project

    calls = [report(1), report(project=1), report(1, "short"), report(1, kind="short"), report(2)]
    tasks = [asyncio.ensure_future(call) for call in calls]
    await until(lambda: report.statistics().calls == 5)
    gate.set()
    assert await asyncio.gather(*tasks) == [1, 1, 1, 1, 2]
    assert sorted(runs) == [(1, "short"), (2, "short")]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (1, True, False),
        (1, 1.0, False),
        ([1, 2], [1, 2], True),
        ([1, 2], (1, 2), False),
        ([1], [True], False),
        ({1, 2}, {2, 1}, True),
        ({"a": [1], "b": 2}, {"b": 2, "a": [1]}, True),
        ({"a": 1}, {"a": 2}, False),
        (None, "None", False),
    ],
)
async def test_containers_count_by_content_and_types_differ(one: object, other: object, same: bool) -> None:
    """Lists, sets and dicts share by what they hold; equal values of different types are different questions."""

    @single_flight(ttl=60)
    async def echo(value: object) -> object:
        return value

    await echo(one)
    await echo(other)
    assert echo.statistics().kept == int(same)


async def test_variable_arguments_are_part_of_the_key() -> None:
    """Extra positional and keyword arguments count, whatever order the keywords come in."""

    @single_flight(ttl=60)
    async def gather(*names: str, **options: int) -> int:
        return len(names)

    assert await gather("a", "b", x=1, y=2) == 2
    assert await gather("a", "b", y=2, x=1) == 2
    assert await gather("a", y=2, x=1) == 1
    assert gather.statistics().kept == 1


async def test_a_key_function_decides() -> None:
    """With a key function only what it returns counts."""

    @single_flight(key=lambda request, page: page, ttl=60)
    async def listing(request: Request, page: int) -> int:
        return page

    requests = [Request({"type": "http"}) for _ in range(2)]
    assert await listing(requests[0], 7) == await listing(requests[1], page=7) == 7
    assert listing.statistics().kept == 1


class ForeignRequest:
    """A request of a framework that is unknown here, told by its ASGI scope."""

    scope: dict[str, object] = {}


@pytest.mark.parametrize("request_like", [Request({"type": "http"}), ForeignRequest()])
async def test_a_request_as_argument_asks_for_a_key(request_like: object) -> None:
    """A request equals only itself, so sharing by it is refused with the way out instead of silently never happening."""

    @single_flight
    async def stats(request: object) -> None: ...

    with pytest.raises(ConfigurationError, match=r"'request' is a .*Request.*key=lambda request"):
        await stats(request_like)
    assert stats.statistics().calls == 0


async def test_an_unhashable_argument_asks_for_a_key() -> None:
    """What cannot be hashed is refused with the argument's name."""

    @single_flight
    async def total(values: bytearray) -> None: ...

    with pytest.raises(ConfigurationError, match=r"'values' is a bytearray.*key="):
        await total(bytearray(b"x"))


async def test_methods_share_per_instance() -> None:
    """A decorated method has its instance among the arguments."""

    class Service:
        def __init__(self, name: str) -> None:
            self.name = name

        @single_flight(ttl=60)
        async def read(self, page: int) -> str:
            return f"{self.name} {page}"

    one, two = Service("one"), Service("two")
    assert [await one.read(1), await one.read(1), await two.read(1)] == ["one 1", "one 1", "two 1"]


def test_only_async_functions_are_decorated() -> None:
    """A plain function and an async generator are refused where they are decorated."""

    def plain() -> None: ...

    async def generator() -> Any:
        yield 1

    for function in (plain, generator):
        with pytest.raises(ConfigurationError, match="async def"):
            single_flight(function)  # type: ignore[arg-type]


def test_the_signature_stays() -> None:
    """Name, docstring, annotations and signature are the function's own."""

    @single_flight
    async def report(project: int, *, kind: str = "short") -> str:
        """Say something."""
        return kind

    assert str(inspect.signature(report)) == "(project: 'int', *, kind: 'str' = 'short') -> 'str'"
    assert getattr(report, "__name__", "") == "report"
    assert inspect.iscoroutinefunction(report)


async def get(app: FastAPI, *paths: str) -> list[httpx.Response]:
    """Ask for all paths at once."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://hub") as client:
        return list(await asyncio.gather(*(client.get(path) for path in paths)))


async def test_fifty_simultaneous_requests_run_the_handler_once() -> None:
    """Fifty requests for one FastAPI route at once make one query; another project makes its own."""
    app = FastAPI()
    queries: list[int] = []
    everyone_asked = asyncio.Event()

    @app.get("/projects/{project}/stats")
    @single_flight
    async def stats(project: int, kind: str = "all") -> dict[str, int]:
        queries.append(project)
        await everyone_asked.wait()
        return {"project": project}

    requests = asyncio.create_task(get(app, *["/projects/7/stats"] * 50, "/projects/8/stats"))
    await until(lambda: stats.statistics().calls == 51)
    everyone_asked.set()
    answers = await requests
    assert [answer.json() for answer in answers] == [{"project": 7}] * 50 + [{"project": 8}]
    assert sorted(queries) == [7, 8]


async def test_it_works_as_a_dependency() -> None:
    """A decorated function in Depends runs once for all requests that need it at the same time."""
    app = FastAPI()
    everyone_asked = asyncio.Event()

    @single_flight
    async def totals(project: int = 1) -> int:
        await everyone_asked.wait()
        return project * 100

    async def show(total: int = Depends(totals)) -> int:
        return total

    app.get("/")(show)
    requests = asyncio.create_task(get(app, *["/?project=3"] * 20))
    await until(lambda: totals.statistics().calls == 20)
    everyone_asked.set()
    assert [answer.json() for answer in await requests] == [300] * 20
    assert totals.statistics().shared == 19
