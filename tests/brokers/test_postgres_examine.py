"""What an operator is told of a log in PostgreSQL."""

from __future__ import annotations

from itertools import count

import pytest

from headwater.brokers.base import Examinable, Finding, Grade
from headwater.brokers.postgres import PostgresBroker, parse
from headwater.brokers.postgres.examine import FAR, examine
from headwater.brokers.postgres.link import Link
from headwater.errors import BrokerUnavailable
from tests.brokers.postgres_nodes import ask, fresh, postgres_node
from tests.support.postgres import PostgresServer
from tests.support.waiting import until


def bad(findings: list[Finding]) -> str:
    """What is not good, as one text."""
    return "\n".join(finding.text for finding in findings if finding.grade is not Grade.GOOD)


async def test_a_log_in_order_is_said_to_be_in_order() -> None:
    """With what was looked at; by a broker that is open."""
    with PostgresServer(16, fsync="on") as server:
        async with postgres_node(server.url()) as (_, broker):
            assert isinstance(broker, Examinable)
            await until(lambda: broker.is_leader, "the node to lead")
            findings = list(await broker.examine())
            assert bad(findings) == ""
            assert "PostgreSQL 16." in findings[0].text
            assert any("takes from the outbox, where 0 wait" in finding.text for finding in findings)
            server.execute("ALTER ROLE postgres SET synchronous_commit = off")
            async with postgres_node(server.url()) as (_, other):  # which may be what somebody wants
                assert "synchronous_commit is off" in bad(list(await other.examine()))
            server.stop()
            with pytest.raises(BrokerUnavailable, match="cannot be used"):
                await broker.examine()
        with pytest.raises(BrokerUnavailable, match="not open"):
            await broker.examine()


async def test_what_is_not_in_order_is_said() -> None:
    """The server of the tests does not wait for its disk; nobody leads; and the way is long."""
    with fresh() as url:
        broker = PostgresBroker(parse(url))
        await broker.open()
        await broker.aclose()
        link, clock = Link(parse(url)), count(0.0, FAR)
        try:
            ask(url, "SELECT headwater.publish('a')")
            found = bad([finding async for finding in examine(link, lambda: next(clock))])
            assert "fsync is off" in found
            assert "no hub takes from the outbox, where 1 wait" in found
            assert "a round trip takes 5 ms" in found
            link.is_pooled = True
            assert "there is a pooler" in bad([finding async for finding in examine(link)])
        finally:
            await link.close()
