"""The browser's client in Chromium, on networks that fail: after each fault the page's record equals the log."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
from playwright.async_api import Page

from headwater.auth import mint
from headwater.client import Publisher
from tests.browser.chromium import chromium, connect, states, until_record, until_state
from tests.support.gateway import command, gateway, held_ports
from tests.support.proxy import Proxy, proxying
from tests.support.server import Server, running
from tests.support.tokens import SECRET
from tests.support.waiting import until

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


async def test_a_hub_that_restarts_behind_nginx(tmp_path: Path) -> None:
    """Killed, the hub leaves nginx to answer 503 for it. When it is back, so is the page, with everything that was published
    in the meantime, too."""
    (tmp_path / "nginx").mkdir()
    with held_ports(1) as (port,):
        words = (*DEV, f"sqlite:///{tmp_path}/log.db", "--port", str(port))
        async with AsyncExitStack() as stack:
            first = await stack.enter_async_context(hub(*words))
            front = await stack.enter_async_context(gateway("nginx", tmp_path / "nginx", [port, port]))
            scene = await stack.enter_async_context(listening(first.url, front.url))
            await first.stop(signal.SIGKILL)
            await scene.page.wait_for_function("() => states.some(({ status }) => status === 503)")
            await stack.enter_async_context(hub(*words))
            await scene.exchange()
            assert (await states(scene.page))[-1]["state"] in ("open", "polling")


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
            proxy_buffering {buffering}; proxy_ignore_headers X-Accel-Buffering;
            gzip {buffering}; gzip_types text/event-stream; gzip_proxied any; gzip_min_length 1;
        }}
    }}
}}
"""


class Buffering:
    """An nginx that keeps what it gets until it has enough of it to be worth compressing, or does not."""

    def __init__(self, folder: Path, port: int, upstream: str) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._folder = folder
        self._fields = {"folder": folder, "port": port, "hub": upstream, "user": "user root;"}
        self._process: asyncio.subprocess.Process | None = None

    async def set(self, buffering: str) -> None:
        """Start it, or let it go on with new connections, so."""
        path = self._folder / "nginx.conf"
        path.write_text(NGINX.format(buffering=buffering, **self._fields))
        if self._process is None:
            self._process = await asyncio.create_subprocess_exec(
                command("nginx"), "-p", str(self._folder), "-c", str(path)
            )
            await until((self._folder / "pid").exists, "nginx to start")
        else:
            self._process.send_signal(signal.SIGHUP)

    async def end(self) -> None:
        """End it and its workers."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            await self._process.wait()


async def test_a_proxy_that_buffers_everything(tmp_path: Path) -> None:
    """Streams say nothing through such a proxy. Polls take over within a second of the third failure, and events come at
    once. When the proxy lets streams through, streaming returns by itself."""
    with held_ports(1) as (port,):
        async with AsyncExitStack() as stack:
            server = await stack.enter_async_context(hub(*DEV, "memory://", "--port", "0"))
            nginx = Buffering(tmp_path, port, server.url)
            stack.push_async_callback(nginx.end)
            await nginx.set("off")
            scene = await stack.enter_async_context(listening(server.url, nginx.url))
            await nginx.set("on")
            before = await scene.count()
            await until_buffered(nginx.url)
            await scene.page.evaluate("() => client.reconnect()")
            await until_state(scene.page, "polling", since=before)
            changes = (await states(scene.page))[before:]
            assert [each["reason"] for each in changes if each["state"] in ("waiting", "polling")] == ["timeout"] * 3
            last, polling = changes[-2:]
            assert polling["at"] - last["at"] < 700 + 1000, "ms: a try that fails, and a second"
            begun = time.monotonic()
            await scene.exchange()
            assert time.monotonic() - begun < 1
            await nginx.set("off")
            await until_state(scene.page, "open", since=await scene.count())
            await scene.exchange()


async def until_buffered(url: str) -> None:
    """Wait until new connections go to workers that keep streams to themselves."""
    async with httpx2.AsyncClient(headers={"Accept-Encoding": "gzip"}) as client:
        while True:
            try:
                async with client.stream("GET", f"{url}/events?channel=x", timeout=0.3) as response:
                    await anext(response.aiter_bytes())
            except httpx2.TimeoutException:
                return


async def test_connections_that_break_or_fall_silent() -> None:
    """Cut in the middle of a frame, and stalled without an end: what was on its way comes, whole and once."""
    async with hub(*DEV, "memory://", "--port", "0") as server, proxying(server.port) as proxy:
        async with listening(server.url, proxy.url) as scene:
            for begin in (1, 4):
                await cut_in_a_frame(scene, proxy, begin)
                await scene.exchange()
            before = await scene.count()
            proxy.stall("down")
            await scene.publish()
            await scene.page.wait_for_function(
                "(before) => states.slice(before).some(({ reason }) => reason === 'silence')", arg=before
            )
            proxy.resume()
            await scene.heard()
            await until_state(scene.page, "open", since=before)
            before = await scene.count()
            await proxy.cut()
            await scene.page.wait_for_function("(before) => states.length > before", arg=before)
            await scene.publish()
            await proxy.restore()
            await scene.heard()


async def cut_in_a_frame(scene: Scene, proxy: Proxy, begin: int) -> None:
    """Publish something long, and end all connections when some of it has come."""
    proxy.slow(piece=200, delay=0.005)
    down = proxy.forwarded["down"]
    await scene.publish(1, data="x" * 20_000 + str(begin))
    await until(lambda: proxy.forwarded["down"] > down + 5000 * begin, "the frame to begin")
    proxy.slow()
    await proxy.drop()
    await scene.heard()


async def test_a_browser_that_is_offline() -> None:
    """The client knows at once, and is back as soon as the network is."""
    async with hub(*DEV, "memory://", "--port", "0") as server, listening(server.url, probeEvery=30_000) as scene:
        await scene.page.context.set_offline(True)
        await until_state(scene.page, "offline")
        await scene.publish()
        await scene.page.context.set_offline(False)
        await scene.heard()
        await scene.exchange()


async def test_a_page_that_is_hidden_reloaded_and_kept() -> None:
    """A hidden page keeps its stream. A reloaded one goes on from the id that it has kept. One that was left and returned to
    had no connection meanwhile, and misses nothing."""
    async with hub(*DEV, "memory://", "--port", "0") as server, listening(server.url) as scene:
        page = scene.page
        hide = """(hidden) => {
            Object.defineProperty(document, 'hidden', { value: hidden, configurable: true })
            document.dispatchEvent(new Event('visibilitychange'))
        }"""
        before = await scene.count()
        await page.evaluate(hide, True)
        await scene.exchange()
        await page.evaluate(hide, False)
        await scene.exchange()
        assert await scene.count() == before

        record, cursor = await page.evaluate("() => [record, client.lastEventId]")
        await page.reload()
        await scene.publish()
        await connect(page, {"channels": ["room:1"], **EAGER, "lastEventId": cursor}, before=record)
        await scene.heard()

        await page.goto(f"{server.url}/healthz")
        await until_gone(server.url)
        await scene.publish()
        await page.go_back(wait_until="commit")  # a page that was kept does not load
        assert await page.evaluate("() => states.some(({ reason }) => reason === 'page hidden')"), "it was not kept"
        await scene.heard()
        await scene.exchange()


async def until_gone(url: str) -> None:
    """Wait until the hub has no stream."""
    async with httpx2.AsyncClient() as client:
        while (await client.get(f"{url}/streams")).json()["streams"]:
            pass


async def test_tokens_that_expire_and_are_revoked() -> None:
    """A stream ends with its token and goes on with a new one. If there is no good one any more, the client fails, and says
    why."""
    asked: list[str] = []
    is_revoked = False

    def new_token(reason: str) -> str:
        asked.append(reason)
        secret = "x" * 48 if is_revoked else SECRET
        return mint(secret, sub="ada", subscribe=["**"], publish=["**"], permissions=["headwater.admin"], ttl=1.5)

    env = {"HEADWATER_JWT_SECRET": SECRET}
    async with hub("serve", "--broker", "memory://", "--port", "0", env=env) as server, chromium() as browser:
        page = await browser.new_page()
        await page.add_init_script(BRISK)
        await page.expose_function("mint", new_token)
        await page.goto(f"{server.url}/playground")
        await connect(page, {"channels": ["room:1"], **EAGER})
        await until_state(page, "open")
        scene = Scene(page, server.url, mint(SECRET, sub="bob", subscribe=["**"], publish=["**"], ttl=60))
        await scene.exchange()
        await until_state(page, "open", since=await scene.count())
        await scene.exchange()
        is_revoked = True
        await until_state(page, "failed")
        assert (await states(page))[-1]["status"] == 401
        assert asked.count("unauthorized") >= 2
        assert len(asked) < 12, "no storm"
