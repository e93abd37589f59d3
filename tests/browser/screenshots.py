"""Takes pictures of every page: the running gallery, when it has something to show. `scripts/screenshots` calls this.

Each page is taken light and dark, for a desktop and for a phone, into a folder whose name is printed; the best ones go to
docs/images. Knows pages as a visitor does. It is no test, and nothing depends on what is in the pictures.
"""

from __future__ import annotations

import asyncio
import base64
import re
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final, Literal

from playwright.async_api import Browser, Page, ViewportSize, expect

from tests.browser.chromium import chromium
from tests.browser.crowd import crowd
from tests.support.server import Server, running
from tests.support.source import ROOT

IMAGES: Final = ROOT / "docs/images"
WIDTHS: Final = {"desktop": 1280, "phone": 390}
HEIGHTS: Final = {"desktop": {"operations": 1110, "projects": 900}, "phone": {}}
LATER: Final = 60_000
SCHEMES: Final[tuple[Literal["light", "dark"], ...]] = ("light", "dark")
QUALITY: Final = 0.86
"""Of WebP: letters stay sharp."""

BEST: Final = {
    "home": "light",
    "rooms": "light",
    "debates": "dark",
    "projects": "light",
    "operations": "light",
    "notifications": "light",
    "dashboard": "dark",
    "playground": "dark",
}
PHONES: Final = ("rooms", "debates", "notifications", "dashboard")
"""Side by side in one picture."""


async def home(page: Page) -> None:
    """Events of every application flow by."""
    for prefix in ("project:", "operations", "debate:", "room:"):
        await expect(page.locator("#last")).to_contain_text(prefix, timeout=LATER)
    await page.click("#say button")
    await expect(page.locator("#heard li")).to_contain_text("back after", timeout=LATER)
    await expect(page.locator("#rate")).to_have_text(re.compile(r"^[2-9]\."), timeout=LATER)


async def rooms(page: Page) -> None:
    """A room is being built, and its house is drawn already."""
    await page.locator("#list button").first.click()
    await expect(page.locator("#picture")).to_be_visible(timeout=LATER)
    await expect(page.locator("#lines li")).not_to_have_count(0, timeout=LATER)


async def debates(page: Page) -> None:
    """Some arguments have been heard."""
    await page.locator("#list button").first.click()
    await expect(page.locator(".bubble").nth(4)).to_be_visible(timeout=2 * LATER)


async def operations(page: Page) -> None:
    """An incident is open, and three users know different things."""
    await expect(page.locator(".user.operator .logs li")).not_to_have_count(0, timeout=LATER)
    incident = page.locator(".user.support .incidents li").first
    await expect(incident.locator(".pill")).to_have_text("open", timeout=LATER)
    message = f"{await incident.locator('strong').text_content()}, we are on it"
    await page.fill("#message", message)
    await page.click("#notify button")
    await expect(page.locator(".user.support .told")).to_contain_text(message)


async def projects(page: Page) -> None:
    """A worker is at it, and some proposals of the last time are decided on."""
    await expect(page.locator(".proposal.accepted")).not_to_have_count(0, timeout=3 * LATER)
    await expect(page.locator("#start")).to_be_enabled(timeout=LATER)
    await page.click("#start")
    await expect(page.locator("#percent")).to_have_text(re.compile("^[56]"), timeout=LATER)


async def notifications(page: Page) -> None:
    """Something has been said to Ada and to the phone of somebody else, and a workflow has been started."""
    for title, message in (
        ("Release 1.4 is yours", "The checklist is in the handbook."),
        ("Tea at four", "In the kitchen, with biscuits."),
    ):
        for label in ("ada", "ben"):
            box = page.locator("#to label", has_text=re.compile(label, re.IGNORECASE))
            if await box.count() and not await box.locator("input").is_checked():
                await box.first.click()
        await page.fill("#title", title)
        await page.fill("#message", message)
        await page.click("#send")
        await expect(page.locator("#phone-items")).to_contain_text(title, timeout=LATER)
    await page.locator("#workflows button").first.click()
    await expect(page.locator("#inbox li")).not_to_have_count(0, timeout=LATER)


async def dashboard(page: Page) -> None:
    """Others have been at work for a while."""
    await page.locator("label[for=range-60]").click()
    await expect(page.locator("#figure-events")).to_have_text(re.compile(r"\d\d"), timeout=LATER)


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


PREPARE: Final[dict[str, Callable[[Page], Awaitable[None]]]] = {
    "home": home,
    "rooms": rooms,
    "debates": debates,
    "operations": operations,
    "projects": projects,
    "notifications": notifications,
    "playground": playground,
    "dashboard": dashboard,
}


async def take(browser: Browser, server: Server, name: str, folder: Path) -> None:
    """Open a page, prepare it, and save what it looks like to everybody."""
    print(f"{name}: waiting until there is something to see", flush=True)
    context = await browser.new_context(viewport=size(name, "desktop"), locale="en-GB", color_scheme="light")
    page = await context.new_page()
    await page.goto(f"{server.url}/{name.removeprefix('home')}")
    await PREPARE[name](page)
    for device in WIDTHS:
        await page.set_viewport_size(size(name, device))
        for scheme in SCHEMES:
            await page.emulate_media(color_scheme=scheme)
            await page.evaluate("() => new Promise((next) => requestAnimationFrame(() => requestAnimationFrame(next)))")
            await page.evaluate("() => scrollTo(0, 0)")
            await page.screenshot(path=folder / f"{name}-{scheme}-{device}.png", animations="disabled")
    await context.close()


def size(name: str, device: str) -> ViewportSize:
    """How much of a page is in its picture."""
    return {"width": WIDTHS[device], "height": HEIGHTS[device].get(name, 800 if device == "desktop" else 844)}


COMPRESS: Final = """async ([pictures, gap, quality]) => {
    const bitmaps = await Promise.all(pictures.map(async (data) => {
        const bytes = Uint8Array.from(atob(data), (each) => each.charCodeAt(0))
        return createImageBitmap(new Blob([bytes], { type: 'image/png' }))
    }))
    const width = bitmaps.reduce((sum, { width }) => sum + width + gap, -gap)
    const canvas = new OffscreenCanvas(width, Math.max(...bitmaps.map(({ height }) => height)))
    const context = canvas.getContext('2d')
    let left = 0
    for (const bitmap of bitmaps) {
        context.save()
        context.beginPath()
        context.roundRect(left, 0, bitmap.width, bitmap.height, bitmaps.length > 1 ? gap : 0)
        context.clip()
        context.drawImage(bitmap, left, 0)
        context.restore()
        left += bitmap.width + gap
    }
    const blob = await canvas.convertToBlob({ type: 'image/webp', quality })
    return [...new Uint8Array(await blob.arrayBuffer())]
}"""
"""Pictures beside each other as one WebP, which a browser can make and Python alone cannot."""


async def keep(browser: Browser, name: str, pictures: Sequence[Path]) -> None:
    """Put pictures beside each other into docs/images, small."""
    page = await browser.new_page()
    encoded = [base64.b64encode(picture.read_bytes()).decode() for picture in pictures]
    made: Any = await page.evaluate(COMPRESS, [encoded, 24, QUALITY])
    path = IMAGES / f"{name}.webp"
    path.write_bytes(bytes(made))
    await page.close()
    print(f"{path.relative_to(ROOT)}: {path.stat().st_size // 1024} KiB")


async def main() -> None:
    """Take all of them."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    pictures = Path(tempfile.mkdtemp(prefix="headwater-pictures-"))
    with tempfile.TemporaryDirectory() as folder:
        gallery = running(["-m", "examples.gallery", "--port", "0"], program="python", cwd=Path(folder))
        async with gallery as server, chromium() as browser:
            for name in PREPARE:
                if name == "dashboard":
                    async with crowd(server.url):
                        await take(browser, server, name, pictures)
                else:
                    await take(browser, server, name, pictures)
            for name, scheme in BEST.items():
                await keep(browser, name, [pictures / f"{name}-{scheme}-desktop.png"])
            await keep(browser, "phones", [pictures / f"{name}-dark-phone.png" for name in PHONES])
    print(f"All of them are in {pictures}")


if __name__ == "__main__":
    asyncio.run(main())
