"""The projects' page in a real browser: a job from beginning to end, hostile texts, a killed server; and the client that the
team had documented, line by line."""

from __future__ import annotations

import json
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, async_playwright, expect

from headwater.auth import mint
from tests.examples.projecting import database
from tests.support.postgres import rows
from tests.support.raw import streaming
from tests.support.server import Server, running

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
LATER = 30_000
"""Milliseconds for what a busy machine takes its time with."""

Open = Callable[[str], Awaitable[Page]]


@pytest.fixture
def url() -> Iterator[str]:
    """A database."""
    with database() as found:
        yield found


@pytest.fixture
async def visit() -> AsyncIterator[Open]:
    """Opens pages in one browser; in the end none of them has raised an error."""
    errors: list[str] = []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path="/usr/bin/chromium", args=ARGUMENTS)
        context = await browser.new_context(viewport={"width": 1280, "height": 900})
        context.set_default_timeout(LATER)
        expect.set_options(timeout=LATER)

        async def open_page(address: str) -> Page:
            page = await context.new_page()
            page.on("pageerror", lambda error: errors.append(str(error)))
            await page.goto(address)
            return page

        yield open_page
        await browser.close()
    assert errors == []


@asynccontextmanager
async def projects_in(folder: Path, url: str, port: int = 0, **settings: str) -> AsyncIterator[Server]:
    """The application in a process of its own."""
    env = {"PROJECTS_DATA": str(folder / ".data"), "DATABASE_URL": url, "PROJECTS_PACE": "0"}
    env |= {"PROJECTS_FOLDERS": f"handbook={folder},library={folder},test={folder}", **settings}
    async with running("examples.projects.app:app", env=env, args=["--port", str(port)] if port else []) as server:
        yield server


async def shown_ids(page: Page) -> list[str]:
    """The ids of the events on the page, oldest first."""
    found: list[str] = await page.locator("#events li").evaluate_all("items => items.map((item) => item.dataset.id)")
    return found[::-1]


async def token_of(page: Page) -> str:
    """A development token."""
    script = "() => fetch('/projects/dev/token/alice', { method: 'POST' }).then((r) => r.json()).then((r) => r.token)"
    found: str = await page.evaluate(script)
    return found


async def test_a_visitor_has_a_folder_indexed(tmp_path: Path, url: str, visit: Open) -> None:
    """The bar fills, sources are completed, proposals appear and are decided on; another page of another user sees the same;
    and nothing is wider than a phone."""
    (tmp_path / "tea.md").write_text(
        "# Whisking matcha\n\nWhisking matcha takes water.\n\n## Boiling kettles\n\nHot.\n"
    )
    async with projects_in(tmp_path, url) as server:
        page, other = await visit(f"{server.url}/projects"), await visit(f"{server.url}/projects#bob/handbook")
        for each in (page, other):
            await expect(each.locator("#state")).to_have_text("live")
        await page.click("#start")
        for each in (page, other):
            await expect(each.locator("#stage")).to_have_text("complete")
            await expect(each.locator("#percent")).to_have_text("100 %")
            await expect(each.locator("#sources .pill")).to_have_text("completed")
            await expect(each.locator("#proposals strong")).to_have_text(["Whisking matcha", "Boiling kettles"])
            await expect(each.locator("#proposals .from").first).to_have_text("tea.md")
            await expect(each.locator("#stages .past")).to_have_count(5)
            await expect(each.locator("#mosaic .completed")).to_have_count(1)
        await page.get_by_role("button", name="Accept: Whisking matcha").click()
        await expect(other.locator(".proposal.accepted strong")).to_have_text("Whisking matcha")
        await page.locator("#filter label", has_text="To decide").click()
        await expect(page.locator(".proposal strong:visible")).to_have_text(["Boiling kettles"])
        await page.locator("#filter label", has_text="All").click()
        await other.get_by_role("button", name="Reject: Boiling kettles").click()
        await page.get_by_role("button", name="Delete: Boiling kettles").click()
        await expect(other.locator(".proposal")).to_have_count(1)
        await page.set_viewport_size({"width": 360, "height": 640})
        assert await page.evaluate("() => document.documentElement.scrollWidth") == 360


async def test_what_somebody_types_into_psql_is_seen_as_text(tmp_path: Path, url: str, visit: Open) -> None:
    """“Sanitize data”: a title is a title, whatever it looks like, in every part of the page."""
    evil = "<img src=x onerror=document.title='evil'>"
    async with projects_in(tmp_path, url) as server:
        page = await visit(f"{server.url}/projects")
        await expect(page.locator("#state")).to_have_text("live")
        rows(
            url,
            "INSERT INTO proposed_nodes (project_id, title, summary, confidence) VALUES ('handbook', %s, %s, 1)",
            (evil, evil),
        )
        await expect(page.locator("#proposals strong")).to_have_text(evil)
        await expect(page.locator("#events li")).to_contain_text(evil)
        await page.reload()
        await expect(page.locator("#proposals small")).to_have_text(evil)
        assert await page.locator("main img").count() == 0
        assert await page.title() == "Projects"


async def test_a_burst_is_counted_whole(tmp_path: Path, url: str, visit: Open) -> None:
    """Thousands of rows change in one statement: each is counted, the first of them are shown, and the page still answers."""
    async with projects_in(tmp_path, url) as server:
        page = await visit(f"{server.url}/projects")
        await expect(page.locator("#state")).to_have_text("live")
        rows(
            url,
            "INSERT INTO proposed_nodes (project_id, title, confidence)"
            " SELECT 'handbook', 'Node ' || n, n / 2000.0 FROM generate_series(1, 2000) AS n",
        )
        rows(url, "UPDATE proposed_nodes SET status = 'accepted' WHERE confidence > 0.5")
        await expect(page.locator("#tally")).to_have_text("1,000 of 2,000 decided")
        await expect(page.locator("#total")).to_have_text("3,000 events")
        await expect(page.locator(".proposal")).to_have_count(200)
        await expect(page.locator("#proposals .empty")).to_have_text("and 1,800 proposals more")
        await expect(page.locator("#events li")).to_have_count(300)
        await page.locator("#filter label", has_text="Decided").click()
        await expect(page.locator(".proposal strong").first).to_have_text("Node 2000")


async def test_the_page_survives_its_server(tmp_path: Path, url: str, visit: Open) -> None:
    """The server is killed, rows go on changing, and another server starts: the page says so, comes back by itself, and its
    record is the log: every change once, in order. So is that of an EventSource."""
    insert = (
        "INSERT INTO proposed_nodes (project_id, title, confidence)"
        " SELECT 'handbook', %s || n, 0.5 FROM generate_series(1, 40) AS n"
    )
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(projects_in(tmp_path, url))
        page = await visit(f"{server.url}/projects")
        await expect(page.locator("#state")).to_have_text("live")
        token = await token_of(page)
        await page.evaluate(
            """(url) => new Promise((resolve) => {
                window.ids = []
                const source = new EventSource(url)
                source.onmessage = (event) => {
                    if (JSON.parse(event.data).type === 'connected') resolve()
                    else ids.push(event.lastEventId)
                }
            })""",
            f"/api/projects/handbook/status?token={token}",
        )
        rows(url, insert, ("before ",))
        await expect(page.locator("#events li")).to_have_count(40)
        await server.stop(signal.SIGKILL)
        await expect(page.locator("#banner")).to_contain_text("The connection is lost")
        rows(url, insert, ("meanwhile ",))
        server = await stack.enter_async_context(projects_in(tmp_path, url, server.port))
        await expect(page.locator("#events li")).to_have_count(80)
        await expect(page.locator("#proposals > li")).to_have_count(80)
        rows(url, insert, ("after ",))
        await expect(page.locator("#events li")).to_have_count(120)
        await page.wait_for_function("() => ids.length >= 120")
        log = f"{server.url}/api/projects/handbook/status?since=all&token={token}"
        async with streaming(log) as client:
            await client.message()
            ids = [(await client.message_of("message")).id for _ in range(120)]
        assert await shown_ids(page) == ids
        assert await page.evaluate("ids") == ids


DOCUMENTED = """
(projectId, session) => {
  // from the documented client: React's setters are ours, the rest stands as it stood
  window.state = { sources: [], progress: 0, status: '', fetched: 0, selected: new Set(), completed: false, log: [] }
  const currentJobId = window.job
  const setSources = (change) => { state.sources = change(state.sources) }
  const setGenerationProgress = (value) => { state.progress = value }
  const setGenerationStatus = (value) => { state.status = value }
  const setSelectedProposals = (change) => { state.selected = change(state.selected) }
  const fetchData = () => { state.fetched++ }
  const handleSSEMessage = (data) => {
    switch (data.type) {
      case 'connected':
        state.log.push(data.message)
        break
      case 'status_update':
        setSources(prev => prev.map(source =>
          source.id === data.sourceId
            ? { ...source, status: data.status, updated_at: data.updatedAt }
            : source
        ))
        break
      case 'progress_update':
        if (data.jobId === currentJobId) {
          const percentage = data.progress.total > 0
            ? Math.round((data.progress.current / data.progress.total) * 100)
            : 0
          setGenerationProgress(percentage)
          setGenerationStatus(data.progress.message || 'Processing...')
          if (data.progress.stage === 'complete') {
            state.completed = true
          }
        }
        break
      case 'new_proposal':
      case 'proposal_update':
        fetchData()
        break
      case 'proposal_deleted':
        setSelectedProposals(prev => {
          const newSet = new Set(prev)
          newSet.delete(data.proposalId)
          return newSet
        })
        break
    }
  }
  state.sources = [{ id: window.source, status: 'pending' }]
  state.selected = new Set([window.proposal])
  const eventSource = new EventSource(
    `/api/projects/${projectId}/status?token=${session.access_token}`
  )
  return new Promise((resolve) => {
    eventSource.onopen = () => resolve(eventSource.readyState === EventSource.OPEN)
    eventSource.onmessage = (event) => {
      try {
        const data = JSON.parse(event.data)
        handleSSEMessage(data)
      } catch (error) {
        state.log.push(String(error))
      }
    }
  })
}
"""


async def test_the_documented_client_works(tmp_path: Path, url: str, visit: Open) -> None:
    """Its connection, its `onmessage` and its `handleSSEMessage`, as they were written."""
    async with projects_in(tmp_path, url) as server:
        page = await visit(f"{server.url}/projects")
        (source,) = rows(
            url, "INSERT INTO ingestion_sources (project_id, source_name) VALUES ('handbook', 'a') RETURNING id::text"
        )
        (job,) = rows(
            url,
            "INSERT INTO jobs (project_id, folder, status) VALUES ('handbook', '/', 'complete') RETURNING id::text",
        )
        await page.evaluate("([source, job]) => Object.assign(window, { source, job })", [source[0], job[0]])
        call = f"(session) => ({DOCUMENTED})('handbook', session)"
        assert await page.evaluate(call, {"access_token": await token_of(page)})
        await page.wait_for_function("() => state.log.length > 0")
        rows(url, "UPDATE ingestion_sources SET status = 'completed'")
        rows(url, "INSERT INTO proposed_nodes (project_id, title, confidence) VALUES ('handbook', 'Tea', 1)")
        rows(url, "UPDATE proposed_nodes SET status = 'accepted'")
        rows(
            url,
            "UPDATE jobs SET progress_stage = 'complete', progress_current = 2, progress_total = 3,"
            " progress_message = 'Almost', progress_updated_at = now()",
        )
        await page.wait_for_function("() => state.completed")
        assert await page.evaluate("[state.progress, state.status, state.fetched, state.sources[0].status]") == [
            *(67, "Almost", 2, "completed"),
        ]
        (proposal,) = rows(url, "SELECT id::text FROM proposed_nodes")
        await page.evaluate("(id) => state.selected.add(id)", proposal[0])
        rows(url, "DELETE FROM proposed_nodes")
        await page.wait_for_function("(id) => !state.selected.has(id)", arg=proposal[0])
        assert await told(page) == ["Connected to status updates"]


async def told(page: Page) -> Any:
    """What the documented client has logged: its greeting, and errors."""
    return await page.evaluate("state.log")


async def test_the_documented_integration_test_passes(tmp_path: Path, url: str, visit: Open) -> None:
    """“const eventSource = new EventSource('/api/projects/test/status'); await new Promise(resolve => { eventSource.onopen =
    resolve; }); expect(eventSource.readyState).toBe(EventSource.OPEN)”: with a session. Without one, “await
    fetch(`/api/projects/${projectId}/status`)” says “response.status === 401”."""
    async with projects_in(tmp_path, url) as server:
        page = await visit(f"{server.url}/projects")
        await expect(page.locator("#state")).to_have_text("live")
        await page.context.clear_cookies()
        assert (
            await page.evaluate("() => fetch('/api/projects/test/status').then((response) => response.status)") == 401
        )
        session = {"name": "session", "value": _token(tmp_path), "url": server.url}
        await page.context.add_cookies([session])  # type: ignore[list-item] # a dict with these keys
        state = await page.evaluate(
            """async () => {
                const eventSource = new EventSource('/api/projects/test/status')
                await new Promise(resolve => {
                    eventSource.onopen = resolve
                })
                const { readyState } = eventSource
                eventSource.close()
                return readyState === EventSource.OPEN
            }"""
        )
        assert state


def _token(folder: Path) -> str:
    """A session's token, from the application that belongs to this folder."""
    return mint((folder / ".data/secret").read_text(), sub="tess", subscribe=["project:test"])


async def test_bob_is_shown_his_own_projects(tmp_path: Path, url: str, visit: Open) -> None:
    """“Project-level access control”: whose project it is not is refused by the server, whatever the address says."""
    folders = f"handbook={tmp_path},library={tmp_path},examples={tmp_path}"
    async with projects_in(tmp_path, url, PROJECTS_FOLDERS=folders) as server:
        page = await visit(f"{server.url}/projects#bob/library")
        await expect(page.locator("#projects a")).to_have_text(["handbook", "examples"])
        await expect(page.locator("#projects a[aria-current]")).to_have_text("handbook")
        await page.locator("#users label", has_text="alice").click()
        await expect(page.locator("#projects a")).to_have_text(["handbook", "library"])
        await page.locator("#projects a", has_text="library").click()
        await expect(page.locator("#state")).to_have_text("live")
        rows(url, "INSERT INTO proposed_nodes (project_id, title, confidence) VALUES ('library', 'Seen', 1)")
        rows(url, "INSERT INTO proposed_nodes (project_id, title, confidence) VALUES ('examples', 'Unseen', 1)")
        await expect(page.locator("#proposals strong")).to_have_text("Seen")
        assert json.loads(await page.evaluate("JSON.stringify(location.hash)")) == "#alice/library"
