"""The notifications application keeps what its team documented. Each test quotes the sentence or the line that it shows."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from examples.notifications.events import SSEEventType
from examples.notifications.settings import Settings
from headwater.auth import mint
from headwater.testing.asgi import open_stream, request
from tests.examples.notifying import NOTIFICATIONS, SECRET, SSE, Team, bearer, data_of, finished, running_team

ISO = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"

EVENT_TYPES = """
  // Connection Events
  CONNECTION_ESTABLISHED = 'connection_established',
  HEARTBEAT = 'heartbeat',

  // Notification Events
  NOTIFICATION_CREATED = 'notification.created',
  NOTIFICATION_UPDATED = 'notification.updated',
  NOTIFICATION_DELETED = 'notification.deleted',

  // User Events
  USER_STATUS_CHANGED = 'user.status_changed',
  USER_UPDATED = 'user.updated',

  // Workflow Events
  WORKFLOW_STARTED = 'workflow.started',
  WORKFLOW_COMPLETED = 'workflow.completed',
  WORKFLOW_FAILED = 'workflow.failed',

  // System Events
  SYSTEM_ANNOUNCEMENT = 'system.announcement',
  SYSTEM_MAINTENANCE = 'system.maintenance',
"""


@pytest.fixture
async def team(tmp_path: Path) -> AsyncIterator[Team]:
    """The running application and three users."""
    async with running_team(tmp_path) as team:
        yield team


def fields_of(frame: str) -> dict[str, str]:
    """The fields of a frame by name."""
    return dict(line.split(": ", 1) for line in frame.split("\n") if line)


# -- the endpoint --------------------------------------------------------------------------------------------------------


async def test_the_endpoint_and_its_header(team: Team) -> None:
    """“GET /api/v1/sse - Headers: Authorization: Bearer <token> - Response: EventStream”."""
    token = mint(SECRET, sub="ada")
    async with open_stream(team.app, "/api/v1/sse", headers={"Authorization": f"Bearer {token}"}) as stream:
        assert stream.status == 200
        assert stream.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert stream.headers["cache-control"] == "no-cache, no-transform"


async def test_the_token_as_a_parameter(team: Team) -> None:
    """“Clerk token integration with query parameter support”."""
    async with open_stream(team.app, f"/api/v1/sse?token={mint(SECRET, sub='ada')}") as stream:
        assert (await stream.message()).type == "connection_established"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer nonsense"},
        {"authorization": f"Bearer {mint('another secret, long enough as well', sub='ada')}"},
        {"authorization": f"Bearer {mint(SECRET, sub='ada', ttl=1, now=1000)}"},
    ],
    ids=["none", "malformed", "forged", "expired"],
)
async def test_tokens_are_validated_before_anything_is_streamed(team: Team, headers: dict[str, str]) -> None:
    """“Always validate tokens before establishing connection”."""
    reply = await request(team.app, "GET", SSE, headers=headers)
    assert reply.status == 401
    assert reply.headers["www-authenticate"].startswith("Bearer")
    assert reply.headers["content-type"] == "application/problem+json"


async def test_a_stream_ends_with_its_token(team: Team) -> None:
    """“Handle token expiration gracefully”: the client is told before, and the stream ends."""
    async with open_stream(team.app, f"{SSE}?token={mint(SECRET, sub='ada', ttl=1)}") as stream:
        assert (await stream.message()).type == "connection_established"
        await stream.message_of("token_expiring")
        assert json.loads((await stream.message_of("closing")).data) == {"reason": "expired"}


@pytest.mark.parametrize("way", ["query", "header"])
async def test_going_on_after_an_event(team: Team, way: str) -> None:
    """“Query: ?lastEventId=<id>”; and “Implement event history and replay”, which was a “Future Enhancement”."""
    async with team.ben.stream() as stream:
        await team.ada.send("ben", "first")
        last = (await stream.message_of("notification.created")).id
    await team.ada.send("ben", "second")
    query, headers = (f"?lastEventId={last}", {}) if way == "query" else ("", {"last-event-id": last})
    async with team.ben.stream(query, **headers) as stream:
        missed = await data_of(stream, "notification.created")
    assert missed["title"] == "second"


# -- the frames ----------------------------------------------------------------------------------------------------------


async def test_connection_established(team: Team) -> None:
    """“CONNECTION_ESTABLISHED = 'connection_established'”: the first frame, with who it is for and where it goes on."""
    async with open_stream(team.app, SSE, headers=bearer("ada")) as stream:
        first = await stream.message()
    assert first.type == "connection_established"
    data = json.loads(first.data)
    assert list(data) == ["userId", "timestamp", "cursor"]
    assert data["userId"] == "ada"
    assert re.fullmatch(ISO, data["timestamp"])
    assert data["cursor"] == first.id


async def test_the_format_of_an_event(team: Team) -> None:
    """“event: notification.created / id: 12345 / data: {"id":"1","title":"New Task","message":"Task assigned"}”."""
    async with team.ada.stream() as stream:
        assert await team.ada.send("ada", "New Task", "Task assigned") == "1"
        id = (await stream.message_of("notification.created")).id
    frame = next(each for each in stream.body.decode().split("\n\n") if "notification.created" in each)
    fields = fields_of(frame)
    assert fields["event"] == "notification.created"
    assert fields["id"] == id
    assert fields["data"].startswith('{"id":"1","title":"New Task","message":"Task assigned",')
    assert set(fields) == {"event", "id", "data", "channel"}


async def test_heartbeats(tmp_path: Path) -> None:
    """“event: heartbeat / data: {"timestamp":"2024-01-01T00:00:00Z"}”."""
    async with running_team(tmp_path, heartbeat=0.05) as team, team.ada.stream() as stream:
        data = await data_of(stream, "heartbeat")
    assert list(data) == ["timestamp"]
    assert re.fullmatch(ISO, data["timestamp"])


def test_the_interval_of_heartbeats() -> None:
    """“NEXT_PUBLIC_SSE_HEARTBEAT_INTERVAL=30000” and “heartbeat every 30s”."""
    assert Settings().heartbeat == 30.0


# -- the event types -----------------------------------------------------------------------------------------------------


def test_all_event_types() -> None:
    """“enum SSEEventType”: the same names, with the same values, in the same order."""
    documented = re.findall(r"(\w+) = '([\w.]+)'", EVENT_TYPES)
    assert [(each.name, each.value) for each in SSEEventType] == documented
    assert len(documented) == 12


async def test_a_notification_is_updated_and_deleted(team: Team) -> None:
    """“NOTIFICATION_UPDATED = 'notification.updated', NOTIFICATION_DELETED = 'notification.deleted'”."""
    async with team.ben.stream() as stream:
        id = await team.ada.send("ben")
        created = await data_of(stream, "notification.created")
        await team.ada.made(f"{NOTIFICATIONS}/{id}", {"title": "Another Task"}, "PATCH")
        updated = await data_of(stream, "notification.updated")
        await team.ada.made(f"{NOTIFICATIONS}/{id}", method="DELETE")
        deleted = await data_of(stream, "notification.deleted")
    assert updated == {**created, "title": "Another Task"}
    assert deleted == {"id": id}


async def test_a_user_comes_and_goes(team: Team) -> None:
    """“USER_STATUS_CHANGED = 'user.status_changed'”: with their first stream and their last, whatever tabs they have."""
    async with team.ada.stream() as stream:
        assert (await data_of(stream, "user.status_changed"))["id"] == "ada"
        async with team.ben.stream():
            async with team.ben.stream():
                came = await data_of(stream, "user.status_changed")
            await team.cleo.made("/api/v1/users/me", {"name": "C"}, "PATCH")  # the second tab's end was no news by then
            assert (await stream.message()).type == "user.updated"
        went = await data_of(stream, "user.status_changed")
    assert {name: came[name] for name in ("id", "status")} == {"id": "ben", "status": "online"}
    assert {name: went[name] for name in ("id", "status")} == {"id": "ben", "status": "offline"}
    assert came["lastSeenAt"] <= went["lastSeenAt"]


async def test_a_user_changes(team: Team) -> None:
    """“USER_UPDATED = 'user.updated'”."""
    async with team.cleo.stream() as stream:
        await team.ben.made("/api/v1/users/me", {"name": "Benedict", "about": "Away until Monday"}, "PATCH")
        data = await data_of(stream, "user.updated")
    assert data == {
        "id": "ben",
        "name": "Benedict",
        "about": "Away until Monday",
        "status": "offline",
        "lastSeenAt": None,
    }


async def test_a_workflow_is_completed(team: Team) -> None:
    """“WORKFLOW_STARTED = 'workflow.started', WORKFLOW_COMPLETED = 'workflow.completed'” and
    “if (data.status === 'completed')”."""
    async with team.ada.stream() as stream:
        run = await team.ben.made("/api/v1/workflows/archive/runs")
        started = await data_of(stream, "workflow.started")
        ended = await finished(stream, "archive")
    assert started == run
    assert (started["status"], started["startedBy"]) == ("started", "ben")
    assert ended["status"] == "completed"
    assert ended["id"] == run["id"]
    assert len(ended["steps"]) == 5
    assert ended["result"].startswith("3 files in files-")
    assert ended["error"] is None


async def test_a_workflow_fails(team: Team) -> None:
    """“WORKFLOW_FAILED = 'workflow.failed'”; and who has started it is notified."""
    async with team.ada.stream() as stream:
        await team.ada.made("/api/v1/workflows/verify/runs")
        failed = await data_of(stream, "workflow.failed")
        told = await data_of(stream, "notification.created")
    assert (failed["status"], failed["error"]) == ("failed", "there is no archive yet")
    assert (told["title"], told["message"], told["level"]) == (
        "Verify the archive: failed",
        "there is no archive yet",
        "error",
    )
    assert told["from"] is None


async def test_announcements_and_maintenance(team: Team) -> None:
    """“SYSTEM_ANNOUNCEMENT = 'system.announcement', SYSTEM_MAINTENANCE = 'system.maintenance'”: for everybody."""
    async with team.cleo.stream() as stream:
        said = await team.ada.made("/api/v1/announcements", {"title": "New version tonight", "minutes": 30})
        announced = await data_of(stream, "system.announcement")
        work = await team.ada.made("/api/v1/maintenance", {"title": "Upgrade", "message": "All is read-only"})
        maintained = await data_of(stream, "system.maintenance")
    assert announced == said
    assert maintained == work
    assert (announced["type"], maintained["type"]) == ("system.announcement", "system.maintenance")


# -- the rest of what is promised ----------------------------------------------------------------------------------------


async def test_unread_counts(team: Team) -> None:
    """“Unread count management”: what is read is not unread, what was in view is not unseen, on every device."""
    first, _ = await team.ada.send("ben", "first"), await team.ada.send("ben", "second")
    async with team.ben.stream() as stream:
        before = await team.ben.get(NOTIFICATIONS)
        await team.ben.made(f"{NOTIFICATIONS}/{first}/read")
        assert (await data_of(stream, "notification.updated"))["read"]
        after = await team.ben.get(NOTIFICATIONS)
    assert (before["unread"], before["unseen"]) == (2, 2)
    assert (after["unread"], after["unseen"]) == (1, 1)


async def test_no_gap_between_the_list_and_the_stream(team: Team) -> None:
    """“Notifications are automatically synced to Redux”: what happens between loading the list and opening the stream
    comes over the stream, from the cursor that came with the list."""
    await team.ada.send("ben", "on the list")
    listed = await team.ben.get(NOTIFICATIONS)
    await team.ada.send("ben", "meanwhile")
    async with team.ben.stream(f"?lastEventId={listed['cursor']}") as stream:
        data = await data_of(stream, "notification.created")
        while data["title"] in [item["title"] for item in listed["items"]]:  # perhaps for the second time
            data = await data_of(stream, "notification.created")
    assert [item["title"] for item in listed["items"]] == ["on the list"]
    assert data["title"] == "meanwhile"


async def test_a_poll_answers_where_streams_do_not_get_through(team: Team) -> None:
    """“Error Handling: Comprehensive error recovery”: the same URL with the same ids, as JSON."""
    cursor = (await team.ben.get(NOTIFICATIONS))["cursor"]
    await team.ada.send("ben")
    reply = await team.ben.call("GET", f"{SSE}?lastEventId={cursor}&wait=5", accept="application/json")
    assert [event["type"] for event in reply.json()["events"]] == ["notification.created"]


async def test_cross_origin_pages(tmp_path: Path) -> None:
    """“Check CORS settings on backend”: the development server of a front end, if it is configured."""
    origin = "http://localhost:5173"
    async with running_team(tmp_path, cors_origins=origin) as team:
        for method in ("POST", "PATCH", "DELETE"):
            asked = {
                "origin": origin,
                "access-control-request-method": method,
                "access-control-request-headers": "authorization, content-type, idempotency-key, last-event-id",
            }
            reply = await request(team.app, "OPTIONS", NOTIFICATIONS, headers=asked)
            assert (reply.status, reply.headers["access-control-allow-origin"]) == (200, origin)
        reply = await request(
            team.app, "OPTIONS", NOTIFICATIONS, headers={**asked, "origin": "http://elsewhere.example"}
        )
        assert reply.status == 400
