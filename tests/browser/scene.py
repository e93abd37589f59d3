"""A page in Chromium that listens to a real hub, with what it should have heard, and an nginx between the two that can be
told how to fail.

Knows hubs, nginx and the client's public interface; must not know what a test is about.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

from playwright.async_api import Page

from headwater.client import Publisher
from tests.browser.chromium import chromium, connect, states, until_record, until_state
from tests.support.gateway import command, held_ports
from tests.support.server import Server, running
from tests.support.waiting import until

Manner = Literal["passing", "buffering", "broken"]

EAGER = {"retry": {"base": 50, "max": 200}, "connectTimeout": 700, "silence": 2500, "probeEvery": 400}
"""Options that make faults short: of the hub's heartbeats comes one a second."""

BRISK = "Math.random = () => 0.05"
"""The hub asks for retries within two seconds, the whole of which the tests need not wait for."""

DEV = ("serve", "--dev", "--broker")


class Scene:
    """A page that listens, and what it should have heard.

    Attributes:
        page: it; the client is in its `client`.
        log: what was published.
    """

    def __init__(self, page: Page, hub: str, token: str | None = None) -> None:
        self.page = page
        self.log: list[Any] = []
        self._hub = hub
        self._token = token

    async def publish(self, count: int = 3, *, data: Any = None) -> None:
        """Publish some, straight to the hub."""
        async with Publisher(f"{self._hub}/events", self._token) as publisher:
            for _ in range(count):
                self.log.append(len(self.log) if data is None else data)
                await publisher.publish("room:1", "n", self.log[-1])

    async def heard(self) -> None:
        """The page has all of it, in order, each once, and was told of no gap."""
        await until_record(self.page, self.log)
        assert await self.page.evaluate("() => resets") == []

    async def exchange(self) -> None:
        """Publish some, and see that they come."""
        await self.publish()
        await self.heard()

    async def count(self) -> int:
        """How many changes of state there were."""
        return len(await states(self.page))


@asynccontextmanager
async def listening(hub: str, site: str | None = None, **options: Any) -> AsyncIterator[Scene]:
    """A page that is connected to a hub, through `site` if given."""
    async with chromium(without=["--disable-back-forward-cache"]) as browser:
        page = await browser.new_page()
        await page.add_init_script(BRISK)
        await page.goto(f"{site or hub}/playground")
        scene = Scene(page, hub)
        await connect(page, {"channels": ["room:1"], **EAGER, **options})
        await until_state(page, "open")
        await scene.exchange()
        yield scene


@asynccontextmanager
async def hub(*words: str, env: dict[str, str] | None = None) -> AsyncIterator[Server]:
    """A hub with a heartbeat each second."""
    async with running([*words], env={"HEADWATER_HEARTBEAT": "1", **(env or {})}) as server:
        yield server


NGINX = """daemon off; pid {folder}/pid; error_log {folder}/error.log crit; {user} worker_processes 1;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/a; proxy_temp_path {folder}/b; fastcgi_temp_path {folder}/c;
    uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass {hub}; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $http_host;
            proxy_ignore_headers X-Accel-Buffering; {manner}
        }}
    }}
}}
"""
MANNERS: Mapping[Manner, str] = {
    "passing": "proxy_buffering off;",
    "buffering": "gzip on; gzip_types text/event-stream; gzip_proxied any; gzip_min_length 1;",
    "broken": "return 502;",
}


class Front:
    """An nginx that passes on what it gets at once, or keeps it until it has enough to be worth compressing, or says that
    nobody is behind it."""

    def __init__(self, folder: Path, port: int, upstream: str) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._folder = folder
        self._fields = {"folder": folder, "port": port, "hub": upstream, "user": "user root;"}
        self._process: asyncio.subprocess.Process | None = None

    async def be(self, manner: Manner) -> None:
        """Start it, or let it go on with new connections, in some manner."""
        path = self._folder / "nginx.conf"
        path.write_text(NGINX.format(manner=MANNERS[manner], **self._fields))
        if self._process is None:
            self._process = await asyncio.create_subprocess_exec(
                command("nginx"), "-p", str(self._folder), "-c", str(path)
            )
            await until((self._folder / "pid").exists, "nginx to start")
        else:
            self._process.send_signal(signal.SIGHUP)

    async def end(self) -> None:
        """End it, its workers and all connections."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            await self._process.wait()
            self._process = None


@asynccontextmanager
async def fronting(folder: Path, upstream: str) -> AsyncIterator[Front]:
    """An nginx that passes on, until the block ends."""
    with held_ports(1) as (port,):
        front = Front(folder, port, upstream)
        await front.be("passing")
        try:
            yield front
        finally:
            await front.end()
