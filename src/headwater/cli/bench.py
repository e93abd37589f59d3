"""`headwater bench`: a quick look at what one hub does on this machine.

Opens streams, publishes events one after the other, and says how many arrived how fast. For a comparison with other systems
and against a floor see `make bench`; this only answers "is mine all right". Runs in one process next to the hub, so the
numbers are a lower bound.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import msgspec

from headwater.errors import ClientError

Echo = Callable[[str], object]
CHANNEL = "headwater-bench"
PATIENCE = 60.0


class Reader(asyncio.Protocol):
    """One stream: counts events and remembers how long the newest took."""

    def __init__(self, request: bytes, ready: Callable[[], None], arrived: Callable[[float, int], None]) -> None:
        self._request = request
        self._ready = ready
        self._arrived = arrived
        self._head = b""
        self._is_ready = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the stream."""
        assert isinstance(transport, asyncio.Transport)
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Count the events in what has come; every one carries its time of publishing."""
        if not self._is_ready:
            self._head += data
            if b"connected" in self._head:
                self._is_ready = True
                self._ready()
            return
        if count := data.count(b'data: {"at"'):
            at = data.rindex(b'{"at":') + 6
            self._arrived(time.time() - float(data[at : data.index(b"}", at)]), count)


def measure(*, url: str | None, streams: int, events: int, token: str | None, echo: Echo) -> None:
    """Measure and print. Raises ClientError if the hub cannot be reached or refuses."""
    asyncio.run(_measure(url, streams, events, token, echo))


async def _measure(url: str | None, streams: int, events: int, token: str | None, echo: Echo) -> None:
    async with _hub(url, echo) as base:
        host, port = _address(base)
        seen: list[float] = []
        total = 0
        open_now = asyncio.Semaphore(0)
        done = asyncio.Event()

        def arrived(seconds: float, count: int) -> None:
            nonlocal total
            seen.append(seconds)
            total += count
            if total >= streams * events:
                done.set()

        loop = asyncio.get_running_loop()
        begun = time.perf_counter()
        request = _request("GET", f"/events?channel={CHANNEL}", host, token)
        transports = []
        try:
            async with asyncio.timeout(PATIENCE):
                for _ in range(streams):
                    transport, _ = await loop.create_connection(
                        lambda: Reader(request, open_now.release, arrived), host, port
                    )
                    transports.append(transport)
                for _ in range(streams):
                    await open_now.acquire()
            echo(f"{streams} streams opened in {time.perf_counter() - begun:.2f} s")
            begun = time.perf_counter()
            async with asyncio.timeout(PATIENCE + events / 100):
                await _publish(host, port, token, events)
                await done.wait()
        except TimeoutError:
            raise ClientError(f"only {total} of {streams * events} deliveries came in time") from None
        finally:
            for transport in transports:
                transport.abort()
        _report(echo, streams * events, time.perf_counter() - begun, seen)


def _report(echo: Echo, deliveries: int, seconds: float, seen: list[float]) -> None:
    seen.sort()
    echo(f"{deliveries} deliveries in {seconds:.2f} s: {deliveries / seconds:,.0f} a second")
    echo(f"latency p50 {1000 * seen[len(seen) // 2]:.1f} ms, p99 {1000 * seen[len(seen) * 99 // 100]:.1f} ms")


async def _publish(host: str, port: int, token: str | None, events: int) -> None:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        for _ in range(events):
            body = msgspec.json.encode({"channel": CHANNEL, "type": "bench", "data": {"at": time.time()}})
            writer.write(_request("POST", "/events", host, token, body))
            status = await reader.readline()
            if b" 201 " not in status:
                raise ClientError(f"the hub refused an event: {status.decode().strip()}")
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            await reader.readexactly(length)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def _request(method: str, path: str, host: str, token: str | None, body: bytes = b"") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}"]
    if token:
        lines.append(f"Authorization: Bearer {token}")
    if method == "POST":
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


def _address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname:
        raise ClientError(f"{url!r} cannot be measured", expected="http://host:port, without TLS")
    return parts.hostname, parts.port or 80


@asynccontextmanager
async def _hub(url: str | None, echo: Echo) -> AsyncIterator[str]:
    """The hub at `url`, or one in a process of its own, on a log in a temporary directory."""
    if url is not None:
        yield url
        return
    with tempfile.TemporaryDirectory() as directory:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "headwater", "serve", "--dev", "--port", "0",
            "--broker", f"sqlite:///{directory}/bench.db",
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            assert process.stderr is not None
            line = (await process.stderr.readline()).decode()
            if "http://" not in line:
                raise ClientError(f"the hub did not start: {line.strip()}")
            address = "http://" + line.split("http://", 1)[1].split()[0].rstrip('",')
            echo(f"a hub on {address}, log in a temporary file")
            reading = asyncio.create_task(process.stderr.read())  # a full pipe would hold the hub up
            yield address
            process.terminate()
            await reading
        finally:
            with contextlib.suppress(ProcessLookupError):  # it may have ended
                process.kill()
            await process.wait()
