"""sse-starlette under uvicorn: the library's response class over a queue per client, as its documentation shows."""

from __future__ import annotations

from bench.systems.base import Publish, System, needs, uvicorn

SSE_STARLETTE = System(
    name="sse-starlette",
    title="sse-starlette",
    command=uvicorn("bench.systems.sse_starlette_app:app"),
    stream="/",
    publish=Publish(path="/"),
    missing=needs("sse_starlette"),
)
