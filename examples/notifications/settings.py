"""What the notifications application can be told."""

from __future__ import annotations

from pathlib import Path

from examples.shared.settings import Settings as Shared


class Settings(Shared, frozen=True, kw_only=True):
    """Settings of the notifications.

    Attributes:
        heartbeat: seconds between heartbeats.
        away: seconds for which a user may have no stream before they count as offline; a reload takes less.
        pace: seconds that a workflow pauses before each step, so that a visitor can follow; 0 for none.
        kept: notifications of a user that are kept; beyond it the oldest go.
        send_rate: writing requests, or receivers of one, per user and second; 0 for no bound.
        connect_rate: new streams per address and second; 0 for no bound.
        max_streams: open streams of one user; 0 for no bound.
    """

    data: str = ".headwater/notifications"
    heartbeat: float = 30.0
    away: float = 3.0
    pace: float = 0.6
    kept: int = 100
    send_rate: float = 20.0
    connect_rate: float = 20.0
    max_streams: int = 20

    @property
    def files(self) -> Path:
        """The folder whose files workflows work with."""
        return self.folder / "files"

    @property
    def archives(self) -> Path:
        """The folder for archives of it."""
        return self.folder / "archives"
