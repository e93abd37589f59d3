"""Tests of the support for running real servers, with each server there is."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.support.raw import RawClient
from tests.support.server import Kind, running
from tests.support.waiting import until

APP = """
import os, subprocess, sys

if "CHILD" in os.environ:
    print("child", subprocess.Popen(["sleep", "600"]).pid)

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        return await send({"type": "lifespan.shutdown.complete"})
    print("asked for", scope["path"], file=sys.stderr)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": os.environ["GREETING"].encode()})
"""

BROKEN = "raise SystemExit('no such luck')"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a good application and a broken one."""
    (tmp_path / "good.py").write_text(APP)
    (tmp_path / "broken.py").write_text(BROKEN)
    return tmp_path


@pytest.mark.parametrize("kind", ["uvicorn", "hypercorn", "granian"])
async def test_a_server_answers_and_leaves_no_process(kind: Kind, folder: Path) -> None:
    """The server is ready when the block begins, what it prints is kept, and afterwards even its children are gone."""
    async with running("good:app", server=kind, env={"GREETING": "hello", "CHILD": "yes"}, cwd=folder) as server:
        async with await RawClient.connect(server.url) as client:
            assert (await client.request("/path")).status == 200
            assert await client.read_body() == b"hello"
        await server.printed("asked for /path")
        child = int((await server.printed(r"^child (\d+)"))[1])
    await until(lambda: _gone(child), "the server's child to be gone")


async def test_a_server_stops_on_a_signal(folder: Path) -> None:
    """`stop` returns the exit code, with all output read."""
    async with running("good:app", server="uvicorn", cwd=folder) as server:
        assert await server.stop(signal.SIGINT) in (0, -signal.SIGINT)
        await server.printed("Finished server process")
        with pytest.raises(AssertionError, match="ended without printing 'never'"):
            await server.printed("never")


async def test_a_server_has_ended_though_its_children_live(folder: Path) -> None:
    """A child that keeps the server's output open does not make its end look like a hang."""
    async with running("good:app", server="uvicorn", env={"CHILD": "yes"}, cwd=folder) as server:
        await server.stop()


async def test_a_server_that_cannot_start_fails_with_its_output(folder: Path) -> None:
    """The failure shows what the server printed."""
    with pytest.raises(AssertionError, match="no such luck"):
        async with running("broken:app", server="uvicorn", cwd=folder):
            pass


async def test_waiting_for_output_has_an_end(folder: Path) -> None:
    """What is never printed, and an end that never comes, fail with the output so far."""
    async with running("good:app", server="uvicorn", cwd=folder) as server:
        with pytest.raises(AssertionError, match=r"(?s)waited 0\.01 s for 'never'.*Uvicorn running"):
            await server.printed("never", patience=0.01)
        with pytest.raises(AssertionError, match=r"still running after 0\.01 s"):
            await server.exited(patience=0.01)


def _gone(pid: int) -> bool:
    """Whether a process has ended; a dead one that its adopter has not collected counts as gone."""
    try:
        return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return True
