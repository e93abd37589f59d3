"""The debates on real servers: the headers on the wire, many clients and their latency, and a crash in the middle."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import statistics
import time
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from examples.debates.app import MODERATE
from examples.debates.scripts import scripts
from headwater.wire import Message
from tests.examples.commands import curl, curl_lines
from tests.examples.reading import SECRET, bearer, data_of, posted
from tests.support.raw import RawClient, streaming
from tests.support.server import Kind, running

APP = "examples.debates.app:app"
CLIENTS = 60
LATENCY = 0.5


def env(folder: Path, **more: str) -> dict[str, str]:
    """The environment of a server."""
    return {"HEADWATER_JWT_SECRET": SECRET, "DEBATES_DATA": str(folder), **more}


@pytest.mark.parametrize("kind", ["headwater", "uvicorn", "hypercorn"])
async def test_the_headers_on_the_wire(tmp_path: Path, kind: Kind) -> None:
    """“Set proper headers (Content-Type: text/event-stream, Cache-Control, Connection)”, as they come over HTTP/1.1."""
    async with running(APP, server=kind, env=env(tmp_path)) as server:
        async with streaming(f"{server.url}/api/debates/test-id/stream") as client:
            assert (await client.message()).type == "connected"
            assert client.head is not None
            headers = client.head.headers
    assert headers["content-type"] == "text/event-stream"
    assert headers["cache-control"] == "no-cache"
    assert headers["connection"] == "keep-alive"
    assert headers["x-accel-buffering"] == "no"


async def test_every_command_of_the_page_works(tmp_path: Path) -> None:
    """The lines of docs/examples/debates.md, one after the other, with the token put in; the last is refused unless somebody
    has paused, as the page says."""
    stream, token, make, resume = curl_lines("docs/examples/debates.md")
    async with running(APP, env={"DEBATES_DATA": str(tmp_path)}) as server:
        assert '"debateId":"550e8400-e29b-41d4-a716-446655440000"' in await curl(stream, server.port)
        values = {"YOUR_JWT_TOKEN": json.loads(await curl(token, server.port))["token"]}
        assert json.loads(await curl(make, server.port, **values))["script"] == "night-trains"
        with pytest.raises(AssertionError, match="nothing to resume"):
            await curl(resume, server.port, **values)


async def test_many_clients_hear_at_once(tmp_path: Path) -> None:
    """“Handles 50+ concurrent clients per debate” and “Latency < 500ms from broadcast to client receipt”: sixty clients on
    sockets, and the last of them has each utterance within that time of the moment at which it was said."""
    async with running(APP, env=env(tmp_path)) as server, AsyncExitStack() as stack:
        await posted(server.url, "/api/debates", {"id": "busy", "topic": "Who hears it?"}, bearer(MODERATE))
        await posted(server.url, "/api/debates/busy/phase", {"phase": "opening"}, bearer(MODERATE))
        url = f"{server.url}/api/debates/busy/stream"
        clients = [await stack.enter_async_context(streaming(url)) for _ in range(CLIENTS)]
        ids = {data_of(await client.message())["clientId"] for client in clients}
        assert len(ids) == CLIENTS
        slowest = []
        for number in range(11):
            said = {"speaker": "pro", "content": f"Number {number}"}
            posting = asyncio.create_task(posted(server.url, "/api/debates/busy/utterances", said, bearer(MODERATE)))
            latencies = await asyncio.gather(*(_latency(client, said["content"]) for client in clients))
            await posting
            slowest.append(max(latencies))
    logging.getLogger("tests").info("slowest of %d clients: %s", CLIENTS, slowest)
    assert statistics.median(slowest) < LATENCY


async def _latency(client: RawClient, content: str) -> float:
    """Seconds from the utterance's own time to now, when it has come."""
    said = data_of(await client.message_of("utterance"))
    assert said["content"] == content
    return time.time() - float(said["timestamp"]) / 1000


async def test_a_killed_server_loses_nothing(tmp_path: Path) -> None:
    """“Auto-reconnection works after disconnect”: the server is killed while somebody speaks, and another one started. The
    client comes back with its last id, and has heard every line of the debate once."""
    lines = [line.content for line in scripts()["night-trains"].lines]
    async with running(APP, env=env(tmp_path, DEBATES_SPEED="20000")) as server:
        await posted(server.url, "/api/debates", {"id": "trains", "script": "night-trains"}, bearer(MODERATE))
        async with streaming(f"{server.url}/api/debates/trains/stream") as client:
            seen: list[Message] = [await client.message_of("utterance") for _ in range(4)]
            await server.stop(signal.SIGKILL)
    async with running(APP, env=env(tmp_path, DEBATES_SPEED="1000000")) as server:
        url = f"{server.url}/api/debates/trains/stream"
        async with streaming(url, {"Last-Event-ID": seen[-1].id}) as client:
            while (message := await client.message()).type != "complete":
                if message.type == "utterance":
                    seen.append(message)
    assert [data_of(message)["content"] for message in seen] == lines


async def test_connections_are_logged_with_fields(tmp_path: Path) -> None:
    """“Error handling and logging in place”: our server writes each coming and going as a line of JSON, with the client and
    the debate as fields."""
    async with running(APP, env=env(tmp_path)) as server:
        async with streaming(f"{server.url}/api/debates/test-id/stream") as client:
            name = data_of(await client.message())["clientId"]
        await server.printed("disconnected")
        lines = [json.loads(line) for line in server.lines if "[SSE] Client" in line]
    assert [line["message"] for line in lines] == [
        f"[SSE] Client {name} connected to debate test-id",
        f"[SSE] Client {name} disconnected",
    ]
    assert all((line["client_id"], line["debate_id"]) == (name, "test-id") for line in lines)
    assert lines[1]["reason"] == "client"
