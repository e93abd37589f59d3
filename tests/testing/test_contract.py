"""The broker contract passes good brokers, and finds the fault of each of those that have one."""

from __future__ import annotations

from pathlib import Path

import pytest

from headwater.brokers.base import Broker, Retention
from headwater.brokers.memory import MemoryBroker
from headwater.brokers.sqlite import SqliteBroker
from headwater.errors import HeadwaterError
from headwater.event import Position
from headwater.testing import BrokerContract
from headwater.testing.contract import Recorder, node
from headwater.testing.contract.node import Contract, raises
from tests.brokers.nodes import RELAXED, delete
from tests.testing.faulty import FAULTS, ClosedAlready

CASES = [(test, fault) for test, faults in FAULTS.items() for fault in faults]


class Alone(BrokerContract):
    """For brokers each of which has a log of its own."""

    shares_log = False
    kind: type[MemoryBroker] = MemoryBroker

    def connect(self, retention: Retention) -> Broker:
        """A new log."""
        return self.kind(retention)


class TestMemory(Alone):
    """A log of one node, which cannot be wiped from outside."""


class TestSqlite(BrokerContract):
    """A log that nodes share."""

    can_wipe = True
    kind: type[SqliteBroker] = SqliteBroker

    @pytest.fixture(autouse=True)
    def use(self, tmp_path: Path) -> None:
        """Put this test's log into a directory."""
        self.path = tmp_path / "events.db"

    def connect(self, retention: Retention) -> Broker:
        """Another node of it."""
        return self.kind(self.path, RELAXED, retention=retention)

    async def wipe(self, broker: Broker) -> None:
        """Delete the file."""
        delete(self.path)


class WipedFromInside(Alone):
    """For brokers in memory, which can wipe themselves."""

    can_wipe = True

    async def wipe(self, broker: Broker) -> None:
        """A new life."""
        assert isinstance(broker, MemoryBroker)
        broker.wipe()


@pytest.mark.parametrize(("test", "fault"), CASES, ids=[f"{fault.__name__}-{test}" for test, fault in CASES])
async def test_a_fault_is_found(
    test: str, fault: type[MemoryBroker | SqliteBroker], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the test that is meant to find it."""
    monkeypatch.setattr(node, "PATIENCE", 0.2)
    contract: Alone | TestSqlite
    if issubclass(fault, MemoryBroker):
        contract = WipedFromInside()
        contract.kind = fault
    else:
        contract = TestSqlite()
        contract.kind, contract.path = fault, tmp_path / "events.db"
    with pytest.raises((AssertionError, TimeoutError, HeadwaterError, ClosedAlready)):
        await getattr(contract, test)()


def test_every_promise_is_a_test() -> None:
    """The contract is as large as it was; none of its parts was forgotten."""
    tests = [name for name in dir(BrokerContract) if name.startswith("test_")]
    assert len(tests) >= 55
    assert set(FAULTS) <= set(tests)
    for part in Contract.__subclasses__():
        assert issubclass(BrokerContract, part) or not part.__module__.startswith("headwater.")


async def test_the_hooks_must_be_filled_in() -> None:
    """They say so."""
    contract = BrokerContract()
    with pytest.raises(NotImplementedError, match=r"override connect\(\)"):
        contract.connect(Retention())
    with pytest.raises(NotImplementedError, match="leave can_wipe False"):
        await contract.wipe(MemoryBroker())


async def test_a_recorder_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test of a broken broker fails; it does not hang."""
    monkeypatch.setattr(node, "PATIENCE", 0.01)
    with pytest.raises(TimeoutError):
        await Recorder().complete(Position("e", 1))


async def test_what_should_fail_and_does_not_is_a_failure() -> None:
    """`raises` is no way around an assertion."""

    async def succeed() -> None:
        return None

    with pytest.raises(AssertionError, match="ValueError was not raised"):
        await raises(ValueError, succeed())
