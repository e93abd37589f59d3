"""What the gallery can be told."""

from __future__ import annotations

from typing import Final

from examples.shared.settings import Settings as Shared
from headwater import Retention, Rule

PULSE: Final = "gallery:pulse"
"""The channel on which the home page learns what flows through the hub."""


class Settings(Shared, frozen=True, kw_only=True):
    """Settings of the gallery. All applications keep their data in its one folder, and so share one secret.

    Attributes:
        demo: let the applications do something by themselves while somebody looks on.
        pace: seconds between two steps of that.
        database: for the projects, a postgresql:// URL; empty for a PostgreSQL of the gallery's own, which ends with it.
    """

    data: str = ".gallery"
    demo: bool = True
    pace: float = 2.0
    database: str = ""


RETENTION: Final = Retention(
    rules=(Rule(pattern="gallery:**", count=20, age=60.0), Rule(pattern="**", count=2_000, age=6 * 3600.0)),
    total_bytes=64 << 20,
)
"""A visitor's disk is not ours to fill."""
