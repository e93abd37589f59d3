"""The operations application keeps what its team documented. Each test quotes the sentence or the line that it shows."""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
import threading
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from examples.operations import store
from examples.operations.app import ROLES
from examples.operations.bus import CHANNEL, EventBus, SystemEvent
from examples.operations.settings import Settings
from headwater import Hub, Principal, SingleFlight
from headwater.testing.asgi import lifespan, open_stream, request
from tests.examples.operating import STREAM, Desk, bearer, event_of, listening, operating
from tests.support.waiting import until

READERS = ("servers.read", "incidents.read", "automations.read", "logs.read")


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    """The running application."""
    async with operating(tmp_path) as running:
        yield running


# -- emitting ------------------------------------------------------------------------------------------------------------


async def test_server_created(desk: Desk) -> None:
    """“type: SystemEvent.SERVER_CREATED, data: { id: server.id, name: server.name, host: server.host, status:
    server.lastTestStatus }, timestamp: new Date(), permissions: ['servers.read']”."""
    async with desk.watching("servers.read") as stream:
        server = await desk.made("/api/v1/servers", {"name": "Web 1", "host": "127.0.0.1", "port": 8080})
        event = await event_of(stream, "server.created")
    assert list(event) == ["type", "data", "timestamp", "permissions"]
    assert event["type"] == "server.created"
    assert event["data"] == {"id": server["id"], "name": "Web 1", "host": "127.0.0.1", "status": "UNKNOWN"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", event["timestamp"])
    assert event["permissions"] == ["servers.read"]


async def test_server_status_changed_to_success(desk: Desk) -> None:
    """“oldStatus: 'TESTING', newStatus: result.success ? 'SUCCESS' : 'FAILED', message: result.message”, where a real
    connection was opened; and “data: { lastTestStatus: ... }” is kept."""
    async with listening() as port, desk.watching("servers.read") as stream:
        server = await desk.made("/api/v1/servers", {"name": "Web 1", "host": "localhost", "port": port})
        tested = await desk.made(f"/api/v1/servers/{server['id']}/test")
        event = await event_of(stream, "server.status_changed")
    message = event["data"]["message"]
    assert re.fullmatch(rf"port {port} answered in [\d.]+ ms", message)
    assert event["data"] == {"id": server["id"], "oldStatus": "TESTING", "newStatus": "SUCCESS", "message": message}
    assert event["permissions"] == ["servers.read"]
    kept = (await desk.call("GET", "/api/v1/servers")).json()
    assert kept == [tested] == [{**server, "status": "SUCCESS", "message": message}]


async def test_server_status_changed_to_failed(desk: Desk) -> None:
    """“newStatus: result.success ? 'SUCCESS' : 'FAILED'”, where nothing listens."""
    async with listening() as port:
        pass
    async with desk.watching("servers.read") as stream:
        server = await desk.made("/api/v1/servers", {"name": "Gone", "host": "127.0.0.1", "port": port})
        await desk.made(f"/api/v1/servers/{server['id']}/test")
        data = (await event_of(stream, "server.status_changed"))["data"]
    assert (data["oldStatus"], data["newStatus"]) == ("TESTING", "FAILED")
    assert data["message"] == f"nothing listens on port {port}"


async def test_server_updated(desk: Desk) -> None:
    """“type: SystemEvent.SERVER_UPDATED, data: { id: server.id, name: server.name, changes: dto }”."""
    async with desk.watching("servers.read") as stream:
        server = await desk.made("/api/v1/servers", {"name": "Web 1", "host": "127.0.0.1"})
        await desk.call("PATCH", f"/api/v1/servers/{server['id']}", {"name": "Web one", "port": 2222})
        event = await event_of(stream, "server.updated")
    assert event["data"] == {"id": server["id"], "name": "Web one", "changes": {"name": "Web one", "port": 2222}}
    assert event["permissions"] == ["servers.read"]


async def test_incident_events(desk: Desk) -> None:
    """“`INCIDENT_CREATED`, `INCIDENT_UPDATED`, `INCIDENT_STATUS_CHANGED`”, and “data: incident”."""
    async with desk.watching("incidents.read") as stream:
        incident = await desk.made("/api/v1/incidents", {"title": "Disk full", "severity": "HIGH"})
        path = f"/api/v1/incidents/{incident['id']}"
        await desk.call("PATCH", path, {"severity": "CRITICAL"})
        await desk.made(f"{path}/status", {"status": "RESOLVED"})
        created = await event_of(stream, "incident.created")
        updated = await event_of(stream, "incident.updated")
        moved = await event_of(stream, "incident.status_changed")
    assert created["data"] == incident
    assert updated["data"] == {"id": incident["id"], "title": "Disk full", "changes": {"severity": "CRITICAL"}}
    assert moved["data"] == {"id": incident["id"], "oldStatus": "OPEN", "newStatus": "RESOLVED"}
    assert created["permissions"] == updated["permissions"] == moved["permissions"] == ["incidents.read"]


async def test_automation_and_log_events(desk: Desk) -> None:
    """“`AUTOMATION_STARTED`, `AUTOMATION_COMPLETED`, `AUTOMATION_FAILED`” and “`LOG_ADDED`”."""
    async with desk.watching(*READERS) as stream:
        failing = await desk.made("/api/v1/automations/verify-backup/run")
        started = await event_of(stream, "automation.started")
        logged = await event_of(stream, "log.added")
        failed = await event_of(stream, "automation.failed")
        succeeding = await desk.made("/api/v1/automations/back-up/run")
        completed = await event_of(stream, "automation.completed")
    named = {"id": failing["id"], "automation": "verify-backup", "startedAt": failing["startedAt"]}
    assert started["data"] == named
    assert failed["data"] == {**named, "error": "there is no backup", "durationMs": failed["data"]["durationMs"]}
    assert (completed["data"]["id"], completed["data"]["result"]) == (succeeding["id"], "1 backup is kept")
    line = {"source": "verify-backup", "runId": failing["id"], "level": "error", "message": "there is no backup"}
    assert (logged["data"], logged["permissions"]) == (line, ["logs.read"])
    assert started["permissions"] == failed["permissions"] == completed["permissions"] == ["automations.read"]


async def test_notification_sent(desk: Desk) -> None:
    """“`NOTIFICATION_SENT`”."""
    async with desk.watching() as stream:
        assert (await desk.call("POST", "/api/v1/broadcasts", {"message": "Tea"})).status == 204
        event = await event_of(stream, "notification.sent")
    assert (event["data"], event["permissions"]) == ({"message": "Tea"}, [])


def test_available_event_types() -> None:
    """“See `event-bus.service.ts` for all available `SystemEvent` types”: the names are documented, the values are ours."""
    assert {event.name: event.value for event in SystemEvent} == {
        "INCIDENT_CREATED": "incident.created",
        "INCIDENT_UPDATED": "incident.updated",
        "INCIDENT_STATUS_CHANGED": "incident.status_changed",
        "SERVER_CREATED": "server.created",
        "SERVER_UPDATED": "server.updated",
        "SERVER_STATUS_CHANGED": "server.status_changed",
        "AUTOMATION_STARTED": "automation.started",
        "AUTOMATION_COMPLETED": "automation.completed",
        "AUTOMATION_FAILED": "automation.failed",
        "LOG_ADDED": "log.added",
        "NOTIFICATION_SENT": "notification.sent",
    }


# -- permissions ---------------------------------------------------------------------------------------------------------


async def test_only_users_with_the_permission_receive_the_event(desk: Desk) -> None:
    """“permissions: ['incidents.read'], // Only users with this permission receive the event”: on one channel, and a
    hidden event leaves nothing to be seen of it."""
    async with desk.watching("servers.read") as servers, desk.watching("incidents.read") as incidents:
        await desk.made("/api/v1/incidents", {"title": "Fire"})
        await desk.made("/api/v1/servers", {"name": "Web 1", "host": "127.0.0.1"})
        await desk.call("POST", "/api/v1/broadcasts", {"message": "Tea"})
        seen = [[(await stream.message()).type for _ in range(2)] for stream in (servers, incidents)]
    assert seen == [["server.created", "notification.sent"], ["incident.created", "notification.sent"]]
    assert b"Fire" not in servers.body
    assert b"Web 1" not in incidents.body


@pytest.mark.parametrize("permissions", [[], None])
async def test_an_event_without_permissions_is_sent_to_everybody(permissions: list[str] | None) -> None:
    """“If `permissions` is empty or undefined, the event is sent to all connected users.”"""
    hub = Hub("memory://")
    async with hub.lifespan():
        bus = EventBus(hub)
        at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
        await bus.emit(type=SystemEvent.LOG_ADDED, data={"line": 1}, timestamp=at, permissions=permissions)
        page = await hub.broker.read([CHANNEL], 0, 10)
    assert json.loads(page.events[0].data) == {
        "type": "log.added",
        "data": {"line": 1},
        "timestamp": "2026-01-02T03:04:05.000Z",
        "permissions": [],
    }
    assert Principal().may_see(page.events[0].permissions)


# -- the stream ----------------------------------------------------------------------------------------------------------


async def test_the_stream_needs_a_token(desk: Desk) -> None:
    """“curl -N -H "Authorization: Bearer YOUR_JWT_TOKEN"” and “Check JWT token is valid”."""
    for headers in ({}, {"authorization": "Bearer nonsense"}):
        reply = await request(desk.app, "GET", STREAM, headers=headers)
        assert reply.status == 401
        assert reply.headers["www-authenticate"].startswith("Bearer")
    async with open_stream(desk.app, STREAM, headers=bearer()) as stream:
        assert stream.status == 200
        assert stream.headers["content-type"].startswith("text/event-stream")


async def test_heartbeats(tmp_path: Path) -> None:
    """“Heartbeat every 30s keeps connection alive”: that is the default; here they come faster."""
    assert Settings().heartbeat == 30.0
    async with operating(tmp_path, heartbeat=0.5) as desk, desk.watching() as stream:
        assert (await stream.message()).type == "heartbeat"


async def test_reconnecting_misses_nothing(desk: Desk) -> None:
    """“SSE auto-reconnects”: from the last id on, with what happened meanwhile and may be seen."""
    async with desk.watching("servers.read") as stream:
        await desk.made("/api/v1/servers", {"name": "One", "host": "127.0.0.1"})
        last = (await stream.message_of("server.created")).id
    await desk.made("/api/v1/incidents", {"title": "Hidden"})
    await desk.made("/api/v1/servers", {"name": "Two", "host": "127.0.0.1"})
    async with desk.watching("servers.read", **{"last-event-id": str(last)}) as stream:
        assert json.loads((await stream.message()).data)["data"]["name"] == "Two"


async def test_polling_is_the_fallback(desk: Desk) -> None:
    """“After 3 failed attempts, falls back to polling”: the same URL, the same permissions, the same cursors."""
    async with desk.watching("servers.read") as stream:
        cursor = stream.decoder.last_event_id
    await desk.made("/api/v1/incidents", {"title": "Hidden"})
    await desk.made("/api/v1/servers", {"name": "One", "host": "127.0.0.1"})
    headers = {**bearer(("servers.read",)), "accept": "application/json", "last-event-id": cursor}
    polled = (await request(desk.app, "GET", STREAM, headers=headers)).json()
    assert [event["type"] for event in polled["events"]] == ["server.created"]
    assert polled["events"][0]["data"]["data"]["name"] == "One"
    assert polled["reset"] is None
    async with desk.watching("servers.read", **{"last-event-id": polled["cursor"]}) as stream:
        await desk.made("/api/v1/servers", {"name": "Two", "host": "127.0.0.1"})
        assert (await event_of(stream, "server.created"))["data"]["name"] == "Two"


# -- request deduplication -----------------------------------------------------------------------------------------------


async def test_fifty_simultaneous_requests_run_one_query(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """“This prevents the "thundering herd" problem where 50 simultaneous requests execute 50 identical database
    queries.”: they run one. The database is held up until all 50 have asked, so that they are simultaneous."""
    asked: list[object] = []
    have_asked = threading.Event()
    statements: list[str] = []
    do, count = SingleFlight.do, store.counts

    async def noted(flights: SingleFlight[Any], key: object, work: Any) -> Any:
        asked.append(key)
        return await do(flights, key, work)

    def traced(connection: sqlite3.Connection) -> dict[str, dict[str, int]]:
        assert have_asked.wait(10)
        connection.set_trace_callback(statements.append)
        try:
            return count(connection)
        finally:
            connection.set_trace_callback(None)

    monkeypatch.setattr(SingleFlight, "do", noted)
    monkeypatch.setattr(store, "counts", traced)
    asking = [asyncio.create_task(desk.call("GET", "/api/v1/dashboard/stats", permissions=())) for _ in range(50)]
    await until(lambda: len(asked) == 50, "all 50 to ask")
    have_asked.set()
    answers = [reply.json() for reply in await asyncio.gather(*asking)]
    assert len(statements) == 1
    assert answers == [answers[0]] * 50
    assert answers[0]["servers"] == {"UNKNOWN": 0, "SUCCESS": 0, "FAILED": 0}


async def test_stats_are_those_of_now(desk: Desk) -> None:
    """“return this.dashboardService.getSystemStats()”: once an answer was given, the next asker gets a new one."""
    await desk.made("/api/v1/incidents", {"title": "Fire"})
    first = (await desk.call("GET", "/api/v1/dashboard/stats")).json()
    await desk.made("/api/v1/incidents", {"title": "Flood"})
    second = (await desk.call("GET", "/api/v1/dashboard/stats")).json()
    assert (first["incidents"]["OPEN"], second["incidents"]["OPEN"]) == (1, 2)
    assert (await request(desk.app, "GET", "/api/v1/dashboard/stats")).status == 401


async def test_three_users_as_the_page_shows_them(desk: Desk) -> None:
    """“RBAC Filtering: Events can be filtered by permissions”: operator, developer and support see three different
    streams of one channel."""
    seen = {}
    async with AsyncExitStack() as stack:
        streams = {role: await stack.enter_async_context(desk.watching(*held)) for role, held in ROLES.items()}
        await desk.made("/api/v1/servers", {"name": "Web 1", "host": "127.0.0.1"})
        await desk.made("/api/v1/incidents", {"title": "Fire"})
        await desk.call("POST", "/api/v1/broadcasts", {"message": "Tea"})
        for role, stream in streams.items():
            await stream.message_of("notification.sent")
            seen[role] = re.findall(r"^event: (.+)$", stream.body.decode(), re.MULTILINE)
    assert seen == {
        "operator": ["connected", "server.created", "incident.created", "notification.sent"],
        "developer": ["connected", "server.created", "notification.sent"],
        "support": ["connected", "incident.created", "notification.sent"],
    }


async def test_everything_is_there_after_a_restart(tmp_path: Path) -> None:
    """“const server = await this.prisma.server.create({ data: dto })”: what was created is kept, and so is the log."""
    async with operating(tmp_path) as desk, desk.watching("servers.read") as stream:
        server = await desk.made("/api/v1/servers", {"name": "Web 1", "host": "127.0.0.1"})
        begin = stream.decoder.last_event_id
    async with operating(tmp_path) as desk:
        assert (await desk.call("GET", "/api/v1/servers")).json() == [server]
        async with desk.watching("servers.read", **{"last-event-id": begin}) as stream:
            assert (await event_of(stream, "server.created"))["data"]["id"] == server["id"]


async def test_the_application_starts_and_stops_as_one(tmp_path: Path) -> None:
    """The application's lifespan opens and closes the hub and the database, again and again."""
    async with operating(tmp_path) as desk:
        app = desk.app
    async with lifespan(app):
        assert (await Desk(app).call("GET", "/api/v1/servers")).status == 200
