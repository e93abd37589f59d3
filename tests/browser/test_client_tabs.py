"""One connection for all tabs, in a browser with several: who leads, and what the others notice when the leader goes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from playwright.async_api import BrowserContext, CDPSession, Page

from headwater.auth import mint
from headwater.client import Publisher
from tests.browser.chromium import chromium, connect, until_record, until_state
from tests.support.server import Server, running
from tests.support.tokens import SECRET

SHARED = {"channels": ["room:1"], "share": True, "retry": {"base": 50}, "silence": 2500}
"""A follower asks for a sign of life after up to four seconds without one."""


@pytest.fixture
async def hub() -> AsyncIterator[Server]:
    """A hub that lets everybody do everything, with a heartbeat each second."""
    env = {"HEADWATER_HEARTBEAT": "1"}
    async with running(["serve", "--dev", "--port", "0", "--broker", "memory://"], env=env) as server:
        yield server


class Tabs:
    """Tabs of one browser, and the log of what was published.

    Attributes:
        pages: those that are open.
        log: what was published.
    """

    def __init__(self, hub: Server, context: BrowserContext) -> None:
        self.pages: list[Page] = []
        self.log: list[int] = []
        self._hub = hub
        self._context = context

    async def open(self, **options: Any) -> Page:
        """One more, connected."""
        page = await self._context.new_page()
        await page.goto(f"{self._hub.url}/healthz")
        await connect(page, {**SHARED, **options}, before=self.log)
        await until_state(page, "open")
        self.pages.append(page)
        return page

    async def publish(self, count: int = 3) -> None:
        """Publish some, and see that every tab gets them."""
        async with Publisher(f"{self._hub.url}/events") as publisher:
            for _ in range(count):
                self.log.append(len(self.log))
                await publisher.publish("room:1", "n", self.log[-1])
        for page in self.pages:
            await until_record(page, self.log)

    async def streams(self) -> int:
        """How many streams the hub has open."""
        async with httpx2.AsyncClient() as client:
            return len((await client.get(f"{self._hub.url}/streams")).json()["streams"])

    async def leader(self) -> Page:
        """The tab that has the connection."""
        leaders = [page for page in self.pages if await page.evaluate("() => client.isLeader")]
        assert len(leaders) == 1
        return leaders[0]

    async def crash(self, page: Page) -> None:
        """Let a page's process end as if by a defect."""
        async with page.expect_event("crash"):
            asking = asyncio.ensure_future((await self.devtools(page)).send("Page.crash"))
        asking.cancel()  # nobody is left to answer
        await asyncio.gather(asking, return_exceptions=True)

    async def devtools(self, page: Page) -> CDPSession:
        """A page's debugger."""
        return await self._context.new_cdp_session(page)


async def test_eight_tabs_share_one_connection_and_survive_their_leader(hub: Server) -> None:
    """Over HTTP/1.1, where a browser has six connections to a host, eight tabs have one stream, and can still ask for other
    things. Their leader is closed, crashes, reloads: another goes on, and every tab has every event once."""
    async with chromium() as browser:
        tabs = Tabs(hub, await browser.new_context())
        for _ in range(8):
            await tabs.open()
        assert await tabs.streams() == 1
        await tabs.publish()
        assert await tabs.pages[-1].evaluate("async () => (await fetch('/healthz')).status") == 200

        leader = await tabs.leader()
        tabs.pages.remove(leader)
        await leader.close()
        await tabs.publish()

        leader = await tabs.leader()
        tabs.pages.remove(leader)
        await tabs.crash(leader)
        await tabs.publish()

        leader = await tabs.leader()
        await leader.reload()
        await connect(leader, SHARED, before=tabs.log)
        await until_state(leader, "open")
        await tabs.publish()
        assert await tabs.streams() == 1
        assert not any([await page.evaluate("() => resets.length") for page in tabs.pages])


async def test_a_frozen_leader_is_replaced_and_follows_when_it_thaws(hub: Server) -> None:
    """A tab that runs no scripts cannot lead: after a while without a sign of life another takes over. When it thaws it has
    missed nothing."""
    async with chromium() as browser:
        tabs = Tabs(hub, await browser.new_context())
        frozen, other, _ = [await tabs.open() for _ in range(3)]
        await tabs.publish()
        assert await tabs.leader() == frozen
        devtools = await tabs.devtools(frozen)
        await devtools.send("Debugger.enable")
        await devtools.send("Debugger.pause")  # a headless browser does not freeze pages itself
        tabs.pages.remove(frozen)
        await other.wait_for_function("() => states.some(({ reason }) => reason === 'leader gone')")
        await tabs.publish()
        await devtools.send("Debugger.disable")
        tabs.pages.append(frozen)
        await tabs.publish()
        assert await tabs.leader() != frozen
        assert await tabs.streams() == 1


async def test_without_https_each_tab_has_its_own_connection() -> None:
    """A page whose origin is not secure has no Web Locks: nothing is shared, and nothing is missing."""
    token = mint(SECRET, sub="ada", subscribe=["**"], publish=["**"], ttl=60)
    async with running(["serve", "--port", "0", "--broker", "memory://"], env={"HEADWATER_JWT_SECRET": SECRET}) as hub:
        async with chromium(args=["--host-resolver-rules=MAP hub.example 127.0.0.1"]) as browser:
            context = await browser.new_context()
            await context.expose_function("mint", lambda reason: token)
            pages = [await context.new_page() for _ in range(2)]
            for page in pages:
                await page.goto(f"http://hub.example:{hub.port}/healthz")
                await connect(page, SHARED)
                await until_state(page, "open")
                assert await page.evaluate("() => [isSecureContext, client.isLeader]") == [False, True]
            async with Publisher(f"{hub.url}/events", token) as publisher:
                await publisher.publish("room:1", "n", 1)
            for page in pages:
                await until_record(page, [1])
