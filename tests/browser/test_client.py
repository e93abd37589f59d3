"""The browser's client in a browser, by the tables that it is held to in Node."""

from __future__ import annotations

from tests.browser.chromium import chromium
from tests.support.replies import replying
from tests.web.behaviour import faults, files

RUN = """async () => {
    const [client, { runAll }] = await Promise.all([import('/headwater.js'), import('/behaviour.mjs')])
    const tables = await (await fetch('/cases.json')).json()
    return runAll(client, location.origin, tables)
}"""


async def test_the_tables_hold_in_chromium() -> None:
    """Each case of the format, whole, in pieces and byte by byte, and each of behaviour."""
    async with replying(files("chromium")) as server, chromium() as browser:
        page = await browser.new_page()
        await page.goto(f"{server.url}/")
        assert faults(await page.evaluate(RUN), server, "chromium") == []
