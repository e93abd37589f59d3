"""A PostgreSQL that does not answer: how long anybody waits for it."""

from __future__ import annotations

import asyncio
import gc
from unittest.mock import AsyncMock

import psycopg
import pytest

from headwater.brokers.postgres.link import Link
from headwater.errors import BrokerUnavailable
from headwater.event import Draft
from tests.brokers.postgres_nodes import fresh, postgres_node
from tests.support.postgres import PostgresServer


async def test_nobody_waits_longer_than_they_were_told() -> None:
    """Whatever the statement's own timeout is. Nor does closing wait for all who wait, one after the other; and nobody
    complains of answers that came too late."""
    with PostgresServer(18) as frozen:
        complaints: list[object] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: complaints.append(context))
        async with postgres_node(f"{frozen.url()}?wait=1&timeout=5", follow=["a"]) as (node, broker):
            await node.fill("a", 1)
            frozen.pause()
            began = loop.time()
            asked = [broker.head() for _ in range(5)]
            results = await asyncio.gather(node.append(Draft(channel="a")), *asked, return_exceptions=True)
            took = loop.time() - began
            assert [type(result) for result in results] == [BrokerUnavailable] * 6
            assert "appended is not known" in str(results[0])
            assert "has not answered within 1 s" in str(results[1])
            assert took < 1.5
            began = loop.time()
            await broker.aclose()
            assert loop.time() - began < 6
            frozen.resume()
        gc.collect()
        loop.set_exception_handler(None)
        assert complaints == []


async def test_an_epoch_that_cannot_be_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Goes on, and whoever wanted its end is told."""
    with fresh() as url:
        async with postgres_node(url) as (node, broker):
            with monkeypatch.context() as patch:
                patch.setattr(Link, "row", AsyncMock(side_effect=psycopg.OperationalError("gone")))
                with pytest.raises(BrokerUnavailable, match="gone"):
                    await broker.begin_epoch()
            assert (await broker.head()).epoch == node.head.epoch
