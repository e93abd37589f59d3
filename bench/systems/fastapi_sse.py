"""FastAPI's own Server-Sent Events under uvicorn: a route that yields, over a queue per client."""

from __future__ import annotations

from bench.systems.base import Publish, System, needs, uvicorn

FASTAPI = System(
    name="fastapi",
    title="FastAPI's SSE",
    command=uvicorn("bench.systems.fastapi_sse_app:app"),
    stream="/",
    publish=Publish(path="/"),
    missing=needs("fastapi"),
)
