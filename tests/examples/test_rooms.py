"""The rooms, statement by statement as their team wrote them down. What is quoted is from their document."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from examples.rooms.app import create_app
from examples.rooms.logs import RoomLogs
from examples.rooms.settings import Settings
from headwater import Hub
from headwater.auth import mint
from headwater.errors import InvalidInput
from headwater.testing.asgi import open_stream, request
from tests.examples.reading import ISO, SECRET, Api, bearer, data_of, data_until, documented_frames, running_app

AGENT_TYPES = ("story", "asset", "code", "deploy", "orchestrator")
LEVELS = ("info", "warn", "error", "success")


def settings(folder: Path, **given: Any) -> Settings:
    """Settings for a folder; agents do not pause unless told to."""
    return Settings(**{"data": str(folder), "jwt_secret": SECRET, "pace": 0.0, **given})


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    """The application, and a user with a token."""
    async with running_app(create_app(settings(tmp_path)), bearer()) as found:
        yield found


@pytest.fixture
async def logs(api: Api) -> str:
    """The path of the log of a room that is ready: its agents are done."""
    path = f"/api/v1/rooms/{(await api.made('/api/v1/rooms', {}))['id']}/logs"
    async with api.stream(f"{path}?since=all") as stream:
        await data_until(stream, "log", '"ready"')
    return path


def line(**given: Any) -> dict[str, Any]:
    """A log line as an agent outside posts it."""
    return {"agentType": "story", "level": "info", "message": "Starting story generation", **given}


# -- the endpoint --------------------------------------------------------------------------------------------------------


async def test_the_endpoint_streams_events(api: Api, logs: str) -> None:
    """“Exposes SSE endpoint: `GET /api/v1/rooms/:id/logs`”."""
    async with api.stream(logs) as stream:
        assert stream.status == 200
        assert stream.headers["content-type"] == "text/event-stream; charset=utf-8"


async def test_a_token_opens_it(api: Api, logs: str) -> None:
    """“Authenticates requests via JWT”: in the Authorization header, or in the URL, where a browser's EventSource cannot set
    one."""
    token = mint(SECRET, sub="ada")
    ways: list[tuple[str, dict[str, str]]]
    ways = [(f"{logs}?token={token}", {}), (logs, {"Authorization": f"Bearer {token}"})]
    for target, headers in ways:
        async with open_stream(api.app, target, headers=headers) as stream:
            assert (await stream.message()).type == "connected"


async def test_without_a_valid_token_it_stays_shut(api: Api) -> None:
    """“Authenticates requests via JWT”: 401 with a challenge, whether or not the room exists."""
    room = await api.made("/api/v1/rooms", {})
    forged = mint("another secret, also long enough", sub="eve")
    for headers in ({}, {"authorization": "Bearer nonsense"}, {"authorization": f"Bearer {forged}"}):
        for room_id in (room["id"], "nowhere"):
            reply = await request(api.app, "GET", f"/api/v1/rooms/{room_id}/logs", headers=headers)
            assert reply.status == 401
            assert reply.headers["www-authenticate"].startswith("Bearer")


async def test_an_unknown_room_is_not_found(api: Api) -> None:
    """“Verifies room exists before streaming”: 404, and no stream."""
    reply = await api.call("GET", "/api/v1/rooms/nowhere/logs")
    assert reply.status == 404
    assert "there is no room 'nowhere'" in reply.json()["detail"]


# -- events --------------------------------------------------------------------------------------------------------------


async def test_connected_says_the_room_and_the_time(api: Api, logs: str) -> None:
    """“| `connected` | Connection established | `{ roomId, timestamp }` |”: these two and nothing else, first of all."""
    async with api.stream(logs) as stream:
        first = await stream.message()
    assert first.type == "connected"
    room_id = logs.split("/")[4]
    assert re.fullmatch(rf'{{"roomId":"{room_id}","timestamp":"{ISO}"}}', first.data)


async def test_a_log_line_has_its_fields(api: Api, logs: str) -> None:
    """“interface AgentLog { timestamp: Date; agentType: …; level: …; message: string; metadata?: Record<string, any> }”, in
    this order."""
    async with api.stream(logs) as stream:
        await api.made(logs, line(metadata={"userId": "user-123"}))
        message = await stream.message_of("log")
    fields = r'"agentType":"story","level":"info","message":"Starting story generation"'
    assert re.fullmatch(rf'{{"timestamp":"{ISO}",{fields},"metadata":{{"userId":"user-123"}}}}', message.data)


async def test_metadata_is_optional(api: Api, logs: str) -> None:
    """“metadata?”: a line without it has no such field."""
    async with api.stream(logs) as stream:
        await api.made(logs, line())
        assert list(data_of(await stream.message_of("log"))) == ["timestamp", "agentType", "level", "message"]


async def test_every_agent_type_is_accepted(api: Api, logs: str) -> None:
    """“agentType: 'story' | 'asset' | 'code' | 'deploy' | 'orchestrator'”."""
    for agent_type in AGENT_TYPES:
        assert (await api.made(logs, line(agentType=agent_type)))["agentType"] == agent_type


async def test_every_level_is_accepted(api: Api, logs: str) -> None:
    """“level: 'info' | 'warn' | 'error' | 'success'”."""
    for level in LEVELS:
        assert (await api.made(logs, line(level=level)))["level"] == level


async def test_other_names_are_refused(api: Api, logs: str) -> None:
    """Any other agent type or level is a 400 that lists those there are, and nothing is published."""
    cases = [({"agentType": "chef"}, AGENT_TYPES), ({"level": "fatal"}, LEVELS), ({"level": ""}, LEVELS)]
    async with api.stream(logs) as stream:
        for wrong, names in cases:
            reply = await api.call("POST", logs, line(**wrong))
            assert reply.status == 400
            assert all(name in reply.json()["detail"] for name in names)
        await api.made(logs, line(message="the next one"))
        assert data_of(await stream.message_of("log"))["message"] == "the next one"


async def test_a_line_without_message_is_refused(api: Api, logs: str) -> None:
    """“message: string” is not optional; metadata has to be an object."""
    assert (await api.call("POST", logs, {"agentType": "story", "level": "info"})).status == 422
    assert (await api.call("POST", logs, line(metadata=[1]))).status == 422


async def test_lines_of_an_unknown_room_are_refused(api: Api) -> None:
    """An agent outside cannot talk to a room that is not there, and not without a token."""
    assert (await api.call("POST", "/api/v1/rooms/nowhere/logs", line())).status == 404
    assert (await api.call("POST", "/api/v1/rooms/nowhere/logs", line(), headers={})).status == 401


async def test_the_heartbeat_says_the_time(tmp_path: Path) -> None:
    """“| `heartbeat` | Keep-alive ping | `{ timestamp }` |”."""
    async with running_app(create_app(settings(tmp_path, heartbeat=0.05)), bearer()) as api:
        room = await api.made("/api/v1/rooms", {})
        async with api.stream(f"/api/v1/rooms/{room['id']}/logs") as stream:
            beats = [await stream.message_of("heartbeat") for _ in range(2)]
    assert all(re.fullmatch(rf'{{"timestamp":"{ISO}"}}', beat.data) for beat in beats)


def test_the_heartbeat_comes_every_30_seconds() -> None:
    """“Heartbeat: Sent every 30 seconds to keep connection alive” is the default."""
    assert Settings().heartbeat == 30.0


async def test_the_documented_output(tmp_path: Path) -> None:
    """“# Expected output:” connected, then a log line, then a heartbeat, each an `event:` line and a `data:` line."""
    async with running_app(create_app(settings(tmp_path, heartbeat=0.2)), bearer()) as api:
        room_id = (await api.made("/api/v1/rooms", {}))["id"]
        path = f"/api/v1/rooms/{room_id}/logs"
        async with api.stream(f"{path}?since=all") as stream:
            await data_until(stream, "log", '"ready"')
        async with api.stream(path) as stream:
            await api.made(path, line())
            await stream.message_of("heartbeat")
            frames = documented_frames(bytes(stream.body))
    said = r'"agentType":"story","level":"info","message":"Starting story generation"'
    expected = [
        rf'event: connected\ndata: {{"roomId":"{room_id}","timestamp":"{ISO}"}}',
        rf'event: log\ndata: {{"timestamp":"{ISO}",{said}}}',
        rf'event: heartbeat\ndata: {{"timestamp":"{ISO}"}}',
    ]
    assert len(frames) == 3
    assert all(re.fullmatch(each, frame) for each, frame in zip(expected, frames, strict=True)), frames


# -- emitLog -------------------------------------------------------------------------------------------------------------


@pytest.fixture
async def room_logs() -> AsyncIterator[tuple[Hub, RoomLogs]]:
    """What services use to write logs, on a hub."""
    hub = Hub("memory://")
    await hub.start()
    yield hub, RoomLogs(hub)
    await hub.stop()


async def test_services_emit_logs(room_logs: tuple[Hub, RoomLogs]) -> None:
    """“await this.roomsService.emitLog(roomId, 'story', 'info', 'Starting story generation', { userId: 'user-123' })”."""
    hub, logs = room_logs
    await logs.emit_log("42", "story", "info", "Starting story generation", {"userId": "user-123"})
    (event,) = (await hub.broker.read(["room:42"], 0, 10)).events
    assert event.type == "log"
    assert json.loads(event.data)["metadata"] == {"userId": "user-123"}


@pytest.mark.parametrize(("agent_type", "level"), [("chef", "info"), ("story", "fatal")])
async def test_services_cannot_emit_other_names(room_logs: tuple[Hub, RoomLogs], agent_type: str, level: str) -> None:
    """A service that errs is told so, and nothing is published."""
    hub, logs = room_logs
    with pytest.raises(InvalidInput, match=r"is unknown\. expected one of"):
        await logs.emit_log("42", agent_type, level, "What?")
    assert (await hub.broker.head()).seq == 0


# -- connections ---------------------------------------------------------------------------------------------------------


async def test_a_reconnect_misses_nothing(api: Api, logs: str) -> None:
    """“Agent operations emit logs via SSE”, also those that were emitted while the client was away: with Last-Event-ID it
    gets them all, once, in order."""
    async with api.stream(logs) as stream:
        await api.made(logs, line(message="1"))
        last = (await stream.message_of("log")).id
    for number in range(2, 6):
        await api.made(logs, line(message=str(number)))
    async with api.stream(logs, last_event_id=last) as stream:
        await api.made(logs, line(message="6"))
        messages = [each["message"] for each in await data_until(stream, "log", '"6"')]
    assert messages == ["2", "3", "4", "5", "6"]


async def test_rooms_do_not_hear_each_other(api: Api, logs: str) -> None:
    """“Publishes log messages to room channels”: a stream has the lines of its own room only."""
    other = f"/api/v1/rooms/{(await api.made('/api/v1/rooms', {}))['id']}/logs"
    async with api.stream(logs) as stream:
        await api.made(other, line(message="over there"))
        await api.made(logs, line(message="here"))
        assert data_of(await stream.message_of("log"))["message"] == "here"


async def test_a_client_that_goes_is_forgotten(api: Api, logs: str) -> None:
    """“Auto-cleanup: Connections automatically closed on client disconnect”."""
    hub: Hub = api.app.state.hub
    async with api.stream(logs) as stream:
        await stream.message()
        assert hub.count(f"room:{logs.split('/')[4]}") == 1
    assert hub.count() == 0


# -- settings ------------------------------------------------------------------------------------------------------------


def test_redis_is_set_as_documented() -> None:
    """“REDIS_URL=redis://localhost:6379” names the broker; Headwater's own name for it comes first."""
    env = {"REDIS_URL": "redis://localhost:6379"}
    assert Settings.from_env("ROOMS", env).broker_url == "redis://localhost:6379"
    both = {**env, "HEADWATER_BROKER": "memory://"}
    assert Settings.from_env("ROOMS", both).broker_url == "memory://"


def test_settings_come_from_the_environment() -> None:
    """Each has a variable, and numbers are read as numbers."""
    found = Settings.from_env("ROOMS", {"ROOMS_PACE": "0.5", "ROOMS_DATA": "here", "HEADWATER_JWT_SECRET": SECRET})
    assert (found.pace, found.data, found.secret, found.is_dev) == (0.5, "here", SECRET, False)


# -- tokens for the page -------------------------------------------------------------------------------------------------


async def test_the_page_gets_a_token_in_development(tmp_path: Path) -> None:
    """Without a secret the application makes one up, and gives tokens to pages of this machine, which open the stream."""
    async with running_app(create_app(settings(tmp_path, jwt_secret="")), {}) as api:
        token = (await api.made("/rooms/dev/token"))["token"]
        api.headers = {"authorization": f"Bearer {token}"}
        assert await api.get("/api/v1/rooms") == []
    async with running_app(create_app(settings(tmp_path, jwt_secret="")), api.headers) as again:
        assert await again.get("/api/v1/rooms") == []


async def test_strangers_get_no_development_token(tmp_path: Path) -> None:
    """Neither from another machine, nor under a name that somebody made point to this one."""
    app = create_app(settings(tmp_path, jwt_secret=""))
    async with running_app(app, {}):
        far = await request(app, "POST", "/rooms/dev/token", client=("203.0.113.9", 1))
        rebound = await request(app, "POST", "/rooms/dev/token", headers={"host": "evil.example"})
    assert (far.status, rebound.status) == (403, 403)


async def test_with_a_secret_there_are_no_development_tokens(api: Api) -> None:
    """A server that has a key gives no tokens away."""
    assert (await api.call("POST", "/rooms/dev/token", headers={})).status == 404


async def test_the_page_runs_nothing_from_elsewhere(api: Api) -> None:
    """Its policy allows scripts and styles from its own files only, and it has no others."""
    reply = await request(api.app, "GET", "/rooms")
    assert reply.status == 200
    assert "script-src 'self'" in reply.headers["content-security-policy"]
    assert "unsafe" not in reply.headers["content-security-policy"]
    text = reply.body.decode()
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", text)
    for name in re.findall(r'(?:href|src)="(rooms/[^"]+)"', text):
        assert (await request(api.app, "GET", f"/{name}")).status == 200
    assert (await request(api.app, "GET", "/rooms/app.py")).status == 404


async def test_many_clients_of_one_room_get_the_same(api: Api, logs: str) -> None:
    """“Streams logs from Redis to clients”: all of them, in the same order, at the same positions."""

    async def follow() -> list[str]:
        async with api.stream(logs) as stream:
            await stream.message()
            ready.release()
            return [(await stream.message_of("log")).id for _ in range(3)]

    ready = asyncio.Semaphore(0)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(follow()) for _ in range(10)]
        for _ in tasks:
            await ready.acquire()
        for number in range(3):
            await api.made(logs, line(message=str(number)))
    assert len({tuple(task.result()) for task in tasks}) == 1
