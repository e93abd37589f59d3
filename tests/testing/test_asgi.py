"""The in-process driver: streams are read as they come, and nothing an application does goes unnoticed."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

from headwater.testing.asgi import WINDOW, App, lifespan, open_stream, request
from tests.support.site import serving


def sending(*pieces: bytes, status: int = 200, headers: Any = (), forever: bool = False, after: Any = None) -> App:
    """An application that sends these pieces of a body, and then ends it, waits for the client to go, or raises."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": status, "headers": headers})
        for piece in pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        if after is not None:
            raise after
        while forever and (await receive())["type"] != "http.disconnect":
            pass
        await send({"type": "http.response.body"})

    return app


async def test_t42_a_stream_without_an_end_can_be_tested() -> None:
    """Messages come while the application still sends, however they are cut; the block ends the stream."""
    app = sending(b"retry: 5\n\nid: 1\nda", b"ta: x\n\nevent: y\ndata: ", b"z\n\n", forever=True)
    async with open_stream(app, "/") as stream:
        first, second = await stream.message(), await stream.message()
        assert (first.type, first.data, first.id) == ("message", "x", "1")
        assert (second.type, second.data) == ("y", "z")
        assert (stream.decoder.last_event_id, stream.decoder.retry) == ("1", 5)
        assert bytes(stream.body).startswith(b"retry: 5")


async def test_t42_it_works_for_any_application() -> None:
    """Starlette's streaming response, with a generator that never ends by itself."""
    closed = asyncio.Event()

    async def events() -> AsyncIterator[str]:
        try:
            for number in range(1_000_000_000):
                yield f"data: {number}\n\n"
        finally:
            closed.set()

    async def endpoint(request: Request) -> StreamingResponse:
        return StreamingResponse(events(), media_type="text/event-stream")

    async with open_stream(Starlette(routes=[Route("/", endpoint)]), "/") as stream:
        assert [(await stream.message()).data for _ in range(3)] == ["0", "1", "2"]
    gc.collect()
    await asyncio.wait_for(closed.wait(), 5)


async def test_iteration_ends_with_the_stream() -> None:
    """And `message` says that it has ended, and after what."""
    async with open_stream(sending(b"data: 1\n\ndata: 2\n\n", b""), "/") as stream:
        assert [message.data async for message in stream] == ["1", "2"]
        with pytest.raises(EOFError, match="data: 2"):
            await stream.message()


async def test_messages_can_be_skipped() -> None:
    """`message_of` waits for a type."""
    async with open_stream(sending(b"data: 1\n\nevent: x\ndata: 2\n\n"), "/") as stream:
        assert (await stream.message_of("x")).data == "2"


async def test_a_request_carries_what_was_asked() -> None:
    """Method, path, query, headers, body and anything else of the scope."""

    async def endpoint(request: Request) -> JSONResponse:
        return JSONResponse(
            {
                "path": request.url.path,
                "query": request.query_params.multi_items(),
                "headers": request.headers.items(),
                "body": (await request.body()).decode(),
                "client": request.client,
            }
        )

    app = Starlette(routes=[Route("/a b/c", endpoint, methods=["POST"])])
    reply = await request(
        app, "POST", "/a%20b/c?x=1&x=2", headers=[("X-A", "1"), ("X-A", "2")], json={"k": 1}, client=("::1", 9)
    )
    assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
    assert reply.json() == {
        "path": "/a b/c",
        "query": [["x", "1"], ["x", "2"]],
        "headers": [["host", "localhost"], ["x-a", "1"], ["x-a", "2"], ["content-type", "application/json"]],
        "body": '{"k":1}',
        "client": ["::1", 9],
    }
    assert (await request(app, "POST", "/a b/c", headers={"Host": "hub"}, body=b"raw")).json()["headers"] == [
        ["host", "hub"]
    ]


async def test_a_body_can_come_in_pieces() -> None:
    """An asynchronous iterable is read when the application asks."""

    async def pieces() -> AsyncIterator[bytes]:
        yield b"one "
        yield b"two"

    async def app(scope: Any, receive: Any, send: Any) -> None:
        got = [await receive() for _ in range(3)]
        await sending(repr([(each["body"], each["more_body"]) for each in got]).encode())(scope, receive, send)

    body = (await request(app, "POST", "/", body=pieces())).body
    assert body == b"[(b'one ', True), (b'two', True), (b'', False)]"


async def test_other_messages_are_let_pass() -> None:
    """What a server may not know, such as trailers, is none of the body."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.debug", "info": {}})
        await sending(b"x")(scope, receive, send)
        await send({"type": "http.response.trailers"})

    assert (await request(app, "GET", "/")).body == b"x"


async def test_repeated_headers_are_joined() -> None:
    """As a client sees them; their names in lower case."""
    app = sending(headers=[(b"Vary", b"A"), (b"vary", b"B"), (b"x", b"1")])
    assert (await request(app, "GET", "/")).headers == {"vary": "A, B", "x": "1"}


async def test_who_does_not_read_makes_the_application_wait() -> None:
    """`send` returns at once until the window is full, or the reader pauses; going on lets it continue."""
    sent = list[int]()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})
        for number in range(6):
            await send({"type": "http.response.body", "body": b"x" * (WINDOW // 2), "more_body": True})
            sent.append(number)
        await receive()

    async def settled() -> int:
        for _ in range(10):
            await asyncio.sleep(0)
        return len(sent)

    async with open_stream(app, "/") as stream:
        assert await settled() == 2
        await stream.read()
        assert await settled() == 3
        stream.pause()
        await stream.read()
        assert await settled() == 3
        stream.resume()
        assert await settled() == 4
    assert len(sent) == 6, "a client that is gone holds nobody up"


async def test_a_client_can_leave() -> None:
    """The application gets its disconnect message, as often as it asks, and what it sends then goes nowhere."""
    got = list[str]()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})
        await receive()
        got.extend([(await receive())["type"], (await receive())["type"]])
        await send({"type": "http.response.body", "body": b"late"})

    async with open_stream(app, "/") as stream:
        await stream.disconnect()
        assert got == ["http.disconnect", "http.disconnect"]
        assert await stream.read() == b""


async def test_what_an_application_raises_is_raised_in_the_test() -> None:
    """Before it answers, while it is read, and after the client has gone."""

    async def broken(scope: Any, receive: Any, send: Any) -> None:
        raise KeyError("early")

    with pytest.raises(KeyError, match="early"):
        await request(broken, "GET", "/")
    async with open_stream(sending(b"data: 1\n\n", after=KeyError("late")), "/") as stream:
        await stream.message()
        with pytest.raises(KeyError, match="late"):
            await stream.message()
        with pytest.raises(KeyError, match="late"):
            await stream.disconnect()
        stream._exchange._task = asyncio.ensure_future(asyncio.sleep(0))  # it has been raised often enough
    with pytest.raises(KeyError, match="late"):
        async with open_stream(sending(after=KeyError("late")), "/"):
            pass


async def test_an_application_that_does_not_answer_is_a_failure() -> None:
    """It returned without a response, or sent none in time, or not the rest in time, or does not end."""

    async def silent(scope: Any, receive: Any, send: Any) -> None:
        pass

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.Event().wait()

    async def stubborn(scope: Any, receive: Any, send: Any) -> None:
        await sending(b"")(scope, receive, send)
        await asyncio.Event().wait()

    with pytest.raises(RuntimeError, match="returned without a response"):
        await request(silent, "GET", "/")
    with pytest.raises(TimeoutError, match=r"waited 0\.01 s for a response"):
        async with open_stream(slow, "/", timeout=0.01):
            pass
    async with open_stream(sending(forever=True), "/", timeout=0.01) as stream:
        with pytest.raises(TimeoutError, match="the next bytes"):
            await stream.read()
    with pytest.raises(TimeoutError, match="did not return within"):
        async with open_stream(stubborn, "/", timeout=0.01) as stream:
            assert await stream.read() == b"", "the body has ended, though the application has not"


async def test_nothing_is_left_behind() -> None:
    """Whether the block ends well or not, the application's task is over."""
    before = len(asyncio.all_tasks())
    with pytest.raises(ZeroDivisionError):
        async with open_stream(sending(forever=True), "/"):
            1 / 0  # noqa: B018
    async with open_stream(sending(forever=True), "/"):
        pass
    for _ in range(5):
        await asyncio.sleep(0)
    assert len(asyncio.all_tasks()) == before


async def test_a_lifespan_is_run_around_the_block() -> None:
    """Startup before it, shutdown after it; the hub's own application is one."""
    seen = list[str]()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for phase in ("startup", "shutdown"):
            seen.append((await receive())["type"])
            await send({"type": f"lifespan.{phase}.complete"})

    async with lifespan(app):
        assert seen == ["lifespan.startup"]
    assert seen == ["lifespan.startup", "lifespan.shutdown"]
    async with serving() as site:
        assert (await site.get("/healthz")).status == 200


async def test_a_lifespan_that_fails_is_a_failure() -> None:
    """It says so, it returns, or it raises."""

    async def says_so(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "lifespan.startup.failed", "message": "no disk"})

    async def returns(scope: Any, receive: Any, send: Any) -> None:
        pass

    async def raises(scope: Any, receive: Any, send: Any) -> None:
        raise KeyError("early")

    for app, expected in ((says_so, "startup failed: no disk"), (returns, "startup failed: the application returned")):
        with pytest.raises(RuntimeError, match=expected):
            async with lifespan(app):
                pass
    with pytest.raises(KeyError, match="early"):
        async with lifespan(raises):
            pass
