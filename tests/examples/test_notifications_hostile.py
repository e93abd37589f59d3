"""What people send by mistake or on purpose: each is refused with a sentence, as problem+json, and changes nothing."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from headwater.testing.asgi import request
from tests.examples.notifying import NOTIFICATIONS, Team, data_of, running_team

NEW = {"to": "ben", "title": "New Task"}


@pytest.fixture
async def team(tmp_path: Path) -> AsyncIterator[Team]:
    """The running application and three users."""
    async with running_team(tmp_path) as team:
        yield team


HOSTILE: tuple[tuple[Any, str], ...] = (
    (b"", "Field required"),
    (b"{", "JSON decode error"),
    (b'{"to": "\xff"}', "the body cannot be read. expected JSON, in UTF-8"),
    (b"[" * 60_000, "the body cannot be read"),
    (b"9" * 5_000, "the body cannot be read"),
    (b"null", "Input should be a valid dictionary"),
    (b'"text"', "Input should be a valid dictionary"),
    ({}, "'to': Field required"),
    ({"to": "ben", "title": " "}, "'title': String should have at least 1 character"),
    ({"to": "ben", "title": "x" * 121}, "'title': String should have at most 120 characters"),
    ({"to": "ben", "title": "a\nb"}, "'title': Value error, is more than one line"),
    ({"to": "ben", "title": "a\x00b"}, "'title': Value error, has control characters"),
    (b'{"to": "ben", "title": "\\ud800"}', "'title': Input should be a valid string"),
    ({"to": "ben", "title": 7}, "'title': Input should be a valid string"),
    ({"to": "ben", "title": "x", "message": "x" * 2001}, "'message': String should have at most 2000 characters"),
    ({"to": "ben", "title": "x", "level": "fatal"}, "'level': Input should be 'info', 'success', 'warning' or 'error'"),
    ({"to": "ben", "title": "x", "href": "javascript:alert(1)"}, "'href': Value error, should begin with http://"),
    ({"to": "ben", "title": "x", "href": "//elsewhere.example"}, "'href': Value error, should begin with http://"),
    ({"to": "ben", "title": "x", "href": "/\\elsewhere.example"}, "'href': Value error, should begin with http://"),
    ({"to": "ben", "title": "x", "href": "http://"}, "'href': Value error, should begin with http://"),
    ({"to": [], "title": "x"}, "at least 1 item"),
    ({"to": ["ben"] * 51, "title": "x"}, "at most 50 items"),
    ({"to": "ben", "title": "x", "from": "cleo"}, "'from': Extra inputs are not permitted"),
    ({"to": "ben", "title": "x", "<b>\u202e": 1}, "'<b>\\u202e': Extra inputs are not permitted"),
)  # fmt: skip


async def test_malformed_notifications(team: Team) -> None:
    """Each is refused with a sentence that says what is wrong, and changes nothing."""
    for body, said in HOSTILE:
        reply = await team.ada.call("POST", NOTIFICATIONS, body)
        assert reply.status == 400
        assert reply.headers["content-type"] == "application/problem+json"
        problem = reply.json()
        assert problem["title"] == "Invalid input"
        assert said in problem["detail"]
        assert len(problem["detail"]) < 700
        assert await team.ben.titles() == []


MALFORMED: tuple[tuple[str, str, Any], ...] = (
    ("GET", f"{NOTIFICATIONS}?limit=0", None),
    ("GET", f"{NOTIFICATIONS}?limit=101", None),
    ("GET", f"{NOTIFICATIONS}?limit=many", None),
    ("PATCH", f"{NOTIFICATIONS}/1", {}),
    ("PATCH", f"{NOTIFICATIONS}/1", {"id": "2"}),
    ("PATCH", f"{NOTIFICATIONS}/1", {"read": None}),
    ("PATCH", f"{NOTIFICATIONS}/1", {"read": "perhaps"}),
    ("POST", f"{NOTIFICATIONS}/read", {"ids": "1"}),
    ("PATCH", "/api/v1/users/me", {}),
    ("PATCH", "/api/v1/users/me", {"name": ""}),
    ("PATCH", "/api/v1/users/me", {"status": "online"}),
    ("POST", "/api/v1/announcements", {"title": "Tea", "minutes": 0}),
    ("POST", "/api/v1/announcements", {"title": "Tea", "minutes": 10_081}),
    ("POST", "/api/v1/maintenance", {"title": "Tea", "startsAt": "tomorrow"}),
    ("POST", "/api/v1/maintenance", {"title": "Tea", "startsAt": "2030-01-01T00:00:00"}),
    ("POST", "/api/v1/maintenance", {"title": "Tea", "startsAt": "9999-12-31T23:59:59Z"}),
)


async def test_malformed_requests(team: Team) -> None:
    """The other routes refuse in the same way."""
    for method, path, body in MALFORMED:
        await team.ada.send("ada")
        reply = await team.ada.call(method, path, body)
        assert (reply.status, reply.headers["content-type"]) == (400, "application/problem+json")


NO_IDS = ("0", "-1", "1.0", "01", "%EF%BC%91", "9" * 40, "%00", "' OR 1=1 --", "<b>")


async def test_ids_that_are_none(team: Team) -> None:
    """They are unknown, like any other."""
    for id in NO_IDS:
        await team.ada.send("ada")
        for path in (f"{NOTIFICATIONS}/{id}", f"{NOTIFICATIONS}?before={id}"):
            assert (await team.ada.call("GET", path)).status == 404, path
        assert (await team.ada.call("DELETE", f"/api/v1/announcements/{id}")).status == 404
        assert (await team.ada.call("POST", f"/api/v1/workflows/{id}/runs")).status == 404


NO_KEYS = ("x" * 201, "a b", "", "ä")


async def test_malformed_keys(team: Team) -> None:
    """A key that cannot be one is refused: whoever sends it relies on it."""
    for key in NO_KEYS:
        reply = await team.ada.call("POST", NOTIFICATIONS, NEW, idempotency_key=key)
        assert (reply.status, reply.json()["expected"]) == (400, "1 to 200 visible ASCII characters")


async def test_too_large(team: Team) -> None:
    """A body over 64 KiB is not read, whether it says how long it is or not."""
    body = json.dumps({**NEW, "message": "x" * 70_000}).encode()
    assert (await team.ada.call("POST", NOTIFICATIONS, body)).status == 413
    told = {"content-length": str(len(body))}
    assert (
        await request(team.app, "POST", NOTIFICATIONS, headers={**team.ada.headers, **told}, body=b"")
    ).status == 413


async def test_hostile_texts_come_as_they_are(team: Team) -> None:
    """Markup, quotes and line ends are texts: they are kept and told character by character."""
    text = "<script>alert(1)</script> ' \" -- \u2028 \U0001f514 event: x"
    body = {"to": "ben", "title": text, "message": f"{text}\n\ndata: y\r\n".replace("\r", "")}
    async with team.ben.stream() as stream:
        await team.ada.made(NOTIFICATIONS, body)
        data = await data_of(stream, "notification.created")
    assert (data["title"], data["message"]) == (body["title"], body["message"])
    assert await team.ben.titles() == [text]
