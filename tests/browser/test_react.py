"""The React components in Chromium, with a real hub, under a policy that allows no inline script or style."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from tests.browser.chromium import chromium
from tests.browser.firefox import firefox
from tests.support.server import Server, running
from tests.support.source import ROOT

pytestmark = pytest.mark.asyncio(loop_scope="module")

JS = ROOT / "js"
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Tasks</title><link rel="icon" href="/icon.svg">
<link rel="stylesheet" href="/bell.css"><link rel="stylesheet" href="/page.css">
<main><h1>Tasks</h1><div id="place"></div></main><script type="module" src="/REACT.js"></script></html>"""
STYLE = """:root { color-scheme: light dark }
body { margin: 0; font: 1rem/1.5 system-ui; background: #f4f6fa; color: #1b2330 }
nav { display: flex; justify-content: flex-end; align-items: center; gap: 1rem } main { padding: 1rem 2rem }
a, nav > button { color: inherit }
@media (prefers-color-scheme: dark) { body { background: #0e121a; color: #e8ecf4 } }"""
ASKING = """() => {
    Object.defineProperty(Notification, 'permission', { value: 'default' })
    Notification.requestPermission = async () => {
        window.asked = navigator.userActivation.isActive
        return 'granted'
    }
}"""
"""A browser in which nobody has decided on notifications yet, and which asks at once."""

TELLING = """
    window.told = []
    window.Notification = class {
        static permission = 'granted'
        constructor(title, { body, tag }) { told.push([title, body, tag]) }
    }
    Object.defineProperty(document, 'hidden', { value: true })
"""
"""A page in the background that may notify."""

HOSTILE = [
    {"id": 1, "title": "<img src=x onerror='window.hacked=1'>", "message": "<script>window.hacked=1</script>"},
    {"id": 2, "title": "Open me", "href": "javascript:window.hacked=1"},
    {"id": 3, "title": {"toString": 1}, "message": ["<b>x</b>"], "createdAt": "never"},
    {"id": 4, "title": "\u202egnp.exe", "href": "java\nscript:window.hacked=1", "createdAt": {"x": 1}},
]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages, bundled for each React."""
    folder = tmp_path_factory.mktemp("components")
    for react, alias in (("react19", []), ("react18", ["--alias:react=react18", "--alias:react-dom=react-dom18"])):
        for kind in ("development", "production"):
            name = f"{react}-{kind}"
            define = f'--define:process.env.NODE_ENV="{kind}"'
            options = ["--bundle", "--format=esm", "--target=es2022", define, *alias, f"--outfile={folder}/{name}.js"]
            command = [str(JS / "node_modules/.bin/esbuild"), "test/ui/browser.js", "--log-level=warning", *options]
            subprocess.run(command, cwd=JS, check=True, timeout=60)
            (folder / f"{name}.html").write_text(PAGE.replace("REACT", name))
    for path in (JS / "bell.css", JS / "node_modules/axe-core/axe.min.js", ROOT / "src/headwater/web/icon.svg"):
        shutil.copy(path, folder)
    (folder / "page.css").write_text(STYLE)
    return folder


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(site: Path) -> AsyncIterator[Server]:
    """The application."""
    async with running("tests.browser.components:app", env={"COMPONENTS": str(site)}) as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    """Chromium."""
    async with chromium() as browser:
        yield browser


@asynccontextmanager
async def opened(browser: Browser, server: Server, name: str, **options: Any) -> AsyncIterator[Page]:
    """A page; whatever the browser complains of on it fails the test."""
    complaints: list[str] = []
    context = await browser.new_context(**options)
    page = await context.new_page()
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda each: complaints.append(each.text) if each.type in ("error", "warning") else None)
    await page.goto(f"{server.url}/{name}.html")
    await page.wait_for_function("() => window.isReady")
    yield page
    await context.close()
    assert complaints == []


async def publish(page: Page, *events: tuple[str, Any]) -> None:
    """Let the application publish."""
    send = "(body) => fetch('/publish', { method: 'POST', body }).then(({ status }) => status)"
    assert await page.evaluate(send, json.dumps(events)) == 204


@pytest.mark.parametrize("react", ["react18", "react19"])
async def test_a_burst_is_shown_whole_and_smoothly(server: Server, browser: Browser, react: str) -> None:
    """10,000 events at once: none is missing, there is at most one rendering per frame, and the page always answers."""
    async with opened(browser, server, f"{react}-production") as page:
        seen = await page.evaluate("() => window.burst(10_000)")
        assert (seen["all"]["count"], seen["all"]["sum"], seen["latest"]) == (10_000, 49_995_000, 9999)
        assert seen["all"]["ids"] == list(range(9900, 10_000))
        assert seen["most"] <= 1
        assert seen["shown"] <= seen["frames"] + 1
        assert [task for task in seen["tasks"] if task > 200] == []
        assert (seen["rows"], seen["badge"]) == (100, "Unread: No. 9999")


async def test_a_burst_in_firefox(server: Server, tmp_path: Path) -> None:
    """10,000 events at once: none is missing there, either, and there is at most one rendering per frame."""
    async with firefox(tmp_path) as browser:
        await browser.go(f"{server.url}/react19-production.html")
        seen = await browser.run("return window.burst(10_000)")
        assert (seen["all"]["count"], seen["all"]["sum"], seen["latest"]) == (10_000, 49_995_000, 9999)
        assert seen["most"] <= 1


@pytest.mark.parametrize("react", ["react18", "react19"])
async def test_a_thousand_mounts_leave_nothing(server: Server, browser: Browser, react: str) -> None:
    """In StrictMode, with everything mounted twice: one connection at most, no listener, and a moment later nothing."""
    async with opened(browser, server, f"{react}-development") as page:
        assert await page.evaluate("() => window.mounts(1000)") == 0
        assert await page.evaluate("async () => (await fetch('/count')).json()") <= 1
        await page.wait_for_function("() => window.client.status.state === 'closed'")
        await page.wait_for_function("async () => await (await fetch('/count')).json() === 0")


async def test_what_a_server_has_rendered_comes_to_life(server: Server, browser: Browser) -> None:
    """The server's rendering says `idle`; the page takes it over without a difference, and connects."""
    async with opened(browser, server, "react19-development") as page:
        assert await page.evaluate("() => window.hydrated()") == ["idle", []]


async def assert_accessible(page: Page) -> None:
    """Axe finds nothing that keeps somebody out."""
    await page.add_script_tag(url="/axe.min.js")
    found = await page.evaluate("async () => (await axe.run()).violations")
    serious = [each for each in found if each["impact"] in ("serious", "critical")]
    assert serious == [], json.dumps(serious, indent=1)


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
async def test_the_bell_keeps_nobody_out(server: Server, browser: Browser, scheme: str, width: int) -> None:
    """By keyboard alone: open the list, walk through it, read one, leave it; axe finds nothing serious, light or dark, on a
    large screen or a phone, and nothing is wider than that."""
    async with opened(
        browser, server, "react19-production", color_scheme=scheme, viewport={"width": width, "height": 800}
    ) as page:
        await page.evaluate("() => window.bell()")
        await publish(
            page, *(("notification.created", {"id": n, "title": f"Task {n}", "href": "#task"}) for n in range(12))
        )
        await expect(page.get_by_role("button", name="Notifications, 12 new")).to_be_visible()
        await expect(page.locator(".hw-bell-badge")).to_have_text("9+")
        await expect(page).to_have_title("(9+) Tasks")
        await expect(page.get_by_role("status")).to_have_text("12 new notifications")
        await assert_accessible(page)
        await page.keyboard.press("Tab")
        await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")
        dialog = page.get_by_role("dialog", name="Notifications")
        await expect(dialog).to_be_focused()
        await expect(page).to_have_title("Tasks")
        await assert_accessible(page)
        assert await page.evaluate("() => document.documentElement.scrollWidth") <= width
        for _ in range(2):
            await page.keyboard.press("ArrowDown")
        await expect(page.get_by_role("link", name="Unread: Task 10")).to_be_focused()
        await page.keyboard.press("Enter")
        await expect(dialog).to_have_count(0)
        await expect(page.get_by_role("button", name="Notifications", exact=True)).to_be_focused()
        await page.keyboard.press("Enter")
        await expect(page.locator("li[data-unread]")).to_have_count(11)
        await page.keyboard.press("Shift+Tab")  # back to the bell, which is still the bell
        await expect(dialog).to_be_visible()
        await page.keyboard.press("Shift+Tab")  # and away from it
        await expect(dialog).to_have_count(0)
        assert await page.evaluate("() => window.saved") == [["seen", None], ["read", [10]], ["seen", None]]


async def test_hostile_notifications_are_text(server: Server, browser: Browser) -> None:
    """Markup, scripts, links that run something and values of the wrong kind are shown as what they are, or not at all."""
    async with opened(browser, server, "react19-development") as page:
        await page.evaluate("() => window.bell()")
        await publish(
            page, *(("notification.created", each) for each in HOSTILE), ("notification.created", "just text")
        )
        await page.get_by_role("button", name="Notifications, 4 new").click()
        items = page.locator(".hw-bell-item")
        await expect(items).to_have_count(5)
        await expect(items.filter(has_text="<img")).to_contain_text("<script>window.hacked=1</script>")
        assert await page.locator("#place :is(img, script, a[href*=hacked])").count() == 0
        for index in range(4):
            await items.nth(index).click()
        await expect(page.locator("li[data-unread]")).to_have_count(0)
        assert await page.evaluate("() => window.hacked") is None


async def test_permission_to_notify_is_asked_for_from_a_click(server: Server, browser: Browser) -> None:
    """Nothing is asked for before; once it is granted, the list does not offer it any more."""
    async with opened(browser, server, "react19-production") as page:
        await page.evaluate(ASKING)
        await page.evaluate("() => window.bell({ sound: true })")
        await page.get_by_role("button", name="Notifications").click()
        assert await page.evaluate("() => window.asked") is None
        offer = page.get_by_role("button", name="Notify me outside of this page, too")
        await offer.click()
        await expect(offer).to_have_count(0)
        assert await page.evaluate("() => window.asked") is True


async def test_one_of_many_tabs_notifies(server: Server, browser: Browser) -> None:
    """Of three hidden tabs that share a connection, the one that has it tells the user outside of the page, once; all of
    them show the badge."""
    context = await browser.new_context()
    await context.add_init_script(TELLING)
    pages = [await context.new_page() for _ in range(3)]
    for page in pages:
        await page.goto(f"{server.url}/react19-production.html")
        await page.wait_for_function("() => window.isReady")
        await page.evaluate("() => window.bell({ share: true, sound: true })")
    await publish(pages[0], ("notification.created", {"id": 1, "title": "Deployed", "message": "All is well"}))
    for page in pages:
        await expect(page.get_by_role("status")).to_have_text("Deployed")
        await expect(page.locator(".hw-bell-badge")).to_have_text("1")
    told = [await page.evaluate("() => window.told") for page in pages]
    assert sorted(told, key=len) == [[], [], [["Deployed", "All is well", "1"]]]
    await context.close()
