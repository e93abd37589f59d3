"""The README's quick start and the tutorial, followed to the letter by a newcomer in an empty folder."""

from __future__ import annotations

import asyncio
import re
import shlex
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.raw import RawClient, streaming
from tests.support.server import Server, running
from tests.support.source import ROOT


def block(page: str, language: str, *, holding: str) -> str:
    """The first code block of a page in a language that holds a text."""
    text = (ROOT / page).read_text()
    blocks: list[str] = re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return next(found for found in blocks if holding in found)


async def curl(server: Server, line: str) -> str:
    """Run one of the documentation's curl lines against the server; what it prints within a second."""
    words = shlex.split(line.replace("localhost:8000", f"127.0.0.1:{server.port}").removesuffix("&"), comments=True)
    assert words[0] == "curl"
    process = await asyncio.create_subprocess_exec(
        *words[:1], "-sS", "--max-time", "1", *words[1:], stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    return out.decode()


def lines_of(text: str, command: str) -> list[str]:
    """The lines of a shell block that run a command."""
    return [line for line in text.splitlines() if line.startswith(command)]


async def test_the_readmes_twenty_lines(tmp_path: Path) -> None:
    """The program is twenty lines, runs as it stands, and its curl lines show what the page says they show."""
    program = block("README.md", "python", holding="Hub(")
    assert len([line for line in program.splitlines() if line.strip()]) <= 20
    (tmp_path / "myapp.py").write_text(program)
    stream, say, again = lines_of(block("README.md", "sh", holding="myapp:app"), "curl")
    async with running("myapp:app", cwd=tmp_path) as server:
        listening = asyncio.create_task(curl(server, stream))
        async with streaming(f"{server.url}/rooms/42/events") as other:
            assert (await other.message()).type == "connected"
            assert '"id"' in await curl(server, say)
            assert (await other.message()).data == '{"text":"hello"}'
        assert "event: connected" in await listening
        assert 'event: said\ndata: {"text":"hello"}' in await curl(server, again)


async def test_the_quick_start_survives_losing_client_and_server(tmp_path: Path) -> None:
    """README: "Kill the connection, publish, come back with the last id: nothing is missing, nothing comes twice. Kill the
    server instead: the same"."""
    (tmp_path / "myapp.py").write_text(block("README.md", "python", holding="Hub("))
    async with running("myapp:app", cwd=tmp_path) as server:
        async with streaming(f"{server.url}/rooms/42/events") as client:
            cursor = (await client.message()).id
            await say(server, "one")
            cursor = (await client.message()).id
        await say(server, "two")
        await server.kill()
    async with running("myapp:app", cwd=tmp_path) as server:
        await say(server, "three")
        async with streaming(f"{server.url}/rooms/42/events", {"Last-Event-ID": cursor}) as client:
            first, *rest = await client.messages(3)
            assert first.type == "connected"
            assert [message.data for message in rest] == ['{"text":"two"}', '{"text":"three"}']


async def say(server: Server, text: str) -> None:
    """Publish through the quick start's route."""
    async with await RawClient.connect(server.url) as client:
        assert (await client.request(f"/rooms/42/say?text={text}", method="POST")).status == 200


async def test_the_hub_by_itself(tmp_path: Path) -> None:
    """`headwater serve --dev`, and the two curl lines that make it do something."""
    listen, publish = lines_of(block("README.md", "sh", holding="headwater serve --dev"), "curl")
    async with running(["serve", "--dev", "--port", "0"], cwd=tmp_path) as server:
        listening = asyncio.create_task(curl(server, listen))
        async with streaming(f"{server.url}/channels/room:42") as other:
            await other.message()
            assert '"ids"' in await curl(server, publish)
            assert (await other.message()).data == "hello"
        assert "event: connected" in await listening
        with closing(sqlite3.connect(tmp_path / "headwater.db")) as log:
            assert log.execute("PRAGMA quick_check").fetchone() == ("ok",)


@pytest.mark.parametrize("staff", [True, False])
async def test_the_tutorial(tmp_path: Path, staff: bool) -> None:
    """Its program, page and permissions: a guest does not see what is private, and its cursor moves past it."""
    program = block("docs/tutorial.md", "python", holding="board.db")
    (tmp_path / "board.py").write_text(program + block("docs/tutorial.md", "python", holding="STAFF ="))
    (tmp_path / "board.html").write_text(block("docs/tutorial.md", "html", holding="EventSource"))
    async with running("board:app", cwd=tmp_path) as server, await RawClient.connect(server.url) as client:
        assert (await client.request("/")).status == 200
        assert b"EventSource" in await client.read_body()
        await client.request("/boards/home/private?text=secret", method="POST")
        await client.read_body()
        await client.request("/boards/home/notes?text=milk", method="POST")
        await client.read_body()
        headers = {"x-staff": "yes"} if staff else {}
        async with streaming(f"{server.url}/boards/home/shared?since=all", headers) as stream:
            await stream.message()
            first = await stream.message()
            assert first.data == ('{"text":"secret"}' if staff else '{"text":"milk"}')


async def test_the_tutorials_publish_from_elsewhere_and_poll(tmp_path: Path) -> None:
    """The command that appends without a hub, and the poll that shows it."""
    (tmp_path / "board.py").write_text(block("docs/tutorial.md", "python", holding="board.db"))
    command = block("docs/tutorial.md", "sh", holding="from cron").strip()
    (poll,) = lines_of(block("docs/tutorial.md", "sh", holding="application/json"), "curl")
    async with running("board:app", cwd=tmp_path) as server:
        await running_once(shlex.split(command), tmp_path)
        assert '"data":{"text":"from cron"}' in await curl(server, poll)


async def running_once(words: list[str], folder: Path) -> None:
    """Run a command of ours to its end in a folder."""
    process = await asyncio.create_subprocess_exec(Path(sys.executable).parent / words[0], *words[1:], cwd=folder)
    assert await process.wait() == 0
