"""Lists that grow fast, in a real browser: thousands of rows at once, and readers who look at something else."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, Route, expect

import headwater
from headwater import Draft
from tests.browser.chromium import chromium
from tests.browser.reader import LONGEST, WATCH, hide, longest_task, watch_tasks
from tests.support.server import Server, running

pytestmark = pytest.mark.asyncio(loop_scope="module")

LATER = 30_000
"""Milliseconds for what a busy machine takes its time with."""

MANY = 5_000
BATCH = 1_000
"""Events in one request."""

LINE = {"agentType": "code", "level": "info"}
KEPT = 1_000
"""Rows that the log of a room keeps."""

FRAMES = 500
"""Rows that the playground keeps."""


@dataclass(frozen=True)
class Rooms:
    """The rooms, and their log's file, to which other processes may append."""

    server: Server
    log: str

    async def say(self, room: str, count: int, *, begin: int = 0) -> None:
        """Lines with numbers, as many at a time as a publisher may send."""
        stamp = "2026-01-01T00:00:00.000Z"
        drafts = [
            Draft.json(f"room:{room}", "log", {**LINE, "timestamp": stamp, "message": f"line {number} of a burst"})
            for number in range(begin, begin + count)
        ]
        async with headwater.publisher(self.log) as log:
            for first in range(0, count, BATCH):
                await log.publish_all(drafts[first : first + BATCH])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    """Chromium."""
    async with chromium() as browser:
        yield browser


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rooms(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rooms]:
    """The rooms, in which one has been built."""
    folder = tmp_path_factory.mktemp("rooms")
    env = {"ROOMS_DATA": str(folder), "ROOMS_PACE": "0"}
    async with running("examples.rooms.app:app", args=["--port", "0"], env=env) as server:
        yield Rooms(server, f"sqlite:///{folder}/events.db")


@pytest_asyncio.fixture(loop_scope="module")
async def page(browser: Browser) -> AsyncIterator[Page]:
    """A page without errors."""
    context = await browser.new_context(viewport={"width": 1280, "height": 800})
    complaints: list[str] = []
    page = await context.new_page()
    page.on("pageerror", lambda error: complaints.append(str(error)))
    yield page
    await context.close()
    assert complaints == []


async def opened(page: Page, rooms: Rooms) -> str:
    """Open a finished room; its id."""
    await page.goto(f"{rooms.server.url}/rooms")
    await expect(page.locator("#status")).to_have_text("ready", timeout=LATER)
    return page.url.partition("#")[2]


async def is_at_end(page: Page, selector: str) -> bool:
    """Whether a box is scrolled to its end."""
    script = "box => box.scrollTop + box.clientHeight >= box.scrollHeight - 1"
    return bool(await page.locator(selector).evaluate(script))


async def test_whoever_scrolls_up_stays_there(page: Page, rooms: Rooms) -> None:
    """New lines do not move what somebody reads. A button says how many there are, and leads to them; from then on, as from
    the beginning, the log follows."""
    room = await opened(page, rooms)
    assert await is_at_end(page, "#log")
    await page.locator("#log").focus()
    await page.keyboard.press("Home")
    await page.wait_for_function("() => document.getElementById('log').scrollTop === 0")
    await rooms.say(room, 3)
    await expect(page.get_by_role("button", name="3 new below")).to_be_visible(timeout=LATER)
    assert await page.locator("#log").evaluate("box => box.scrollTop") == 0
    await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    await expect(page.locator("#below")).to_be_hidden()
    await expect(page.locator("#log")).to_be_focused()
    assert await is_at_end(page, "#log")
    await rooms.say(room, 2, begin=3)
    await expect(page.locator(".line").last).to_contain_text("line 4 of")
    assert await is_at_end(page, "#log")
    await expect(page.locator("#below")).to_be_hidden()


async def test_lines_that_are_not_asked_for_are_not_counted_as_new(page: Page, rooms: Rooms) -> None:
    """Whoever looks at errors only is not told of the rest, and finds it all when they ask for it."""
    room = await opened(page, rooms)
    for level in ("info", "success"):
        await page.click(f"#level-{level}")
    await expect(page.locator(".line.info:visible")).to_have_count(0)
    before = await page.locator(".line").count()
    await rooms.say(room, 4)
    await expect(page.locator(".line")).to_have_count(before + 4, timeout=LATER)
    await expect(page.locator("#below")).to_be_hidden()
    await page.click("#level-warn")
    await page.click("#level-error")
    await expect(page.locator("#empty")).to_have_text("No line is like that.")
    await page.click("#level-info")
    await expect(page.locator(".line:visible").last).to_contain_text("line 3 of")


async def test_a_burst_of_lines_leaves_the_page_usable(page: Page, rooms: Rooms) -> None:
    """Five thousand lines at once: no task of the page takes long, it keeps and shows the last thousand in their order, and
    says how many there were. Whoever comes later sees the same."""
    room = await opened(page, rooms)
    await watch_tasks(page)
    await rooms.say(room, MANY)
    await expect(page.locator(".line").last).to_contain_text(f"line {MANY - 1} of", timeout=LATER)
    await expect(page.locator("#count")).to_have_text(re.compile(r"^1,000 lines, the last of 5,\d\d\d$"))
    assert await longest_task(page) < LONGEST
    shown = await page.locator(".line .message").all_text_contents()
    assert shown == [f"line {number} of a burst" for number in range(MANY - KEPT, MANY)]
    assert await is_at_end(page, "#log")
    late = await page.context.new_page()
    await late.add_init_script(f"({WATCH})()")
    await late.goto(page.url)
    await expect(late.locator(".line").last).to_contain_text(f"line {MANY - 1} of", timeout=LATER)
    await expect(late.locator(".line")).to_have_count(KEPT)
    assert await longest_task(late) < LONGEST


async def test_a_burst_of_frames_leaves_the_playground_usable(page: Page) -> None:
    """Five thousand events at once: every byte is counted, the last frames are shown and the page says so; while they come
    the connection can be cut."""
    async with running(["serve", "--dev", "--port", "0", "--broker", "memory://"]) as hub:
        await page.goto(f"{hub.url}/playground?channel=burst&connect")
        await expect(page.locator("#state")).to_have_text("open")
        await watch_tasks(page)
        async with httpx.AsyncClient(base_url=hub.url, trust_env=False) as http:
            for first in range(0, MANY, BATCH):
                numbers = range(first, first + BATCH)
                events = [{"channel": "burst", "data": {"n": number}} for number in numbers]
                (await http.post("/events", json=events)).raise_for_status()
        await expect(page.locator(".frame").last).to_contain_text(f'{{"n":{MANY - 1}}}', timeout=LATER)
        await expect(page.locator("#count-events")).to_have_text(f"{MANY + 1:,}")
        assert await longest_task(page) < LONGEST
        assert await page.locator("#rows > *").count() == FRAMES
        await expect(page.locator("#kept")).to_have_text(re.compile("^Shown are the last 500 frames of 5,0"))
        await page.click("#clear")
        await expect(page.locator("#empty")).to_be_visible()
        await expect(page.locator("#kept")).to_be_hidden()
        await page.click("#many")
        await expect(page.locator(".frame")).to_have_count(100)
        await expect(page.locator("#published")).to_have_text(re.compile(r"^201 · \S+ to \S+$"))


async def test_who_listens_to_the_page_is_told_now_and_then(page: Page, rooms: Rooms) -> None:
    """A log is not read out line by line: it is silent, and after a while a short sentence says how much there was."""
    await page.clock.install()
    room = await opened(page, rooms)
    await expect(page.locator("#log")).to_have_attribute("aria-live", "off")
    await rooms.say(room, 1, begin=100)
    await expect(page.locator(".line").last).to_contain_text("line 100 of", timeout=LATER)  # and all before it
    await page.clock.run_for(11_000)
    await expect(page.locator("#summary")).to_have_text(re.compile("lines more"))
    before = str(await page.locator("#summary").text_content())
    await rooms.say(room, 7)
    await expect(page.locator(".line").last).to_contain_text("line 6 of", timeout=LATER)
    await expect(page.locator("#summary")).to_have_text(before)
    await page.clock.run_for(11_000)
    await expect(page.locator("#summary")).to_have_text("7 lines more")


async def test_where_streams_do_not_get_through_the_log_is_asked_for(page: Page, rooms: Rooms) -> None:
    """The page says so, and shows each line once, before, meanwhile and when streams work again."""
    room = await opened(page, rooms)
    await rooms.say(room, 1)
    await expect(page.locator(".line").last).to_contain_text("line 0 of", timeout=LATER)

    async def refuse(route: Route) -> None:
        if route.request.headers["accept"] == "text/event-stream":
            await route.fulfill(status=503, headers={"retry-after": "0"})
        else:
            await route.continue_()

    await page.route("**/logs*", refuse)
    for hidden in (True, False):
        await hide(page, hidden)
    await expect(page.locator("#state")).to_have_text("polling", timeout=LATER)
    await expect(page.locator("#banner")).to_contain_text("asked for instead")
    await rooms.say(room, 2, begin=1)
    await expect(page.locator(".line").last).to_contain_text("line 2 of", timeout=LATER)
    await page.unroute_all()
    await expect(page.locator("#state")).to_have_text("live", timeout=LATER)
    await rooms.say(room, 1, begin=3)
    await expect(page.locator(".line").last).to_contain_text("line 3 of", timeout=LATER)
    shown = await page.locator(".line .message").all_text_contents()
    assert shown[-4:] == [f"line {number} of a burst" for number in range(4)]
