"""The SQLite broker keeps the contract."""

from __future__ import annotations

from pathlib import Path

import pytest

from headwater.brokers.base import Broker, Retention
from headwater.brokers.sqlite import SqliteBroker
from headwater.testing import BrokerContract


class TestContract(BrokerContract):
    """Everything that any broker promises."""

    can_wipe = True

    @pytest.fixture(autouse=True)
    def path(self, tmp_path: Path) -> None:
        """Where this test's log is."""
        self._path = tmp_path / "events.db"

    def connect(self, retention: Retention) -> Broker:
        """Another node on the same file."""
        return SqliteBroker(self._path, retention=retention)

    async def wipe(self, broker: Broker) -> None:
        """Delete the file, as an operator might."""
        for name in ("events.db", "events.db-wal", "events.db-shm"):
            self._path.with_name(name).unlink()
