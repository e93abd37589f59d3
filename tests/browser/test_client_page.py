"""The browser's client in Chromium, where the page makes things hard: it is of another origin, was frozen, or leaves the
client to a worker.
"""

from __future__ import annotations

import time

from headwater.auth import mint
from tests.browser.chromium import chromium, connect, states, until_record, until_state
from tests.browser.scene import BRISK, DEV, EAGER, Scene, hub, listening
from tests.support.proxy import proxying
from tests.support.tokens import SECRET
from tests.support.waiting import until


async def test_a_hub_of_another_origin() -> None:
    """p14: with a token in a header and, after a reconnect, an id, for both of which the browser asks the hub first; and with
    tickets, which it buys there."""
    async with hub(*DEV, "memory://", "--port", "0") as site:
        env = {"HEADWATER_JWT_SECRET": SECRET, "HEADWATER_CORS_ORIGINS": site.url}
        async with hub("serve", "--broker", "memory://", "--port", "0", env=env) as other, chromium() as browser:
            token = mint(SECRET, sub="ada", subscribe=["**"], publish=["**"], ttl=60)
            for via in ("header", "ticket"):
                page = await browser.new_page()
                await page.add_init_script(BRISK)
                await page.expose_function("mint", lambda reason: token)
                await page.goto(f"{site.url}/healthz")
                await connect(page, {"url": f"{other.url}/events", "channels": ["room:1"], "via": via, **EAGER})
                await until_state(page, "open")
                scene = Scene(page, other.url, token)
                await scene.exchange()
                await page.evaluate("() => client.reconnect()")
                await scene.exchange()
                await page.evaluate("async () => client.publish('room:1', 'n', 'mine')")
                scene.log.append("mine")
                await scene.heard()
                await page.close()


async def test_a_page_that_was_frozen() -> None:
    """p15: while it runs nothing, longer than a hub may be silent, bytes keep coming. When it thaws it reads them, and does
    not take its own absence for the hub's."""
    async with hub(*DEV, "memory://", "--port", "0") as server, proxying(server.port) as proxy:
        async with listening(server.url, proxy.url, silence=1900) as scene:
            before = await states(scene.page)
            devtools = await scene.page.context.new_cdp_session(scene.page)
            await devtools.send("Debugger.enable")
            await devtools.send("Debugger.pause")  # a headless browser does not freeze pages itself
            await scene.publish()
            begun = time.monotonic()
            while time.monotonic() < begun + 2:
                down = proxy.forwarded["down"]
                await until(lambda: proxy.forwarded["down"] > down, "the next heartbeat")  # noqa: B023
            await devtools.send("Debugger.disable")
            await scene.heard()
            await scene.exchange()
            assert await states(scene.page) == before


WORKER = """async ([script, url]) => {
    const code = `import('${script}').then(({ createClient }) => {
        const client = createClient({ url: '${url}', channels: ['room:1'] })
        client.on('*', ({ data }) => postMessage(data))
        client.onStatus(({ state }) => state === 'open' && postMessage('open'))
        client.connect()
    })`
    const worker = new Worker(URL.createObjectURL(new Blob([code], { type: 'text/javascript' })), { type: 'module' })
    window.record = []
    worker.onmessage = ({ data }) => record.push(data)
}"""


async def test_a_worker() -> None:
    """Where there is no window and no document, it hears everything all the same."""
    async with hub(*DEV, "memory://", "--port", "0") as server, chromium() as browser:
        page = await browser.new_page()
        await page.goto(f"{server.url}/healthz")
        await page.evaluate(WORKER, [f"{server.url}/client.js", f"{server.url}/events"])
        await until_record(page, ["open"])
        scene = Scene(page, server.url)
        await scene.publish()
        await until_record(page, ["open", *scene.log])
