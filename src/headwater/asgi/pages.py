"""The files for people's browsers: pages, style, scripts and the client, as they are in `headwater/web`.

Read once and served from memory, with an ETag, under a policy that lets a page run nothing but the files next to it. Knows
files and their headers; must not know what they show.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from importlib.resources import files
from typing import Final

import msgspec
from starlette.responses import Response

from headwater.asgi.request import Scope, header_of
from headwater.errors import NotFound

MEDIA_TYPES: Final = {
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "svg": "image/svg+xml",
}

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The content security policy of every page: no inline script or style, nothing from elsewhere, no frame around it. What a
stranger publishes can then be shown as text and cannot become code."""

PAGE_HEADERS: Final = {
    "content-security-policy": POLICY,
    "cross-origin-opener-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",  # for browsers that do not know frame-ancestors
}


class Page(msgspec.Struct, frozen=True):
    """One file: its bytes and the headers that go with them."""

    content: bytes
    headers: dict[str, str]


class Pages:
    """All files that a browser may ask for.

    Args:
        names: which of those in `headwater/web`.
    """

    def __init__(self, names: Collection[str]) -> None:
        folder = files("headwater") / "web"
        self._pages = {name: _page(name, (folder / name).read_bytes()) for name in names}

    def response(self, name: str, scope: Scope) -> Response:
        """The file, or that it is the one the browser has already.

        Raises:
            NotFound: there is none of this name.
        """
        page = self._pages.get(name)
        if page is None:
            raise NotFound(f"there is no file {name[:80]!r}")
        known = header_of(scope, b"if-none-match") or ""
        if page.headers["etag"] in known:
            return Response(status_code=304, headers=page.headers)
        return Response(page.content, headers=page.headers)


def _page(name: str, content: bytes) -> Page:
    kind = name.rpartition(".")[2]
    headers = {
        "content-type": MEDIA_TYPES[kind],
        # Asked for anew each time, and mostly answered with 304: a page must never meet a script of another version.
        "cache-control": "no-cache",
        "etag": f'"{hashlib.sha256(content).hexdigest()[:16]}"',
    }
    return Page(content, {**headers, **PAGE_HEADERS} if kind == "html" else headers)
