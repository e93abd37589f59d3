"""The debates, statement by statement as their team wrote them down. What is quoted is from their document."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from examples.debates.app import MODERATE, create_app
from examples.debates.phases import TRANSITIONS, Phase
from examples.debates.settings import Settings
from headwater import Hub
from headwater.testing.asgi import StreamReply, open_stream, request
from tests.examples.reading import SECRET, Api, bearer, data_of, documented_frames, running_app
from tests.support.waiting import until

ID = "550e8400-e29b-41d4-a716-446655440000"
DEBATE = f"/api/debates/{ID}"
STREAM = f"{DEBATE}/stream"
UTTERANCE = {"speaker": "pro", "content": "I disagree."}


def settings(folder: Path, **given: Any) -> Settings:
    """Settings for a folder; whoever speaks is done at once."""
    return Settings(**{"data": str(folder), "jwt_secret": SECRET, "speed": 1e9, **given})


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    """The application, a moderator, and a debate without a script, which has just been opened."""
    async with running_app(create_app(settings(tmp_path)), bearer(MODERATE)) as found:
        await found.made("/api/debates", {"id": ID, "topic": "Is this on?"})
        await found.made(f"{DEBATE}/phase", {"phase": "opening"})
        async with found.stream(STREAM) as stream:
            await open_to(stream)  # it is broadcast
        yield found


async def open_to(stream: StreamReply) -> dict[str, Any]:
    """Read up to the phase in which the debate is; returns what `connected` said."""
    first = data_of(await stream.message_of("connected"))
    await stream.message_of("phase_transition")
    assert isinstance(first, dict)
    return first


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
        while bytes(stream.body).count(b"\n:") < 2:
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


# -- clients -------------------------------------------------------------------------------------------------------------


async def test_all_clients_of_a_debate_get_an_utterance(api: Api) -> None:
    """“Broadcast utterances to all connected clients for a debate”; “Open 3 browser tabs with same debate ID … Verify all
    tabs receive the event”. Those of another debate do not."""
    await api.made("/api/debates", {"id": "other", "topic": "Else?"})
    async with (
        api.stream(STREAM) as one,
        api.stream(STREAM) as two,
        api.stream(STREAM) as three,
        api.stream("/api/debates/other/stream") as other,
    ):
        await other.message()
        ids = {(await open_to(tab))["clientId"] for tab in (one, two, three)}
        assert len(ids) == 3
        said = await api.made(f"{DEBATE}/utterances", UTTERANCE)
        assert [data_of(await tab.message_of("utterance")) for tab in (one, two, three)] == [said] * 3
        await api.made("/api/debates/other/phase", {"phase": "opening"})
        assert (await other.message()).type == "phase_transition"


async def test_clients_are_counted(api: Api) -> None:
    """“getClientCount(debateId?: string): number”, for one debate and for all; “Handle client disconnect gracefully”."""
    hub: Hub = api.app.state.hub
    async with api.stream(STREAM) as one, api.stream("/api/debates/other/stream") as other:
        ids = [data_of(await stream.message())["clientId"] for stream in (one, other)]
        assert (await api.get(DEBATE))["clients"] == 1
        assert await api.get(f"{DEBATE}/clients") == {"clients": ids[:1], "total": 2}
        assert (hub.count(f"debate:{ID}"), hub.count()) == (1, 2)
    assert await api.get(f"{DEBATE}/clients") == {"clients": [], "total": 0}
    assert (await api.get(DEBATE))["clients"] == 0


async def test_comings_and_goings_are_logged(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    """“Add structured logging for connection/disconnection”: “[SSE] Client ${clientId} connected to debate ${debateId}”,
    “[SSE] Total clients: …”, “[SSE] Client ${clientId} disconnected”, “[SSE] Broadcasted ${eventType} to ${count} clients
    …”, with the same as fields."""
    caplog.set_level(logging.INFO, "examples.debates")
    async with api.stream(STREAM) as stream:
        client = (await open_to(stream))["clientId"]
        await api.made(f"{DEBATE}/utterances", UTTERANCE)
        await stream.message_of("utterance")
        await until(lambda: "Broadcasted" in caplog.text, "the broadcast to be logged")
    records = {record.getMessage(): vars(record) for record in caplog.records if record.name == "examples.debates"}
    assert list(records) == [
        f"[SSE] Client {client} connected to debate {ID}",
        "[SSE] Total clients: 1",
        f"[SSE] Broadcasted utterance to 1 clients for debate {ID}",
        f"[SSE] Client {client} disconnected",
        "[SSE] Total clients: 0",
    ]
    connected, _, told, gone, _ = records.values()
    assert (connected["client_id"], connected["debate_id"]) == (client, ID)
    assert (told["event_type"], told["clients"], told["debate_id"]) == ("utterance", 1, ID)
    assert (gone["client_id"], gone["reason"], gone["events"]) == (client, "client", 2)


async def test_one_client_can_be_sent_something(api: Api) -> None:
    """“sendToClient(clientId: string, eventType: string, data: any)”: nobody else gets it."""
    async with api.stream(STREAM) as one, api.stream(STREAM) as two:
        first = (await open_to(one))["clientId"]
        await open_to(two)
        sent = await api.made(f"{DEBATE}/clients/{first}/send", {"type": "error", "data": {"message": "You"}})
        assert sent["connected"] is True
        said = await api.made(f"{DEBATE}/utterances", UTTERANCE)
        assert data_of(await one.message()) == {"message": "You"}
        assert data_of(await two.message()) == said


async def test_what_was_sent_to_a_client_waits_for_it(api: Api) -> None:
    """“sendToClient” to a client that is just reconnecting: it says who it is with `?clientId=` and gets it in its place."""
    async with api.stream(STREAM) as stream:
        client = (await open_to(stream))["clientId"]
        last = stream.decoder.last_event_id
    sent = await api.made(f"{DEBATE}/clients/{client}/send", {"type": "error", "data": {"message": "You"}})
    assert sent["connected"] is False
    said = await api.made(f"{DEBATE}/utterances", UTTERANCE)
    async with api.stream(f"{STREAM}?clientId={client}", last_event_id=last) as stream:
        assert data_of(await stream.message())["clientId"] == client
        assert [data_of(await stream.message()) for _ in range(2)] == [{"message": "You"}, said]


async def test_only_known_types_can_be_sent(api: Api) -> None:
    """“export type SSEEventType” is the list; `connected` is the hub's."""
    async with api.stream(STREAM) as stream:
        client = (await open_to(stream))["clientId"]
        for name in ("connected", "hello"):
            reply = await api.call("POST", f"{DEBATE}/clients/{client}/send", {"type": name, "data": {}})
            assert reply.status == 400
            assert "phase_transition" in reply.json()["detail"]
    reply = await api.call("POST", f"{DEBATE}/clients/nobody/send", {"type": "error", "data": {}})
    assert reply.status == 400


async def test_a_shutdown_ends_every_stream(tmp_path: Path) -> None:
    """“shutdown(): … client.res.end(); … clients.clear()”: each body ends cleanly."""
    app = create_app(settings(tmp_path))
    async with running_app(app, {}) as api, api.stream(STREAM) as one, api.stream(STREAM) as two:
        hub: Hub = app.state.hub
        for stream in (one, two):
            await stream.message()
        await hub.drain(5)
        assert [(await stream.message()).type for stream in (one, two)] == ["closing", "closing"]
        assert [await stream.read() for stream in (one, two)] == [b"", b""]


# -- reconnection and late joiners ---------------------------------------------------------------------------------------


async def test_a_reconnect_misses_nothing(api: Api) -> None:
    """“Support reconnection with Last-Event-ID”: everything since then, once, in order."""
    async with api.stream(STREAM) as stream:
        await open_to(stream)
        await api.made(f"{DEBATE}/utterances", {"speaker": "pro", "content": "1"})
        last = (await stream.message_of("utterance")).id
    for number in range(2, 6):
        await api.made(f"{DEBATE}/utterances", {"speaker": "pro", "content": str(number)})
    async with api.stream(STREAM, last_event_id=last) as stream:
        await api.made(f"{DEBATE}/utterances", {"speaker": "pro", "content": "6"})
        said = [data_of(await stream.message_of("utterance"))["content"] for _ in range(5)]
    assert said == ["2", "3", "4", "5", "6"]


async def test_a_late_joiner_sees_phase_and_speaker(api: Api) -> None:
    """“FR-204: System SHALL display current phase and speaker at all times”: a stream begins with the debate so far, and the
    API says the same."""
    await api.made(f"{DEBATE}/phase", {"phase": "arguments"})
    said = await api.made(f"{DEBATE}/utterances", {"speaker": "con", "content": "No."})
    async with api.stream(STREAM) as stream:
        messages = [await stream.message() for _ in range(4)]
    assert [message.type for message in messages] == ["connected", "phase_transition", "phase_transition", "utterance"]
    assert data_of(messages[3]) == said
    now = await api.get(DEBATE)
    assert (now["phase"], now["speaker"], now["paused"]) == ("arguments", "con", False)


@pytest.mark.parametrize("query", ["since=now", "last=1"])
async def test_a_client_may_begin_elsewhere(api: Api, query: str) -> None:
    """A client that says where to begin gets what it asked for."""
    async with api.stream(f"{STREAM}?{query}") as stream:
        await stream.message()
        await api.made(f"{DEBATE}/utterances", UTTERANCE)
        expected = {"since=now": "utterance", "last=1": "phase_transition"}
        assert (await stream.message()).type == expected[query]


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


async def test_fifty_clients_in_one_process(api: Api) -> None:
    """“Handles 50+ concurrent clients per debate”: sixty, each with its own id, all told the same."""

    async def watch() -> tuple[str, Any]:
        async with api.stream(STREAM) as stream:
            client = (await open_to(stream))["clientId"]
            ready.release()
            return client, data_of(await stream.message_of("utterance"))

    ready = asyncio.Semaphore(0)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(watch()) for _ in range(60)]
        for _ in tasks:
            await ready.acquire()
        said = await api.made(f"{DEBATE}/utterances", UTTERANCE)
    assert len({task.result()[0] for task in tasks}) == 60
    assert all(task.result()[1] == said for task in tasks)


async def test_the_page_runs_nothing_from_elsewhere(api: Api) -> None:
    """Its policy allows scripts and styles from its own files only, and it has no others."""
    reply = await request(api.app, "GET", "/debates")
    assert "script-src 'self'" in reply.headers["content-security-policy"]
    text = reply.body.decode()
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", text)
    for name in re.findall(r'(?:href|src)="(debates/[^"]+)"', text):
        assert (await request(api.app, "GET", f"/{name}")).status == 200
