"""The reader of a page: whether they look at it, and how long it keeps them waiting (the longest task of its main thread, as
the browser measures it).

Knows interfaces of browsers; must not know what a page does.
"""

from __future__ import annotations

from typing import Final

from playwright.async_api import Page

LONGEST: Final = 200
"""Milliseconds for which a page may not answer its reader."""

WATCH: Final = """() => {
    window.tasks = []
    new PerformanceObserver((list) => window.tasks.push(...list.getEntries())).observe({ type: 'longtask' })
}"""
"""Also good as a page's first script."""

_LONGEST: Final = """() => {
    const [{ domContentLoadedEventEnd: loaded }] = performance.getEntriesByType('navigation')
    return Math.max(0, ...window.tasks.filter(({ startTime }) => startTime > loaded).map(({ duration }) => duration))
}"""


async def watch_tasks(page: Page) -> None:
    """Watch from now on."""
    await page.evaluate(WATCH)


async def longest_task(page: Page) -> float:
    """Milliseconds of the longest task since then, but for loading the page; 0 if none took longer than 50."""
    return float(await page.evaluate(_LONGEST))


async def hide(page: Page, hidden: bool) -> None:
    """Make a page believe that it is hidden, or seen again."""
    script = """(hidden) => {
        Object.defineProperty(document, 'hidden', { value: hidden, configurable: true })
        document.dispatchEvent(new Event('visibilitychange'))
    }"""
    await page.evaluate(script, hidden)
