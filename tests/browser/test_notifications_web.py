"""The React front end of the notifications, built and in Chromium: what it shows, and what its test page says of it."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from tests.browser.chromium import chromium
from tests.browser.front_end_users import WEB, build, calling, program, signed_in
from tests.browser.hostile import MARKUP, TEXTS
from tests.browser.pages import DESKTOP, LATER, PHONE
from tests.support.node import printed
from tests.support.node import program as node_program
from tests.support.server import Server, running
from tests.support.source import ROOT

pytestmark = pytest.mark.asyncio(loop_scope="module")

AXE = ROOT / "js/node_modules/axe-core/axe.min.js"
UNLIMITED = {f"NOTIFICATIONS_{name}": "0" for name in ("SEND_RATE", "CONNECT_RATE", "MAX_STREAMS")}

LINES = """(lines) => lines.map((line) => ({
    kind: line.querySelector('.pill').textContent,
    text: line.querySelector('.what').textContent,
}))"""


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built front end."""
    folder = tmp_path_factory.mktemp("front-end")
    build(folder)
    return folder


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """The application, and the front end beside it."""
    env = {"FRONT_END": str(dist), "NOTIFICATIONS_PACE": "0", "NOTIFICATIONS_AWAY": "0.2", **UNLIMITED}
    async with running("tests.browser.front_end:app", env=env, cwd=tmp_path_factory.mktemp("data")) as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    """Chromium."""
    async with chromium() as browser:
        yield browser


async def test_its_types_are_right() -> None:
    """tsc, strict, has nothing to say, neither of the application nor of how it uses the package's types."""
    assert await printed(program("tsc"), "--noEmit", cwd=WEB) == ""


async def test_nothing_of_it_is_inline(dist: Path) -> None:
    """The built page has one script and one style, both of them files."""
    html = (dist / "index.html").read_text()
    assert re.findall(r"<(?:script|style)[^>]*>(?=[^<\s])|\son\w+=|\sstyle=|data:", html) == []
    assert sorted(path.suffix for path in (dist / "assets").iterdir()) == [".css", ".js", ".svg"]


async def test_a_notification_comes_to_bell_list_and_store(server: Server, browser: Browser) -> None:
    """One that is created through the API is in the bell's badge, in the list and in the store's count at once; marked as
    read it is read for the server, too, and removed it is gone."""
    async with calling(server, "ada") as ada, calling(server, "ben") as ben, signed_in(browser, server, "Ada") as page:
        await expect(page.get_by_test_id("unread")).to_have_text("0 unread")
        sent = {"to": "ada", "title": "New Task", "message": "Task assigned", "href": "/dashboard"}
        (created,) = (await ben.post("/notifications", sent))["created"]
        await ben.post("/notifications", {"to": "ada", "title": "Another", "level": "error"})
        await expect(page.get_by_role("button", name="Notifications, 2 new")).to_be_visible()
        await expect(page).to_have_title("(2) Notifications")
        await expect(page.get_by_test_id("unread")).to_have_text("2 unread")
        rows = page.locator(".inbox .item")
        await expect(rows.locator("strong")).to_have_text(["Another", "New Task"])
        await expect(rows.nth(1)).to_contain_text("Ben Okafor · just now")
        await page.get_by_role("button", name="Mark as read: New Task").click()
        await expect(page.get_by_test_id("unread")).to_have_text("1 unread")
        await page.get_by_role("button", name="Notifications, 1 new").click()
        await page.get_by_role("button", name="Remove: Another").click()
        await expect(rows).to_have_count(1)
        await page.reload()
        await expect(rows.locator("strong")).to_have_text(["New Task"])
        await expect(page.get_by_test_id("unread")).to_have_text("0 unread")
        assert [(each["id"], each["read"]) for each in (await ada.get("/notifications"))["items"]] == [
            (created["id"], True)
        ]


async def test_users_see_each_other(server: Server, browser: Browser) -> None:
    """Who is there, what one writes to the other, what everybody is told, and what became of a workflow: each page has it as
    soon as it has happened, and only for those who may see it."""
    async with signed_in(browser, server, "Ada") as ada:
        cleo_in_list = ada.locator(".people li", has_text="Cleo")
        await expect(cleo_in_list).to_have_class("offline")
        async with signed_in(browser, server, "Cleo") as cleo:
            await expect(cleo_in_list).to_have_class("online")
            await ada.get_by_label("To", exact=True).select_option("cleo")
            await ada.get_by_label("Title").fill("For you")
            await ada.get_by_role("button", name="Send").click()
            await expect(cleo.locator(".inbox")).to_contain_text("For you")
            await ada.get_by_label("What").fill("Lunch is ready")
            await ada.get_by_role("button", name="Announce").click()
            await expect(cleo.get_by_label("Announcements")).to_contain_text("Lunch is ready")
            await ada.get_by_role("button", name="Take back: Lunch is ready").click()
            await expect(cleo.get_by_label("Announcements")).to_have_count(0)
            await ada.get_by_role("button", name="Archive the files").click()
            await expect(ada.locator(".runs > li").first).to_contain_text("completed")
            await expect(ada.locator(".inbox")).to_contain_text("Archive the files: completed")
            await expect(cleo.get_by_role("heading", name="Workflows")).to_have_count(0)
            await expect(cleo.get_by_role("heading", name="Send a notification")).to_have_count(0)
        await expect(cleo_in_list).to_have_class("offline")


async def test_hostile_texts_stay_texts(server: Server, browser: Browser) -> None:
    """Whatever others send is shown character by character, does nothing, and makes no page wider than its window."""
    async with calling(server, "cleo"), calling(server, "ada") as ada, signed_in(browser, server, "Cleo") as page:
        for text in TEXTS.values():
            for body in ({"title": text}, {"title": "Message", "message": text}, {"title": "Link", "href": text}):
                try:
                    await ada.post("/notifications", {"to": "cleo", **body})
                except (AssertionError, UnicodeEncodeError):  # refused by the server, or not even JSON
                    continue
        await ada.post("/announcements", {"title": MARKUP[0], "message": MARKUP[1], "minutes": 1})
        await expect(page.locator(".announcements")).to_contain_text(MARKUP[0])
        await page.locator(".hw-bell-button").click()
        for place in (".inbox", ".hw-bell-panel"):
            for text in MARKUP:
                await expect(page.locator(place)).to_contain_text(text)
        for size in (DESKTOP, PHONE):
            await page.set_viewport_size(size)
            assert await page.evaluate("() => looking.tooWide()") == []


async def test_a_real_restart_is_survived(dist: Path, browser: Browser, tmp_path: Path) -> None:
    """While the server is gone the page says so; what was created before the page was back is there as soon as it is."""
    target, env = "tests.browser.front_end:app", {"FRONT_END": str(dist), **UNLIMITED}
    gone = "status of 5|net::ERR_"  # what a browser says, however the server went
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(running(target, env=env, cwd=tmp_path))
        page = await stack.enter_async_context(signed_in(browser, server, "Cleo", allowed=gone))
        await server.stop()
        await expect(page.locator(".banner")).to_contain_text("The connection is lost")
        arguments = ["--port", str(server.port)]
        again = await stack.enter_async_context(running(target, env=env, cwd=tmp_path, args=arguments))
        async with calling(again, "ben") as ben:
            await ben.post("/notifications", {"to": "cleo", "title": "Since then"})
        await expect(page.locator(".inbox")).to_contain_text("Since then")
        await expect(page.locator(".banner")).to_have_count(0)


@pytest.mark.parametrize(("scheme", "size"), [("light", DESKTOP), ("dark", PHONE)])
async def test_nobody_is_kept_out(server: Server, browser: Browser, scheme: Any, size: Any) -> None:
    """Axe finds nothing serious on any page, and nothing is wider than its window."""
    async with calling(server, "ben") as ben:
        await ben.post("/notifications", {"to": "ben", "title": "Read me", "level": "warning"})
        async with signed_in(browser, server, "Ben", color_scheme=scheme, viewport=size) as page:
            await page.evaluate(AXE.read_text())
            await expect(page.locator(".inbox")).to_contain_text("Read me")
            await assert_open_to_all(page)
            await page.get_by_role("link", name="Connection test").click()
            await page.get_by_role("button", name="Connect", exact=True).click()
            await expect(page.get_by_test_id("lab-state")).to_have_text("open")
            await assert_open_to_all(page)
            await page.get_by_role("button", name="Disconnect").click()
            await expect(page.get_by_test_id("lab-state")).to_have_text("closed")
            await page.get_by_role("button", name="sign out").click()
            await expect(page.get_by_role("button", name="Ada")).to_be_visible()
            await assert_open_to_all(page)


async def assert_open_to_all(page: Page) -> None:
    """Axe finds nothing serious, and nothing sticks out."""
    found = await page.evaluate("() => looking.barriers()")
    assert found == [], json.dumps(found, indent=1)
    assert await page.evaluate("() => looking.tooWide()") == []


# -- the test page -------------------------------------------------------------------------------------------------------

BUTTONS = {
    "Cut the connection": "ben",
    "Use a wrong token": "ada",
    "Let the token expire": "ben",
    "Restart the server": "ada",
    "Go offline": "ben",
    "Put a bad proxy between": "ada",
}
"""With the user who presses each."""

REFUSED = r"status of 401|ERR_NETWORK_CHANGED"
"""What a browser says of a wrong token: the server's answer."""


async def pressed(browser: Browser, server: Server, title: str, user: str) -> list[dict[str, str]]:
    """The lines of the timeline after a button was pressed, and what it has begun has ended."""
    path = "/dashboard/test-sse"
    name = user.capitalize()
    async with signed_in(browser, server, name, path, allowed=REFUSED if "token" in title else "$^") as page:
        await page.get_by_role("button", name=title).click()
        await expect(page.locator(".run header .pill:not(.busy)")).to_have_text("nothing lost", timeout=2 * LATER)
        await expect(page.get_by_test_id("live")).to_have_text("live")  # the page's own was left alone, or is back
        lines: list[dict[str, str]] = await page.locator(".run .timeline > li").evaluate_all(LINES)
        return lines


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def timelines(browser: Browser, server: Server) -> dict[str, list[dict[str, str]]]:
    """What every button has led to, all of them pressed at the same time, each on a page of its own."""
    presses = (pressed(browser, server, title, user) for title, user in BUTTONS.items())
    return dict(zip(BUTTONS, await asyncio.gather(*presses), strict=True))


STATES = ("connecting", "open", "waiting", "polling", "offline", "failed", "closed", "suspended", "idle")


class Timeline:
    """What a timeline says, by what a test asks of it."""

    def __init__(self, lines: list[dict[str, str]]) -> None:
        self.states = " ".join(line["kind"] for line in lines if line["kind"] in STATES)
        self.text = "\n".join(f"{line['kind']}: {line['text']}" for line in lines)
        self.verdict = next(line["text"] for line in lines if line["kind"] == "complete")


@pytest.fixture(params=BUTTONS)
def verdict(request: pytest.FixtureRequest, timelines: dict[str, list[dict[str, str]]]) -> str:
    """What a button's timeline ends with."""
    return Timeline(timelines[request.param]).verdict


async def test_nothing_is_lost_whatever_is_broken(verdict: str) -> None:
    """As many notifications have come as were created while something was broken, each once, in their order."""
    match = re.match(r"(\d+) sent · (\d+) received · 0 lost · 0 doubled · 0 out of order", verdict)
    assert match, verdict
    assert int(match[1]) == int(match[2]) >= 3


async def test_a_verdict_can_be_bad() -> None:
    """What is missing, has come twice or in another order is counted; what was not sent by the test page is not."""
    source = await printed(node_program("esbuild"), str(WEB / "src/lab/runs.ts"), "--format=esm")
    call = "console.log(JSON.stringify(judge(['1', '2', '3'], ['2', '9', '1', '1'])))"
    counted = json.loads(await printed("node", "--input-type=module", "--eval", f"{source}\n{call}"))
    assert counted == {"sent": 3, "received": 2, "lost": 1, "doubled": 1, "reordered": 2}


async def test_a_cut_is_mended_from_the_last_id(timelines: dict[str, list[dict[str, str]]]) -> None:
    """At once after a stream that had lasted, then after a delay."""
    shown = Timeline(timelines["Cut the connection"])
    assert re.fullmatch(r"connecting open (waiting connecting ){2,}(polling )*open", shown.states), shown.text
    assert re.search(r"network failed: the connection was cut; tries again at once", shown.text)
    assert re.search(r"tries again in \d\.\d\d s.*failures: 1.*delay: \d+ ms.*cursor: \d+", shown.text)


async def test_a_wrong_token_is_refused_for_good(timelines: dict[str, list[dict[str, str]]]) -> None:
    """After another one was asked for once; and the right one goes on from where it was."""
    shown = Timeline(timelines["Use a wrong token"])
    assert shown.states == "connecting open connecting connecting failed connecting open", shown.text
    before, _, _ = shown.text.partition("You signed in again")
    assert before.count("Token: asked for another token") == 1
    assert re.search(r"failed: the server refused: 401, .*; stays so until it is told to connect", shown.text)


async def test_a_token_is_renewed_before_and_after_its_end(timelines: dict[str, list[dict[str, str]]]) -> None:
    """With a warning without a failure; without one right after the stream's end, with a new token."""
    shown = Timeline(timelines["Let the token expire"])
    assert re.search("asked for a new token, because the server said that this one expires", shown.text)
    assert re.search("reason: token expiring", shown.text)
    assert re.search("reason: closing", shown.text)
    assert re.search("asked for another token, because this one was refused", shown.text)
    assert "401" not in shown.text


async def test_a_restart_is_waited_for(timelines: dict[str, list[dict[str, str]]]) -> None:
    """No 503 ends it, and it comes back no sooner than Retry-After says."""
    shown = Timeline(timelines["Restart the server"])
    delays = [
        int(each)
        for each in re.findall(r"the server refused: 503, .*?(?:delay: (\d+) ms)", shown.text.replace("\n", "¶"))
    ]
    assert shown.text.count("503, the server is being restarted") == 2
    assert min(delays, default=0) >= 1000, shown.text
    assert shown.states.endswith("open")


async def test_offline_is_waited_for(timelines: dict[str, list[dict[str, str]]]) -> None:
    """It waits, and is back as soon as the browser says that there is a network."""
    shown = Timeline(timelines["Go offline"])
    assert re.fullmatch(r"connecting open offline (connecting waiting )?connecting open", shown.states), shown.text
    assert re.search("reason: online", shown.text)


async def test_polling_takes_over_where_streams_bring_nothing(timelines: dict[str, list[dict[str, str]]]) -> None:
    """After three tries, and streaming comes back by itself."""
    shown = Timeline(timelines["Put a bad proxy between"])
    states = r"connecting open waiting (connecting waiting ){2}connecting polling polling open"
    assert re.fullmatch(states, shown.states), shown.text
    assert re.search(r"polling: .*; asks for events instead.*failures: 3(?!by)", shown.text), shown.text
    assert re.search(r"polling: .*; is answered when it asks.*failures: 3by: poll", shown.text), shown.text


async def test_a_burst_is_throttled_for_who_wants_that(browser: Browser, server: Server) -> None:
    """One handler hears all, the other one at most every so often, and the last."""
    shown = Timeline(await pressed(browser, server, "Throttle a burst", "ben"))
    pattern = r"13 sent · 13 received · 0 lost.*called (\d+) times in ([\d.]+) s, the last time for “Probe 13”"
    match = re.search(pattern, shown.verdict)
    assert match, shown.verdict
    assert 2 <= int(match[1]) <= float(match[2]) / 0.15 + 2


async def test_who_may_not_send_is_told(server: Server, browser: Browser) -> None:
    """The test page needs notifications of its own; who may create none is told so, and can still connect."""
    async with signed_in(browser, server, "Cleo", "/dashboard/test-sse") as page:
        await expect(page.locator(".notice")).to_contain_text("Cleo Lindqvist may not")
        await expect(page.get_by_role("button", name="Cut the connection")).to_be_disabled()
        await page.get_by_role("button", name="Connect", exact=True).click()
        await expect(page.get_by_test_id("lab-state")).to_have_text("open")
        lines: list[dict[str, str]] = await page.locator(".run .timeline > li").evaluate_all(LINES)
        assert [line["kind"] for line in lines][:3] == ["You", "connecting", "open"]
