"""A server that is told to stop: every client hears of it, bodies end cleanly, the process is gone in time."""

from __future__ import annotations

import signal
import time
from contextlib import AsyncExitStack

import pytest

from tests.e2e.calls import app_on, publish, settled, stream_of
from tests.support.raw import RawClient
from tests.support.server import Kind

GRACE = 5.0


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("kind", ["headwater", "uvicorn", "hypercorn"])
async def test_t01_a_signal_ends_streams_with_a_farewell(kind: Kind, how: signal.Signals) -> None:
    """T1: on SIGTERM and SIGINT three idle streams get `closing`, a clean end, and the process exits within two seconds.
    hypercorn tells its worker nothing until it cancels the requests, so that is where the farewell comes from there."""
    async with (
        app_on(kind, *(["--graceful-timeout", "0"] if kind == "hypercorn" else [])) as server,
        AsyncExitStack() as stack,
    ):
        clients = [await stack.enter_async_context(stream_of(server)) for _ in range(3)]
        begun = time.monotonic()
        server.process.send_signal(how)
        retries = set()
        for client in clients:
            assert (await client.message()).data == '{"reason":"drain"}'
            await client.read_body()
            assert client.ended == "whole"
            retries.add(client.decoder.retry)
        await server.exited()
        assert time.monotonic() - begun < 2
        assert len(retries) == 3, "each client has its own time to come back"


@pytest.mark.parametrize("kind", ["headwater", "uvicorn"])
@pytest.mark.parametrize("option", ["--workers 2", "--reload"])
async def test_t01_a_signal_ends_streams_of_supervised_servers(kind: Kind, option: str) -> None:
    """T1: the same under `--workers 2` and `--reload`, where a supervisor passes the signal on."""
    async with app_on(kind, *option.split()) as server, stream_of(server) as client:
        server.process.send_signal(signal.SIGTERM)
        assert (await client.message_of("closing")).data == '{"reason":"drain"}'
        await client.read_body()
        assert client.ended == "whole"
        await server.exited()


async def test_t04_a_drain_before_the_servers_deadline_ends_the_body_cleanly() -> None:
    """T4: uvicorn's own graceful timeout would cut chunked bodies; the drain comes before it, also without the direct way."""
    async with app_on("uvicorn", "--timeout-graceful-shutdown", "3") as server, stream_of(server) as client:
        await server.stop()
        assert b"closing" in await client.read_body()
        assert client.ended == "whole"


async def test_t05_a_stalled_reader_does_not_hold_up_the_exit() -> None:
    """T5: a client that never reads, with megabytes waiting for it, is cut off within the grace period; the one beside it
    ends cleanly."""
    async with app_on(GRACE="2") as server, stream_of(server) as good:
        async with await RawClient.connect(server.url, receive_buffer=4096) as stalled:
            await stalled.request("/stream/a")
            stalled.stall()
            await publish(server, "a", "x" * 100_000, times=120)
            await settled(server, lambda found: found["lagging"] >= 1, "the stalled stream to lag")
            begun = time.monotonic()
            server.process.send_signal(signal.SIGTERM)
            body = await good.read_body()
            assert good.ended == "whole"
            assert b"event: closing" in body[-200:]
            await server.exited()
            assert time.monotonic() - begun < 2 + GRACE


async def test_draining_refuses_new_streams_with_a_time_to_come_back() -> None:
    """While a stalled reader keeps the process alive, a new stream gets no answer that would hang: the connection is refused
    or answered 503 with Retry-After."""
    async with app_on(GRACE="2") as server, await RawClient.connect(server.url) as late, stream_of(server) as client:
        server.process.send_signal(signal.SIGTERM)
        await client.message_of("closing")
        try:
            head = await late.request("/stream/a")
        except (OSError, EOFError):
            return
        assert head.status == 503
        assert int(head.headers["retry-after"]) >= 1
