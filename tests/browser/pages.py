"""Every page that is served, and what a page is asked for that has been opened: the list behind tests/browser/test_pages.py.

Knows where pages are, how they say that they are alive, and how strangers get texts into them. It judges nothing.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from playwright.async_api import Browser, ConsoleMessage, Dialog, Page, Response, ViewportSize, expect

from tests.browser import hostile
from tests.browser.hostile import Attack, Gallery

LATER: Final = 30_000
"""Milliseconds for what a busy machine takes its time with."""

DESKTOP: Final[ViewportSize] = {"width": 1280, "height": 800}
TABLET: Final[ViewportSize] = {"width": 768, "height": 1024}
PHONE: Final[ViewportSize] = {"width": 360, "height": 740}

LIVE: Final = re.compile("^live$")

Open = Callable[[Page], Awaitable[None]]


async def live(page: Page) -> None:
    """The page says that it is connected."""
    await expect(page.locator(".pill", has_text=LIVE).first).to_be_visible(timeout=LATER)


async def listening(page: Page) -> None:
    """The playground does nothing before it is told to."""
    await page.get_by_label("Channels").fill("playground")
    await page.get_by_label("Begin").select_option("last=10")
    await page.get_by_role("button", name="Connect", exact=True).click()
    await expect(page.locator("#state")).to_have_text("open", timeout=LATER)


@dataclass(frozen=True)
class Place:
    """A page.

    Attributes:
        path: of its address.
        title: what the browser calls it.
        attack: how strangers get texts into it.
        ready: waits until it is alive.
    """

    path: str
    title: str
    attack: Attack
    ready: Open = live


PLACES: Final = (
    Place("/", "Headwater", hostile.hub("hello")),
    Place("/rooms", "Rooms", hostile.rooms),
    Place("/debates", "Debates", hostile.debates),
    Place("/operations", "Operations", hostile.operations),
    Place("/projects", "Projects", hostile.projects),
    Place("/notifications", "Notifications", hostile.notifications),
    Place("/dashboard", "Dashboard · Headwater", hostile.dashboard),
    Place("/playground", "Playground · Headwater", hostile.hub("playground"), listening),
)

LOOKING: Final = Path(__file__).parent / "looking.js"


class Visit:
    """A page that is open, and to which strangers have done what they can, before it was and since.

    Attributes:
        response: what its address was answered with.
        complaints: what the browser says of it that is no praise.
        asked: every URL that it has asked for.
        dialogs: what it has asked the reader.
    """

    def __init__(self, place: Place, gallery: Gallery, page: Page) -> None:
        self.place, self.gallery, self.page = place, gallery, page
        self.response: Response
        self.complaints: list[str] = []
        self.asked: list[str] = []
        self.dialogs: list[str] = []
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", self._hear)
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("dialog", self._answer)

    async def go(self) -> None:
        """Open the page, and see everything that strangers send while it is open."""
        await self.page.add_init_script(path=LOOKING)
        at = await self.place.attack(self.gallery, "", "first-round")
        response = await self.page.goto(f"{self.gallery.url}{self.place.path}#{at}")
        assert response is not None
        self.response = response
        await self.place.ready(self.page)
        await self.place.attack(self.gallery, at, "second-round")
        await self.page.wait_for_function("() => looking.shows(['second-round'])", timeout=LATER)

    async def another(self, fragment: str) -> Visit:
        """The same page once more, at another fragment of its address, when it has something to say about that."""
        other = Visit(self.place, self.gallery, await self.page.context.new_page())
        await other.page.add_init_script(path=LOOKING)
        await other.page.goto(f"{self.gallery.url}{self.place.path}#{fragment}")
        await expect(other.page.locator(".pill, .banner").filter(has_text=re.compile(r"\w")).first).to_be_visible(
            timeout=LATER
        )
        return other

    async def ask(self, question: str, argument: Any = None) -> Any:
        """What a function of looking.js answers."""
        return await self.page.evaluate(f"(argument) => looking.{question}(argument)", argument)

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    async def _answer(self, dialog: Dialog) -> None:
        self.dialogs.append(dialog.message)
        await dialog.dismiss()


class Visits:
    """Pages that stay open, each in a browser's context of its own.

    Args:
        stack: closes them.
    """

    def __init__(self, browser: Browser, gallery: Gallery, stack: AsyncExitStack) -> None:
        self._browser, self._gallery, self._stack = browser, gallery, stack
        self._going: dict[Place, asyncio.Task[Visit]] = {}

    async def to(self, place: Place) -> Visit:
        """A page, ready to be looked at. One that could not be opened is not tried again: it fails as it did."""
        if place not in self._going:
            self._going[place] = asyncio.create_task(self._go(place))
        return await self._going[place]

    async def _go(self, place: Place) -> Visit:
        # Nothing moves, so that a page looks the same however long somebody looks.
        context = await self._browser.new_context(
            viewport=DESKTOP, color_scheme="light", reduced_motion="reduce", locale="en-GB"
        )
        self._stack.push_async_callback(context.close)
        visit = Visit(place, self._gallery, await context.new_page())
        await visit.go()
        return visit
