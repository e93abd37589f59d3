"""Takes the pictures in docs/images: the running gallery, when it has something to show. `scripts/screenshots` calls this.

Knows pages as a visitor does. It is no test, and nothing depends on what is in the pictures.
"""

from __future__ import annotations

import asyncio
import re
import tempfile
from pathlib import Path
from typing import Final

from playwright.async_api import Browser, Page, async_playwright, expect

from tests.support.server import Server, running
from tests.support.source import ROOT

IMAGES: Final = ROOT / "docs/images"
ARGUMENTS: Final = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
SIZE: Final = {"width": 1280, "height": 800}
LATER: Final = 60_000


async def home(page: Page) -> None:
    """Events of every application flow by."""
    for prefix in ("project:", "operations", "debate:", "room:"):
        await expect(page.locator("#last")).to_contain_text(prefix, timeout=LATER)
    await expect(page.locator("#rate")).to_have_text(re.compile(r"^[2-9]\."), timeout=LATER)


async def operations(page: Page) -> None:
    """An incident is open, and three users know different things."""
    incident = page.locator(".user.support .incidents li").first
    await expect(incident.locator(".pill")).to_have_text("investigating", timeout=LATER)
    await page.fill("#message", f"{await incident.locator('strong').text_content()}, we are on it")
    await page.click("#notify button")
    await expect(page.locator(".user.support .told")).to_be_visible()
    await expect(page.locator(".user.operator .logs li")).not_to_have_count(0, timeout=LATER)


async def projects(page: Page) -> None:
    """A worker is at it, and some proposals of the last time are decided on."""
    await expect(page.locator(".proposal.accepted")).not_to_have_count(0, timeout=3 * LATER)
    await expect(page.locator("#start")).to_be_enabled(timeout=LATER)
    await page.click("#start")
    await expect(page.locator("#percent")).to_have_text(re.compile("^[56]"), timeout=LATER)


async def playground(page: Page) -> None:
    """Frames before and after a cut, none of them missing."""
    await page.click("#connect")
    await expect(page.locator("#state")).to_have_text("open")
    await page.click("#publish button[type=submit]")
    await expect(page.locator("#frames")).to_contain_text("Hello")
    await page.click("#cut")
    await page.click("#publish button[type=submit]")
    await expect(page.locator("#restore")).to_be_visible()
    await page.click("#restore")
    await expect(page.locator("#state")).to_have_text("open")
    await page.click("#publish button[type=submit]")
    await expect(page.locator("#frames").get_by_text("Hello")).to_have_count(3)
    await page.mouse.click(5, 400)


async def take(browser: Browser, server: Server, name: str, scheme: str) -> None:
    """Open a page, prepare it, and save what it looks like."""
    options = {"viewport": SIZE, "color_scheme": scheme, "locale": "en-GB", "device_scale_factor": 1.0}
    page = await browser.new_page(**options)  # type: ignore[arg-type] # a literal type, spelt out
    await page.goto(f"{server.url}/{name.removeprefix('home')}")
    await PREPARE[name](page)
    path = IMAGES / f"{name}.png"
    await page.screenshot(path=path)
    await page.close()
    print(f"{path.relative_to(ROOT)}: {path.stat().st_size // 1024} KiB")


PREPARE: Final = {"home": home, "operations": operations, "projects": projects, "playground": playground}
SCHEMES: Final = {"home": "light", "operations": "light", "projects": "light", "playground": "dark"}


async def main() -> None:
    """Take all of them."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        gallery = running(["-m", "examples.gallery", "--port", "0"], program="python", cwd=Path(folder))
        async with gallery as server, async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path="/usr/bin/chromium", args=ARGUMENTS)
            for name, scheme in SCHEMES.items():
                await take(browser, server, name, scheme)
            await browser.close()


if __name__ == "__main__":
    asyncio.run(main())
