"""The memory broker keeps the contract, and the bounds that are its own."""

from __future__ import annotations

from headwater.brokers.base import Broker, Retention
from headwater.brokers.memory import MemoryBroker
from headwater.testing import BrokerContract


class TestContract(BrokerContract):
    """Everything that any broker promises."""

    shares_log = False
    can_wipe = True

    def connect(self, retention: Retention) -> Broker:
        """A log of its own each time."""
        return MemoryBroker(retention)

    async def wipe(self, broker: Broker) -> None:
        """As a test of the hub would do it."""
        assert isinstance(broker, MemoryBroker)
        broker.wipe()
