"""`headwater bench`, small, against a real hub."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from headwater.cli import bench
from headwater.errors import ClientError


def test_it_starts_a_hub_and_reports() -> None:
    """Without a URL it brings a hub of its own, and counts every delivery."""
    lines: list[str] = []
    bench.measure(url=None, streams=5, events=10, token=None, echo=lines.append)
    assert "5 streams opened" in lines[1]
    assert lines[2].startswith("50 deliveries in")
    assert "p99" in lines[3]


def test_bytes_that_are_no_event_of_ours_count_nothing() -> None:
    """Heartbeats, for example."""
    arrived: list[int] = []
    reader = bench.Reader(b"", lambda: None, lambda seconds, count: arrived.append(count))
    for data in (b"event: conn", b"ected", b"event: heartbeat", b'data: {"at":1.5}\n\ndata: {"at":2.5}\n\n'):
        reader.data_received(data)
    assert arrived == [2]


async def test_a_hub_that_runs_already_is_left_running() -> None:
    """With a URL nothing is started."""
    async with bench._hub("http://hub", print) as url:
        assert url == "http://hub"


def test_a_hub_that_cannot_be_measured_is_said() -> None:
    """Only plain HTTP is measured."""
    with pytest.raises(ClientError, match="without TLS"):
        bench.measure(url="https://hub", streams=1, events=1, token=None, echo=print)


@asynccontextmanager
async def scripted(*answers: bytes, connections: int) -> AsyncIterator[str]:
    """The URL of a server that answers GET and POST with these bytes, until so many connections have come and gone."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        writer.write(answers[request.startswith(b"POST")])
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()
        served.release()

    served = asyncio.Semaphore(0)
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    for _ in range(connections):
        await served.acquire()
    server.close()
    await server.wait_closed()


async def test_streams_that_do_not_open_in_time_are_said() -> None:
    """It does not wait for ever for a first frame."""
    async with scripted(b"HTTP/1.1 200 OK\r\n\r\nevent: conn", b"", connections=1) as url:
        with pytest.raises(ClientError, match="only 0 of 1"):
            await patient(url, 0.2)


async def test_a_refused_event_ends_it() -> None:
    """A hub that wants a token says so, and its words are shown."""
    stream, refusal = b"HTTP/1.1 200 OK\r\n\r\nevent: connected", b"HTTP/1.1 401 No\r\n\r\n"
    async with scripted(stream, refusal, connections=2) as url:
        with pytest.raises(ClientError, match=r"refused an event: HTTP/1\.1 401 No"):
            await patient(url, 5)


async def patient(url: str, seconds: float) -> None:
    """Measure one stream and one event with a token, waiting this long."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench, "PATIENCE", seconds)
        await bench._measure(url, 1, 1, "token", print)


async def test_a_hub_that_does_not_start_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it printed instead of its address is shown."""
    monkeypatch.setenv("HEADWATER_NONSENSE", "1")
    with pytest.raises(ClientError, match=r"did not start.*HEADWATER_NONSENSE"):
        async with bench._hub(None, print):
            pass
