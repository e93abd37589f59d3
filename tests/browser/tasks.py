"""How long a page keeps its reader waiting: the longest task of its main thread, as the browser measures it.

Knows one interface of browsers; must not know what a page does.
"""

from __future__ import annotations

from typing import Final

from playwright.async_api import Page

LONGEST: Final = 200
"""Milliseconds for which a page may not answer its reader."""

WATCH: Final = """() => {
    window.longest = 0
    const watch = (list) => (window.longest = Math.max(window.longest, ...list.getEntries().map(({ duration }) => duration)))
    new PerformanceObserver(watch).observe({ type: 'longtask' })
}"""


async def watch_tasks(page: Page) -> None:
    """Watch from now on."""
    await page.evaluate(WATCH)


async def longest_task(page: Page) -> float:
    """Milliseconds of the longest task since then; 0 if none took longer than 50."""
    return float(await page.evaluate("() => window.longest"))
