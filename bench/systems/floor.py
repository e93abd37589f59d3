"""The floor: floor.c, one bare send() per delivery."""

from __future__ import annotations

from bench.build import FLOOR
from bench.systems.base import Publish, System

FLOOR_SYSTEM = System(
    name="floor",
    title="floor: bare C epoll",
    command=lambda port, _directory: [str(FLOOR), str(port)],
    stream="/",
    publish=Publish(path="/"),
)
