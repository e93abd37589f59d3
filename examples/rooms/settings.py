"""What the rooms application can be told."""

from __future__ import annotations

from examples.shared.settings import Settings as Shared


class Settings(Shared, frozen=True, kw_only=True):
    """Settings of the rooms.

    Attributes:
        heartbeat: seconds between heartbeats.
        pace: seconds an agent pauses between two steps, so that a visitor can follow; 0 for none.
        attempts: how often an agent may try before the orchestrator gives up.
        at_once: rooms that may be worked on at the same time; more wait for their turn.
        waiting: rooms that may wait; more are refused.
        kept: rooms that are kept; beyond it the oldest finished ones go.
    """

    data: str = ".headwater/rooms"
    heartbeat: float = 30.0
    pace: float = 0.4
    attempts: int = 4
    at_once: int = 4
    waiting: int = 50
    kept: int = 200
