"""What the projects application can be told."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Self

import msgspec

from examples.shared.settings import Settings as Shared
from headwater.errors import ConfigurationError

ROOT: Final = Path(__file__).parents[2]

FOLDERS: Final = {"handbook": ROOT / "docs", "library": ROOT / "src" / "headwater", "examples": ROOT / "examples"}
"""What there is to index by default: this repository's own texts."""


class Settings(Shared, frozen=True, kw_only=True):
    """Settings of the projects.

    Attributes:
        database: where the tables and the log are, a postgresql:// URL; empty for a PostgreSQL of the application's own,
            which keeps its data in `data`.
        folders: the projects and what each of them indexes: `name=/path,name=/path`; empty for parts of this repository.
        heartbeat: seconds between heartbeats.
        works: a worker runs beside this process. With several nodes none needs it, but `python -m examples.projects.worker`.
        pace: seconds that the worker pauses after each step, so that a visitor can follow; 0 for none.
        connect_rate: new streams per address and second.
        max_streams: open streams of one user.
    """

    data: str = ".headwater/projects"
    database: str = ""
    folders: str = ""
    heartbeat: float = 15.0
    works: bool = True
    pace: float = 0.15
    connect_rate: float = 20.0
    max_streams: int = 20

    @classmethod
    def from_env(cls, prefix: str, env: Mapping[str, str] = os.environ) -> Self:
        """As for every application; and the pages' origin as the team named it."""
        given = super().from_env(prefix, env)
        origins = given.cors_origins or env.get("NEXT_PUBLIC_APP_URL", "")
        return msgspec.structs.replace(given, cors_origins=origins)

    @property
    def projects(self) -> Mapping[str, Path]:
        """The folders by project.

        Raises:
            ConfigurationError: `folders` is malformed.
        """
        pairs = [each.partition("=") for each in self.folders.split(",") if each.strip()]
        if not all(name.strip() and path.strip() for name, _, path in pairs):
            raise ConfigurationError(f"folders is {self.folders!r:.200}", expected="name=/path,name=/path")
        return {name.strip(): Path(path.strip()).absolute() for name, _, path in pairs} or FOLDERS
