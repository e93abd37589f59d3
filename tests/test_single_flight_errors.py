"""Errors of shared work: every asker gets one of its own, and it says what the work's error says."""

from __future__ import annotations

import asyncio
import gc
import traceback
from typing import Any

import pytest

from headwater.errors import NotAuthenticated, PositionLost
from headwater.single_flight import SingleFlight
from tests.support.waiting import until


async def failing_together(error: Exception, askers: int) -> list[BaseException]:
    """What simultaneous askers catch when the work they share fails."""
    flights: SingleFlight[int] = SingleFlight()
    gate = asyncio.Event()

    async def failing_work() -> int:
        await gate.wait()
        raise error

    tasks = [asyncio.create_task(flights.do("key", failing_work)) for _ in range(askers)]
    await until(lambda: flights.statistics().calls == askers, "all to ask")
    gate.set()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    caught = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    assert len(caught) == askers
    return caught


@pytest.mark.parametrize(
    "error",
    [PositionLost("expired", "the log begins later"), NotAuthenticated("no", code="invalid_token"), KeyError("k")],
)
async def test_an_error_reaches_every_asker_as_its_own_copy(error: Exception) -> None:
    """Each of several askers raises an equal exception of the same class that is not the others'."""
    error.add_note("seen once")
    cause = ValueError("why")
    error.__cause__ = cause
    outcomes = await failing_together(error, 5)
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
    tracebacks = [
        traceback.extract_tb(error.__traceback__) for error in await failing_together(LookupError("nothing there"), 50)
    ]
    assert len({len(frames) for frames in tracebacks}) == 1
    assert all("failing_work" in {frame.name for frame in frames} for frames in tracebacks)


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
    outcomes = await failing_together(error, 2)
    for outcome in outcomes:
        assert type(outcome) is type(error)
        assert outcome is not error
        assert str(outcome) == str(error)
        assert vars(outcome) == vars(error)


@pytest.mark.parametrize("error", [Uncopyable("x", made=True), CopiesToSomethingElse("x")])
async def test_an_exception_that_cannot_be_copied_is_shared(error: Exception) -> None:
    """The askers then get the one there is, rather than another error or none."""
    assert all(outcome is error for outcome in await failing_together(error, 2))


async def test_an_error_that_comes_in_the_moment_its_asker_leaves_is_no_surprise() -> None:
    """Nobody is left to get it; the loop does not complain that nobody looked at it."""
    flights: SingleFlight[int] = SingleFlight()
    gate, complaints = asyncio.Event(), list[Any]()
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context))

    async def failing_work() -> int:
        await gate.wait()
        raise ValueError

    asker = asyncio.create_task(flights.do("key", failing_work))
    await until(lambda: flights.statistics().running == 1, "the work to begin")
    gate.set()
    await asyncio.sleep(0)  # the work has failed, and its asker has not run since
    assert flights.statistics().running == 0
    asker.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asker
    del asker  # it holds on to the work
    await asyncio.sleep(0)  # and so does the loop, until it has called back
    gc.collect()
    assert complaints == []


async def test_work_that_cancels_itself_cancels_its_asker() -> None:
    """That is its outcome, as it would be without sharing."""

    async def giving_up() -> int:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await SingleFlight[int]().do("key", giving_up)
