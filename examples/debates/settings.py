"""What the debates application can be told."""

from __future__ import annotations

from examples.shared.settings import Settings as Shared


class Settings(Shared, frozen=True, kw_only=True):
    """Settings of the debates.

    Attributes:
        heartbeat: seconds between the comment lines that keep a quiet connection alive.
        speed: words a speaker says in a minute. People manage 150; the default lets a visitor see a debate in a minute.
        running: scripted debates at the same time; more are refused.
    """

    data: str = ".headwater/debates"
    heartbeat: float = 15.0
    speed: float = 600.0
    running: int = 20
