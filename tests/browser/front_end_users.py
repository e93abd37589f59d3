"""The React front end of the notifications as its users have it: built, signed in to, and watched; and the API beside it.

Knows the front end's folder and the application's API; must not know what a test is about.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from playwright.async_api import Browser, Page, expect

from tests.browser.pages import LATER
from tests.support.server import Server
from tests.support.source import ROOT

WEB = ROOT / "examples/notifications/web"
LOOKING = ROOT / "tests/browser/looking.js"

SETTINGS = {
    "VITE_API_URL": "/api/v1",
    **dict.fromkeys(
        ("VITE_SSE_RECONNECT_INTERVAL", "VITE_SSE_MAX_RECONNECT_ATTEMPTS", "VITE_SSE_HEARTBEAT_INTERVAL"), ""
    ),
}
"""Whatever somebody has in their .env.local."""


def program(name: str) -> str:
    """A program of the front end's packages.

    Raises:
        AssertionError: it is not installed; with what installs it.
    """
    path = WEB / "node_modules/.bin" / name
    assert path.exists(), f"there is no {name}: scripts/setup-js"
    return str(path)


def build(folder: Path) -> None:
    """Build the front end there, with the settings it has by default."""
    command = [program("vite"), "build", "--outDir", str(folder), "--emptyOutDir", "--logLevel", "warn"]
    subprocess.run(command, cwd=WEB, check=True, timeout=120, env={**os.environ, **SETTINGS})


class Api:
    """The application's API, as a user."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def post(self, path: str, body: Any) -> Any:
        """What a POST answers."""
        response = await self._http.post(f"/api/v1{path}", json=body)
        assert response.is_success, response.text
        return response.json()

    async def get(self, path: str) -> Any:
        """What a GET answers."""
        response = await self._http.get(f"/api/v1{path}")
        assert response.is_success, response.text
        return response.json()


@asynccontextmanager
async def calling(server: Server, user: str) -> AsyncIterator[Api]:
    """The API with a token of this user's, who has no notifications yet."""
    async with httpx.AsyncClient(base_url=server.url, timeout=30.0, trust_env=False) as http:
        token = (await http.post(f"/notifications/dev/token/{user}")).json()["token"]
        http.headers["authorization"] = f"Bearer {token}"
        api = Api(http)
        for each in (await api.get("/notifications"))["items"]:
            await http.delete(f"/api/v1/notifications/{each['id']}")
        yield api


@asynccontextmanager
async def signed_in(
    browser: Browser, server: Server, user: str, path: str = "/dashboard", *, allowed: str = "$^", **options: Any
) -> AsyncIterator[Page]:
    """A page of a user who has just signed in. What the browser complains of fails the test, as does anything that has come
    from elsewhere, or was refused by the policy.

    Args:
        allowed: a pattern of complaints that are all right.
        options: of the browser's context.
    """
    complaints: list[str] = []
    asked: list[str] = []
    context = await browser.new_context(**options)
    context.set_default_timeout(LATER)
    await context.add_init_script(path=LOOKING)
    page = await context.new_page()
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda each: complaints.append(each.text) if each.type in ("error", "warning") else None)
    page.on("request", lambda request: asked.append(request.url))
    await page.goto(server.url + path)
    await page.get_by_role("button", name=user).click()
    await expect(page.get_by_test_id("live")).to_have_text("live", timeout=LATER)
    yield page
    assert await page.evaluate("() => looking.refused()") == []
    assert await page.evaluate("() => looking.harm()") == []
    await context.close()
    assert [each for each in complaints if not re.search(allowed, each)] == []
    assert [url for url in asked if not url.startswith(server.url)] == []
