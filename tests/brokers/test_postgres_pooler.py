"""Behind PgBouncer, which lends sessions out for a transaction, or for as long as a client stays."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from headwater.brokers.postgres import PostgresBroker
from headwater.event import Draft
from tests.brokers.postgres_nodes import ask, fresh, postgres_node
from tests.support.postgres import PostgresServer, shared_server
from tests.support.waiting import until


@asynccontextmanager
async def pooling(server: PostgresServer, mode: str, *settings: str) -> AsyncIterator[int]:
    """PgBouncer before a server; its port."""
    folder = Path(tempfile.mkdtemp(prefix="headwater-pgbouncer-"))
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    assert program is not None, "PgBouncer is not installed: apt-get install pgbouncer"
    user = {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}
    lines = [
        "[databases]",
        f"* = host=127.0.0.1 port={server.port}",
        "[pgbouncer]",
        "listen_addr = 127.0.0.1",
        f"listen_port = {(port := free_port())}",
        "unix_socket_dir =",
        "auth_type = any",
        f"pool_mode = {mode}",
        *settings,
    ]
    if user:
        shutil.chown(folder, "nobody")
    file = folder / "pgbouncer.ini"
    file.write_text("\n".join(lines).replace("* = host", "* = user=postgres host"))
    process = await asyncio.create_subprocess_exec(
        program,
        "-q",
        str(file),
        stderr=asyncio.subprocess.PIPE,
        **user,  # type: ignore[arg-type]
    )
    try:
        await until(lambda: process.returncode is not None or listens(port), "the pooler")
        assert process.returncode is None, await process.stderr.read() if process.stderr else ""
        yield port
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        shutil.rmtree(folder)


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def listens(port: int) -> bool:
    """Whether somebody takes connections."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def use(url: str, is_told: bool) -> None:
    """Two nodes behind the pooler do what nodes do."""
    async with postgres_node(url, follow=["a"]) as (node, broker), postgres_node(url, follow=["a"]) as (other, second):
        await until(lambda: broker.is_leader or second.is_leader, "a node to lead")
        for _ in range(10):  # often enough that statements would be prepared
            await other.append(Draft(channel="a"))
        await node.feed.until(lambda: len(node.feed.events) == 10)
        leader = await said(broker, is_told)
        assert leader == await said(second, is_told)
        ask(url, "SELECT headwater.publish('a', idempotency_key => 'k')")
        await node.feed.until(lambda: len(node.feed.events) == 11)
        await other.feed.until(lambda: len(other.feed.events) == 11)
        assert node.feed.events == other.feed.events
        await (broker if broker.is_leader else second).aclose()
        if is_told:
            await until(lambda: broker.is_leader or second.is_leader, "the other node to lead")


async def said(broker: PostgresBroker, is_told: bool) -> bool:
    """Whether the node is told of events, when it knows."""
    session = broker._session
    assert session is not None
    await until(lambda: session._failures == 0, "a session")
    assert session.is_told is is_told
    return session.is_told


async def test_a_pooler_that_lends_sessions_out_is_looked_past(caplog: pytest.LogCaptureFixture) -> None:
    """Nobody can be told there, nor hold a lock, nor leave prepared statements or settings behind: the nodes look by
    themselves, and one leads by lease."""
    with fresh() as url:
        async with pooling(shared_server(), "transaction") as port:
            behind = url.replace(f":{shared_server().port}/", f":{port}/")
            await use(behind, False)
    assert "looking instead of being told" in caplog.text


async def test_a_pooler_that_keeps_sessions_is_as_good_as_none() -> None:
    """A test at the start of the session shows it."""
    with fresh() as url:
        async with pooling(shared_server(), "session", "ignore_startup_parameters = options") as port:
            await use(url.replace(f":{shared_server().port}/", f":{port}/"), True)
