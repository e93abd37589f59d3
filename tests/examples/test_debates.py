"""The debates, statement by statement as their team wrote them down. What is quoted is from their document."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from examples.debates.app import MODERATE, create_app
from examples.debates.phases import TRANSITIONS, Phase
from examples.debates.settings import Settings
from headwater.testing.asgi import open_stream, request
from tests.examples.debating import DEBATE, ID, STREAM, UTTERANCE, debating, open_to, settings
from tests.examples.reading import Api, bearer, data_of, documented_frames, running_app


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    """The application, a moderator, and a debate that has just been opened."""
    async with debating(tmp_path) as found:
        yield found


# -- the endpoint --------------------------------------------------------------------------------------------------------


async def test_the_endpoint_streams_events(api: Api) -> None:
    """“Implement SSE endpoint `/api/debates/:debateId/stream`”: anybody may watch."""
    async with open_stream(api.app, STREAM) as stream:
        assert stream.status == 200
        assert (await stream.message()).type == "connected"


async def test_the_headers_are_the_documented_ones(api: Api) -> None:
    """“res.setHeader('Content-Type', 'text/event-stream'); … 'Cache-Control', 'no-cache'; … 'Connection', 'keep-alive'; …
    'X-Accel-Buffering', 'no'”, to the letter."""
    expected = {
        "content-type": "text/event-stream",
        "cache-control": "no-cache",
        "connection": "keep-alive",
        "x-accel-buffering": "no",
    }
    async with api.stream(STREAM) as stream:
        assert {name: stream.headers[name] for name in expected} == expected


@pytest.mark.parametrize("version", ["1.0", "2"])
async def test_only_http_1_1_gets_the_connection_header(api: Api, version: str) -> None:
    """“'Connection', 'keep-alive'” has no place in HTTP/2 (RFC 9113, 8.2.2) and no use in 1.0, where the end of the
    connection ends the stream."""
    async with open_stream(api.app, STREAM, http_version=version) as stream:
        assert "connection" not in stream.headers


async def test_a_poll_has_its_own_headers(api: Api) -> None:
    """A client that cannot stream asks for JSON at the same URL, and gets the debate so far."""
    reply = await api.call("GET", STREAM, headers={"accept": "application/json"})
    assert reply.headers["content-type"] == "application/json"
    assert [event["type"] for event in reply.json()["events"]] == ["phase_transition"]


async def test_connected_says_the_client_and_the_debate(api: Api) -> None:
    """“this.sendEvent(res, 'connected', { clientId, debateId })”, with “clientId = `${debateId}-${Date.now()}-
    ${Math.random()}`”."""
    async with api.stream(STREAM) as stream:
        first = await stream.message()
    assert first.type == "connected"
    assert list(data_of(first)) == ["clientId", "debateId"]
    assert data_of(first)["debateId"] == ID
    made = re.fullmatch(rf"{ID}-(\d{{13}})-0\.\d+", data_of(first)["clientId"])
    assert made is not None
    assert abs(int(made[1]) / 1000 - time.time()) < 60


async def test_frames_are_the_documented_lines(api: Api) -> None:
    """“res.write(`event: ${eventType}\\n`); res.write(`data: ${eventData}\\n\\n`)”."""
    async with api.stream(STREAM) as stream:
        await open_to(stream)
        said = await api.made(f"{DEBATE}/utterances", UTTERANCE)
        await stream.message_of("utterance")
        frame = documented_frames(bytes(stream.body))[-1]
    fields = f'"id":"{said["id"]}","timestamp":{said["timestamp"]},"phase":"opening"'
    assert frame == f'event: utterance\ndata: {{{fields},"speaker":"pro","content":"I disagree."}}'


def test_the_heartbeat_comes_every_15_seconds() -> None:
    """“Send heartbeat events every 15 seconds to keep connection alive” is the default."""
    assert Settings().heartbeat == 15.0


async def test_the_heartbeat_is_a_comment(tmp_path: Path) -> None:
    """“res.write(':heartbeat\\n\\n')”: a line that begins with a colon, which no listener ever sees."""
    async with running_app(create_app(settings(tmp_path, heartbeat=0.05)), {}) as api, api.stream(STREAM) as stream:
        await stream.message_of("connected")
        while bytes(stream.body).count(b"\n:heartbeat\n") < 2:
            await stream.read()
        assert b"event: heartbeat" not in stream.body


@pytest.mark.parametrize(
    "target", [f"/api/debates/{'x' * 65}/stream", "/api/debates/a:b/stream", f"{STREAM}?clientId=me"]
)
async def test_malformed_ids_are_refused(api: Api, target: str) -> None:
    """An id that could not be one, of a debate or of a client, is a 400 that says what one looks like."""
    reply = await api.call("GET", target)
    assert reply.status == 400
    assert "malformed" in reply.json()["detail"]


async def test_a_client_may_come_before_the_debate(tmp_path: Path) -> None:
    """“artillery quick … http://localhost:3000/api/debates/test-id/stream”: a debate that nobody has made yet can be waited
    for."""
    async with running_app(create_app(settings(tmp_path)), bearer(MODERATE)) as api:
        async with api.stream("/api/debates/test-id/stream") as stream:
            assert (await stream.message()).type == "connected"
            await api.made("/api/debates", {"id": "test-id", "topic": "Late?"})
            await api.made("/api/debates/test-id/phase", {"phase": "opening"})
            assert data_of(await stream.message_of("phase_transition"))["phase"] == "opening"


async def test_pages_of_the_frontends_domain_may_connect(tmp_path: Path) -> None:
    """“CORS: Ensure CORS headers allow EventSource connections from frontend domain”, and from no other."""
    app = create_app(settings(tmp_path, cors_origins="https://clearside.example"))
    async with running_app(app, {}) as api:
        async with api.stream(STREAM, origin="https://clearside.example") as stream:
            assert stream.headers["access-control-allow-origin"] == "https://clearside.example"
        async with api.stream(STREAM, origin="https://elsewhere.example") as stream:
            assert "access-control-allow-origin" not in stream.headers


# -- events --------------------------------------------------------------------------------------------------------------


async def test_an_utterance_has_its_fields(api: Api) -> None:
    """“interface Utterance { id: string; timestamp: number; phase: string; speaker: string; content: string }”."""
    async with api.stream(STREAM) as stream:
        await api.made(f"{DEBATE}/utterances", UTTERANCE)
        said = data_of(await stream.message_of("utterance"))
    assert list(said) == ["id", "timestamp", "phase", "speaker", "content"]
    assert [type(value) for value in said.values()] == [str, int, str, str, str]
    assert (said["phase"], said["speaker"], said["content"]) == ("opening", "pro", "I disagree.")


async def test_a_transition_has_its_fields(api: Api) -> None:
    """“broadcastToDebate(debateId, 'phase_transition', { phase: newPhase, timestamp: Date.now() })”."""
    async with api.stream(STREAM) as stream:
        await open_to(stream)
        await api.made(f"{DEBATE}/phase", {"phase": "arguments"})
        moved = data_of(await stream.message_of("phase_transition"))
    assert list(moved) == ["phase", "timestamp"]
    assert moved["phase"] == "arguments"
    assert abs(moved["timestamp"] / 1000 - time.time()) < 60


async def test_every_type_of_event_is_sent(tmp_path: Path) -> None:
    """“Emit different event types”: “'connected' | 'utterance' | 'phase_transition' | 'intervention_response' | 'pause' |
    'resume' | 'complete' | 'error'”."""
    async with running_app(create_app(settings(tmp_path)), bearer(MODERATE)) as api, api.stream(STREAM) as stream:
        client = data_of(await stream.message())["clientId"]
        await api.made("/api/debates", {"id": ID, "topic": "Everything?"})
        for phase in ("opening", "arguments", "closing"):
            await api.made(f"{DEBATE}/phase", {"phase": phase})
        await api.made(f"{DEBATE}/utterances", UTTERANCE)
        asked = await api.made(f"{DEBATE}/interventions", {"speaker": "pro", "question": "Why?"})
        await api.made(f"{DEBATE}/interventions/{asked['id']}", {"content": "Because."})
        await api.made(f"{DEBATE}/pause")
        await api.made(f"{DEBATE}/resume")
        await api.made(f"{DEBATE}/phase", {"phase": "complete"})
        await stream.message_of("complete")
        await api.made(f"{DEBATE}/clients/{client}/send", {"type": "error", "data": {"message": "Only you"}})
        await stream.message_of("error")
        types = re.findall(rb"^event: (.+)$", bytes(stream.body), re.MULTILINE)
    expected = ["connected", *["phase_transition"] * 3, "utterance", "intervention_response", "pause", "resume"]
    assert [name.decode() for name in types] == [*expected, "complete", "error"]


async def test_an_answer_says_what_was_asked(api: Api) -> None:
    """“intervention_response” carries the question, the answer, and who gave it when."""
    asked = await api.made(f"{DEBATE}/interventions", {"speaker": "con", "question": "How much?"})
    async with api.stream(STREAM) as stream:
        await api.made(f"{DEBATE}/interventions/{asked['id']}", {"content": "Ten."})
        told = data_of(await stream.message_of("intervention_response"))
    assert list(told) == ["id", "timestamp", "phase", "speaker", "question", "content"]
    assert (told["id"], told["question"], told["content"]) == (asked["id"], "How much?", "Ten.")
    assert (await api.call("POST", f"{DEBATE}/interventions/{asked['id']}", {"content": "Twice"})).status == 404


# -- the state machine ---------------------------------------------------------------------------------------------------


async def test_every_transition_of_the_table_and_no_other(tmp_path: Path) -> None:
    """“await this.stateMachine.transition(newPhase)”: what the table has is done; all else is a 409 that says where the
    debate is and where it can go, and changes nothing."""
    async with running_app(create_app(settings(tmp_path)), bearer(MODERATE)) as api:
        for start, path in ways().items():
            for end in Phase:
                debate = await api.made("/api/debates", {"topic": "Which way?"})
                for phase in path:
                    await api.made(f"/api/debates/{debate['id']}/phase", {"phase": phase})
                reply = await api.call("POST", f"/api/debates/{debate['id']}/phase", {"phase": end})
                assert reply.status == (200 if end in TRANSITIONS[start] else 409)
                if reply.status == 409:
                    assert f"the debate is in {start}" in reply.json()["detail"]
                    assert all(phase in reply.json()["detail"] for phase in TRANSITIONS[start])
                    assert (await api.get(f"/api/debates/{debate['id']}"))["phase"] == start


def ways() -> dict[Phase, list[Phase]]:
    """How to get to each phase."""
    found: dict[Phase, list[Phase]] = {Phase.WAITING: []}
    for start, ends in TRANSITIONS.items():
        for end in ends:
            found.setdefault(end, [*found[start], end])
    return found


@pytest.mark.parametrize(
    ("before", "path", "reason"),
    [
        (["/resume"], "", "not paused"),
        (["/pause", "/pause"], "", "is paused in opening"),
        (["/pause", "/utterances"], "", "resume it first"),
        (["/pause", "/phase"], "", "resume it first"),
    ],
)
async def test_what_cannot_be_done_is_a_conflict(api: Api, before: list[str], path: str, reason: str) -> None:
    """Pausing twice, resuming what runs, speaking and moving on while paused: 409, in words."""
    bodies = {"/utterances": UTTERANCE, "/phase": {"phase": "arguments"}}
    *first, last = before
    for step in first:
        await api.made(f"{DEBATE}{step}")
    reply = await api.call("POST", f"{DEBATE}{last}", bodies.get(last))
    assert reply.status == 409
    assert reason in reply.json()["detail"]


async def test_nothing_happens_before_and_after(tmp_path: Path) -> None:
    """A debate that has not begun, or is over, hears nobody, is not paused, and takes no questions."""
    async with running_app(create_app(settings(tmp_path)), bearer(MODERATE)) as api:
        await api.made("/api/debates", {"id": ID, "topic": "When?"})
        question = {"speaker": "pro", "question": "Why?"}
        steps: list[tuple[str, Any]] = [("utterances", UTTERANCE), ("pause", None), ("interventions", question)]
        for state in ("has not begun", "is over"):
            for step, body in steps:
                reply = await api.call("POST", f"{DEBATE}/{step}", body)
                assert (reply.status, state in reply.json()["detail"]) == (409, True)
            for phase in ways()[Phase.COMPLETE]:
                await api.call("POST", f"{DEBATE}/phase", {"phase": phase})


async def test_only_moderators_change_a_debate(api: Api) -> None:
    """Watching is free; changing needs a token with the permission, and gets a 401 or 403 without."""
    for headers, status in (({}, 401), (bearer(), 403)):
        for path in ("utterances", "phase", "pause", "resume", "interventions", "clients/x/send"):
            assert (await api.call("POST", f"{DEBATE}/{path}", {}, headers=headers)).status == status
        assert (await api.call("POST", "/api/debates", {}, headers=headers)).status == status
        assert (await api.call("GET", f"{DEBATE}/clients", headers=headers)).status == status
        assert (await request(api.app, "GET", DEBATE)).status == 200


async def test_malformed_input_is_refused(api: Api) -> None:
    """A clear sentence, and nothing changes."""
    cases = [
        ("/api/debates", {"id": "a b", "topic": "x"}, 400),
        ("/api/debates", {"topic": " "}, 400),
        ("/api/debates", {"script": "hamlet"}, 400),
        ("/api/debates", {"id": ID, "topic": "again"}, 409),
        (f"{DEBATE}/utterances", {"speaker": "", "content": "x"}, 400),
        (f"{DEBATE}/utterances", {"speaker": "pro", "content": "x" * 2001}, 400),
        (f"{DEBATE}/phase", {"phase": "tea"}, 422),
        ("/api/debates/unknown/pause", None, 404),
    ]
    for path, body, status in cases:
        reply = await api.call("POST", path, body)
        assert (reply.status, bool(reply.json()["detail"])) == (status, True)
    assert len(await api.get("/api/debates")) == 1
    assert await api.get(f"{DEBATE}/utterances") == []


async def test_the_page_runs_nothing_from_elsewhere(api: Api) -> None:
    """Its policy allows scripts and styles from its own files only, and it has no others."""
    reply = await request(api.app, "GET", "/debates")
    assert "script-src 'self'" in reply.headers["content-security-policy"]
    text = reply.body.decode()
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", text)
    for name in re.findall(r'(?:href|src)="(debates/[^"]+)"', text):
        assert (await request(api.app, "GET", f"/{name}")).status == 200
