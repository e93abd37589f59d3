"""Pages and the rest of what an application owes the web: a strict content policy, errors as responses, quiet logs.

Knows FastAPI and files; must not know what is on a page.
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from html import escape
from pathlib import Path
from typing import Any

import msgspec
from fastapi import APIRouter, FastAPI, Request
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import FileResponse, HTMLResponse, Response

import headwater
from examples.shared.settings import Settings
from headwater import HeadwaterError, Hub
from headwater.asgi.problems import handle_error
from headwater.auth import redact
from headwater.errors import InvalidInput

CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Nothing inline, nothing from elsewhere: text that finds a way into the page still cannot run."""

PAGE_HEADERS = {
    "content-security-policy": CONTENT_POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}

BAR = '<header class="bar">'
HOME = (
    '<svg viewBox="0 0 20 20" width="18" height="18" aria-hidden="true"><path d="M12.5 4 6.5 10l6 6" fill="none" '
    'stroke="currentColor" stroke-width="1.8" stroke-linecap="round" stroke-linejoin="round"/></svg>'
)
"""What leads back: an arrow."""

_SHARED = Path(__file__).parent
WEB = Path(headwater.__file__).parent / "web"


def answer(value: Any, status: int = 200) -> Response:
    """Any value that msgspec can encode, as a JSON response."""
    return Response(msgspec.json.encode(value), status, media_type="application/json")


def page(path: str, folder: Path, *more: Path) -> APIRouter:
    """The routes of a page: `page.html` in `folder` at `path`, and below it what the page asks for.

    Args:
        path: such as `/rooms`.
        folder: has page.html, page.css and page.js.
        more: files that are served as well, by their names.
    """
    router = APIRouter(include_in_schema=False)
    html = (folder / "page.html").read_text(encoding="utf-8")
    served = {name: folder / name for name in ("page.css", "page.js")}
    served |= {name: WEB / name for name in ("style.css", "icon.svg", "parts.js", "client.js")}
    served |= {each.name: each for each in (_SHARED / "live.js", *more)}

    @router.get(path)
    async def document(request: Request) -> Response:
        return HTMLResponse(with_home(html, getattr(request.app.state, "home", "")), headers=PAGE_HEADERS)

    @router.get(path + "/{name}")
    async def file(name: str) -> Response:
        found = served.get(name)
        return FileResponse(found, headers=PAGE_HEADERS) if found else Response(status_code=404)

    return router


def with_home(html: str, home: str) -> str:
    """A page whose bar begins with a link to where it is listed; as it is, if that is nowhere.

    Args:
        html: the page, with a `<header class="bar">`.
        home: a path, or nothing.
    """
    link = f'\n    <a class="home" href="{escape(home)}" aria-label="Gallery" title="Gallery">{HOME}</a>'
    return html.replace(BAR, BAR + link, 1) if home else html


def standalone(title: str, settings: Settings, make: Callable[[Hub, Any], APIRouter]) -> FastAPI:
    """An application with one of these routers and a hub of its own, which runs as long as the application does."""
    hub = Hub(settings.broker_url)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        settings.prepared()  # the hub's log lies there, too
        async with hub.lifespan(app):
            yield

    app = FastAPI(title=title, lifespan=lifespan, docs_url=None, redoc_url=None)  # those pages come from elsewhere
    app.state.hub = hub
    app.include_router(make(hub, settings))
    prepare(app, settings)
    return app


def prepare(app: FastAPI, settings: Settings, *, credentials: bool = False) -> None:
    """What an application needs once, however many of these routers it includes: Headwater's errors as responses, CORS (with
    `credentials` also for requests with cookies), and no tokens in uvicorn's log."""
    app.add_exception_handler(HeadwaterError, handle_error)
    app.add_exception_handler(RequestValidationError, invalid)  # type: ignore[arg-type] # it is called for these only
    app.add_exception_handler(UnicodeEncodeError, halved)
    if settings.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.origins,
            allow_credentials=credentials,
            allow_methods=["GET", "POST", "PATCH", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "Last-Event-ID", "Idempotency-Key"],
        )
    access = logging.getLogger("uvicorn.access")
    if not any(isinstance(each, RedactTokens) for each in access.filters):
        access.addFilter(RedactTokens())


async def invalid(request: Request, error: RequestValidationError) -> Response:
    """FastAPI's own answer, which it cannot send if what is wrong is half a character."""
    detail = json.dumps({"detail": jsonable_encoder(error.errors())}, ensure_ascii=False)
    return Response(detail.encode(errors="replace"), 422, media_type="application/json")


async def halved(request: Request, error: Exception) -> Response:
    """JSON can spell half a character (a lone surrogate), which no database keeps and no stream carries."""
    return await handle_error(request, InvalidInput("a text has half a character in it", expected="Unicode text"))


class RedactTokens(logging.Filter):
    """Takes tokens out of the paths that uvicorn logs: an EventSource has nowhere else to put them."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(redact(value) if isinstance(value, str) else value for value in record.args)
        return True
