"""The projects application, statement by statement as its team documented it; SQL comes from psql."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any

import jwt
import pytest

from headwater.testing.asgi import open_stream, request
from tests.examples.projecting import SECRET, STATUS, Desk, bearer, projecting, token, up_to_mark
from tests.support.postgres import rows

SOURCE = "INSERT INTO ingestion_sources (project_id, source_name) VALUES ('{}', 'notes.md') RETURNING id"
JOB = "INSERT INTO jobs (project_id, folder) VALUES ('test', '/nowhere') RETURNING id"
PROPOSAL = "INSERT INTO proposed_nodes (project_id, title, confidence) VALUES ('test', 'Tea', 0.75) RETURNING id"
ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?\+00:00\Z")


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    """The running application."""
    async with projecting(tmp_path) as found:
        yield found


# -- the endpoint --------------------------------------------------------------------------------------------------------


async def test_the_first_message_is_as_documented(desk: Desk) -> None:
    """“data: ${JSON.stringify({ type: 'connected', message: 'Connected to status updates' })}”, as an unnamed message."""
    async with open_stream(desk.app, STATUS, headers=bearer()) as stream:
        message = await stream.message()
    assert message.type == "message"
    assert message.data == '{"type":"connected","message":"Connected to status updates"}'
    assert b"event:" not in stream.body


async def test_the_headers_are_as_documented(tmp_path: Path) -> None:
    """“'Content-Type': 'text/event-stream', 'Cache-Control': 'no-cache', 'Connection': 'keep-alive',
    'Access-Control-Allow-Origin': process.env.NEXT_PUBLIC_APP_URL, 'Access-Control-Allow-Credentials': 'true'”. HTTP/2
    forbids the third."""
    async with projecting(tmp_path, cors_origins="https://labs.example") as desk:
        async with open_stream(desk.app, STATUS, headers=bearer()) as stream:
            assert stream.headers["content-type"].startswith("text/event-stream")
            assert stream.headers["cache-control"].startswith("no-cache")
            assert stream.headers["connection"] == "keep-alive"
            assert stream.headers["access-control-allow-origin"] == "https://labs.example"
            assert stream.headers["access-control-allow-credentials"] == "true"
        async with open_stream(desk.app, STATUS, headers=bearer(), http_version="2") as stream:
            assert "connection" not in stream.headers
        asks = {"origin": "https://labs.example", "access-control-request-method": "GET"}
        asks["access-control-request-headers"] = "authorization, last-event-id"
        preflight = await request(desk.app, "OPTIONS", STATUS, headers=asks)
        assert (preflight.status, preflight.headers["access-control-allow-credentials"]) == (200, "true")
        refused = await request(desk.app, "OPTIONS", STATUS, headers={**asks, "origin": "https://evil.example"})
        assert refused.status == 400


@pytest.mark.parametrize(
    ("origins", "origin", "allowed"),
    [
        ("", "https://labs.example", None),
        ("https://a.example, https://b.example", "https://b.example", "https://b.example"),
        ("https://a.example, https://b.example", "https://c.example", None),
    ],
)
async def test_other_origins_are_not_let_in(tmp_path: Path, origins: str, origin: str, allowed: str | None) -> None:
    """Without a configured origin there is no CORS header; of several, the one that asks is named."""
    async with projecting(tmp_path, cors_origins=origins) as desk:
        async with open_stream(desk.app, STATUS, headers={**bearer(), "origin": origin}) as stream:
            assert stream.headers.get("access-control-allow-origin") == allowed


# -- who may ---------------------------------------------------------------------------------------------------------------


async def test_who_is_nobody_is_unauthorized(desk: Desk) -> None:
    """“return new Response('Unauthorized', { status: 401 })”: without a token, and with one that is no longer valid."""
    expired = jwt.encode({"sub": "alice", "exp": 1_700_000_000}, SECRET)
    for headers in ({}, {"authorization": "Bearer nonsense"}, {"authorization": f"Bearer {expired}"}):
        reply = await request(desk.app, "GET", STATUS, headers=headers)
        assert (reply.status, reply.body) == (401, b"Unauthorized")
        assert reply.headers["www-authenticate"] == "Bearer"


async def test_a_token_in_the_url_is_as_good(desk: Desk) -> None:
    """“new EventSource(`/api/projects/${projectId}/status?token=${session.access_token}`)”."""
    async with open_stream(desk.app, f"{STATUS}?token={token('test')}") as stream:
        assert stream.status == 200


async def test_so_is_a_session(desk: Desk) -> None:
    """“All SSE connections require valid session”: the cookie is one, for pages of this origin and of the configured one."""
    cookie = {"cookie": f"session={token('test')}", "sec-fetch-site": "same-origin"}
    async with open_stream(desk.app, STATUS, headers=cookie) as stream:
        assert stream.status == 200
    forged = await request(desk.app, "GET", STATUS, headers={**cookie, "sec-fetch-site": "cross-site"})
    assert forged.status == 403


async def test_projects_are_for_their_members(desk: Desk) -> None:
    """“Project-level access control”: what is somebody else's, and what is not there at all, get the same answer."""
    for project, headers in (("test", bearer("other")), ("nowhere", bearer("nowhere"))):
        reply = await request(desk.app, "GET", f"/api/projects/{project}/status", headers=headers)
        assert (reply.status, reply.body) == (403, b"Forbidden")
    for method, path in (("GET", ""), ("POST", "/jobs"), ("DELETE", "/proposals/1")):
        reply = await request(desk.app, method, f"/api/projects/test{path}", headers=bearer("other"))
        assert reply.status == 403, path
    assert (await request(desk.app, "GET", "/api/projects", headers=bearer("other"))).json() == []
    assert (await request(desk.app, "GET", "/api/projects", headers=bearer("test"))).json() == ["test"]


async def test_connections_are_limited(tmp_path: Path) -> None:
    """“Rate limiting on connections”: too many at once, or too quickly, are told when to come back. Ended ones, and those
    that were refused for another reason, do not count."""
    async with projecting(tmp_path, max_streams=1) as desk:
        assert (await desk.call("GET", f"{STATUS}?since=nonsense")).status == 400
        async with desk.watching():
            refused = await desk.call("GET", STATUS)
            assert (refused.status, refused.headers["retry-after"]) == (429, "5")
        async with desk.watching():
            pass
    async with projecting(tmp_path, connect_rate=1) as desk:
        async with desk.watching():
            assert (await desk.call("GET", STATUS)).status == 429


# -- what rows say -------------------------------------------------------------------------------------------------------


async def test_status_update(desk: Desk) -> None:
    """“type: 'status_update', sourceId: payload.new.id, status: payload.new.status, sourceName: payload.new.source_name,
    updatedAt: payload.new.updated_at”, for each UPDATE of ingestion_sources."""
    id = await desk.psql(SOURCE.format("test"))
    async with desk.watching() as stream:
        await desk.psql(f"UPDATE ingestion_sources SET status = 'processing', content = 'secret' WHERE id = '{id}'")
        (data,) = await up_to_mark(stream, desk.url)
        assert b"secret" not in stream.body  # only what the rules name leaves the database
    assert ISO.match(data.pop("updatedAt"))
    assert data == {"type": "status_update", "sourceId": id, "status": "processing", "sourceName": "notes.md"}


async def test_progress_update(desk: Desk) -> None:
    """“type: 'progress_update', jobId: payload.new.id, progress: { stage, current, total, message, timestamp: new
    Date(payload.new.progress_updated_at).getTime() }”."""
    id = await desk.psql(JOB)
    async with desk.watching() as stream:
        await desk.psql(
            "UPDATE jobs SET progress_stage = 'reading', progress_current = 3, progress_total = 7, progress_message ="
            f" 'Reading notes.md', progress_updated_at = '2026-02-03 04:05:06.789876+01' WHERE id = '{id}'"
        )
        (data,) = await up_to_mark(stream, desk.url)
    progress = {"stage": "reading", "current": 3, "total": 7, "message": "Reading notes.md"}
    when = datetime.fromisoformat("2026-02-03T04:05:06.789+01:00")
    assert data == {
        "type": "progress_update",
        "jobId": id,
        "progress": {**progress, "timestamp": round(when.timestamp() * 1000)},
    }


async def test_only_progress_is_progress(desk: Desk) -> None:
    """“Only broadcast if progress fields were updated: if (payload.new.progress_updated_at !==
    payload.old.progress_updated_at)”."""
    await desk.psql(JOB)
    async with desk.watching() as stream:
        await desk.psql("UPDATE jobs SET status = 'running', progress_message = 'unseen'")
        await desk.psql("UPDATE jobs SET progress_updated_at = progress_updated_at")
        assert await up_to_mark(stream, desk.url) == []
        await desk.psql("UPDATE jobs SET progress_updated_at = clock_timestamp()")
        (data,) = await up_to_mark(stream, desk.url)
    assert data["progress"]["message"] == "unseen"


async def test_proposals(desk: Desk) -> None:
    """“new_proposal: proposalId, title, confidence, createdAt”, “proposal_update: proposalId, // ... updated fields”,
    “proposal_deleted: proposalId”."""
    async with desk.watching() as stream:
        id = await desk.psql(PROPOSAL)
        await desk.psql("UPDATE proposed_nodes SET status = 'accepted', confidence = 0.5")
        await desk.psql("UPDATE proposed_nodes SET status = 'accepted'")
        await desk.psql("DELETE FROM proposed_nodes")
        new, *others = await up_to_mark(stream, desk.url)
    assert ISO.match(new.pop("createdAt"))
    assert new == {"type": "new_proposal", "proposalId": id, "title": "Tea", "confidence": 0.75}
    assert others == [
        {"type": "proposal_update", "proposalId": id, "confidence": 0.5, "status": "accepted"},
        {"type": "proposal_deleted", "proposalId": id},
    ]


async def test_rows_are_told_to_their_own_project(tmp_path: Path) -> None:
    """“filter: `project_id=eq.${projectId}`”, which asks the new row: nobody hears of another project's, nor where a row has
    gone to."""
    async with projecting(tmp_path, folders=f"test={tmp_path},other={tmp_path}") as desk:
        await desk.psql(SOURCE.format("other"))
        async with desk.watching() as here, desk.watching(project="other") as there:
            await desk.psql("UPDATE ingestion_sources SET status = 'failed'")
            await desk.psql("UPDATE ingestion_sources SET status = 'missing', project_id = 'test'")
            assert [each["status"] for each in await up_to_mark(there, desk.url, "other")] == ["failed"]
            assert [each["status"] for each in await up_to_mark(here, desk.url)] == ["missing"]


async def test_a_transaction_is_told_whole_and_in_order_or_not_at_all(desk: Desk) -> None:
    """What is rolled back was never said, and what is committed comes in the order in which it was written."""
    async with desk.watching() as stream:
        await desk.psql(f"BEGIN; {PROPOSAL}; ROLLBACK")
        await desk.psql(
            "INSERT INTO proposed_nodes (project_id, title, confidence)"
            " SELECT 'test', 'Tea ' || number, 1 FROM generate_series(1, 500) AS number"
        )
        found = await up_to_mark(stream, desk.url)
    assert [each["title"] for each in found] == [f"Tea {number}" for number in range(1, 501)]


async def test_hostile_texts_are_data(desk: Desk) -> None:
    """“Sanitize data before broadcasting”: line ends, control characters and markup come as the text that they are, and can
    neither end a frame nor begin one."""
    hostile = "<img src=x onerror=alert(1)>\r\n\r\nevent: closing\ndata: {}\u2028\x01\x7f\\\"'--"
    async with desk.watching() as stream:
        rows(
            desk.url,
            "INSERT INTO proposed_nodes (project_id, title, confidence) VALUES ('test', %s, 1)",
            (hostile,),
        )
        (data,) = await up_to_mark(stream, desk.url)
        assert data["title"] == hostile
        assert not re.search(rb"[\x00-\x09\x0b-\x1f]", stream.body)
    assert (await desk.state())["proposals"][0]["title"] == hostile


# -- state and stream ----------------------------------------------------------------------------------------------------


async def test_who_comes_back_missed_nothing(desk: Desk) -> None:
    """A connection that was lost goes on after its last id."""
    async with desk.watching() as stream:
        await desk.psql(PROPOSAL)
        last = await stream.message()
    await desk.psql("UPDATE proposed_nodes SET status = 'rejected'")
    await desk.psql("DELETE FROM proposed_nodes")
    async with desk.watching(last.id) as stream:
        found = await up_to_mark(stream, desk.url)
    assert [each["type"] for each in found] == ["proposal_update", "proposal_deleted"]


async def test_state_and_stream_fit_together(desk: Desk) -> None:
    """While rows are written all the time, what the state shows and what the stream brings after its cursor make the whole,
    and nothing is in both but what the state says it has seen."""
    states: list[Any] = []
    for begin in range(1, 601, 100):
        writing = asyncio.create_task(
            desk.psql(
                f"DO $$ BEGIN FOR number IN {begin}..{begin + 99} LOOP"
                " INSERT INTO proposed_nodes (project_id, title, confidence) VALUES ('test', number::text, 1); COMMIT;"
                " END LOOP; END $$"
            )
        )
        states.append(await desk.state())
        while not writing.done():
            states.append(await desk.state())
        await writing
    expected = [str(number) for number in range(1, 601)]
    for state in states[:: max(1, len(states) // 10)]:
        async with desk.watching(state["cursor"]) as stream:
            found = await up_to_mark(stream, desk.url)
        came = [each["title"] for each in found if each["type"] == "new_proposal"]
        shown = [each["title"] for each in state["proposals"]]
        assert sorted(shown, key=int) == expected[: len(shown)]
        assert came[len(state["seen"]) :] == expected[len(shown) :]
    assert any(0 < len(state["proposals"]) < 600 for state in states)


async def test_the_state_has_what_the_page_shows(desk: Desk) -> None:
    """Sources, jobs and proposals, under the names that events have, too, without what is nobody's business."""
    source = await desk.psql(SOURCE.format("test"))
    await desk.psql("UPDATE ingestion_sources SET content = 'secret'")
    job = (await desk.call("POST", "/api/projects/test/jobs")).json()
    again = await desk.call("POST", "/api/projects/test/jobs")
    assert (again.status, again.json()) == (202, job)  # one at a time
    await desk.psql(PROPOSAL)
    state = await desk.state()
    assert state["jobs"] == [job]
    assert job["progress"]["message"] == "Waiting for a worker"
    (shown,) = state["sources"]
    assert (shown["sourceId"], shown["sourceName"], shown["status"]) == (source, "notes.md", "pending")
    assert state["proposals"][0]["title"] == "Tea"
    assert "secret" not in json.dumps(state)
    assert "nowhere" not in json.dumps(state)


async def test_decisions_are_plain_updates(desk: Desk) -> None:
    """Accepting, rejecting and deleting write rows, and the stream says so to everybody."""
    async with desk.watching() as stream:
        path = f"/api/projects/test/proposals/{await desk.psql(PROPOSAL)}"
        for status in ("accepted", "rejected"):
            assert (await desk.call("POST", path, {"status": status})).status == 204
        assert (await desk.call("POST", path, {"status": "<b>"})).status == 422
        assert (await desk.call("DELETE", path)).status == 204
        assert (await desk.call("DELETE", path)).status == 404
        found = await up_to_mark(stream, desk.url)
    assert [each.get("status") for each in found] == [None, "accepted", "rejected", None]


async def test_without_a_stream_there_is_the_poll(desk: Desk) -> None:
    """“Graceful degradation to polling if needed”: the same URL, cursors and events."""
    cursor = (await desk.state())["cursor"]
    await desk.psql(PROPOSAL)
    headers = {"accept": "application/json", "last-event-id": cursor}
    reply = await desk.call("GET", f"{STATUS}?wait=5", **headers)
    assert [event["data"]["type"] for event in reply.json()["events"]] == ["new_proposal"]


async def test_heartbeats_are_no_messages(tmp_path: Path) -> None:
    """“Monitor connection health”: signs of life have a name of their own, so `onmessage` does not see them."""
    async with projecting(tmp_path, heartbeat=0.2) as desk, desk.watching() as stream:
        assert (await stream.message()).type == "heartbeat"
