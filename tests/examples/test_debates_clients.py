"""The clients of a debate, statement by statement as their team wrote them down: who gets what, who is counted, who comes
back. What is quoted is from their document."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from examples.debates.app import create_app
from headwater import Hub
from tests.examples.debating import DEBATE, ID, STREAM, UTTERANCE, debating, open_to, settings
from tests.examples.reading import Api, data_of, running_app
from tests.support.waiting import until


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    """The application, a moderator, and a debate that has just been opened."""
    async with debating(tmp_path) as found:
        yield found


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
