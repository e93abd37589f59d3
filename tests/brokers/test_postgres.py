"""The Postgres broker keeps the contract, and is opened by URL."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from headwater.brokers.base import Broker, Retention
from headwater.brokers.postgres import PostgresBroker, parse
from headwater.testing import BrokerContract
from tests.brokers.postgres_nodes import ask, fresh, schema_of


class Contract(BrokerContract):
    """Everything that any broker promises."""

    can_wipe = True
    version = 18

    @pytest.fixture(autouse=True)
    def database(self) -> Iterator[None]:
        """Where this test's log is."""
        with fresh(self.version) as self.url:
            yield

    def connect(self, retention: Retention) -> Broker:
        """Another node on the same database."""
        return PostgresBroker(parse(self.url), retention=retention)

    async def wipe(self, broker: Broker) -> None:
        """Drop the schema, as an operator might."""
        ask(self.url, f"DROP SCHEMA {schema_of(self.url)} CASCADE")


class TestContract18(Contract):
    """On PostgreSQL 18."""


class TestContract16(Contract):
    """On PostgreSQL 16."""

    version = 16
