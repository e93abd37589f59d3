"""The examples of docs/howto/frameworks.md that publish where nothing can stream, with a hub beside them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.test_quickstart import block
from tests.support.raw import RawClient, streaming
from tests.support.server import Server, running

PAGE = "docs/howto/frameworks.md"


@pytest.fixture
def broker(tmp_path: Path) -> str:
    """The log that both sides use."""
    return f"sqlite:///{tmp_path}/events.db"


@asynccontextmanager
async def hub(broker: str) -> AsyncIterator[Server]:
    """The hub that streams from it, as the page starts it."""
    async with running(["serve", "--dev", "--port", "0"], env={"HEADWATER_BROKER": broker}) as server:
        yield server


@asynccontextmanager
async def serving(target: str, broker: str, folder: Path) -> AsyncIterator[Server]:
    """The WSGI application."""
    args = ["-m", "tests.e2e.wsgi", target]
    async with running(args, program="python", env={"HEADWATER_BROKER": broker}, cwd=folder) as server:
        yield server


async def post(server: Server, target: str, body: bytes) -> tuple[int, Any]:
    """Post JSON on a connection of its own; status and what came back, read as JSON."""
    async with await RawClient.connect(server.url) as client:
        head = await client.request(target, {"Content-Type": "application/json"}, method="POST", body=body)
        return head.status, json.loads(await client.read_body() or b"null")


async def test_flask(tmp_path: Path, broker: str) -> None:
    """A view publishes what a hub streams; the errors of publishing are proper responses."""
    (tmp_path / "live.py").write_text(block(PAGE, "python", holding="from flask"))
    async with hub(broker) as server, serving("live:app", broker, tmp_path) as live:
        async with streaming(f"{server.url}/channels/room:1") as stream:
            await stream.message()
            answer = await post(live, "/rooms/1/say", b'{"text": "hi"}')
            message = await stream.message()
            assert (message.type, message.data) == ("said", '{"text":"hi"}')
            assert answer == (200, {"id": message.id})
            status, problem = await post(live, "/rooms/no%20room/say", b"1")
            assert (status, problem["title"]) == (400, "Invalid channel")


async def test_django(tmp_path: Path, broker: str) -> None:
    """A view publishes when its transaction is in; an asynchronous one publishes in whatever loop it gets."""
    (tmp_path / "live.py").write_text(block(PAGE, "python", holding="from django"))
    async with hub(broker) as server, serving("live:application", broker, tmp_path) as live:
        async with streaming(f"{server.url}/channels/room:1") as stream:
            await stream.message()
            assert await post(live, "/rooms/1/say", b'{"text": "hi"}') == (204, None)
            assert (await stream.message()).data == '{"text":"hi"}'
            for _ in range(2):
                answer = await post(live, "/rooms/1/shout", b"")
                message = await stream.message()
                assert message.data == '{"text":"HO!"}'
                assert answer == (200, {"id": message.id})


CELERY_CONFIG = """
from pathlib import Path

folder = Path(__file__).parent
broker_url = "filesystem://"
broker_transport_options = {"data_folder_in": folder / "queue", "data_folder_out": folder / "queue"}
"""

ASK = """
from tasks import render

for id in ("one", "one", "two"):
    render.apply_async(["1"], task_id=id)
"""


async def test_celery(tmp_path: Path, broker: str) -> None:
    """A task in a worker that its pool has forked publishes; the same task delivered twice publishes once."""
    (tmp_path / "queue").mkdir()
    (tmp_path / "celeryconfig.py").write_text(CELERY_CONFIG)
    (tmp_path / "tasks.py").write_text(block(PAGE, "python", holding="from celery"))
    async with hub(broker) as server, working(tmp_path, broker):
        async with streaming(f"{server.url}/channels/room:1") as stream:
            await stream.message()
            assert await (await started(tmp_path, broker, "python", "-c", ASK)).wait() == 0
            progress = [(await stream.message()).data for _ in range(6)]
            assert progress == [f'{{"percent":{percent}}}' for percent in (0, 50, 100)] * 2


@asynccontextmanager
async def working(folder: Path, broker: str) -> AsyncIterator[None]:
    """A worker with a pool of one forked process."""
    words = ["celery", "--app", "tasks", "worker", "--pool", "prefork", "--concurrency", "1", "--loglevel", "error"]
    worker = await started(folder, broker, *words)
    try:
        yield
    finally:
        os.killpg(worker.pid, signal.SIGKILL)
        await worker.wait()


async def started(folder: Path, broker: str, program: str, *words: str) -> asyncio.subprocess.Process:
    """Start a program of our environment where the tasks are, in a process group of its own."""
    return await asyncio.create_subprocess_exec(
        Path(sys.executable).parent / program,
        *words,
        env={**os.environ, "HEADWATER_BROKER": broker, "PYTHONPATH": str(folder), "PYTHONWARNINGS": "ignore"},
        cwd=folder,
        start_new_session=True,
        stdout=asyncio.subprocess.DEVNULL,
    )
