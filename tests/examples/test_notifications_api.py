"""Who may do what to which notification, and what is done once however often it is asked for."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from examples.notifications.app import create_app
from examples.notifications.settings import Settings
from headwater.testing.asgi import lifespan, open_stream, request
from tests.examples.notifying import NOTIFICATIONS, SSE, Team, User, bearer, data_of, running_team

NEW = {"to": "ben", "title": "New Task"}


@pytest.fixture
async def team(tmp_path: Path) -> AsyncIterator[Team]:
    """The running application and three users."""
    async with running_team(tmp_path) as team:
        yield team


# -- whose it is ---------------------------------------------------------------------------------------------------------


MEDDLING: tuple[tuple[str, str, Any], ...] = (
    ("GET", "", None),
    ("PATCH", "", {"read": True}),
    ("PATCH", "", {"title": "Mine"}),
    ("DELETE", "", None),
    ("POST", "/read", None),
)


async def test_another_users_notification_is_not_there(team: Team) -> None:
    """Whoever has neither got nor sent it is told what they would be told if there were none."""
    id = await team.ada.send("ben")
    for method, path, body in MEDDLING:
        theirs, none = [await team.cleo.call(method, f"{NOTIFICATIONS}/{each}{path}", body) for each in (id, "99")]
        assert theirs.status == none.status == 404
        assert theirs.body.replace(f"'{id}'".encode(), b"'99'") == none.body
        assert await team.ben.titles() == ["New Task"]


async def test_lists_and_counts_are_ones_own(team: Team) -> None:
    """Nobody sees, or marks, what is another's."""
    await team.ada.send("ben")
    empty = await team.cleo.get(NOTIFICATIONS)
    assert (empty["items"], empty["unread"], empty["unseen"], empty["next"]) == ([], 0, 0, None)
    assert await team.cleo.made(f"{NOTIFICATIONS}/read") == {"changed": 0}
    assert await team.cleo.made(f"{NOTIFICATIONS}/read", {"ids": ["1"]}) == {"changed": 0}
    assert (await team.ben.get(NOTIFICATIONS))["unread"] == 1


async def test_streams_are_ones_own(team: Team) -> None:
    """A user's stream carries nothing of another's, whatever it asks for."""
    async with team.cleo.stream("?channel=user:ben&since=all") as stream:
        await team.ada.send("ben", "for Ben")
        await team.ada.send("cleo", "for Cleo")
        assert (await data_of(stream, "notification.created"))["title"] == "for Cleo"
        assert b"for Ben" not in stream.body


async def test_sender_and_receiver_change_different_things(team: Team) -> None:
    """What it says is the sender's to change, what became of it the receiver's."""
    path = f"{NOTIFICATIONS}/{await team.ada.send('ben')}"
    assert (await team.ada.call("PATCH", path, {"read": True})).status == 403
    assert (await team.ben.call("PATCH", path, {"title": "Done"})).status == 403
    changed = await team.ada.made(path, {"title": "Old Task", "level": "warning", "href": "/tasks/1"}, "PATCH")
    assert (changed["title"], changed["level"], changed["href"]) == ("Old Task", "warning", "/tasks/1")
    read = await team.ben.made(path, {"read": True}, "PATCH")
    assert (read["read"], read["seen"]) == (True, True)
    unread = await team.ben.made(path, {"read": False}, "PATCH")
    assert (unread["read"], unread["seen"]) == (False, True)


async def test_either_may_delete(team: Team) -> None:
    """The receiver removes it, the sender takes it back."""
    for deletes in (team.ada, team.ben):
        path = f"{NOTIFICATIONS}/{await team.ada.send('ben')}"
        assert (await deletes.call("DELETE", path)).status == 204
        assert (await team.ben.call("GET", path)).status == 404


NEEDED: tuple[tuple[str, str, Any, str], ...] = (
    ("POST", NOTIFICATIONS, NEW, "notifications.send"),
    ("POST", "/api/v1/announcements", {"title": "Tea"}, "system.announce"),
    ("POST", "/api/v1/maintenance", {"title": "Tea"}, "system.announce"),
    ("DELETE", "/api/v1/announcements/1", None, "system.announce"),
    ("POST", "/api/v1/workflows/archive/runs", None, "workflows.run"),
    ("GET", "/api/v1/workflows", None, "workflows.read"),
)


async def test_permissions(team: Team) -> None:
    """What needs a permission says which; and a token with it is enough, as one with all of them is."""
    for method, path, body, permission in NEEDED:
        refused = await team.cleo.call(method, path, body)
        assert (refused.status, refused.json()["expected"]) == (403, f"the permission {permission}")
        for held in (permission, "*"):
            user = User(team.app, "dora", (held,))
            assert (await user.call(method, path, body)).status in (200, 201, 202, 204, 404)


async def test_workflows_are_for_those_who_may_read_them(team: Team) -> None:
    """Events of runs do not reach others, who hear of everything else."""
    async with team.cleo.stream() as stream:
        await team.ada.made("/api/v1/workflows/report/runs")
        await team.ada.made("/api/v1/announcements", {"title": "Tea"})
        await stream.message_of("system.announcement")
    assert b"workflow." not in stream.body


NO_USERS: tuple[str | None, ...] = (None, "<img src=x onerror=alert(1)>", "a b", "x" * 101, "a:b")


async def test_tokens_that_name_no_user(team: Team) -> None:
    """A `sub` that can be no channel's name is no user's, and nothing is done."""
    for sub in NO_USERS:
        for path in (SSE, NOTIFICATIONS):
            reply = await request(team.app, "GET", path, headers=bearer(sub))
            assert (reply.status, reply.json()["detail"][:33]) == (403, "the token's sub names no user. ex")


async def test_a_new_user_is_known_from_the_first_request_on(team: Team) -> None:
    """Their id is the token's `sub`; others are told, and can send them something from then on."""
    assert (await team.ada.call("POST", NOTIFICATIONS, {"to": "dora", "title": "Hello"})).status == 404
    async with team.ada.stream() as stream:
        dora = User(team.app, "dora", ())
        assert (await dora.get("/api/v1/users/me"))["permissions"] == []
        assert (await data_of(stream, "user.updated"))["id"] == "dora"
    await team.ada.send("dora", "Hello")
    assert await dora.titles() == ["Hello"]
    assert [user["id"] for user in (await team.ada.get("/api/v1/users"))["items"]] == ["ada", "ben", "cleo", "dora"]


# -- sending -------------------------------------------------------------------------------------------------------------


async def test_to_several(team: Team) -> None:
    """Each of them gets one of their own, once, also if named twice."""
    created = (await team.ada.made(NOTIFICATIONS, {**NEW, "to": ["ben", "cleo", "ben"]}))["created"]
    assert created == [{"id": "1", "to": "ben"}, {"id": "2", "to": "cleo"}]
    assert await team.ben.titles() == await team.cleo.titles() == ["New Task"]


async def test_to_one_who_is_unknown(team: Team) -> None:
    """Nobody is sent anything if one of them is no user."""
    reply = await team.ada.call("POST", NOTIFICATIONS, {**NEW, "to": ["ben", "nobody"]})
    assert reply.status == 404
    assert "there is no user 'nobody'" in reply.json()["detail"]
    assert await team.ben.titles() == []


async def test_pages(team: Team) -> None:
    """The newest first, `limit` at a time, counted over all of them."""
    for number in range(5):
        await team.ada.send("ben", f"number {number}")
    first = await team.ben.get(f"{NOTIFICATIONS}?limit=3")
    assert [item["title"] for item in first["items"]] == ["number 4", "number 3", "number 2"]
    assert (first["unread"], first["unseen"], first["next"]) == (5, 5, "3")
    second = await team.ben.get(f"{NOTIFICATIONS}?limit=3&before={first['next']}")
    assert [item["title"] for item in second["items"]] == ["number 1", "number 0"]
    assert second["next"] is None


async def test_the_oldest_go(tmp_path: Path) -> None:
    """Beyond `kept` they are deleted, and that is told."""
    async with running_team(tmp_path, kept=2) as team, team.ben.stream() as stream:
        for number in range(3):
            await team.ada.send("ben", f"number {number}")
        assert await data_of(stream, "notification.deleted") == {"id": "1"}
        assert await team.ben.titles() == ["number 2", "number 1"]


async def test_read_and_seen(team: Team) -> None:
    """All at once, or some; each that changes is told of, and those that are as wanted are left alone."""
    ids = [await team.ada.send("ben", f"number {number}") for number in range(3)]
    async with team.ben.stream() as stream:
        assert await team.ben.made(f"{NOTIFICATIONS}/seen") == {"changed": 3}
        assert await team.ben.made(f"{NOTIFICATIONS}/seen") == {"changed": 0}
        assert [(await data_of(stream, "notification.updated"))["seen"] for _ in ids] == [True] * 3
        assert await team.ben.made(f"{NOTIFICATIONS}/read", {"ids": ids[:2]}) == {"changed": 2}
        assert [(await data_of(stream, "notification.updated"))["id"] for _ in ids[:2]] == ids[:2]
        counts = await team.ben.get(NOTIFICATIONS)
        assert (counts["unread"], counts["unseen"]) == (1, 0)
        assert await team.ben.made(f"{NOTIFICATIONS}/read") == {"changed": 1}


# -- announcements -------------------------------------------------------------------------------------------------------


async def test_announcements_end(team: Team) -> None:
    """One that is ended is sent once more, with an end that is not in the future, and is on no list any more."""
    async with team.cleo.stream() as stream:
        said = await team.ada.made("/api/v1/announcements", {"title": "Tea", "level": "success", "minutes": 5})
        assert await data_of(stream, "system.announcement") == said
        assert (await team.cleo.get("/api/v1/announcements"))["items"] == [said]
        await team.ada.made(f"/api/v1/announcements/{said['id']}", method="DELETE")
        ended = await data_of(stream, "system.announcement")
    assert {**ended, "endsAt": said["endsAt"]} == said
    assert ended["endsAt"] < said["endsAt"]
    assert (await team.cleo.get("/api/v1/announcements"))["items"] == []
    assert (await team.ada.call("DELETE", f"/api/v1/announcements/{said['id']}")).status == 404


async def test_maintenance_begins_when_it_says(team: Team) -> None:
    """`startsAt` and `minutes` say when it is; it is announced at once."""
    now = (await team.ada.made("/api/v1/maintenance", {"title": "Upgrade"}))["createdAt"]
    day = f"{int(now[:4]) + 1}{now[4:10]}" if now[5:10] != "02-29" else f"{int(now[:4]) + 1}-02-28"
    body = {"title": "Upgrade", "startsAt": f"{day}T01:00:00+02:00", "minutes": 90}
    work = await team.ada.made("/api/v1/maintenance", body)
    assert work["startsAt"].endswith("T23:00:00.000Z")
    assert work["endsAt"].endswith("T00:30:00.000Z")
    assert work["level"] == "warning"


# -- once ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (NOTIFICATIONS, {"to": ["ada", "ben"], "title": "New Task"}),
        ("/api/v1/announcements", {"title": "Tea"}),
        ("/api/v1/maintenance", {"title": "Tea"}),
        ("/api/v1/workflows/report/runs", None),
    ],
)
async def test_what_is_repeated_happens_once(team: Team, path: str, body: Any) -> None:
    """The second answer with a key is the first one, also when both come at the same time, and nothing is told twice."""
    async with team.ada.stream() as stream:
        replies = await asyncio.gather(*(team.ada.call("POST", path, body, idempotency_key="k-1") for _ in range(4)))
        assert {reply.status for reply in replies} <= {201, 202}
        assert len({reply.body for reply in replies}) == 1
        await team.ada.made("/api/v1/users/me", {"about": "done"}, "PATCH")
        types = []
        while (message := await stream.message()).type != "user.updated":
            types.append(message.type)
    told = [each for each in types if each.endswith((".created", ".announcement", ".maintenance", ".started"))]
    assert len(told) == 1 or told == ["workflow.started", "notification.created"]


async def test_a_key_belongs_to_one_request(team: Team) -> None:
    """With another request it is a conflict, which changes nothing; with another user it is another key."""
    await team.ada.made(NOTIFICATIONS, NEW, idempotency_key="k-1")
    reply = await team.ada.call("POST", NOTIFICATIONS, {**NEW, "title": "Another"}, idempotency_key="k-1")
    assert (reply.status, reply.json()["title"]) == (409, "Idempotency key reused")
    await team.ben.made(NOTIFICATIONS, {**NEW, "title": "Another"}, idempotency_key="k-1")
    assert await team.ben.titles() == ["Another", "New Task"]


async def test_a_refused_request_leaves_its_key_free(team: Team) -> None:
    """What changed nothing may be asked for again, in other words."""
    refused = await team.ada.call("POST", NOTIFICATIONS, {**NEW, "to": "nobody"}, idempotency_key="k-1")
    assert refused.status == 404
    await team.ada.made(NOTIFICATIONS, NEW, idempotency_key="k-1")


# -- too much ------------------------------------------------------------------------------------------------------------


async def test_whoever_writes_too_fast_is_told_to_wait(tmp_path: Path) -> None:
    """So many writing requests, or receivers, per second; reading is no writing, and others are not held back."""
    async with running_team(tmp_path, send_rate=2.0) as team:
        replies = [await team.ada.call("POST", NOTIFICATIONS, {**NEW, "to": ["ben", "cleo"]}) for _ in range(3)]
        assert [reply.status for reply in replies][:2] == [201, 429]
        assert int(replies[1].headers["retry-after"]) >= 1
        assert (await team.ada.call("GET", NOTIFICATIONS)).status == 200
        assert (await team.ben.call("POST", f"{NOTIFICATIONS}/read")).status == 200


async def test_streams_of_one_user_are_bounded(tmp_path: Path) -> None:
    """Another tab too many is refused, until one is closed."""
    async with running_team(tmp_path, max_streams=1) as team:
        async with team.ada.stream(), open_stream(team.app, SSE, headers=team.ada.headers) as second:
            assert second.status == 429
        async with team.ada.stream():
            pass


# -- development ---------------------------------------------------------------------------------------------------------


async def test_in_production_nobody_gives_out_tokens(team: Team) -> None:
    """With a secret configured there are no development routes, and no users but those who have come."""
    for path in ("/notifications/dev/token/ada", "/notifications/dev/cut/ada"):
        assert (await request(team.app, "POST", path)).status in (404, 405)


async def test_in_development(tmp_path: Path) -> None:
    """There are three users, whose tokens pages of this machine get, for as long as they like; their streams can be cut."""
    app = create_app(Settings(data=str(tmp_path), away=0.05))
    async with lifespan(app):
        reply = await request(app, "POST", "/notifications/dev/token/ada?ttl=60")
        headers = {"authorization": f"Bearer {reply.json()['token']}"}
        users = (await request(app, "GET", "/api/v1/users", headers=headers)).json()["items"]
        assert [user["name"] for user in users] == ["Ada Moreau", "Ben Okafor", "Cleo Lindqvist"]
        for path, status in (
            ("token/eve", 404),
            ("cut/eve", 404),
            ("token/ada?ttl=0", 400),
            ("token/ada?ttl=9999", 400),
        ):
            assert (await request(app, "POST", f"/notifications/dev/{path}")).status == status
        rebound = await request(app, "POST", "/notifications/dev/token/ada", headers={"host": "rebound.example"})
        assert rebound.status == 403
        async with open_stream(app, SSE, headers=headers) as stream:
            await stream.message()
            assert (await request(app, "POST", "/notifications/dev/cut/ada")).json() == {"closed": 1}
            assert json.loads((await stream.message_of("closing")).data) == {"reason": "revoked"}
