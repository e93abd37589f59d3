"""The dashboard in a real browser, against a real hub that asks for tokens."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from headwater.auth import mint
from tests.browser.chromium import chromium
from tests.support.proxy import proxying
from tests.support.raw import RawClient, streaming
from tests.support.server import Server, running
from tests.support.tokens import SECRET

pytestmark = pytest.mark.asyncio(loop_scope="module")

ELSEWHERE = {"headwater-node": "elsewhere/1", "content-type": "application/json"}
NOTHING = '{"channels": [], "matching": 0, "total": 0}'
HIDE = """(hidden) => {
  Object.defineProperty(document, 'hidden', { configurable: true, get: () => hidden })
  document.dispatchEvent(new Event('visibilitychange'))
}"""
HOSTILE = '<img src=x onerror="hacked=1">\'\u202e'


def token(sub: str | None, permissions: Iterable[str] = (), subscribe: Iterable[str] = ("**",)) -> str:
    """Of somebody who may read and publish everything."""
    return mint(SECRET, sub=sub, subscribe=subscribe, publish=["**"], permissions=permissions, ttl=86_400)


BOSS = token("boss", ["headwater.admin"])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hub() -> AsyncIterator[Server]:
    """A hub with a log in memory."""
    env = {"HEADWATER_JWT_SECRET": SECRET}
    async with running(["serve", "--port", "0", "--broker", "memory://"], env=env) as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    """Chromium."""
    async with chromium() as browser:
        yield browser


@asynccontextmanager
async def opened(browser: Browser, url: str, bearer: str | None = BOSS, **options: Any) -> AsyncIterator[Page]:
    """The dashboard, with a token. What the browser complains about fails the test, but for answers that it does not like and
    the network's failures."""
    complaints: list[str] = []
    page = await browser.new_page(**options)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda each: complaints.append(each.text) if each.type == "error" else None)
    if bearer is not None:
        await page.add_init_script(f"sessionStorage.setItem('headwater-dashboard-token', {json.dumps(bearer)})")
    await page.goto(f"{url}/dashboard")
    yield page
    assert await page.evaluate("() => 'hacked' in window") is False
    await page.close()
    assert [each for each in complaints if not each.startswith("Failed to load resource")] == []


async def publish(hub: Server, channel: str, data: Any = None, **fields: Any) -> str:
    """Publish an event; its id."""
    body = json.dumps({"channel": channel, "data": data, **fields}).encode()
    headers = {"Authorization": f"Bearer {BOSS}", "Content-Type": "application/json", "Connection": "close"}
    async with await RawClient.connect(hub.url) as client:
        assert (await client.request("/events", headers, method="POST", body=body)).status == 201
        id: str = json.loads(await client.read_body())["ids"][0]
        return id


@asynccontextmanager
async def reading(hub: Server, channel: str, sub: str | None = "ada", **grants: Any) -> AsyncIterator[RawClient]:
    """Somebody who reads a channel."""
    headers = {"Authorization": f"Bearer {token(sub, **grants)}"}
    async with streaming(f"{hub.url}/events?channel={channel}", headers) as client:
        await client.message()
        yield client


async def test_only_administrators_are_let_in(browser: Browser, hub: Server) -> None:
    """Without a token the page asks for one; a token that is no token, and one without the permission, are told apart; with
    the right one the page opens, also after a reload, until the token is forgotten."""
    async with opened(browser, hub.url, None) as page:
        await expect(page.locator("#state")).to_have_text("token needed")
        field, look = page.get_by_label("Token", exact=True), page.get_by_role("button", name="Look")
        await expect(field).to_be_focused()
        await expect(page.get_by_role("alert")).to_be_hidden()
        for bearer, words in (("nonsense", "does not accept this token"), (token("eve"), "headwater.admin")):
            await field.fill(bearer)
            await look.click()
            await expect(page.get_by_role("alert")).to_contain_text(words)
            await expect(page.locator("#board")).to_be_hidden()
        await field.fill(BOSS)
        await field.press("Enter")
        await expect(page.locator("#state")).to_have_text("live")
        await page.reload()
        await expect(page.locator("#state")).to_have_text("live")
        await page.get_by_role("button", name="Forget the token").click()
        await expect(field).to_be_focused()
        await expect(page.locator("#board")).to_be_hidden()
        assert await page.evaluate("() => sessionStorage.length") == 0


async def test_figures_move(browser: Browser, hub: Server) -> None:
    """What the hub does is drawn, said in words, and stands in a table; and whose figures these are."""
    async with opened(browser, hub.url) as page, reading(hub, "news"), reading(hub, "news", "eve"):
        await expect(page.locator("#figure-streams")).to_have_text("2")
        await expect(page.locator("#node")).to_contain_text(f" · {hub.process.pid}")
        for number in range(20):
            await publish(hub, "news", number)
        chart = page.locator("#chart-deliveries")
        await expect(chart.locator("path.line.one")).to_have_count(1)
        words = re.compile("Deliveries per second: now live .*highest [1-9]")
        await expect(chart.get_by_role("img")).to_have_attribute("aria-label", words)
        await expect(page.locator("#broker-state")).to_have_text("answers")
        await expect(page.locator("#channels-body tr").first).to_contain_text("news")
        await page.get_by_text("The charts as a table").click()
        await expect(page.locator("#minutes tr")).not_to_have_count(0)
        await chart.get_by_role("img").focus()
        await page.keyboard.press("ArrowLeft")
        await expect(chart.locator(".when")).not_to_have_text("now")


FIGURES = """async () => {
    const { History, ago, bytes, milliseconds, minutes, short, span } = await import('/assets/dashboard-figures.js')
    const { ceiling } = await import('/assets/dashboard-charts.js')
    const numbers = 'events published deliveries replayed bytes live replaying lagging streams lagged'.split(' ')
    const none = Object.fromEntries(numbers.map((name) => [name, 0]))
    const usual = { ...none, opened: 5, resets: {}, rejections: {}, ended: {} }
    const at = (time, more, p99 = null) => ({
        sample: { time, p50_ms: null, p99_ms: p99, statistics: { ...usual, ...more } },
        pulse: null,
    })
    const past = new History()
    past.push(at(60_000, { events: 10 }))
    past.push(at(62_000, { events: 30, resets: { expired: 2 } }, 7))
    past.push(at(121_000, { events: 30, resets: { expired: 2, overflow: 1 } }))
    const [first, second] = past.points
    const rows = minutes(past.points).map(({ time, events, p99, resets }) => [time, events, p99, resets])
    const found = { rate: [first.events, second.events], resets: [first.resets, second.resets], rows, span: past.span(600) }
    found.last = past.last(30).length
    past.push(at(122_000, { opened: 0 })) // the hub began anew
    past.push(at(123_000, { opened: 0, events: 4 }))
    found.anew = past.points.map(({ events }) => events)
    found.words = [null, 9.87, 123.4, 12_345].map(short)
    found.words.push(...[999, 1500].map(bytes), ...[null, 5000, 1234].map(milliseconds))
    found.spans = [span(59.9), span(3600), span(90_000), ago(1000, 1999), ago(0, 60_000), ago(null)]
    found.ceilings = [0, 0.3, 1, 11, 26, 99, 100, 101].map(ceiling)
    return found
}"""


async def test_figures_are_worked_out(browser: Browser, hub: Server) -> None:
    """Rates between two samples, however far apart; a hub that began anew is compared with nothing; numbers in few
    characters."""
    async with opened(browser, hub.url) as page:
        found = await page.evaluate(FIGURES)
    assert (found["rate"], found["resets"], found["last"], found["anew"]) == ([10, 0], [2, 1], 1, [4])
    assert (found["rows"], found["span"]) == ([[120_000, 0, 0, 1], [60_000, 10, 7, 2]], 60)
    assert found["words"] == ["\u2013", "9.9", "123", "12.3K", "999 B", "1.5 kB", "\u2013", "\u2265 5 s", "1.2 s"]
    assert found["spans"] == ["59 s", "1 h", "1 d", "just now", "1 min ago", "\u2013"]
    assert found["ceilings"] == [1, 0.5, 1, 20, 50, 100, 100, 200]


async def test_a_stream_is_found_looked_at_and_closed(browser: Browser, hub: Server) -> None:
    """By keyboard: search, open, close in two steps. Its client is told; the drawer says that it is gone."""
    async with opened(browser, hub.url) as page, reading(hub, "jobs", "carol") as client, reading(hub, "jobs"):
        await page.get_by_label("Streams with this principal").fill("carol")
        row = page.locator("#streams-body tr")
        await expect(row).to_have_count(1)
        await row.get_by_role("button").press("Enter")
        drawer = page.get_by_role("dialog")
        await expect(drawer).to_contain_text("direct to the socket")
        await expect(drawer).to_contain_text("carol")
        await drawer.get_by_role("button", name="Close the stream").click()
        await expect(drawer.get_by_role("button", name="End it")).to_be_focused()
        await drawer.get_by_role("button", name="Keep it").click()
        await drawer.get_by_role("button", name="Close the stream").click()
        await page.keyboard.press("Enter")
        assert (await client.message_of("closing")).data == '{"reason":"admin"}'
        await expect(drawer.get_by_role("status")).to_contain_text("Ended")
        await page.keyboard.press("Escape")
        await expect(drawer).to_be_hidden()
        await expect(page.locator("#streams-body")).to_contain_text("No stream is open here that matches")


async def test_a_channel_is_looked_at_and_its_events_are_explained(browser: Browser, hub: Server) -> None:
    """From the list to the channel, to one of its events, to why somebody would not get it, step by step; and an address
    leads to the channel."""
    id = await publish(hub, "room:7", {"n": 1}, type="log", permissions=["rooms.read"])
    async with opened(browser, hub.url) as page, reading(hub, "room:7", "ada") as client:
        await page.get_by_label("Channels that begin with").fill("room:7")
        await page.locator("#channels-body").get_by_role("button", name="room:7").click()
        drawer = page.get_by_role("dialog")
        await expect(drawer.locator(".events li")).to_contain_text("you would need these permissions")
        assert page.url.endswith("#channel/room%3A7")
        await page.reload()
        await drawer.get_by_role("button", name="#").click()
        await drawer.get_by_role("button", name="Explain").click()
        verdict = page.locator("#verdict")
        await expect(verdict.locator(".verdict")).to_have_text("It would get there, from the moment it is published.")
        await page.get_by_label("Id of the event").fill(id)
        await page.get_by_role("button", name="Explain", exact=True).click()
        await expect(verdict.locator(".bad")).to_have_count(
            3
        )  # the verdict, the permission, and where the stream began
        await expect(verdict).to_contain_text("does not hold rooms.read")
        for who, answer in (
            (token("eve", ["rooms.read"]), "It would be delivered."),
            (token("eve"), "does not get there"),
        ):
            await page.locator("label[for=who-token]").click()
            await page.get_by_label("Their token").fill(who)
            await page.get_by_label("Reading since").fill("all")
            await page.get_by_role("button", name="Explain", exact=True).click()
            await expect(verdict.locator(".verdict")).to_contain_text(answer)
        assert client.ended is None


async def test_hostile_names_and_data_are_text(browser: Browser, hub: Server) -> None:
    """Of principals, types and data; a channel's name cannot be hostile, but as long as it likes. On a phone nothing sticks
    out."""
    channel = f"C{'W' * 199}"
    await publish(hub, channel, {HOSTILE: HOSTILE}, type=HOSTILE[:-1])
    name = HOSTILE[:-1] + "W" * 200
    async with reading(hub, channel, name), opened(browser, hub.url, viewport={"width": 360, "height": 740}) as page:
        await expect(page.locator("#streams-body")).to_contain_text(HOSTILE[:-1])
        await page.locator("#channels-body").get_by_role("button", name=channel).click()
        drawer = page.get_by_role("dialog")
        await expect(drawer.locator("pre")).to_contain_text("onerror")
        await expect(drawer.locator(".events strong")).to_have_text(HOSTILE[:-1])
        await drawer.get_by_role("button", name="#").click()
        await expect(drawer.get_by_text(name)).to_be_visible()
        await drawer.get_by_role("button", name="Explain").click()
        await expect(page.locator("#verdict")).to_contain_text("onerror")
        assert await page.locator("main img, dialog img").count() == 0
        assert await page.evaluate("() => document.documentElement.scrollWidth") == 360


async def test_a_closer_look_goes_on_after_a_while(browser: Browser, hub: Server) -> None:
    """After an answer that did not come, and after a time in which nobody could see the page."""
    await publish(hub, "look", 1)
    async with opened(browser, hub.url) as page:
        await page.get_by_label("Channels that begin with").fill("look")
        await page.clock.install()
        await page.route("**/dashboard/channels/look", lambda route: route.abort())
        await page.locator("#channels-body").get_by_role("button", name="look").click()
        drawer = page.get_by_role("dialog")
        await expect(drawer).to_contain_text("The hub did not answer.")
        await page.unroute("**/dashboard/channels/look")
        await page.clock.fast_forward(2_100)
        await expect(drawer).to_contain_text("1 events")
        await page.evaluate(HIDE, True)
        await page.clock.fast_forward(2_100)
        await publish(hub, "look", 2)
        await page.evaluate(HIDE, False)
        await page.clock.fast_forward(2_100)
        await expect(drawer).to_contain_text("2 events")


async def test_it_comes_back_and_rests(browser: Browser, hub: Server) -> None:
    """A connection that is cut comes back and goes on from where it was; while nobody looks at the page, it asks for
    nothing."""
    async with proxying(hub.port) as proxy, opened(browser, proxy.url) as page:
        await expect(page.locator("#figure-events")).to_contain_text("/s")
        accepted = proxy.accepted
        await proxy.drop()
        await expect(page.locator("#banner")).to_contain_text("Back.")
        await expect(page.locator("#state")).to_have_text("live")
        assert proxy.accepted > accepted
        await page.evaluate(HIDE, True)
        await expect(page.locator("#state")).to_have_text("paused")
        await page.evaluate(HIDE, False)
        await expect(page.locator("#state")).to_have_text("live")


async def test_another_life_of_the_process_is_told_apart(browser: Browser, hub: Server) -> None:
    """A process that is replaced has samples of its own, from its own beginning; several behind one address are noticed."""
    env = {"HEADWATER_JWT_SECRET": SECRET}
    start = running(["serve", "--port", "0", "--broker", "memory://"], env=env)
    async with start as other, proxying(hub.port) as proxy, opened(browser, proxy.url) as page:
        await expect(page.locator("#node")).to_contain_text(str(hub.process.pid))
        proxy.forward_to(other.port)
        await proxy.drop()
        await expect(page.locator("#node")).to_contain_text(str(other.process.pid))
        await expect(page.locator("#state")).to_have_text("live")
        await expect(page.locator("#several")).to_be_hidden()
        await page.route(
            "**/dashboard/channels*", lambda route: route.fulfill(status=200, headers=ELSEWHERE, body=NOTHING)
        )
        for search in "ab":  # asked at once
            async with page.expect_response("**/dashboard/channels*"):
                await page.get_by_label("Channels that begin with").fill(search)
        await expect(page.locator("#several")).to_be_visible()
