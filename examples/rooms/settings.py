"""What the rooms application can be told."""

from __future__ import annotations

from pathlib import Path

from examples.shared.settings import Settings as Shared


class Settings(Shared, frozen=True, kw_only=True):
    """Settings of the rooms.

    Attributes:
        heartbeat: seconds between heartbeats.
        builds: agents work in this process. With several nodes none of them builds, but one `python -m examples.rooms.work`.
        pace: seconds an agent pauses between two steps, so that a visitor can follow; 0 for none.
        attempts: how often an agent may try before the orchestrator gives up.
        at_once: rooms that may be worked on at the same time; more wait for their turn.
        waiting: rooms that may wait; more are refused.
        kept: rooms that are kept; beyond it the oldest finished ones go.
    """

    data: str = ".headwater/rooms"
    heartbeat: float = 30.0
    builds: bool = True
    pace: float = 0.4
    attempts: int = 4
    at_once: int = 4
    waiting: int = 50
    kept: int = 200

    @property
    def built(self) -> Path:
        """Where what agents make lies. Nodes that serve it share this folder with the builder."""
        return self.folder / "built"

    def folder_of(self, room_id: str) -> Path:
        """What was made in one room."""
        return self.built / room_id
