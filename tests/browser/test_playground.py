"""The playground in a real browser, against a real hub."""

from __future__ import annotations

import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest
from playwright.async_api import ConsoleMessage, Page, async_playwright, expect

from tests.support.server import Server, running

LATER = 30_000
"""Milliseconds to wait for a page that comes back by itself."""


@pytest.fixture
async def hub() -> AsyncIterator[Server]:
    """A hub in development mode."""
    async with running(["serve", "--dev", "--port", "0", "--broker", "memory://"]) as server:
        yield server


@pytest.fixture
async def page(hub: Server) -> AsyncIterator[Page]:
    """The playground, opened by Chromium; whatever the browser complains about fails the test, but for a broken network."""
    complaints: list[str] = []

    def hear(message: ConsoleMessage) -> None:
        if message.type == "error" and "net::ERR_" not in message.text:
            complaints.append(message.text)

    chromium = shutil.which("chromium")
    assert chromium, "there is no Chromium here; install it with: apt-get install chromium"
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=chromium,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        page = await browser.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", hear)
        await page.goto(f"{hub.url}/")
        yield page
        await browser.close()
    assert complaints == []


async def test_people_see_what_goes_over_the_wire(page: Page) -> None:
    """Subscribe, publish, cut the connection, publish again, restore it: what was missed comes, once, and the id that was
    sent to ask for it is shown. What was published is shown as text, whatever is in it."""
    await expect(page).to_have_title("Playground · Headwater")
    await expect(page.locator("#identity")).to_have_text("no token needed")
    await page.get_by_label("Channels").fill("room:1 room:2")
    await page.get_by_label("Channel", exact=True).fill("room:2")
    await page.get_by_role("button", name="Connect", exact=True).click()
    await expect(page.locator("#state")).to_have_text("open")
    await expect(page.locator(".event-connected")).to_contain_text('"channels":["room:1","room:2"]')

    await page.get_by_label("Type").fill("log")
    await page.get_by_label("Data", exact=True).fill('{"html": "<img src=x onerror=alert(1)>"}')
    await page.get_by_label("Data", exact=True).press("Control+Enter")
    await expect(page.locator(".event-other")).to_contain_text("event: log")
    await expect(page.locator(".event-other")).to_contain_text('data: {"html":"<img src=x onerror=alert(1)>"}')
    assert await page.locator("#frames img").count() == 0
    last = await page.locator("#last-id").inner_text()

    await page.get_by_role("button", name="Cut the connection").click()
    await expect(page.locator("#state")).to_have_text("cut")
    await page.locator("#publish").get_by_text("Text", exact=True).click()
    await page.get_by_label("Data", exact=True).fill("missed")
    await page.get_by_role("button", name="Publish", exact=True).click()
    await expect(page.locator("#published")).to_contain_text("201")
    await page.get_by_role("button", name="Restore it").click()
    await expect(page.locator(".event-other")).to_have_count(2)
    await expect(page.locator(".event-other").last).to_contain_text("data: missed")
    await expect(page.locator(".mark", has_text=f"Last-Event-ID: {last}")).to_be_visible()


async def test_a_hub_that_dies_leaves_no_gap(page: Page, tmp_path: Path) -> None:
    """The hub is killed and started again. The page says when it tries, and has every frame once, with the id that it asked
    for the rest with."""
    serve = ["serve", "--dev", "--broker", f"sqlite:///{tmp_path}/events.db", "--port"]
    async with AsyncExitStack() as stack:
        hub = await stack.enter_async_context(running([*serve, "0"]))
        await page.goto(f"{hub.url}/playground?channel=jobs&connect")
        await expect(page.locator("#state")).to_have_text("open")
        await page.get_by_role("button", name="Publish", exact=True).click()
        await expect(page.locator(".event-message")).to_have_count(1)
        last = await page.locator("#last-id").inner_text()
        await hub.stop(signal.SIGKILL)
        await expect(page.locator(".mark", has_text="Back in")).not_to_have_count(0)
        hub = await stack.enter_async_context(running([*serve, str(hub.port)]))
        async with httpx.AsyncClient(base_url=hub.url, trust_env=False) as http:
            (await http.post("/events", json=[{"channel": "jobs", "data": n} for n in range(3)])).raise_for_status()
        await expect(page.locator(".event-message")).to_have_count(4, timeout=LATER)
        await expect(page.locator(".mark", has_text=f"Last-Event-ID: {last}")).not_to_have_count(0)
        shown = await page.locator(".event-message .data").all_text_contents()
        assert [text.strip() for text in shown[1:]] == ["0", "1", "2"]


async def test_it_works_by_keyboard_and_on_a_phone(page: Page) -> None:
    """Tab reaches the form in order, Enter submits it; nothing is wider than a small screen."""
    await page.set_viewport_size({"width": 360, "height": 640})
    width = await page.locator("body").evaluate("body => body.scrollWidth")
    assert width == 360
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="Skip to the wire")).to_be_focused()
    await page.get_by_label("Channels").focus()
    await page.keyboard.press("Enter")
    await expect(page.locator("#state")).to_have_text("open")


async def test_a_link_brings_its_channels_along(page: Page, hub: Server) -> None:
    """`playground?channel=a&connect` is a stream at once."""
    await page.goto(f"{hub.url}/playground?channel=jobs&connect")
    await expect(page.locator(".event-connected")).to_contain_text('"channels":["jobs"]')
    await expect(page.get_by_label("Channel", exact=True)).to_have_value("jobs")
