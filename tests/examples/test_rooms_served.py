"""The rooms on real servers: the documented command line, a crash in the middle, and what is logged."""

from __future__ import annotations

import asyncio
import json
import shlex
import signal
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest

from headwater.wire import Message
from tests.examples.commands import curl, curl_lines
from tests.examples.reading import SECRET, bearer, posted
from tests.support.raw import streaming
from tests.support.server import Kind, running
from tests.support.waiting import PATIENCE

APP = "examples.rooms.app:app"

CURL = """
curl -N -H "Authorization: Bearer YOUR_JWT_TOKEN" \\
  http://localhost:3001/api/v1/rooms/ROOM_ID/logs
"""


def env(folder: Path, pace: float = 0.0) -> dict[str, str]:
    """The environment of a server."""
    return {"HEADWATER_JWT_SECRET": SECRET, "ROOMS_DATA": str(folder), "ROOMS_PACE": str(pace)}


@pytest.mark.parametrize("kind", ["headwater", "uvicorn"])
async def test_the_documented_command_line(tmp_path: Path, kind: Kind) -> None:
    """“# Test SSE endpoint with curl”: with a token, a room and this server's port put in, curl shows the log as it is
    written, under our server and under plain uvicorn."""
    async with running(APP, server=kind, env=env(tmp_path)) as server:
        room = await posted(server.url, "/api/v1/rooms", {}, bearer())
        token = bearer()["authorization"].split()[1]
        line = CURL.replace("YOUR_JWT_TOKEN", token).replace("3001", str(server.port)).replace("ROOM_ID", room["id"])
        process = await asyncio.create_subprocess_exec(*shlex.split(line), stdout=PIPE, stderr=PIPE)
        assert process.stdout is not None
        try:
            async with asyncio.timeout(PATIENCE):
                await process.stdout.readuntil(b"event: connected\n")
                said = {"agentType": "story", "level": "info", "message": "Starting story generation", "metadata": {}}
                await posted(server.url, f"/api/v1/rooms/{room['id']}/logs", said, bearer())
                shown = await process.stdout.readuntil(b'"Starting story generation","metadata":{}}\n')
        finally:
            process.terminate()
            await process.wait()
    assert shown.decode().splitlines()[-2:-1] == ["event: log"]


async def test_every_command_of_the_page_works(tmp_path: Path) -> None:
    """The lines of docs/examples/rooms.md, one after the other, with what each of them answers put into the next."""
    token, make, stream, emit = curl_lines("docs/examples/rooms.md")
    assert stream.split() == CURL.replace("\\\n", " ").split()  # the team's own
    async with running(APP, env={"ROOMS_DATA": str(tmp_path)}) as server:
        values = {"YOUR_JWT_TOKEN": json.loads(await curl(token, server.port))["token"]}
        values["ROOM_ID"] = json.loads(await curl(make, server.port, **values))["id"]
        assert f'data: {{"roomId":"{values["ROOM_ID"]}"' in await curl(stream, server.port, **values)
        assert json.loads(await curl(emit, server.port, **values))["message"] == "Starting story generation"


async def test_a_killed_server_loses_nothing(tmp_path: Path) -> None:
    """The server is killed while agents work, and another one started: the client comes back with its last id and has every
    line once, those that it had not seen before the kill and those of the agents who go on."""
    async with running(APP, env=env(tmp_path, 0.02)) as server:
        room = await posted(server.url, "/api/v1/rooms", {}, bearer())
        async with streaming(f"{server.url}/api/v1/rooms/{room['id']}/logs?since=all", bearer()) as client:
            seen: list[Message] = []
            while not (seen and "story took" in seen[-1].data):
                seen.append(await client.message_of("log"))
            await server.stop(signal.SIGKILL)
    async with running(APP, env=env(tmp_path)) as server:
        target = f"{server.url}/api/v1/rooms/{room['id']}/logs"
        async with streaming(target, {**bearer(), "Last-Event-ID": seen[-1].id}) as client:
            while '"ready"' not in seen[-1].data:
                seen.append(await client.message_of("log"))
        async with streaming(f"{target}?since=all", bearer()) as client:
            everything = [await client.message_of("log") for _ in seen]
    assert [message.id for message in everything] == [message.id for message in seen]
    assert any("The server was restarted" in message.data for message in seen)
    assert sum('"Finished story.md"' in message.data for message in seen) == 1


@pytest.mark.parametrize("kind", ["headwater", "uvicorn"])
async def test_tokens_stay_out_of_the_log(tmp_path: Path, kind: Kind) -> None:
    """A token in the URL is nowhere in what the server prints."""
    token = bearer()["authorization"].split()[1]
    async with running(APP, server=kind, env=env(tmp_path)) as server:
        room = await posted(server.url, "/api/v1/rooms", {}, bearer())
        async with streaming(f"{server.url}/api/v1/rooms/{room['id']}/logs?token={token}") as client:
            await client.message()
        await server.stop()
        assert room["id"] in server.output
        assert token not in server.output
