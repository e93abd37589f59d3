"""The broker contract as tests: what `headwater.brokers.base` promises, for the authors of brokers.

Subclass `BrokerContract` where your test runner looks, say how to connect, and every promise is a test:

    class TestMyBroker(BrokerContract):
        def connect(self, retention):
            return MyBroker(self.address, retention=retention)

With pytest the methods need an asyncio plugin in auto mode (and `pytest.register_assert_rewrite("headwater.testing")`
for failures that show values); with the standard library inherit from `unittest.IsolatedAsyncioTestCase` too. One test is
one instance with a log of its own, so make `self.address` a new one in each instance's setup.

This package knows the protocol and no broker; it imports no test runner.
"""

from __future__ import annotations

from headwater.testing.contract.appending import Appending
from headwater.testing.contract.feeding import Feeding
from headwater.testing.contract.keeping import Keeping
from headwater.testing.contract.keys import Keys
from headwater.testing.contract.living import Living
from headwater.testing.contract.node import Node, Recorder
from headwater.testing.contract.reading import Reading

__all__ = ["BrokerContract", "Node", "Recorder"]


class BrokerContract(Appending, Keys, Feeding, Reading, Keeping, Living):
    """Every promise of a broker. Override `connect`; set `shares_log` to False if a log is one broker's own; override
    `wipe` and set `can_wipe` if the log can be replaced under a running broker."""
