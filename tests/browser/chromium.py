"""Chromium for the tests of the browser's client: pages of a server's origin with the client in them.

Knows Playwright and the client's public interface; must not know what a test is about.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from playwright.async_api import Browser, Page, async_playwright

ARGUMENTS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking")

MAKE = """async ([options, before]) => {
    const { createClient } = await import('/client.js')
    if (window.mint) options.token = ({ reason }) => window.mint(reason) // exposed by the test
    const client = createClient(options)
    Object.assign(window, { client, record: before, resets: [], states: [] })
    client.on('*', ({ data }) => record.push(data))
    client.onReset(({ reason }) => resets.push(reason))
    client.onStatus(({ state, reason, error }) =>
        states.push({ state, reason, status: error?.status, at: performance.now() }))
    client.connect()
}"""


@asynccontextmanager
async def chromium(*, args: Sequence[str] = (), without: Sequence[str] = ()) -> AsyncIterator[Browser]:
    """A browser.

    Args:
        args: further arguments.
        without: arguments of Playwright's own that are left out.
    """
    path = shutil.which("chromium")
    assert path, "there is no Chromium here; install it with: apt-get install chromium"
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=path, args=[*ARGUMENTS, *args], ignore_default_args=list(without)
        )
        yield browser
        await browser.close()


async def connect(page: Page, options: Mapping[str, Any], *, before: Sequence[Any] = ()) -> None:
    """Make a client in a page of a hub's, and connect it. What it is told is in `record` (data of events), `resets` and
    `states`.

    Args:
        options: of `createClient`.
        before: what the record begins with.
    """
    await page.evaluate(MAKE, [dict(options), list(before)])


async def states(page: Page) -> list[dict[str, Any]]:
    """What the client has been: state, reason, HTTP status of an error, milliseconds since the page began."""
    found: list[dict[str, Any]] = await page.evaluate("() => window.states")
    return found


async def until_state(page: Page, state: str, *, since: int = 0) -> None:
    """Wait until the client has been in a state, not counting its first so many changes."""
    condition = "([state, since]) => window.states.slice(since).some((each) => each.state === state)"
    await page.wait_for_function(condition, arg=[state, since])


async def until_record(page: Page, events: Sequence[Any]) -> None:
    """Wait until the page has got as many events as it should, then see that it got these, in this order, each once.

    Raises:
        AssertionError: it got others.
    """
    await page.wait_for_function("(count) => window.record.length >= count", arg=len(events))
    record = await page.evaluate("() => window.record")
    assert record == list(events), json.dumps(record)
