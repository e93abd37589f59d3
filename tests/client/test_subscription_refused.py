"""What a subscription tells, and how it ends when it cannot go on: refusals, tokens, resets, callbacks."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from headwater import wire
from headwater.client import Reset, State, Status, subscribe
from headwater.errors import ProtocolError, RequestRefused
from tests.client.scripted import (
    World,
    answer,
    answer_json,
    numbers,
    sent,
    serving,
    stream,
)
from tests.support.waiting import until

# Being refused


@pytest.mark.parametrize("status", [400, 403, 404, 406, 410])
async def test_a_refusal_is_final(status: int) -> None:
    """It is raised with the hub's own words, and the hub is not asked again."""
    async with serving(answer_json({"title": "Not allowed", "detail": "no grant for a"}, status)) as server:
        with pytest.raises(RequestRefused, match="Not allowed: no grant for a") as caught:
            await numbers(subscribe(server.url, "a"))
        assert caught.value.status == status
        assert len(server.asked) == 1


async def test_no_content_is_the_end() -> None:
    """204 ends the iteration, and asking again does not start it anew."""
    async with serving(answer(204)) as server, subscribe(server.url, "a") as events:
        assert [event async for event in events] == []
        assert [event async for event in events] == []
        assert events.status == Status(state=State.CLOSED, reason="the hub has no more")
        assert len(server.asked) == 1


async def test_a_garbage_answer_is_final() -> None:
    """A page that is no event stream is an error, not an endless loop."""
    async with serving(stream(b"<html>", kind="text/html")) as server:
        with pytest.raises(ProtocolError, match="text/html"):
            await numbers(subscribe(server.url, "a"))


async def test_a_huge_event_is_final_after_those_before_it() -> None:
    """Events that came first are given first."""
    async with serving(stream(sent(1) + b"data: " + b"x" * 2000, b"x", end="hold")) as server:
        async with subscribe(server.url, "a", max_event_bytes=1000) as events, asyncio.timeout(10):
            assert (await anext(events)).data == "1"
            with pytest.raises(ProtocolError, match="over 1000 bytes"):
                await anext(events)


# Tokens


async def test_a_refused_token_is_renewed_and_the_stream_goes_on() -> None:
    """A 401 asks for a new token once and at once; a second in a row is final."""
    world = World()
    tokens = iter(["one", "two", "three"])
    script = (answer(401), stream(sent(1)), answer(401), answer(401))
    async with serving(*script) as server:
        events = subscribe(server.url, "a", token=lambda: next(tokens), runtime=world.runtime)
        async with events, asyncio.timeout(10):
            assert (await anext(events)).data == "1"
            with pytest.raises(RequestRefused) as caught:
                await anext(events)
    assert caught.value.status == 401
    assert server.tokens == ["Bearer one", "Bearer two", "Bearer two", "Bearer three"]
    assert world.waits == [1]  # after the short stream; not for the tokens


async def test_a_fixed_token_that_is_refused_is_final() -> None:
    """There is no other to try."""
    async with serving(answer(401), answer(401)) as server:
        with pytest.raises(RequestRefused, match="401"):
            await numbers(subscribe(server.url, "a", token="abc"))
        assert server.tokens == ["Bearer abc"]


async def test_a_token_that_runs_out_is_renewed_for_the_next_connection() -> None:
    """After the hub's warning the client does not wait to be refused."""
    tokens = iter(["one", "two"])

    async def token() -> str:
        return next(tokens)

    warning = wire.encode("token_expiring", '{"expires_at":"2026-01-01T00:00:00.000Z"}')
    async with serving(stream(sent(1), warning), stream(sent(2))) as server:
        assert await numbers(subscribe(server.url, "a", token=token, runtime=World().runtime)) == ["1", "2"]
    assert server.tokens == ["Bearer one", "Bearer two", "Bearer two"]


async def test_what_a_token_function_raises_is_raised() -> None:
    """The application's own error reaches the application."""

    def token() -> str:
        raise ZeroDivisionError("no key")

    async with serving() as server:
        with pytest.raises(ZeroDivisionError, match="no key"):
            await numbers(subscribe(server.url, "a", token=token))


# Resets and status


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_reset_is_told_and_given(is_async: bool) -> None:
    """The callback, asynchronous or not, runs before the event is given, and that before the events after it."""
    order: list[Any] = []

    def reset(reset: Reset) -> None:
        order.append(reset)

    async def reset_async(reset: Reset) -> None:
        order.append(reset)

    gap = wire.encode("reset", '{"reason":"expired","cursor":"f-5"}', id="f-5")
    async with serving(stream(sent(1), gap, sent(6))) as server:
        callback = reset_async if is_async else reset
        async with subscribe(server.url, "a", on_reset=callback, runtime=World().runtime) as events:
            async for event in events:
                order.append((event.type, event.id))
    assert order == [("message", "e-1"), Reset("expired", "f-5"), ("reset", "f-5"), ("message", "e-6")]


async def test_a_reset_callback_that_is_cancelled_runs_again() -> None:
    """A consumer that stops waiting in the middle of it is told again."""
    begun: list[Reset] = []

    async def reload(reset: Reset) -> None:
        begun.append(reset)
        if len(begun) == 1:
            await asyncio.Event().wait()

    gap = wire.encode("reset", '{"reason":"expired","cursor":"f-5"}', id="f-5")
    async with serving(stream(gap, end="hold")) as server, subscribe(server.url, "a", on_reset=reload) as events:
        waiting = asyncio.ensure_future(anext(events))
        await until(lambda: bool(begun), "the callback")
        waiting.cancel()
        assert (await anext(events)).type == "reset"
        assert len(begun) == 2


async def test_what_a_callback_raises_is_raised_and_final() -> None:
    """An application that cannot load its state anew must not go on as if it had."""

    def reset(reset: Reset) -> None:
        raise ZeroDivisionError

    gap = wire.encode("reset", '{"reason":"expired","cursor":"f-5"}', id="f-5")
    async with serving(stream(gap, sent(6))) as server, subscribe(server.url, "a", on_reset=reset) as events:
        with pytest.raises(ZeroDivisionError):
            await anext(events)
        with pytest.raises(StopAsyncIteration):
            await anext(events)
        assert events.last_event_id is None


async def test_every_change_is_told() -> None:
    """The states follow each other as the connection does, each with its reason."""
    seen: list[Status] = []
    async with serving(stream(sent(1)), answer(503)) as server:
        assert await numbers(subscribe(server.url, "a", runtime=World().runtime, on_status=seen.append)) == ["1"]
    assert [(status.state, status.reason, status.failures, status.delay) for status in seen] == [
        (State.CONNECTING, "", 0, 0),
        (State.OPEN, "", 0, 0),
        (State.WAITING, "the stream ended", 1, 1),
        (State.CONNECTING, "", 1, 0),
        (State.WAITING, "503 Service Unavailable", 2, 2),
        (State.CONNECTING, "", 2, 0),
        (State.CLOSED, "the hub has no more", 0, 0),
    ]


async def test_a_status_callback_that_fails_ends_the_subscription(caplog: pytest.LogCaptureFixture) -> None:
    """Its error is raised; that it also fails at the news of the failure is logged."""

    def status(status: Status) -> None:
        raise ZeroDivisionError

    async with serving(stream(sent(1))) as server, subscribe(server.url, "a", on_status=status) as events:
        with caplog.at_level(logging.ERROR, "headwater"), pytest.raises(ZeroDivisionError):
            await anext(events)
        assert events.status.state is State.FAILED
    assert "on_status failed" in caplog.text
