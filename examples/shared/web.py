"""Pages and the rest of what an application owes the web: a strict content policy, errors as responses, quiet logs.

Knows FastAPI and files; must not know what is on a page.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
from fastapi import APIRouter, FastAPI
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import FileResponse, Response

import headwater
from examples.shared.settings import Settings
from headwater import HeadwaterError, Hub
from headwater.asgi.problems import handle_error
from headwater.auth import redact

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
    served = {"": folder / "page.html", "/page.css": folder / "page.css", "/page.js": folder / "page.js"}
    served |= {"/live.js": _SHARED / "live.js", "/style.css": WEB / "style.css", "/icon.svg": WEB / "icon.svg"}
    served |= {f"/{each.name}": each for each in more}

    @router.get(path)
    @router.get(path + "/{name}")
    async def file(name: str = "") -> Response:
        found = served.get(f"/{name}" if name else "")
        return FileResponse(found, headers=PAGE_HEADERS) if found else Response(status_code=404)

    return router


def standalone(title: str, settings: Settings, make: Callable[[Hub, Any], APIRouter]) -> FastAPI:
    """An application with one of these routers and a hub of its own, which runs as long as the application does."""
    hub = Hub(settings.broker_url)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        settings.prepared()  # the hub's log lies there, too
        async with hub.lifespan(app):
            yield

    app = FastAPI(title=title, lifespan=lifespan)
    app.state.hub = hub
    app.include_router(make(hub, settings))
    prepare(app, settings)
    return app


def prepare(app: FastAPI, settings: Settings, *, credentials: bool = False) -> None:
    """What an application needs once, however many of these routers it includes: Headwater's errors as responses, CORS (with
    `credentials` also for requests with cookies), and no tokens in uvicorn's log."""
    app.add_exception_handler(HeadwaterError, handle_error)
    if settings.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.origins,
            allow_credentials=credentials,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type", "Last-Event-ID"],
        )
    access = logging.getLogger("uvicorn.access")
    if not any(isinstance(each, RedactTokens) for each in access.filters):
        access.addFilter(RedactTokens())


class RedactTokens(logging.Filter):
    """Takes tokens out of the paths that uvicorn logs: an EventSource has nowhere else to put them."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(redact(value) if isinstance(value, str) else value for value in record.args)
        return True
