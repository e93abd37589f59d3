"""The gallery in a real browser: alive at once, quiet on the console, and in touch with nobody else."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, Route, expect

from tests.browser.chromium import chromium
from tests.browser.reader import LONGEST, hide, longest_task, watch_tasks
from tests.support.postgres import shared_server
from tests.support.server import running

pytestmark = pytest.mark.asyncio(loop_scope="module")

SOON = 2_000
"""Milliseconds within which a page shows something live."""

LATER = 30_000


@dataclass(frozen=True)
class Gallery:
    """The running gallery, and a browser to visit it with."""

    url: str
    browser: Browser


@asynccontextmanager
async def opening(folder: Path) -> AsyncIterator[Gallery]:
    """A gallery that has just been started, with a database, so that no test waits for the one that it would start."""
    with shared_server().database() as url:
        arguments = ["-m", "examples.gallery", "--port", "0"]
        server = running(arguments, program="python", cwd=folder, env={"DATABASE_URL": url})
        async with server as found, chromium() as browser:
            yield Gallery(found.url, browser)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gallery(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gallery]:
    """One that all tests visit."""
    async with opening(tmp_path_factory.mktemp("gallery")) as gallery:
        yield gallery


class Visitor:
    """Somebody with a browser.

    Attributes:
        complaints: errors of pages, and what their consoles say.
        asked: every URL that a page has asked for.
    """

    def __init__(self, context: BrowserContext, base: str) -> None:
        self.complaints: list[str] = []
        self.asked: list[str] = []
        self._context = context
        self._base = base

    async def open(self, path: str) -> Page:
        """A page, with everything noted that it does."""
        page = await self._context.new_page()
        page.on("console", lambda message: self.complaints.append(f"{path}: {message.text}"))
        page.on("pageerror", lambda error: self.complaints.append(f"{path}: {error}"))
        page.on("request", lambda request: self.asked.append(request.url))
        await page.goto(self._base + path)
        return page


@asynccontextmanager
async def visiting(gallery: Gallery, **options: Any) -> AsyncIterator[Visitor]:
    """A visitor who in the end has seen no complaint and has asked no other machine for anything."""
    context = await gallery.browser.new_context(**options)
    visitor = Visitor(context, gallery.url)
    yield visitor
    await context.close()
    assert visitor.complaints == []
    assert [url for url in visitor.asked if not url.startswith((gallery.url, "blob:"))] == []


async def test_the_home_page_is_alive_at_once(tmp_path: Path) -> None:
    """In a gallery that has just been started, something happens on the home page within two seconds of opening it."""
    async with opening(tmp_path) as gallery, visiting(gallery) as visitor:
        page = await visitor.open("/")
        await page.wait_for_function("() => performance.getEntriesByName('live').length", timeout=LATER)
        assert await page.evaluate("() => performance.getEntriesByName('live')[0].startTime") < SOON
        await expect(page.locator("#state")).to_have_text("live")
        await expect(page.locator("#rate")).to_have_text(re.compile(r"\d"))


async def test_each_card_tells_what_its_application_is_at(gallery: Gallery) -> None:
    """As it happens, in words where everybody may read them; whoever comes later sees the last of each at once."""
    async with visiting(gallery) as visitor:
        page = await visitor.open("/")
        for name in ("rooms", "debates", "notifications", "operations", "projects"):
            teaser = page.locator(f".app.{name} .teaser")
            await expect(teaser).not_to_have_text("quiet so far", timeout=LATER)
            await expect(teaser.locator("path")).to_have_attribute("d", re.compile("^M"), timeout=LATER)
        await expect(page.locator(".app.rooms .teaser")).to_have_text(re.compile("^[a-z]+: "), timeout=LATER)
        late = await visitor.open("/")
        await expect(late.locator(".teaser", has_text="quiet so far")).to_have_count(0, timeout=SOON)


async def test_every_page_leads_home(gallery: Gallery) -> None:
    """From the home page to each of the others and back."""
    async with visiting(gallery) as visitor:
        page = await visitor.open("/")
        for name in ("Rooms", "Debates", "Notifications", "Operations", "Projects", "Dashboard", "Playground"):
            await page.locator("#apps").get_by_role("link", name=name, exact=True).click()
            await page.wait_for_url(f"**/{name.lower()}*")
            own = name in (
                "Dashboard",
                "Playground",
            )  # the hub's own pages know no gallery; their name leads to its root
            await page.locator(".bar .brand" if own else ".bar .home").click()
            await expect(page).to_have_title("Headwater")


async def test_what_is_published_comes_back(gallery: Gallery) -> None:
    """The box publishes, the message comes back over the stream with the time that took, and to other pages, too. Markup is
    shown as text, and of thousands of messages the last."""
    async with visiting(gallery) as visitor:
        here, there = await visitor.open("/"), await visitor.open("/")
        for page in (here, there):
            await expect(page.locator("#state")).to_have_text("live")
        await here.fill("#words", "<b>Hello</b>")
        await here.click("#say button")
        await expect(here.locator("#heard li .words")).to_have_text("<b>Hello</b>")
        await expect(here.locator("#heard li")).to_contain_text("back after")
        await expect(there.locator("#heard li .words")).to_have_text("<b>Hello</b>")
        await expect(here.locator("#back")).to_have_text(re.compile("^Published, and back after"))
        await expect(there.locator("#back")).to_have_text("")
        await watch_tasks(there)
        async with httpx.AsyncClient(base_url=gallery.url, trust_env=False) as http:
            for first in range(0, 3000, 1000):
                events = [{"channel": "hello", "data": number} for number in range(first, first + 1000)]
                (await http.post("/events", json=events)).raise_for_status()
        await expect(there.locator("#heard li .words")).to_have_text(["2999", "2998", "2997"])
        assert await longest_task(there) < LONGEST


async def test_lines_are_copied_whole(gallery: Gallery) -> None:
    """The button puts on the clipboard what the line says, token and all."""
    async with visiting(gallery, permissions=["clipboard-read", "clipboard-write"]) as visitor:
        page = await visitor.open("/")
        line = page.locator(".line", has_text="Operations, as the operator")
        await line.locator(".copy").click()
        await expect(line.locator(".copy")).to_have_text("Copied")
        assert await page.evaluate("() => navigator.clipboard.readText()") == await line.locator("code").text_content()


@pytest.mark.parametrize("width", [1280, 390])
async def test_every_page_is_quiet_and_fits(gallery: Gallery, width: int) -> None:
    """No complaint on the console, nothing from elsewhere, nothing wider than the screen."""
    async with visiting(gallery, viewport={"width": width, "height": 800}) as visitor:
        for path in ("/", "/rooms", "/debates", "/notifications", "/operations", "/projects", "/playground"):
            page = await visitor.open(path)
            if path != "/playground":
                await expect(page.locator(".pill", has_text=re.compile("^live$")).first).to_be_visible(timeout=LATER)
            assert await page.evaluate("() => document.documentElement.scrollWidth") <= width, path
            await page.close()


async def test_different_users_see_different_events(gallery: Gallery) -> None:
    """On the operations page an incident reaches operator and support, a server's test operator and developer, and a word
    to everybody all three."""
    async with visiting(gallery, viewport={"width": 1280, "height": 900}) as visitor:
        page = await visitor.open("/operations")
        for role in ("operator", "developer", "support"):
            await expect(page.locator(f".user.{role} header .pill")).to_have_text("live")
        await page.fill("#incident-title", "Fire in the pantry")
        await page.click("#incident button")
        for role, count in (("operator", 1), ("support", 1), ("developer", 0)):
            await expect(page.locator(f".user.{role} .incidents li", has_text="Fire in the pantry")).to_have_count(
                count
            )
        await page.fill("#message", "Tea is ready")
        await page.click("#notify button")
        for role in ("operator", "developer", "support"):
            await expect(page.locator(f".user.{role} .told")).to_contain_text("Tea is ready")
        for event, ticks in (
            ("incident.created", "✓[^✓]✓"),
            ("notification.sent", "✓✓✓"),
            ("server.status_changed", "✓✓[^✓]"),
        ):
            row = page.locator("#events tr", has_text=event).first
            await expect(row).to_have_text(re.compile(f"{ticks}$"), timeout=LATER)


async def test_after_three_failures_the_page_polls(gallery: Gallery) -> None:
    """“After 3 failed attempts, falls back to polling”: with streams refused, events come all the same; once streams are
    back, so is the page, and nothing came twice."""
    async with visiting(gallery, viewport={"width": 1280, "height": 900}) as visitor:
        page = await visitor.open("/operations")
        pill = page.locator(".user.support header .pill")
        await expect(pill).to_have_text("live")

        async def refuse(route: Route) -> None:
            if route.request.headers["accept"] == "text/event-stream":
                await route.fulfill(status=503, headers={"retry-after": "0"})
            else:
                await route.continue_()

        await page.route("**/api/v1/events/stream*", refuse)
        await hide(page, True)
        await hide(page, False)
        await expect(pill).to_have_text("polling", timeout=LATER)
        await page.fill("#incident-title", "Polled")
        await page.click("#incident button")
        await expect(page.locator(".user.support .incidents li", has_text="Polled")).to_have_count(1, timeout=LATER)
        await page.unroute_all()
        await expect(pill).to_have_text("live", timeout=LATER)
        created = page.locator("#events tr", has_text="incident.created")
        assert await created.count() == len({await row.text_content() for row in await created.all()})
        visitor.complaints = [each for each in visitor.complaints if "503" not in each]


async def test_a_hidden_page_gives_its_connections_back(gallery: Gallery) -> None:
    """A browser has six connections to one host: a page that nobody looks at pauses, and catches up when it is seen again."""
    async with visiting(gallery) as visitor:
        page = await visitor.open("/operations")
        pill = page.locator(".user.support header .pill")
        await expect(pill).to_have_text("live")
        await hide(page, True)
        await expect(pill).to_have_text("paused")
        await page.fill("#incident-title", "Unseen")
        await page.click("#incident button")
        await hide(page, False)
        await expect(page.locator(".user.support .incidents li", has_text="Unseen")).to_have_count(1)
