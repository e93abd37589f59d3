"""The pages of the rooms and the debates in a real browser: live, through a server's death and its successor's start."""

from __future__ import annotations

import json
import re
import shutil
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, async_playwright, expect

from tests.examples.reading import posted
from tests.support.raw import RawClient, streaming
from tests.support.server import Server, running

ROOMS, DEBATES = "examples.rooms.app:app", "examples.debates.app:app"
PATIENCE = 30_000
"""Milliseconds to wait for what a page shows: it comes back by itself after some seconds, and machines can be busy."""

SLOWLY = 2000
"""Words in a minute, so few that a test can do something before a debate is over."""

Open = Callable[[str], Awaitable[Page]]


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    """Chromium."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        yield browser
        await browser.close()


@pytest.fixture
async def visit(browser: Browser) -> AsyncIterator[Open]:
    """Opens pages; an error of their scripts, or anything that their policy forbids, fails the test."""
    complaints: list[str] = []

    async def open_page(url: str) -> Page:
        page = await (await browser.new_context(viewport={"width": 1280, "height": 900})).new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda each: complaints.append(each.text) if "Content Security" in each.text else None)
        await page.goto(url)
        return page

    expect.set_options(timeout=PATIENCE)
    yield open_page
    assert complaints == []


@asynccontextmanager
async def rooms_in(folder: Path, *, port: int = 0, pace: float = 0.05) -> AsyncIterator[Server]:
    """The rooms, in development."""
    env = {"ROOMS_DATA": str(folder), "ROOMS_PACE": str(pace)}
    async with running(ROOMS, args=["--port", str(port)], env=env) as server:
        yield server


@asynccontextmanager
async def debates_in(folder: Path, *, port: int = 0, speed: float = 12_000) -> AsyncIterator[Server]:
    """The debates, in development."""
    env = {"DEBATES_DATA": str(folder), "DEBATES_SPEED": str(speed)}
    async with running(DEBATES, args=["--port", str(port)], env=env) as server:
        yield server


async def token_of(server: Server, path: str) -> str:
    """A development token."""
    async with await RawClient.connect(server.url) as client:
        await client.request(path, {"Content-Length": "0"}, method="POST")
        return str(json.loads(await client.read_body())["token"])


def bearing(token: str) -> dict[str, str]:
    """The header that carries a token."""
    return {"Authorization": f"Bearer {token}"}


async def ids_on(page: Page, selector: str) -> list[str]:
    """The ids of the events that a page shows, in order."""
    found: list[str] = await page.locator(selector).evaluate_all("items => items.map((item) => item.dataset.id)")
    return found


async def ids_in_log(url: str, count: int, types: set[str]) -> list[str]:
    """The ids of the first events of some types."""
    found: list[str] = []
    async with streaming(url) as client:
        while len(found) < count:
            message = await client.message()
            if message.type in types:
                found.append(message.id)
    return found


async def assert_fits_a_phone(page: Page) -> None:
    """Nothing is wider than a small screen."""
    await page.set_viewport_size({"width": 360, "height": 640})
    assert await page.locator("body").evaluate("body => body.scrollWidth") == 360


# -- rooms ---------------------------------------------------------------------------------------------------------------


async def test_a_visitor_sees_agents_at_work(tmp_path: Path, visit: Open) -> None:
    """“Log messages display with timestamp and agent type”: the first visit opens a room, its log grows by itself, its agents
    finish one after the other, and what they made is there to see and to take away."""
    async with rooms_in(tmp_path) as server:
        page = await visit(f"{server.url}/rooms")
        await expect(page.locator("#state")).to_have_text("live")
        first = page.locator(".line", has_text="Starting story generation")
        await expect(first.locator("time")).to_have_text(re.compile(r"\d+:\d\d:\d\d"))
        await expect(first.locator(".agent")).to_have_text("story")
        await expect(page.locator("#status")).to_have_text("ready")
        for agent in ("story", "asset", "code", "deploy"):
            await expect(page.locator(f"#stage-{agent}")).to_have_class("done")
        assert await page.locator("#picture").evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
        await expect(page.locator("#files a")).to_have_text(["story.md", "house.svg", "tour.py", "room.zip"])
        await expect(page.locator("#list li.ready")).to_have_count(1)
        await expect(page.locator("#progress")).to_have_js_property("value", 4)
        await expect(page.locator("#finished")).to_have_text("4 of 4 agents have finished")
        await expect(page.locator("#cursor")).to_have_text((await ids_on(page, ".line"))[-1])
        await expect(page.locator("#lag")).to_have_text(re.compile(r"^\d+ ms$"))
        await expect(page.locator(".bar .home")).to_have_count(0)  # on its own it has no gallery to lead back to
        await assert_fits_a_phone(page)


async def test_the_log_can_be_searched(tmp_path: Path, visit: Open) -> None:
    """Levels, an agent and a text choose lines, and the count says how many; what agents outside say is shown as text."""
    async with rooms_in(tmp_path, pace=0) as server:
        page = await visit(f"{server.url}/rooms")
        await expect(page.locator("#status")).to_have_text("ready")
        room = page.url.split("#")[1]
        evil = "<img src=x onerror=alert(1)>"
        line = {"agentType": "code", "level": "error", "message": evil, "metadata": {"<b>": evil}}
        token = await token_of(server, "/rooms/dev/token")
        await posted(server.url, f"/api/v1/rooms/{room}/logs", line, bearing(token))
        await expect(page.locator(".line.error .message", has_text=evil)).to_have_text(evil)
        assert await page.locator("#log img, #log b").count() == 0

        for level in ("info", "success", "warn"):
            await page.locator(f"#level-{level}").click()
        errors = await page.locator(".line.error").count()  # ours, and one more if the story needed another attempt
        await expect(page.locator(".line:visible")).to_have_count(errors)
        await expect(page.locator(".line.error:visible")).to_have_count(errors)
        await expect(page.locator("#count")).to_contain_text(f"{errors} of ")
        for level in ("info", "success", "warn"):
            await page.locator(f"#level-{level}").click()
        await page.get_by_label("Agent", exact=True).select_option("deploy")
        await page.get_by_label("Find in the log").fill("ADDING")
        await expect(page.locator(".line:visible")).to_have_count(4)


async def test_a_visitor_opens_a_room(tmp_path: Path, visit: Open) -> None:
    """With a name and words; and is told what is wrong with them."""
    async with rooms_in(tmp_path, pace=0) as server:
        page = await visit(f"{server.url}/rooms")
        await expect(page.locator("#status")).to_have_text("ready")
        await page.get_by_label("Words for its story").fill("w0rds")
        await page.get_by_role("button", name="Let the agents in").click()
        await expect(page.locator("#refused")).to_contain_text("up to 6 words of letters")
        await page.get_by_label("Name of the house").fill("Weir <i>Lane</i>")
        await page.get_by_label("Words for its story").fill("lantern, fox")
        await page.get_by_role("button", name="Let the agents in").click()
        await expect(page.locator("#room-title")).to_have_text("Weir <i>Lane</i>")
        await expect(page.locator("#story")).to_contain_text("lantern")
        await expect(page.locator("#story")).to_contain_text("fox")
        await expect(page.locator("#list li")).to_have_count(2)


async def test_the_rooms_page_survives_its_server(tmp_path: Path, visit: Open) -> None:
    """The server is killed in the middle of the work. The page says so, comes back by itself when there is a server again,
    and has every line of the log, once, in order."""
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(rooms_in(tmp_path, pace=0.4))
        page = await visit(f"{server.url}/rooms")
        await expect(page.locator("#stage-story")).to_have_class("done")
        await server.stop(signal.SIGKILL)
        await expect(page.locator("#banner")).to_contain_text("The connection is lost")
        await expect(page.get_by_role("button", name="Try now")).to_be_visible()
        await expect(page.locator("#state")).to_have_text(re.compile("reconnecting|connecting"))
        server = await stack.enter_async_context(rooms_in(tmp_path, port=server.port))
        await expect(page.locator("#banner")).to_contain_text("Back.")  # for some seconds
        await expect(page.locator("#status")).to_have_text("ready")
        await expect(page.locator(".line", has_text="The server was restarted")).to_have_count(1)
        await expect(page.locator("#stages .done")).to_have_count(4)
        await expect(page.locator("#files a")).to_have_text(["story.md", "house.svg", "tour.py", "room.zip"])
        await expect(page.locator("#list li.ready")).to_have_count(1)
        shown = await ids_on(page, ".line")
        token, room = await token_of(server, "/rooms/dev/token"), page.url.split("#")[1]
        url = f"{server.url}/api/v1/rooms/{room}/logs?since=all&token={token}"
        assert shown == await ids_in_log(url, len(shown), {"log"})


async def test_the_rooms_page_gets_another_token(tmp_path: Path, visit: Open) -> None:
    """A server that no longer accepts the page's token answers 401. The page gets another one, and goes on from where it
    was."""
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(rooms_in(tmp_path, pace=0))
        page = await visit(f"{server.url}/rooms")
        await expect(page.locator("#status")).to_have_text("ready")
        before = await ids_on(page, ".line")
        await server.stop(signal.SIGKILL)
        (tmp_path / "secret").unlink()
        server = await stack.enter_async_context(rooms_in(tmp_path, port=server.port))
        token, room = await token_of(server, "/rooms/dev/token"), page.url.split("#")[1]
        line = {"agentType": "code", "level": "warn", "message": "While you were away"}
        await posted(server.url, f"/api/v1/rooms/{room}/logs", line, bearing(token))
        await expect(page.locator(".line").last).to_contain_text("While you were away")
        assert (await ids_on(page, ".line"))[:-1] == before


async def test_an_eventsource_reads_a_room_as_documented(tmp_path: Path, visit: Open) -> None:
    """“eventSource.addEventListener('connected', …)”, “('log', …)”, as the documented client does it; its header, which no
    browser sends, becomes `?token=`."""
    async with rooms_in(tmp_path, pace=0) as server:
        page = await visit(f"{server.url}/rooms")
        await expect(page.locator("#status")).to_have_text("ready")
        token, room = await token_of(server, "/rooms/dev/token"), page.url.split("#")[1]
        heard = await page.evaluate(
            """(url) => new Promise((resolve) => {
                const heard = []
                const eventSource = new EventSource(url)
                eventSource.addEventListener('connected', (event) => heard.push(JSON.parse(event.data).roomId))
                eventSource.addEventListener('log', (event) => {
                    const log = JSON.parse(event.data)
                    heard.push(`${log.agentType} - ${log.level}: ${log.message}`)
                    eventSource.close()
                    resolve(heard)
                })
            })""",
            f"{server.url}/api/v1/rooms/{room}/logs?token={token}&last=1",
        )
    assert heard[0] == room
    assert re.fullmatch(r"orchestrator - success: Room ready in [\d.]+ s", heard[1])


# -- debates -------------------------------------------------------------------------------------------------------------


async def test_a_visitor_watches_a_debate(tmp_path: Path, visit: Open) -> None:
    """The first visit starts a debate; the page shows what is said, phase after phase, up to the end."""
    async with debates_in(tmp_path) as server:
        page = await visit(f"{server.url}/debates")
        await expect(page.locator("#status")).to_have_text("over")
        await expect(page.locator(".bubble")).to_have_count(19)
        phases = ["opening", "arguments", "cross examination", "rebuttal", "closing", "the end, after 19 utterances"]
        await expect(page.locator(".phase")).to_have_text(phases)
        await expect(page.locator("#phases .past")).to_have_count(5)
        await expect(page.locator("#state")).to_have_text("ended")
        await assert_fits_a_phone(page)


async def test_a_late_visitor_sees_where_the_debate_is(tmp_path: Path, visit: Open) -> None:
    """“SHALL display current phase and speaker at all times”: also to those who come during a pause, with all that was said
    before."""
    async with debates_in(tmp_path, speed=SLOWLY) as server:
        page = await visit(f"{server.url}/debates")
        await expect(page.locator(".bubble").nth(2)).to_be_visible()
        await page.get_by_role("button", name="Pause").click()
        await expect(page.locator("#status")).to_have_text("paused")
        late = await visit(page.url)
        await expect(late.locator("#status")).to_have_text("paused")
        for each in ("#phases .now", ".speaker.speaking strong"):
            await expect(late.locator(each)).to_have_text(await page.locator(each).inner_text())
        assert await ids_on(late, "#said > [data-id]") == await ids_on(page, "#said > [data-id]")
        said = await late.locator(".bubble").count()
        await late.get_by_role("button", name="Resume").click()
        await expect(late.locator(".phase", has_text="you came in here")).to_have_text(
            re.compile(f"after {said} utter")
        )


async def test_words_come_as_they_are_spoken(tmp_path: Path, visit: Open) -> None:
    """Who speaks is seen to speak while the words come, and has the floor after them; with reduced motion all words are there
    at once. What was said can be taken away as a text."""
    async with debates_in(tmp_path, speed=SLOWLY) as server:
        page = await visit(f"{server.url}/debates")
        await expect(page.locator(".speaker.typing .does")).to_have_text("is speaking")
        await expect(page.locator(".bubble .later")).to_have_count(1)
        await page.get_by_role("button", name="Pause").click()
        await expect(page.locator(".bubble .later")).to_have_count(0)
        await expect(page.locator(".speaker.speaking .does")).to_have_text("holds on")
        await expect(page.locator(".speaker.typing")).to_have_count(0)
        async with page.expect_download() as download:
            await page.get_by_role("button", name="Save as text").click()
        saved = (await (await download.value).path()).read_text()
        assert saved.startswith(await page.locator("#topic").inner_text())
        assert all(text in saved for text in await page.locator(".bubble p").all_text_contents())
        await page.emulate_media(reduced_motion="reduce")
        before = await page.locator(".bubble").count()
        await page.get_by_role("button", name="Resume").click()
        await expect(page.locator(".bubble").nth(before)).to_be_visible()
        assert await page.locator(".bubble .later").count() == 0


async def test_the_audience_takes_part(tmp_path: Path, visit: Open) -> None:
    """Pause, ask, resume: the answer comes with the question, which is shown as text; and what is sent to one window appears
    in no other."""
    async with debates_in(tmp_path, speed=SLOWLY) as server:
        page = await visit(f"{server.url}/debates")
        await expect(page.locator(".bubble").first).to_be_visible()
        other = await visit(page.url)
        await page.get_by_role("button", name="Pause").click()
        await expect(other.locator("#status")).to_have_text("paused")
        await page.get_by_label("Whom to ask").select_option("con")
        await page.get_by_label("Your question").fill("<b>Why?</b>")
        await page.get_by_role("button", name="Ask", exact=True).click()
        await expect(page.get_by_label("Your question")).to_have_value("")
        await page.get_by_role("button", name="Send only to this window").click()
        await expect(page.locator(".bubble.private")).to_have_count(1)
        await other.get_by_role("button", name="Resume").click()
        await expect(other.locator("blockquote")).to_have_text("<b>Why?</b>")
        await expect(other.locator(".bubble.private")).to_have_count(0)


async def test_the_debates_page_survives_its_server(tmp_path: Path, visit: Open) -> None:
    """The server is killed in mid-debate. The page says so, comes back by itself as the same client when there is a server
    again, and has heard everything, once, in order."""
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(debates_in(tmp_path, speed=SLOWLY))
        page = await visit(f"{server.url}/debates")
        await expect(page.locator(".bubble").nth(2)).to_be_visible()
        client = await page.locator("#client").inner_text()
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url) if "/stream" in request.url else None)
        await server.stop(signal.SIGKILL)
        await expect(page.locator("#banner")).to_contain_text("The connection is lost")
        server = await stack.enter_async_context(debates_in(tmp_path, port=server.port))
        await expect(page.locator("#list li")).to_have_count(1)
        await expect(page.locator("#status")).to_have_text("over")
        await expect(page.locator(".bubble")).to_have_count(19)
        shown = await ids_on(page, "#said > [data-id]")
        assert asked
        assert all(f"?clientId={client}" in url for url in asked), asked  # it may have polled meanwhile
        url = f"{server.url}/api/debates/{page.url.split('#')[1]}/stream"
        assert shown == await ids_in_log(url, len(shown), {"utterance", "phase_transition", "complete"})


async def test_three_tabs_hear_the_same(tmp_path: Path, visit: Open) -> None:
    """“Open 3 browser tabs with same debate ID; Trigger utterance broadcast; Verify all tabs receive the event”, with the
    documented hook's lines in each of them."""
    async with debates_in(tmp_path) as server:
        tabs = [await visit(f"{server.url}/debates") for _ in range(3)]
        debate = "550e8400-e29b-41d4-a716-446655440000"
        token = await token_of(server, "/debates/dev/token")
        for tab in tabs:
            await tab.evaluate(
                """(id) => new Promise((resolve) => {
                    window.heard = new Promise((hear) => {
                        const es = new EventSource(`/api/debates/${id}/stream`)
                        es.addEventListener('connected', resolve)
                        es.addEventListener('utterance', (e) => hear(JSON.parse(e.data).content))
                    })
                })""",
                debate,
            )
        await posted(server.url, "/api/debates", {"id": debate, "topic": "Does it work?"}, bearing(token))
        await posted(server.url, f"/api/debates/{debate}/phase", {"phase": "opening"}, bearing(token))
        await posted(
            server.url, f"/api/debates/{debate}/utterances", {"speaker": "pro", "content": "It does."}, bearing(token)
        )
        assert [await tab.evaluate("window.heard") for tab in tabs] == ["It does."] * 3
