"""The browser's client in Firefox: the tables, a network that fails, and tabs that share a connection."""

from __future__ import annotations

from pathlib import Path

from headwater.client import Publisher
from tests.browser.firefox import MAKE, Firefox, firefox
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
