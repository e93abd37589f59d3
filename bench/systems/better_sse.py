"""better-sse (npm) on Node's http server, broadcasting through its channel."""

from __future__ import annotations

import shutil
from pathlib import Path

from bench.build import BETTER_SSE, better_sse_problem
from bench.systems.base import BACKLOG, Publish, System

_APP = Path(__file__).with_name("better_sse_app.mjs")

BETTER_SSE_SYSTEM = System(
    name="better-sse",
    title="better-sse (Node)",
    command=lambda port, _directory: [
        shutil.which("node") or "node",
        str(_APP),
        str(port),
        str(BETTER_SSE),
        str(BACKLOG),
    ],
    stream="/",
    publish=Publish(path="/"),
    missing=better_sse_problem,
)
