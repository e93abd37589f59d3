"""The rooms' page in a real browser on an installation of several nodes: over TLS and HTTP/2, through nginx, on Redis."""

from __future__ import annotations

import re
import shutil
import signal
from contextlib import AsyncExitStack
from pathlib import Path

from playwright.async_api import async_playwright, expect

from tests.e2e.rooms_cluster import BUILDER, cluster

PATIENCE = 30_000
"""Milliseconds to wait for what a page shows."""


async def test_a_visitor_does_not_notice_which_node_serves(tmp_path: Path) -> None:
    """A page that was opened through nginx shows what agents in other processes say. Then the node that streams to it is
    killed: the page comes back by itself at the other one, and has every line once."""
    async with cluster(tmp_path, secret="") as found, AsyncExitStack() as stack, async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        stack.push_async_callback(browser.close)
        page = await browser.new_page(ignore_https_errors=True)
        await page.goto(f"{found.front.tls_url}/rooms")
        expect.set_options(timeout=PATIENCE)
        await expect(page.locator("#state")).to_have_text("live")
        protocol = await page.evaluate("performance.getEntriesByType('navigation')[0].nextHopProtocol")
        assert protocol == "h2"

        room = page.url.partition("#")[2]
        await stack.enter_async_context(found.process(*BUILDER))
        await found.agents(stack, room, 20)
        await expect(page.locator(".line", has_text=re.compile(r"sync 19\b"))).to_have_count(2)

        (streaming,) = [node for node in found.nodes.servers.values() if '"message":"connect"' in node.output]
        await streaming.stop(signal.SIGKILL)
        await found.agents(stack, room, 30, begin=20)
        await expect(page.locator(".line", has_text=re.compile(r"sync 29\b"))).to_have_count(2)
        shown = await page.locator(".line .message").all_text_contents()
        for word in ("sync", "async"):
            said = [text.split()[1] for text in shown if text.startswith(f"{word} ")]
            assert said == [str(number) for number in range(30)]
