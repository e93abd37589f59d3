"""The systems that are compared, one module for each."""

from __future__ import annotations

from bench.systems.base import System
from bench.systems.better_sse import BETTER_SSE_SYSTEM
from bench.systems.fastapi_sse import FASTAPI
from bench.systems.floor import FLOOR_SYSTEM
from bench.systems.headwater import HEADWATER_ON_UVICORN, headwater
from bench.systems.nchan import nchan
from bench.systems.sse_starlette import SSE_STARLETTE

SYSTEMS: tuple[System, ...] = (
    FLOOR_SYSTEM,
    headwater(),
    HEADWATER_ON_UVICORN,
    nchan(),
    BETTER_SSE_SYSTEM,
    SSE_STARLETTE,
    FASTAPI,
)
"""In the order in which a round measures them: Headwater right after the floor it is compared with."""
