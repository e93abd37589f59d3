"""The home page: what Headwater is, what is mounted here, and lines to copy that work as they stand.

Made anew for each visitor, because it holds development tokens; they go to pages of this machine only. Knows the
applications by their paths; must not know what they do.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from html import escape
from pathlib import Path
from string import Template
from typing import Final

import msgspec
from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, HTMLResponse, Response

from examples.debates.app import MODERATE
from examples.gallery.pulse import GalleryHub, passed
from examples.gallery.settings import Settings
from examples.operations.app import ROLES
from examples.shared.access import check_local
from examples.shared.web import PAGE_HEADERS, WEB, answer
from headwater.auth import mint

FOLDER: Final = Path(__file__).parent
SHARED: Final = FOLDER.parent / "shared"
FILES: Final = {
    path.name: path
    for path in (FOLDER / "home.css", FOLDER / "home.js", FOLDER / "river.js", SHARED / "live.js", WEB / "parts.js")
}
LIFETIME: Final = 12 * 3600.0
"""Seconds for which a token on the page is valid: a long day of trying things."""

EVERYTHING: Final = (*ROLES["operator"], MODERATE)


class Line(msgspec.Struct, frozen=True):
    """A command to copy."""

    title: str
    about: str
    command: str


def token_of(settings: Settings, name: str, permissions: tuple[str, ...]) -> str:
    """A development token for every application of the gallery."""
    return mint(settings.secret, sub=name, permissions=permissions, subscribe=("project:*",), ttl=LIFETIME)


def lines(base: str, token: str, support: str) -> Iterator[Line]:
    """What can be typed into a terminal.

    Args:
        base: URL of the gallery.
        token: of somebody who may see everything.
        support: of somebody who may see incidents only.
    """
    hello = f"{base}/channels/hello"
    yield Line("Listen", "A channel is there as soon as somebody names it.", f"curl -N {hello}")
    yield Line("Publish", "From a second terminal, or with the box on this page.", f"curl -d 'Hello' {hello}")
    yield Line("Catch up", "Everything that was said, then whatever comes.", f"curl -N '{hello}?since=all'")
    poll = f"curl -H 'Accept: application/json' '{hello}?last=3'"
    yield Line("Poll", "The same URL, for those who cannot stream.", poll)
    stream = f"{base}/api/v1/events/stream"
    yield Line("Operations, as the operator", "Every event of the channel.", f"curl -N -H {_bearer(token)} {stream}")
    hour = f"curl -N -H {_bearer(support)} '{stream}?since=1h'"
    yield Line("The same, as support", "What incidents.read allows, the last hour first.", hour)
    rooms = f"curl -H {_bearer(token)} {base}/api/v1/rooms"
    yield Line("Rooms", "Who is being built; each has its log at /logs below it.", rooms)
    handbook = f"{base}/api/projects/handbook"
    updates = f"curl -N -H {_bearer(token)} {handbook}/status"
    yield Line("Projects", "Rows as they change in PostgreSQL, whoever changes them.", updates)
    begin = f"curl -X POST -H {_bearer(token)} {handbook}/jobs"
    yield Line("Index the handbook", "From a second terminal: a worker writes rows, and knows no Headwater.", begin)
    yield Line("Debates", "What is being debated; watching needs no token.", f"curl {base}/api/debates")


def _bearer(token: str) -> str:
    return shlex.quote(f"Authorization: Bearer {token}")


def shown(line: Line) -> str:
    """A line as HTML."""
    return (
        f'<li class="line"><div><h3>{escape(line.title)}</h3><p class="soft small">{escape(line.about)}</p></div>'
        f'<pre tabindex="0"><code>{escape(line.command)}</code></pre>'
        f'<button class="button quiet copy" type="button" aria-label="Copy: {escape(line.title)}">Copy</button></li>'
    )


def home(settings: Settings) -> APIRouter:
    """The page and its files."""
    routes = APIRouter(include_in_schema=False)
    template = Template((FOLDER / "home.html").read_text(encoding="utf-8"))

    @routes.get("/")
    async def page(request: Request) -> Response:
        check_local(request)
        base = str(request.base_url).rstrip("/")
        everything, support = token_of(settings, "you", EVERYTHING), token_of(settings, "sara", ROLES["support"])
        listed = "\n".join(shown(line) for line in lines(base, everything, support))
        return HTMLResponse(template.substitute(lines=listed), headers={**PAGE_HEADERS, "cache-control": "no-store"})

    @routes.get("/gallery/latest")
    async def latest(request: Request) -> Response:
        hub: GalleryHub = request.app.state.hub
        return answer([passed(*each) for each in hub.latest.values()])

    @routes.get("/gallery/{name}")
    async def file(name: str) -> Response:
        return FileResponse(FILES[name], headers=PAGE_HEADERS) if name in FILES else Response(status_code=404)

    return routes
