"""The operations' page in a real browser: who sees what, who does not, and that the page says why."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, ViewportSize, expect

from tests.browser.chromium import chromium
from tests.support.server import Server, running

pytestmark = pytest.mark.asyncio(loop_scope="module")

DESKTOP: ViewportSize = {"width": 1280, "height": 900}
PHONE: ViewportSize = {"width": 360, "height": 740}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """The application on its own."""
    env = {"OPERATIONS_DATA": str(tmp_path_factory.mktemp("operations") / ".data"), "OPERATIONS_PACE": "0"}
    async with running("examples.operations.app:app", env=env) as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    """Chromium."""
    async with chromium() as browser:
        yield browser


@asynccontextmanager
async def opened(browser: Browser, server: Server, size: ViewportSize) -> AsyncIterator[Page]:
    """The page, when all three are connected; in the end it has raised no error."""
    errors: list[str] = []
    context = await browser.new_context(viewport=size)
    page = await context.new_page()
    page.on("pageerror", lambda error: errors.append(str(error)))
    await page.goto(f"{server.url}/operations")
    await expect(page.locator(".user header .pill")).to_have_text(["live"] * 3)
    yield page
    await context.close()
    assert errors == []


async def test_the_page_says_who_holds_what(server: Server, browser: Browser) -> None:
    """Every permission stands in every card, ticked or struck out, and where somebody may not look stands why."""
    async with opened(browser, server, DESKTOP) as page:
        for role, count in (("operator", 8), ("developer", 3), ("support", 2)):
            await expect(page.locator(f".{role} .held li")).to_have_count(8)
            await expect(page.locator(f".{role} .held li.yes")).to_have_count(count)
        whys = [
            "Sara does not hold servers.read",
            "Sara does not hold automations.read",
            "Sara does not hold logs.read",
        ]
        await expect(page.locator(".support .why")).to_have_text(whys)
        await expect(page.locator(".operator .why")).to_have_count(0)
        await expect(page.locator(".home")).to_have_count(0)  # there is no gallery to go back to


async def test_what_was_not_sent_is_counted(server: Server, browser: Browser) -> None:
    """An incident is not sent to Dan: his card counts it, its row says what he lacks. A word to everybody
    asks for nothing, and reaches him."""
    async with opened(browser, server, DESKTOP) as page:
        await page.get_by_label("Open an incident").fill("Fire in the pantry")
        await page.get_by_role("button", name="Open", exact=True).click()
        locked = page.locator(".developer .incidents .withheld")
        await expect(locked).to_have_text("1 event was not sent to Dan.")
        await expect(page.locator(".developer .got")).to_have_text("got 0 of 1 event")
        await expect(page.locator(".support .got")).to_have_text("got 1 of 1 event")
        await expect(page.locator("#events td.developer")).to_have_attribute(
            "title", "Dan does not hold incidents.read"
        )
        await page.get_by_label("Tell everybody").fill("Tea is ready")
        await page.get_by_role("button", name="Send").click()
        await expect(page.locator(".developer .told")).to_contain_text("Tea is ready")
        await expect(page.locator(".developer .got")).to_have_text("got 1 of 2 events")
        await expect(locked).to_have_text("1 event was not sent to Dan.")


async def test_the_focus_outlives_its_row(server: Server, browser: Browser) -> None:
    """Whoever moves an incident on with the keyboard is still at its button when the row says something else."""
    async with opened(browser, server, DESKTOP) as page:
        await page.get_by_label("Open an incident").fill("Keys are lost")
        await page.get_by_role("button", name="Open", exact=True).click()
        await page.locator(".support").get_by_role("button", name="Investigate: Keys are lost").focus()
        await page.keyboard.press("Enter")
        await expect(page.locator(".support").get_by_role("button", name="Resolve: Keys are lost")).to_be_focused()


async def test_a_phone_shows_one_view_at_a_time(server: Server, browser: Browser) -> None:
    """And changes between them without losing anything."""
    async with opened(browser, server, PHONE) as page:
        await expect(page.locator(".user:visible h2")).to_have_text("Olga operator")
        await page.locator("#whose label", has_text="Sara").click()
        await expect(page.locator(".user:visible h2")).to_have_text("Sara support")
        assert await page.evaluate("() => document.documentElement.scrollWidth") == PHONE["width"]


async def test_what_is_refused_is_said(server: Server, browser: Browser) -> None:
    """A server in somebody else's words, in the banner."""
    async with opened(browser, server, DESKTOP) as page:
        await page.get_by_label("Port", exact=True).fill("1")
        await page.route("**/api/v1/servers", lambda route: route.fulfill(status=403, json={"detail": "Not today."}))
        await page.get_by_role("button", name="Add").click()
        await expect(page.get_by_role("alert")).to_have_text("Not today.")
