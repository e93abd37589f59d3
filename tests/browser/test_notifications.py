"""The notifications' page in a real browser: the bell, two users, a phone in flight mode, a killed server, hostile texts."""

from __future__ import annotations

import json
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Locator, Page, expect

from tests.browser.chromium import chromium
from tests.support.raw import RawClient
from tests.support.server import Server, running

LATER = 30_000
"""Milliseconds for what a busy machine takes its time with."""

Open = Callable[[str], Awaitable[Page]]


@asynccontextmanager
async def notifications_in(folder: Path, port: int = 0) -> AsyncIterator[Server]:
    """The application in a process of its own."""
    env = {"NOTIFICATIONS_DATA": str(folder), "NOTIFICATIONS_AWAY": "0.5", "NOTIFICATIONS_PACE": "0.2"}
    async with running("examples.notifications.app:app", env=env, args=["--port", str(port)] if port else []) as server:
        yield server


@pytest.fixture
async def visit() -> AsyncIterator[Open]:
    """Opens pages in one browser; in the end none of them has raised an error."""
    errors: list[str] = []
    async with chromium() as browser:
        context = await browser.new_context(viewport={"width": 1280, "height": 800}, reduced_motion="reduce")
        context.set_default_timeout(LATER)
        expect.set_options(timeout=LATER)

        async def open_page(address: str) -> Page:
            page = await context.new_page()
            page.on("pageerror", lambda error: errors.append(str(error)))
            await page.goto(address)
            await expect(page.locator("#state")).to_have_text("live")
            return page

        yield open_page
    assert errors == []


async def send(page: Page, title: str, to: str = "Ben Okafor") -> None:
    """Tell somebody something, and nobody else."""
    for chip in await page.locator("#to .chip").all():
        await chip.locator("input").set_checked(to in await chip.inner_text(), force=True)
    await page.fill("#title", title)
    await page.click("#send")
    await expect(page.locator("#sent")).to_have_text("Sent.")


def titles(items: Locator) -> Locator:
    """What stands on a list of notifications."""
    return items.locator(".title")


async def test_two_users_and_their_bells(tmp_path: Path, visit: Open) -> None:
    """What one sends rings at the other's, on both of their devices; opening the bell has it seen, on both; the keyboard
    opens and closes it, and is where it was."""
    async with notifications_in(tmp_path) as server:
        ada, ben = await visit(f"{server.url}/notifications#ada"), await visit(f"{server.url}/notifications#ben")
        bell = ben.locator(".bell-button")
        await send(ada, "Review the release notes")
        await expect(ben.locator("#bell .badge")).to_have_text("1")
        await expect(bell).to_have_accessible_name("Notifications, 1 new")
        await expect(ben.locator("#arrived")).to_have_text("New notification: Review the release notes")
        await expect(ada.locator("#phone-badge")).to_have_text("1")
        await expect(titles(ada.locator("#phone-items"))).to_have_text("Review the release notes")
        await expect(titles(ada.locator("#inbox"))).to_have_count(0)

        await bell.focus()
        await ben.keyboard.press("Enter")
        await expect(ben.get_by_role("dialog", name="Newest")).to_be_focused()
        await expect(bell).to_have_attribute("aria-expanded", "true")
        for page, badge in ((ben, "#bell .badge"), (ada, "#phone-badge")):
            await expect(page.locator(badge)).to_be_hidden()
        await ben.keyboard.press("End")
        await expect(ben.get_by_role("dialog").get_by_role("button", name="Mark as read: Review")).to_be_focused()
        await ben.keyboard.press("Enter")
        await expect(ada.locator("#phone-items .unread")).to_have_count(0)
        await expect(ben.get_by_role("dialog").get_by_role("list")).to_be_focused()
        await ben.keyboard.press("Escape")
        await expect(ben.get_by_role("dialog")).to_be_hidden()
        await expect(bell).to_be_focused()

        await ben.get_by_role("button", name="Remove: Review the release notes").click()
        await expect(titles(ada.locator("#phone-items"))).to_have_count(0)
        await expect(ben.locator("#nothing")).to_be_visible()


async def test_who_is_there_and_what_runs(tmp_path: Path, visit: Open) -> None:
    """Presence follows open pages; a workflow is seen to start, to fail for a reason and to succeed; an announcement is on
    everybody's page until it is ended; and what one may not do cannot be pressed."""
    async with notifications_in(tmp_path) as server:
        ada, cleo = await visit(f"{server.url}/notifications#ada"), await visit(f"{server.url}/notifications#cleo")
        there = ada.locator("#people [data-id=cleo]")
        await expect(there).to_have_attribute("data-status", "online")
        await cleo.fill("#name", "Cleopatra")
        await cleo.click("#profile button")
        await expect(there).to_contain_text("Cleopatra")
        await expect(cleo.locator("#send")).to_be_disabled()
        await expect(cleo.locator("#no-workflows")).to_be_visible()

        verify = ada.locator("[data-name=verify]")
        await verify.get_by_role("button").click()
        await expect(verify.locator(".pill")).to_have_text("running")
        await expect(verify.locator(".pill")).to_have_text("failed")
        await expect(verify.locator(".outcome")).to_contain_text("there is no archive yet")
        await expect(titles(ada.locator("#inbox")).first).to_have_text("Verify the archive: failed")
        archive = ada.locator("[data-name=archive]")
        await archive.get_by_role("button").click()
        await expect(archive.locator(".steps .done")).to_have_count(5)

        await ada.locator("label[for=kind-maintenance]").click()
        await ada.fill("#title", "Upgrade at noon")
        await ada.click("#send")
        await expect(cleo.locator("#announcements")).to_contain_text("Upgrade at noon")
        await expect(cleo.locator("#announcements button")).to_have_count(0)
        await ada.get_by_role("button", name="End it: Upgrade at noon").click()
        await expect(cleo.locator("#announcements > *")).to_have_count(0)
        await cleo.close()
        await expect(there).to_have_attribute("data-status", "offline")


async def test_a_phone_in_flight_mode_misses_nothing(tmp_path: Path, visit: Open) -> None:
    """What is sent meanwhile is there when it is switched on again, once."""
    async with notifications_in(tmp_path) as server:
        page = await visit(f"{server.url}/notifications")
        await expect(page.locator("#phone-state")).to_have_text("live")
        await page.check("#flight")
        await expect(page.locator("#phone-state")).to_have_text("paused")
        for title in ("one", "two"):
            await send(page, title)
        await expect(page.locator("#phone-badge")).to_be_hidden()
        await page.uncheck("#flight")
        await expect(titles(page.locator("#phone-items"))).to_have_text(["two", "one"])
        await expect(page.locator("#phone-badge")).to_have_text("2")


async def call(server: Server, path: str, body: Any = None, token: str = "") -> Any:
    """What a POST answers."""
    headers = {"Content-Type": "application/json", "Host": f"127.0.0.1:{server.port}"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    async with await RawClient.connect(server.url) as client:
        await client.request(path, headers, method="POST", body=b"" if body is None else json.dumps(body).encode())
        return json.loads(await client.read_body())


async def test_the_page_survives_its_server(tmp_path: Path, visit: Open) -> None:
    """The server is killed and started again, and things are sent before the page is back: it says that it was away, and
    then shows all of them, once and in order, on the list and on the bell."""
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(notifications_in(tmp_path))
        page = await visit(f"{server.url}/notifications#ben")
        token = (await call(server, "/notifications/dev/token/ada"))["token"]
        await call(server, "/api/v1/notifications", {"to": "ben", "title": "before"}, token)
        await expect(titles(page.locator("#inbox"))).to_have_text(["before"])
        await server.stop(signal.SIGKILL)
        await expect(page.locator("#banner")).to_contain_text("The connection is lost")
        server = await stack.enter_async_context(notifications_in(tmp_path, server.port))
        wanted = ["before"]
        for number in range(12):
            await call(server, "/api/v1/notifications", {"to": "ben", "title": f"number {number}"}, token)
            wanted.insert(0, f"number {number}")
        await expect(titles(page.locator("#inbox"))).to_have_text(wanted)
        await expect(page.locator("#state")).to_have_text("live")
        await expect(page.locator("#bell .badge")).to_have_text("9+")
        await page.locator(".inbox .read-all").click()
        await expect(page.locator("#unread")).to_have_text("0")
        await expect(page.locator(".inbox .read-all")).to_be_disabled()
        await page.reload()
        await expect(titles(page.locator("#inbox"))).to_have_text(wanted)
        await expect(page.locator("#unread")).to_have_text("0")


async def test_hostile_texts_are_texts(tmp_path: Path, visit: Open) -> None:
    """Markup in titles, messages, names and announcements is shown character by character, and links lead to pages only."""
    evil = "<img src=x onerror=document.title='evil'>"
    async with notifications_in(tmp_path) as server:
        page = await visit(f"{server.url}/notifications")
        token = (await call(server, "/notifications/dev/token/ada"))["token"]
        body = {"to": ["ada", "ben"], "title": evil, "message": evil, "href": "https://example.org/"}
        await call(server, "/api/v1/notifications", body, token)
        await call(server, "/api/v1/announcements", {"title": evil, "message": evil}, token)
        await page.fill("#name", evil)
        await page.click("#profile button")
        await expect(page.locator("#people [data-id=ada] strong")).to_have_text(evil)
        await page.locator(".bell-button").click()
        for items in ("#inbox", "#phone-items", "#popover"):
            await expect(titles(page.locator(items))).to_have_text(evil)
            await expect(page.locator(f"{items} .message")).to_have_text(evil)
        await expect(page.locator("#announcements .said")).to_have_text(evil)
        await expect(titles(page.locator("#inbox"))).to_have_attribute("href", "https://example.org/")
        assert await page.locator("main img, #announcements img, #bell img").count() == 0
        assert await page.title() == "Notifications"
        await page.set_viewport_size({"width": 360, "height": 740})
        assert await page.evaluate("() => document.documentElement.scrollWidth") == 360
