"""Single flight: one run per key while anybody waits, every outcome reaches every asker, and nothing outlives its use."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import weakref
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.errors import ConfigurationError, HeadwaterError
from headwater.single_flight import SingleFlight
from tests.support.waiting import until


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


async def asked(flights: SingleFlight[Any], work: Callable[[], Awaitable[Any]], count: int) -> list[asyncio.Task[Any]]:
    """Tasks that have all asked for the same key and now wait."""
    before = flights.statistics().calls
    tasks = [asyncio.create_task(flights.do("key", work)) for _ in range(count)]
    await until(lambda: flights.statistics().calls == before + count, "all to ask")
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
    await until(lambda: flights.statistics().running == 2, "both to run")
    one.gate.set()
    two.gate.set()
    assert await asyncio.gather(*tasks) == [1, 1]
    assert flights.statistics().shared == 0


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
    await until(lambda: work.cancelled == 1, "the work to be cancelled")


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
    await until(lambda: flights.statistics().shared == 1, "the second to join")
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
    await until(lambda: flights.statistics().calls == 2, "both to ask")
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
        await until(lambda: flights.statistics().calls == len(steps), "all to ask")
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
