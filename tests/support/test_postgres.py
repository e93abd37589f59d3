"""The servers are what the tests take them for."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import psycopg
import pytest

from tests.support.postgres import VERSIONS, PostgresServer, database_of, rows, shared_server
from tests.support.waiting import until


@pytest.mark.parametrize("version", VERSIONS)
def test_each_version_is_what_it_says(version: int) -> None:
    """16 and 18, over TCP and over the Unix socket, in UTF-8."""
    server = shared_server(version)
    assert shared_server(version) is server
    ((number, encoding),) = server.execute("SELECT current_setting('server_version'), getdatabaseencoding()")
    assert number.startswith(f"{version}.")
    assert encoding == "UTF8"
    with psycopg.connect(host=str(server.folder), port=server.port, user="postgres", dbname="postgres") as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_each_database_is_new_and_goes() -> None:
    """A copy of the template that is named; whoever still uses it in the end is thrown out."""
    server = shared_server(18)
    with server.database() as first:
        rows(first, "CREATE TABLE mine (id int)")
        with server.database(template=database_of(first)) as copy, psycopg.connect(copy) as connection:
            assert database_of(copy) != database_of(first)
            connection.execute("INSERT INTO mine VALUES (1)")
        assert rows(first, "SELECT * FROM mine") == []
    names = {name for (name,) in server.execute("SELECT datname FROM pg_database")}
    assert not names & {database_of(first), database_of(copy)}


def test_a_server_can_be_stopped_killed_and_restarted() -> None:
    """At the same port, with what was committed; nothing is left in the end."""
    with PostgresServer(18, fsync="on") as server:
        port = server.port
        server.execute("CREATE TABLE kept (id int)")
        for end in (server.stop, server.kill, lambda: server.stop("immediate")):
            server.execute("INSERT INTO kept VALUES (1)")
            end()
            assert not server.is_running
            assert server.pids() == []
            with pytest.raises(psycopg.OperationalError):
                server.execute("SELECT 1")
            server.start()
        server.restart()
        assert server.port == port
        assert server.execute("SELECT count(*) FROM kept") == [(3,)]
    assert not server.folder.exists()
    server.stop()


async def test_a_paused_server_answers_when_it_goes_on() -> None:
    """Connections stay; a question asked meanwhile is answered late."""
    with PostgresServer(16) as server:
        async with await psycopg.AsyncConnection.connect(server.url(), autocommit=True) as connection:
            server.pause()
            await until(lambda: {_state(pid) for pid in server.pids()} == {"T"}, "the server to stand still")
            server.resume()
            assert await (await connection.execute("SELECT 1")).fetchone() == (1,)


def test_sessions_can_be_terminated() -> None:
    """Those for which the condition holds."""
    server = shared_server(18)
    with server.database() as url, psycopg.connect(url, application_name="victim") as connection:
        assert server.terminate("application_name = %s", "nobody") == 0
        assert server.terminate("application_name = %s", "victim") == 1
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")


def test_a_server_that_cannot_start_says_why() -> None:
    """With its log; and a tool that fails says what it printed."""
    server = PostgresServer(18, shared_buffers="nonsense")
    try:
        with pytest.raises(AssertionError, match=r"did not start:\n(.*\n)*.*shared_buffers"):
            server.start()
    finally:
        server.remove()
    with pytest.raises(AssertionError, match=r"psql failed:\n.*nowhere"):
        shared_server(18).tool("psql", "-c", "SELECT 1", database="nowhere")
    assert shared_server(18).tool("psql", "-Atc", "SELECT 40 + 2") == "42\n"


async def test_nothing_outlives_a_killed_test_run() -> None:
    """Not even one that is killed with SIGKILL: the server ends and its files go."""
    code = "from tests.support.postgres import shared_server; server = shared_server()\n"
    code += "print(server.folder, *server.pids(), flush=True); input()"
    run = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdin=PIPE, stdout=PIPE)
    assert run.stdout is not None
    folder, *pids = (await run.stdout.readline()).decode().split()
    assert os.path.exists(folder)  # noqa: ASYNC240 (no file, no waiting)
    run.kill()
    await run.wait()
    await until(lambda: not os.path.exists(folder), "its files to go")
    await until(lambda: {_state(int(pid)) for pid in pids} <= {"gone", "Z"}, "its processes to end")


def _state(pid: int) -> str:
    """What the kernel says a process is doing: T is stopped, Z is dead and not yet buried."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "gone"
