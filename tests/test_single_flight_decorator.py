"""The single_flight decorator: what counts as the same call, and that frameworks take it for the function it wraps."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import httpx
import pytest
from fastapi import Depends, FastAPI
from starlette.requests import Request

from headwater.errors import ConfigurationError
from headwater.single_flight import single_flight
from tests.support.waiting import until


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
    await until(lambda: report.statistics().calls == 5, "all to ask")
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
    await until(lambda: stats.statistics().calls == 51, "all to ask")
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
    await until(lambda: totals.statistics().calls == 20, "all to ask")
    everyone_asked.set()
    assert [answer.json() for answer in await requests] == [300] * 20
    assert totals.statistics().shared == 19
