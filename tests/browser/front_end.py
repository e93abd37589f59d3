"""The application behind tests/browser/test_notifications_web.py: the notifications, and their built front end on the same
origin, under the policy that all our pages have.

The build lies in the folder that `FRONT_END` names. It must not know what a test is about.
"""

from __future__ import annotations

import os
from pathlib import Path

from fastapi.responses import FileResponse, Response

from examples.notifications.app import create_app
from examples.shared.web import PAGE_HEADERS

DIST = Path(os.environ["FRONT_END"])

app = create_app()


@app.get("/dashboard")
@app.get("/dashboard/{page}")
async def page() -> Response:
    """The page: which one it is, it decides by its address."""
    return FileResponse(DIST / "index.html", headers=PAGE_HEADERS)


@app.get("/assets/{name}")
async def asset(name: str) -> Response:
    """What belongs to it."""
    return FileResponse(DIST / "assets" / name, headers=PAGE_HEADERS)
