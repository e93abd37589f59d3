"""What holds on every page that is served, while strangers fill it with texts that would rather be code."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import AsyncExitStack
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from playwright.async_api import Browser
from starlette.routing import BaseRoute

from examples.debates import app as debates
from examples.gallery.gallery import create_app
from examples.gallery.settings import Settings
from examples.notifications import app as notifications
from examples.operations import app as operations
from examples.projects import app as projects
from examples.rooms import app as rooms
from headwater.asgi.routes import FILES, ROUTES
from tests.browser.chromium import chromium
from tests.browser.hostile import MARKUP, Gallery
from tests.browser.pages import DESKTOP, PHONE, PLACES, TABLET, Visit, Visits
from tests.support.postgres import shared_server
from tests.support.server import running
from tests.support.source import ROOT

pytestmark = pytest.mark.asyncio(loop_scope="module")

APPLICATIONS = (rooms, debates, operations, projects, notifications)
AXE = ROOT / "js/node_modules/axe-core/axe.min.js"

LOOKS = (("light", DESKTOP), ("dark", PHONE), ("dark", DESKTOP), ("light", PHONE))
"""The first two are judged by every rule, so both schemes and both sizes are; the others by those that colours can break."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gallery(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gallery]:
    """The running gallery, in which nothing happens by itself, and who means it badly."""
    folder = tmp_path_factory.mktemp("gallery")
    with shared_server().database() as url:
        arguments = ["-m", "examples.gallery", "--no-demo", "--port", "0"]
        async with running(arguments, program="python", cwd=folder, env={"DATABASE_URL": url}) as server:
            gallery = Gallery(server.url, url, Settings(data=str(folder / ".gallery")).secret)
            async with gallery.http, gallery.kept:
                await gallery.http.get("/api/projects/handbook")  # waits for its database
                yield gallery


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    """Chromium."""
    async with chromium() as browser:
        yield browser


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def visits(browser: Browser, gallery: Gallery) -> AsyncIterator[Visits]:
    """All pages, each opened when it is first asked for."""
    async with AsyncExitStack() as stack:
        yield Visits(browser, gallery, stack)


@pytest_asyncio.fixture(loop_scope="module", params=PLACES, ids=[place.path for place in PLACES])
async def visit(request: pytest.FixtureRequest, visits: Visits) -> Visit:
    """A page, and all that was done to it."""
    return await visits.to(request.param)


async def test_hostile_texts_stay_texts(visit: Visit) -> None:
    """Whatever strangers have sent before and since the page was opened is shown character by character, and does nothing."""
    assert await visit.ask("shows", list(MARKUP))
    assert await visit.ask("harm") == []
    assert visit.dialogs == []
    assert await visit.page.title() == visit.place.title


async def test_a_hostile_address_does_nothing(visit: Visit) -> None:
    """Whatever a link has after its `#` is at most said not to exist."""
    visit = await visit.another(f"{MARKUP[1]}/{MARKUP[0]}")
    assert await visit.ask("harm") == []
    assert visit.dialogs == []
    await visit.page.close()


async def test_nothing_moves_for_those_who_asked_for_that(visit: Visit) -> None:
    """With reduced motion no animation runs."""
    running = "() => document.getAnimations().filter(({ playState }) => playState === 'running').length"
    assert await visit.page.evaluate(running) == 0


async def test_hostile_texts_turn_nothing_but_themselves(visit: Visit) -> None:
    """A text that runs from right to left, or says so, leaves what stands beside it as it was: `just now` stays that."""
    assert await visit.ask("turning") == []


async def test_hostile_texts_break_no_page(visit: Visit) -> None:
    """Endless words and titles leave the page as wide as its window, also on a phone, and no longer than somebody scrolls."""
    for size, most in ((DESKTOP, 12_000), (TABLET, 16_000), (PHONE, 30_000)):
        await visit.page.set_viewport_size(size)
        assert await visit.ask("tooWide") == [], size
        assert await visit.ask("tooLong", most) == [], size


@pytest.mark.parametrize(("scheme", "size"), LOOKS, ids=[f"{scheme}-{size['width']}" for scheme, size in LOOKS])
async def test_nobody_is_kept_out(visit: Visit, scheme: Any, size: Any) -> None:
    """Axe finds nothing serious."""
    await visit.page.emulate_media(color_scheme=scheme)
    await visit.page.set_viewport_size(size)
    if not await visit.page.evaluate("() => 'axe' in window"):
        await visit.page.evaluate(AXE.read_text())
    rules = None if (scheme, size) in LOOKS[:2] else ["color-contrast", "link-in-text-block"]
    found = await visit.ask("barriers", rules)
    assert found == [], json.dumps(found, indent=1)


async def test_the_keyboard_reaches_everything(visit: Visit) -> None:
    """Tab goes to each thing that can be used, and whoever looks sees where it is."""
    await visit.page.set_viewport_size(DESKTOP)
    count = await visit.ask("begin")
    reached, unseen = [], []
    for _ in range(count + 20):
        await visit.page.keyboard.press("Tab")
        focused = await visit.ask("focused")
        if focused is None:
            break
        reached.append(focused["index"])
        unseen += [] if focused["isSeen"] else [focused["name"]]
    assert await visit.ask("missed", reached) == []
    assert unseen == []


async def test_the_policy_is_strict(visit: Visit) -> None:
    """Nothing but the server's own files may run or be shown, and in all that was done nothing else has tried."""
    header = visit.response.headers["content-security-policy"]
    policy = {name: sources for name, *sources in (part.split() for part in header.split(";"))}
    assert policy["default-src"] == ["'none'"]
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == ["'self'"]
    for name in ("base-uri", "form-action", "frame-ancestors"):
        assert policy[name] == ["'none'"]
    assert {source for sources in policy.values() for source in sources} <= {"'none'", "'self'", "data:", "blob:"}
    assert visit.response.headers["x-content-type-options"] == "nosniff"
    assert visit.response.headers["referrer-policy"] == "no-referrer"
    assert await visit.ask("refused") == []


async def test_pages_are_quiet(visit: Visit) -> None:
    """No error and no warning on the console, and no request to anywhere else."""
    assert visit.complaints == []
    assert [url for url in visit.asked if not url.startswith((visit.gallery.url, "blob:", "data:"))] == []


async def test_every_link_leads_somewhere(visit: Visit) -> None:
    """What a page links to is there."""
    here = visit.gallery.url
    links = {link.partition("#")[0] for link in await visit.ask("links") if not link.startswith("blob:")}
    assert {
        link: status for link in links if (status := await visit.gallery.status(link.removeprefix(here))) != 200
    } == {}


async def test_every_page_leads_home(visit: Visit) -> None:
    """And home leads to every page."""
    links = {link.removeprefix(visit.gallery.url).partition("#")[0] for link in await visit.ask("links")}
    assert "/" in links
    if visit.place.path == "/":
        assert {place.path for place in PLACES} <= links


class Html(HTMLParser):
    """What the text of a page says before anything has run.

    Attributes:
        tags: name and attributes of each element.
        text: what stands directly within elements, by their names.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: dict[str, str] = {}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element."""
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        """Text after an element is not its own."""
        self.tags.append(("/" + tag, {}))

    def handle_data(self, data: str) -> None:
        """Note its text."""
        if self.tags:
            tag = self.tags[-1][0]
            self.text[tag] = self.text.get(tag, "") + data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of all elements of a name."""
        return [attributes for name, attributes in self.tags if name == tag]

    def meta(self, name: str) -> str:
        """The content of a `meta` element."""
        return next((each["content"] or "" for each in self.all("meta") if each.get("name") == name), "")


async def test_nothing_is_inline(visit: Visit) -> None:
    """No script, style or handler stands in the page itself, and all that it names is next to it."""
    html = Html(await visit.response.text())
    assert [each for each in html.all("script") if not each.get("src")] == []
    assert html.all("style") == html.all("base") == html.all("iframe") == []
    attributes = [(tag, name, value) for tag, each in html.tags for name, value in each.items()]
    assert [each for each in attributes if each[1] == "style" or each[1].startswith("on")] == []
    named = [urlsplit(value or "") for _, name, value in attributes if name in ("src", "href")]
    assert [url for url in named if url.scheme or url.netloc] == []


async def test_a_page_says_what_it_is(visit: Visit) -> None:
    """Its language, its name, what it is about, one heading above all, and a width that is the phone's own."""
    html = Html(await visit.response.text())
    assert html.all("html") == [{"lang": "en"}]
    assert html.text["title"] == visit.place.title
    assert len(html.all("h1")) == len(html.all("main")) == 1
    assert html.meta("viewport") == "width=device-width, initial-scale=1"
    assert html.meta("color-scheme") == "light dark"
    assert 40 <= len(html.meta("description")) <= 160
    assert html.tags[[tag for tag, _ in html.tags].index("body") + 1][1].get("class") == "skip"


async def test_every_field_has_a_name(visit: Visit) -> None:
    """Whoever cannot see what stands beside a field is told what it is for."""
    assert await visit.ask("nameless") == []


# -- the list itself -----------------------------------------------------------------------------------------------------


def paths_of(routes: Iterable[BaseRoute]) -> Iterator[str]:
    """What can be got from an application, also from the routers that it includes."""
    for route in routes:
        if "GET" in (getattr(route, "methods", None) or ()):
            yield str(getattr(route, "path", ""))
        yield from paths_of(getattr(getattr(route, "original_router", None), "routes", ()))


async def test_no_page_is_forgotten(gallery: Gallery) -> None:
    """Everything that the gallery answers with HTML is in the list, and each page there has another name."""
    paths = {*paths_of(create_app().routes), *(route.path for route in ROUTES if route.method == "GET")}
    names = [path.replace("{file}", name) for path in paths for name in (FILES if "{file}" in path else [""])]
    html = {path for path in names if await gallery.kind(path) == "text/html"}
    assert {path for path in html if not path.startswith("/assets/")} == {place.path for place in PLACES}
    assert len({place.title for place in PLACES}) == len(PLACES)


@pytest.mark.parametrize("application", APPLICATIONS, ids=lambda each: each.__name__)
async def test_no_application_has_pages_of_its_own(application: Any) -> None:
    """What one of them answers on its own, it answers in the gallery, too, where it is looked at."""
    alone = set(paths_of(application.create_app().routes)) - {"/openapi.json"}
    assert f"/{application.__name__.split('.')[1]}" in alone
    assert alone - set(paths_of(create_app().routes)) == set()
