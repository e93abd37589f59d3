"""The browser's client in Chromium, on networks that fail: after each fault the page's record equals the log."""

from __future__ import annotations

import signal
import time
from contextlib import AsyncExitStack
from pathlib import Path

import httpx2

from headwater.auth import mint
from tests.browser.chromium import chromium, connect, states, until_state
from tests.browser.scene import BRISK, DEV, EAGER, Scene, fronting, hub, listening
from tests.support.gateway import gateway, held_ports
from tests.support.proxy import Proxy, proxying
from tests.support.tokens import SECRET
from tests.support.waiting import until


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


async def test_a_proxy_that_buffers_everything(tmp_path: Path) -> None:
    """p06: streams say nothing through such a proxy. Polls take over within a second of the third failure, and events come at
    once. When the proxy lets streams through, streaming returns by itself."""
    async with hub(*DEV, "memory://", "--port", "0") as server, fronting(tmp_path, server.url) as nginx:
        async with listening(server.url, nginx.url) as scene:
            await nginx.be("buffering")
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
            await nginx.be("passing")
            await until_state(scene.page, "open", since=await scene.count())
            await scene.exchange()


async def test_a_proxy_that_has_lost_the_hub(tmp_path: Path) -> None:
    """p04: to streams and to polls it answers 502, until the circuit is open. When it finds the hub again, everything that
    was published in the meantime comes."""
    async with hub(*DEV, "memory://", "--port", "0") as server, fronting(tmp_path, server.url) as nginx:
        async with listening(server.url, nginx.url) as scene:
            before = await scene.count()
            await nginx.end()
            await nginx.be("broken")
            await scene.publish()
            await until_state(scene.page, "suspended", since=before)
            failed = (await states(scene.page))[before:]
            assert "polling" in {each["state"] for each in failed}
            assert failed[-1]["status"] == 502
            await nginx.be("passing")
            await scene.heard()
            await until_state(scene.page, "open", since=before + len(failed))
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
    """The client knows at once, and is back as soon as the network is. What the page publishes meanwhile waits, and is
    published once and in order."""
    async with hub(*DEV, "memory://", "--port", "0") as server, listening(server.url, probeEvery=30_000) as scene:
        await scene.page.context.set_offline(True)
        await until_state(scene.page, "offline")
        await scene.publish()
        own = ["first", "second", "third"]
        await scene.page.evaluate(
            "(own) => { window.sent = Promise.all(own.map((each) => client.publish('room:1', 'n', each))) }", own
        )
        assert await scene.page.evaluate("() => client.metrics().queued") == 3
        scene.log += own
        await scene.page.context.set_offline(False)
        await scene.heard()
        assert await scene.page.evaluate("async () => new Set(await sent).size") == 3
        await scene.exchange()


async def test_a_page_that_is_hidden_reloaded_and_kept() -> None:
    """p01, p20: a hidden page keeps its stream. A reloaded one goes on from the id that it has kept, and what it publishes
    again is not published twice. One that was left and returned to had no connection meanwhile, and misses nothing."""
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

        send = "() => client.publish('room:1', 'n', 'paid', { idempotencyKey: 'order 7' })"
        scene.log.append("paid")
        sent = await page.evaluate(send)
        await scene.heard()
        record, cursor = await page.evaluate("() => [record, client.lastEventId]")
        await page.reload()
        await scene.publish()
        await connect(page, {"channels": ["room:1"], **EAGER, "lastEventId": cursor}, before=record)
        assert (
            await page.evaluate(send) == sent
        )  # as a page does that has kept the key, and does not know what became of it
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
    """A stream ends with its token, or by an administrator, and goes on with a new one. If there is no good one any more, the
    client fails, and says why."""
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
        await end_streams(server.url, new_token("admin"))
        await scene.publish()
        await scene.heard()
        is_revoked = True
        await until_state(page, "failed")
        assert (await states(page))[-1]["status"] == 401
        assert asked.count("unauthorized") >= 2
        assert len(asked) < 12, "no storm"


async def end_streams(url: str, token: str) -> None:
    """End all streams of a hub, as its administrator."""
    async with httpx2.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {token}"}) as client:
        for stream in (await client.get("/streams")).json()["streams"]:
            assert (await client.delete(f"/streams/{stream['id']}")).status_code < 300
