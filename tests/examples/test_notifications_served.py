"""The notifications application on our server: the documented command lines, and a process that is killed."""

from __future__ import annotations

import asyncio
import json
import signal
from contextlib import suppress
from functools import partial
from pathlib import Path

from examples.notifications.dev import ROLES
from tests.examples.commands import curl, curl_lines
from tests.examples.notifying import NOTIFICATIONS, SECRET, SSE, bearer
from tests.examples.reading import posted
from tests.support.raw import RawClient, streaming
from tests.support.server import Server, running
from tests.support.waiting import until

APP = "examples.notifications.app:app"
PAGE = "docs/examples/notifications.md"


async def test_the_documented_command_lines(tmp_path: Path) -> None:
    """Each line of the page is run as it stands there; the last one goes on where the list was."""
    lines = curl_lines(PAGE)
    assert len(lines) == 8
    token_line, stream_line, send_line, list_line, read_line, run_line, announce_line, resume_line = lines
    async with running(APP, env={"NOTIFICATIONS_DATA": str(tmp_path)}) as server:
        token = json.loads(await curl(token_line, server.port))["token"]

        async def shown(line: str, **values: str) -> str:
            return await curl(line, server.port, YOUR_JWT_TOKEN=token, **values)

        assert "event: connection_established" in await shown(stream_line)
        assert json.loads(await shown(send_line)) == {"created": [{"id": "1", "to": "ada"}]}
        listed = json.loads(await shown(list_line))
        assert [item["title"] for item in listed["items"]] == ["New Task"]
        assert json.loads(await shown(read_line))["read"]
        assert json.loads(await shown(run_line))["status"] == "started"
        assert json.loads(await shown(announce_line))["title"] == "New version tonight"
        assert f"id: {listed['cursor']}" in await shown(resume_line, CURSOR=listed["cursor"])


HEADERS = {"Authorization": bearer("ada", *ROLES["ada"])["authorization"]}


async def cursor_of(server: Server) -> str:
    """Where a list says that the stream goes on."""
    async with await RawClient.connect(server.url) as client:
        await client.request(NOTIFICATIONS, HEADERS)
        return str(json.loads(await client.read_body())["cursor"])


async def send_until_it_dies(server: Server, sent: list[str]) -> None:
    """Send one after the other; what was accepted is noted."""
    with suppress(OSError, EOFError, ValueError, AssertionError):
        while True:
            answer = await posted(server.url, NOTIFICATIONS, {"to": "ada", "title": f"number {len(sent)}"}, HEADERS)
            sent.append(answer["created"][0]["id"])


async def receive(server: Server, cursor: str, got: list[str], last: str = "") -> str:
    """Note what a stream brings after a cursor, up to a notification or to the stream's end; the cursor then."""
    with suppress(OSError, EOFError, AssertionError):
        async with streaming(f"{server.url}{SSE}", headers={**HEADERS, "Last-Event-ID": cursor}) as client:
            while last not in got:
                message = await client.message()
                cursor = message.id or cursor
                if message.type == "notification.created":
                    got.append(json.loads(message.data)["id"])
    return cursor


async def test_a_process_that_is_killed_loses_nothing(tmp_path: Path) -> None:
    """It is killed while somebody sends as fast as they can, twice: whatever was accepted comes over the stream, once and
    in order, to whoever comes back with their last id."""
    env = {"NOTIFICATIONS_DATA": str(tmp_path), "HEADWATER_JWT_SECRET": SECRET, "NOTIFICATIONS_SEND_RATE": "0"}
    sent: list[str] = []
    got: list[str] = []
    cursor = ""
    for wanted in (15, 30):
        async with running(APP, env=env) as server:
            cursor = cursor or await cursor_of(server)
            reading = asyncio.create_task(receive(server, cursor, got))
            sending = asyncio.create_task(send_until_it_dies(server, sent))
            await until(partial(reached, sent, wanted), f"{wanted} to be accepted")
            await server.stop(signal.SIGKILL)
            await sending
            cursor = await reading
    async with running(APP, env=env) as server:
        await receive(server, cursor, got, sent[-1])
    assert got == sorted(set(got), key=int)
    assert set(sent) <= set(got)


def reached(some: list[str], count: int) -> bool:
    """Whether there are so many."""
    return len(some) >= count
