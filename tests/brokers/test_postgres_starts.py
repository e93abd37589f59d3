"""Many processes meet an empty database at the same moment."""

from __future__ import annotations

import asyncio

import psycopg

from headwater.brokers.postgres.migrate import migrate
from headwater.brokers.postgres.sql import migrations
from tests.support.postgres import shared_server


async def test_nodes_that_start_together_install_the_schema_once() -> None:
    """One of them does it, and the others, which waited for it, find that it is done."""

    async def start() -> tuple[str, ...]:
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
            return await migrate(connection)

    with shared_server().database() as url:
        applied = await asyncio.gather(*(start() for _ in range(6)))
    assert sorted(applied, key=len)[:-1] == [()] * 5
    assert max(applied, key=len) == tuple(name for _, name, _ in migrations())
