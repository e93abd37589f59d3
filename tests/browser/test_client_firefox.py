"""The browser's client in Firefox: the tables, networks, hubs and pages that go, and tabs that share a connection."""

from __future__ import annotations

import signal
from contextlib import AsyncExitStack
from pathlib import Path

from headwater.client import Publisher
from tests.browser.firefox import MAKE, Firefox, firefox
from tests.support.gateway import held_ports
from tests.support.proxy import proxying
from tests.support.replies import replying
from tests.support.server import running
from tests.web.behaviour import faults, files

RUN = """
    return Promise.all([import('/headwater.js'), import('/behaviour.mjs')]).then(async ([client, { runAll }]) => {
        const tables = await (await fetch('/cases.json')).json()
        return runAll(client, location.origin, tables)
    })
"""

HEARD = """
    const [count] = arguments
    return new Promise((resolve) => {
        const look = () => (window.record.length >= count ? resolve(window.record) : setTimeout(look, 10))
        look()
    })
"""

UNTIL = """
    const [state] = arguments
    return new Promise((resolve) => {
        const look = () => (client.status.state === state ? resolve(true) : setTimeout(look, 10))
        look()
    })
"""

ALONE = {"channels": ["room:1"], "retry": {"base": 50, "max": 200}, "probeEvery": 400}
OPTIONS = {"channels": ["room:1"], "share": True, "retry": {"base": 50, "max": 200}}


async def heard(browser: Firefox, log: list[int]) -> None:
    """The page in hand has all of the log, in order, each once."""
    assert await browser.run(HEARD, len(log)) == log


async def test_the_tables_hold_in_firefox(tmp_path: Path) -> None:
    """Each case of the format, whole, in pieces and byte by byte, and each of behaviour."""
    async with replying(files("firefox")) as server, firefox(tmp_path) as browser:
        await browser.go(f"{server.url}/")
        assert faults(await browser.run(RUN), server, "firefox") == []


async def test_nothing_is_lost_when_the_network_or_the_leading_tab_goes(tmp_path: Path) -> None:
    """Two tabs share a stream. It is cut, then the tab that has it is closed: what is left has every event once."""
    log: list[int] = []
    async with running(["serve", "--dev", "--port", "0", "--broker", "memory://"]) as hub, proxying(hub.port) as proxy:
        async with firefox(tmp_path) as browser, Publisher(f"{hub.url}/events") as publisher:

            async def publish() -> None:
                for _ in range(3):
                    log.append(len(log))
                    await publisher.publish("room:1", "n", log[-1])

            tabs = [await browser.tab(f"{proxy.url}/playground") for _ in range(2)]
            for tab in tabs:
                await browser.take(tab)
                await browser.run(MAKE, OPTIONS, [])
            await publish()
            await heard(browser, log)
            await proxy.drop()
            await publish()
            for tab in reversed(tabs):
                await browser.take(tab)
                await heard(browser, log)
            assert await browser.run("return client.isLeader")
            await browser.ask("WebDriver:CloseWindow")
            await publish()
            await browser.take(tabs[1])
            await heard(browser, log)
            assert await browser.run("return client.isLeader")


async def test_a_hub_that_restarts_and_a_page_that_is_loaded_anew(tmp_path: Path) -> None:
    """The hub is killed and comes back; the network refuses everything for so long that the client polls; the page is loaded
    anew, as Firefox does, too, when one goes back to a page that had a stream: after each the page has every event once."""
    log: list[int] = []
    (tmp_path / "profile").mkdir()
    with held_ports(1) as (port,):
        words = ["serve", "--dev", "--port", str(port), "--broker", f"sqlite:///{tmp_path}/log.db"]
        async with AsyncExitStack() as stack:
            first = await stack.enter_async_context(running(words))
            proxy = await stack.enter_async_context(proxying(port))
            browser = await stack.enter_async_context(firefox(tmp_path / "profile"))

            async def publish() -> None:
                async with Publisher(f"http://127.0.0.1:{port}/events") as publisher:
                    for _ in range(3):
                        log.append(len(log))
                        await publisher.publish("room:1", "n", log[-1])

            await browser.go(f"{proxy.url}/playground")
            await browser.run(MAKE, ALONE, [])
            await publish()
            await heard(browser, log)

            await first.stop(signal.SIGKILL)
            await stack.enter_async_context(running(words))
            await publish()
            await heard(browser, log)

            await proxy.cut()
            await browser.run(UNTIL, "polling")
            await publish()
            await proxy.restore()
            await heard(browser, log)
            await browser.run(UNTIL, "open")

            record, cursor = await browser.run("return [window.record, client.lastEventId]")
            await browser.ask("WebDriver:Refresh")
            await publish()
            await browser.run(MAKE, {**ALONE, "lastEventId": cursor}, record)
            await heard(browser, log)
