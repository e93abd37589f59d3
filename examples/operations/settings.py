"""What the operations application can be told."""

from __future__ import annotations

from examples.shared.settings import Settings as Shared


class Settings(Shared, frozen=True, kw_only=True):
    """Settings of operations.

    Attributes:
        heartbeat: seconds between heartbeats.
        reachable: hosts that connection tests may reach besides this machine; comma-separated.
        patience: seconds that a connection test waits for an answer.
        pace: seconds that an automation pauses after each line it says, so that a visitor can follow; 0 for none.
        kept: incidents, and runs of automations, that are kept; beyond it the oldest closed ones go.
    """

    data: str = ".headwater/operations"
    heartbeat: float = 30.0
    reachable: str = ""
    patience: float = 3.0
    pace: float = 0.3
    kept: int = 200

    @property
    def hosts(self) -> frozenset[str]:
        """`reachable` as a set."""
        return frozenset(host.strip().lower() for host in self.reachable.split(",") if host.strip())
