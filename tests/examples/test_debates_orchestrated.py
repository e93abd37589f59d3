"""Debates that run by themselves, and what of them survives: every utterance is kept before it is heard, whatever breaks."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from examples.debates import store
from examples.debates.app import MODERATE, create_app
from examples.debates.orchestrator import Orchestrator
from examples.debates.phases import Phase
from examples.debates.scripts import scripts
from examples.debates.settings import Settings
from headwater import Hub, Position
from headwater.errors import BrokerUnavailable
from headwater.testing.asgi import StreamReply
from headwater.wire import Message
from tests.examples.reading import SECRET, Api, bearer, data_of, running_app

SCRIPT = "night-trains"
DEBATE = "/api/debates/trains"
STREAM = f"{DEBATE}/stream"
LINES = scripts()[SCRIPT].lines
FAST = 1e9  # words in a minute


def app_in(folder: Path, **given: Any) -> Any:
    """The application; whoever speaks is done at once unless a speed is given."""
    return create_app(Settings(**{"data": str(folder), "jwt_secret": SECRET, "speed": FAST, **given}))


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., Any]:
    """Starts the application in this test's folder."""
    return lambda **given: running_app(app_in(tmp_path, **given), bearer(MODERATE))


async def until_complete(stream: StreamReply) -> list[Message]:
    """All messages up to `complete`."""
    messages = [await stream.message()]
    while messages[-1].type != "complete":
        messages.append(await stream.message())
    return messages


def said_in(messages: list[Message]) -> list[str]:
    """What was said, in order."""
    return [data_of(message)["content"] for message in messages if message.type == "utterance"]


# -- the orchestrator ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(scripts()))
async def test_a_debate_runs_from_its_script(start: Any, name: str) -> None:
    """“Integration test with mock debate orchestrator”, here with the real one: phases and utterances come as they stand in
    the script, each utterance in its phase, and `complete` comes last; each has its time, as in “interface SSEEvent”."""
    async with start() as api:
        await api.made("/api/debates", {"id": "trains", "script": name})
        async with api.stream(STREAM) as stream:
            messages = await until_complete(stream)
        now = await api.get(DEBATE)
    script = scripts()[name]
    assert said_in(messages) == [line.content for line in script.lines]
    assert {line.speaker for line in script.lines} == set(script.speakers) == set(script.answers)
    phase = None
    for message in messages[1:-1]:
        if message.type == "phase_transition":
            phase = data_of(message)["phase"]
        assert data_of(message)["phase"] == phase
    assert data_of(messages[-1])["utterances"] == len(script.lines)
    assert all(isinstance(data_of(message)["timestamp"], int) for message in messages[1:])
    assert (now["phase"], now["next"]) == ("complete", [])


async def test_speaking_takes_time(start: Any) -> None:
    """“Debate utterances in real-time”: nobody begins before the one before had time to say it."""
    speed = 30_000
    async with start(speed=speed) as api:
        await api.made("/api/debates", {"id": "trains", "script": SCRIPT})
        async with api.stream(STREAM) as stream:
            utterances = [data_of(each) for each in await until_complete(stream) if each.type == "utterance"]
    for one, two in itertools.pairwise(utterances):
        assert two["timestamp"] - one["timestamp"] >= 60_000 * len(one["content"].split()) / speed - 2


async def test_a_pause_holds_the_debate(start: Any) -> None:
    """Between `pause` and `resume` nothing is said, however long it takes; then the debate goes on where it was."""
    async with start(speed=60_000) as api, api.stream(STREAM) as stream:
        await api.made("/api/debates", {"id": "trains", "script": SCRIPT})
        await stream.message_of("utterance")
        await api.made(f"{DEBATE}/pause")
        for _ in range(50):  # time enough for several lines at this speed
            assert (await api.get(DEBATE))["paused"] is True
        await api.made(f"{DEBATE}/resume")
        await stream.message_of("pause")
        assert (await stream.message()).type == "resume"
        await until_complete(stream)
        everything = await api.get(f"{DEBATE}/utterances")
    assert [each["content"] for each in everything] == [line.content for line in LINES]


async def test_the_audience_is_answered(start: Any) -> None:
    """A question is answered by whom it was put to, once, between two utterances; a second one gets another answer."""
    async with start(speed=60_000) as api, api.stream(STREAM) as stream:
        await api.made("/api/debates", {"id": "trains", "script": SCRIPT})
        await stream.message_of("utterance")
        for number in range(2):
            await api.made(f"{DEBATE}/interventions", {"speaker": "con", "question": f"Number {number}?"})
        messages = await until_complete(stream)
        reply = await api.call("POST", f"{DEBATE}/interventions", {"speaker": "nobody", "question": "Hello?"})
    answers = [data_of(each) for each in messages if each.type == "intervention_response"]
    assert [answer["question"] for answer in answers] == ["Number 0?", "Number 1?"]
    assert [answer["content"] for answer in answers] == list(scripts()[SCRIPT].answers["con"][:2])
    assert {answer["speaker"] for answer in answers} == {"con"}
    assert len(said_in(messages)) == len(LINES) - 1
    assert reply.status == 400


async def test_a_question_can_be_asked_during_a_pause(start: Any) -> None:
    """It is answered when the debate goes on."""
    async with start(speed=60_000) as api, api.stream(STREAM) as stream:
        await api.made("/api/debates", {"id": "trains", "script": SCRIPT})
        await stream.message_of("utterance")
        await api.made(f"{DEBATE}/pause")
        await api.made(f"{DEBATE}/interventions", {"speaker": "pro", "question": "Still there?"})
        await api.made(f"{DEBATE}/resume")
        await stream.message_of("resume")
        assert data_of(await stream.message())["question"] == "Still there?"


async def test_a_moderator_may_leave_phases_out(start: Any) -> None:
    """The orchestrator goes on from wherever a moderator has taken the debate, and says nothing of what was left out."""
    async with start(speed=20_000) as api, api.stream(STREAM) as stream:
        await api.made("/api/debates", {"id": "trains", "script": SCRIPT})
        while data_of(await stream.message_of("phase_transition"))["phase"] != "arguments":
            pass
        await api.made(f"{DEBATE}/phase", {"phase": "closing"})
        await until_complete(stream)
        utterances = await api.get(f"{DEBATE}/utterances")
    phases = [each["phase"] for each in utterances]
    assert "rebuttal" not in phases
    closing = [line.content for line in LINES if line.phase is Phase.CLOSING]
    assert [each["content"] for each in utterances if each["phase"] == "closing"] == closing


async def test_a_defect_of_the_orchestrator_is_told(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """“'error'”: those who watch learn that the debate cannot go on."""

    async def broken(self: Orchestrator) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Orchestrator, "run", broken)
    async with start() as api, api.stream(STREAM) as stream:
        await api.made("/api/debates", {"id": "trains", "script": SCRIPT})
        assert "technical problem" in data_of(await stream.message_of("error"))["message"]


async def test_scripted_debates_are_bounded(start: Any) -> None:
    """Beyond a number that run at the same time the next is refused, with the time to come back."""
    async with start(running=1, speed=1.0) as api:
        await api.made("/api/debates", {"script": SCRIPT})
        reply = await api.call("POST", "/api/debates", {"script": SCRIPT})
        assert (reply.status, reply.headers["retry-after"]) == (429, "30")
        assert set(await api.get("/api/debate-scripts")) == set(scripts())


async def test_a_restart_goes_on_with_the_debate(start: Any) -> None:
    """A debate that was interrupted is finished by the next process: every line is said once."""
    async with start(speed=6000) as api, api.stream(STREAM) as stream:
        await api.made("/api/debates", {"id": "trains", "script": SCRIPT})
        for _ in range(2):
            await stream.message_of("utterance")
    async with start() as api, api.stream(STREAM) as stream:
        assert said_in(await until_complete(stream)) == [line.content for line in LINES]


# -- persisted, then broadcast -------------------------------------------------------------------------------------------


async def quiet_debate(api: Api) -> None:
    """A debate without a script, which has begun."""
    await api.made("/api/debates", {"id": "trains", "topic": "Is it kept?"})
    await api.made(f"{DEBATE}/phase", {"phase": "opening"})
    async with api.stream(STREAM) as stream:
        await stream.message_of("phase_transition")


async def all_said(api: Api, last: str) -> list[str]:
    """Everything the stream has said, from the start to `last`."""
    found: list[str] = []
    async with api.stream(STREAM) as stream:
        while not found or found[-1] != last:
            found.append(data_of(await stream.message_of("utterance"))["content"])
    return found


async def speak(api: Api, content: str) -> None:
    """Say something."""
    await api.made(f"{DEBATE}/utterances", {"speaker": "pro", "content": content})


def away(monkeypatch: pytest.MonkeyPatch, hub: Hub, times: float, *, lost: bool = False) -> list[int]:
    """Take a hub's broker away for so many attempts.

    Args:
        lost: what was published is published, and only its answer is lost.

    Returns:
        A list that grows with each attempt.
    """
    attempts: list[int] = []
    publish_all = hub.publish_all

    async def flaky(drafts: Any) -> tuple[Position, ...]:
        attempts.append(len(drafts))
        positions = await publish_all(drafts) if lost or len(attempts) > times else ()
        if len(attempts) <= times:
            raise BrokerUnavailable("the broker is away")
        return positions

    monkeypatch.setattr(hub, "publish_all", flaky)
    return attempts


async def test_what_cannot_be_broadcast_is_kept_and_waits(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """“// Save to database”, then “// Broadcast to SSE clients”: while the log cannot be written, utterances are kept; when
    it can, they are broadcast in order."""
    async with start() as api:
        await quiet_debate(api)
        attempts = away(monkeypatch, api.app.state.hub, 2)
        for content in ("1", "2"):
            await speak(api, content)
        assert [each["content"] for each in await api.get(f"{DEBATE}/utterances")] == ["1", "2"]
        assert await all_said(api, "2") == ["1", "2"]
    assert len(attempts) >= 3


async def test_an_answer_that_was_lost_doubles_nothing(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the broker took the utterance and its answer was lost, publishing again changes nothing."""
    async with start() as api:
        await quiet_debate(api)
        away(monkeypatch, api.app.state.hub, 2, lost=True)
        await speak(api, "once")
        await speak(api, "then")
        assert await all_said(api, "then") == ["once", "then"]


async def test_a_crash_before_the_broadcast_loses_nothing(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process ends after the commit and before the broadcast: the next one broadcasts."""
    async with start() as api:
        await quiet_debate(api)
        away(monkeypatch, api.app.state.hub, float("inf"))
        await speak(api, "before the crash")
    async with start() as api:
        await speak(api, "after it")
        assert await all_said(api, "after it") == ["before the crash", "after it"]


async def test_a_crash_after_the_broadcast_doubles_nothing(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process ends after the broadcast and before that is written down: the next one publishes again, with the same key,
    and nobody hears it twice."""

    def crash(connection: sqlite3.Connection, upto: int) -> None:
        raise sqlite3.OperationalError("the disk is gone")

    async with start() as api:
        await quiet_debate(api)
        with monkeypatch.context() as patch:
            patch.setattr(store, "broadcast", crash)
            await speak(api, "once")
            assert await all_said(api, "once") == ["once"]
    async with start() as api:
        await speak(api, "then")
        assert await all_said(api, "then") == ["once", "then"]


async def test_what_is_not_kept_is_not_broadcast(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the transaction fails, there is neither an utterance nor an event."""

    def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    async with start() as api:
        await quiet_debate(api)
        with monkeypatch.context() as patch:
            patch.setattr(store, "queue", full)
            with pytest.raises(sqlite3.OperationalError):
                await speak(api, "never")
        await speak(api, "then")
        assert await all_said(api, "then") == ["then"]
        assert [each["content"] for each in await api.get(f"{DEBATE}/utterances")] == ["then"]
