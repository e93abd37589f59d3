"""The agents of a room: that they do what their log says, try again, give up, and go on after a restart."""

from __future__ import annotations

import asyncio
import hashlib
import io
import random
import zipfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from examples.rooms import pipeline
from examples.rooms.agents import code, deploy, story
from examples.rooms.agents.job import Agent, AgentFailed, Job, Story
from examples.rooms.app import create_app
from examples.rooms.builder import Builder
from examples.rooms.logs import AgentType, Level, RoomLogs
from examples.rooms.register import Register, Status
from examples.rooms.rooms import Rooms
from examples.rooms.settings import Settings
from headwater import Hub, Position, Retention, Rule
from headwater.brokers.memory import MemoryBroker
from headwater.errors import BrokerUnavailable, InvalidInput, TooManyRequests
from tests.examples.reading import SECRET, Api, bearer, data_until, running_app


def settings(folder: Path, **given: Any) -> Settings:
    """Settings for a folder; agents do not pause unless told to."""
    return Settings(**{"data": str(folder), "jwt_secret": SECRET, "pace": 0.0, **given})


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    """The application, and a user with a token."""
    async with running_app(create_app(settings(tmp_path)), bearer()) as found:
        yield found


async def built(api: Api, body: Any = None, *, last: str = '"ready"') -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A new room, and its log up to the line that has `last` in it."""
    room = await api.made("/api/v1/rooms", body or {})
    async with api.stream(f"/api/v1/rooms/{room['id']}/logs?since=all") as stream:
        return room, await data_until(stream, "log", last)


async def test_all_agents_work_on_a_room(api: Api) -> None:
    """“Agent operations emit logs via SSE”: each agent says what it does, the orchestrator when it begins and how long it
    took, and a stage begins when the one before is done."""
    room, lines = await built(api, {"title": "Gull Manor"})
    said = {agent: [line for line in lines if line["agentType"] == agent] for agent in AgentType}
    assert lines[0]["message"] == "Opening “Gull Manor”"
    assert said[AgentType.STORY][0]["message"] == "Starting story generation"
    assert all(said[agent][-1]["level"] == Level.SUCCESS for agent in AgentType)
    order = [(meta["agent"], meta["state"]) for line in lines if "agent" in (meta := line.get("metadata", {}))]
    assert order[:2] == [("story", "running"), ("story", "done")]
    assert set(order[2:6]) == {("asset", "running"), ("code", "running"), ("asset", "done"), ("code", "done")}
    assert order[6:] == [("deploy", "running"), ("deploy", "done")]
    while (found := await api.get(f"/api/v1/rooms/{room['id']}"))["status"] != "ready":
        pass  # each look is a request; the last line comes just before the status
    assert (found["finished"][0], found["finished"][-1]) == ("story", "deploy")
    assert set(found["finished"][1:-1]) == {"asset", "code"}


async def test_the_package_is_what_they_made(api: Api) -> None:
    """The zip has the story with the words asked for, a picture with a window for each chamber, a program that runs, and
    checksums that are right."""
    room, lines = await built(api, {"words": ["lantern", "fox"]})
    reply = await api.call("GET", f"/api/v1/rooms/{room['id']}/files/room.zip")
    assert reply.status == 200
    with zipfile.ZipFile(io.BytesIO(reply.body)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    for sum_line in files["SHA256SUMS"].decode().splitlines():
        digest, _, name = sum_line.partition("  ")
        assert hashlib.sha256(files[name]).hexdigest() == digest
    text = files["story.md"].decode()
    assert "lantern" in text
    assert "fox" in text
    chambers = next(line["metadata"]["chambers"] for line in lines if line["message"] == "Finished story.md")
    windows = ElementTree.fromstring(files["house.svg"]).findall(".//*[@id='windows']/*")
    assert len(windows) == chambers
    compile(files["tour.py"], "tour.py", "exec")
    assert files["transcript.txt"].decode().count("You enter") == chambers


@pytest.mark.parametrize("words", [0, 3, 6])
def test_a_draft_in_two_has_the_right_length(words: int) -> None:
    """The story agent throws drafts away for their length, and does not run out of them: of 200 drafts about half fit."""
    asked = ("lantern",) * words
    allowed = range(story.LENGTH.start, story.LENGTH.stop + story.PER_WORD * words)
    drafts = [story.compose("Gull Manor", asked, random.Random(seed)) for seed in range(200)]
    assert 60 < sum(len(each.text.split()) in allowed for each in drafts) < 140


def test_text_from_outside_stays_text() -> None:
    """A title full of code is a literal in the program and characters in the story."""
    title = '"""; import os {title} {0}'
    written = story.compose(title, (), random.Random(4))
    assert title in written.text
    source = code.program(Story(title, written.chambers, written.text))
    names: dict[str, Any] = {}
    exec(compile(source, "tour.py", "exec"), names)
    assert names["TITLE"] == title
    assert "os" not in names


@pytest.mark.parametrize(
    ("source", "reason"),
    [("raise SystemExit(3)", "code 3"), ("while True: pass", "still running"), ("1 +", "SyntaxError")],
)
async def test_a_program_that_fails_fails_the_agent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, reason: str
) -> None:
    """An exit code, an endless loop and an error are all seen, and the process is gone afterwards."""
    monkeypatch.setattr(code, "PATIENCE", 0.5)
    (tmp_path / "tour.py").write_text(source)
    with pytest.raises(AgentFailed, match=reason):
        await code.run(tmp_path / "tour.py")


def test_a_broken_package_is_noticed(tmp_path: Path) -> None:
    """Bytes that do not match their checksum are found in the package itself."""
    (tmp_path / "story.md").write_text("Once")
    deploy.pack(tmp_path, tmp_path / "room.zip", {"story.md": deploy.checksum(b"Twice")})
    assert deploy.broken(tmp_path / "room.zip") == ["story.md"]


# -- failing, trying again, giving up ------------------------------------------------------------------------------------


def failing(times: int) -> Agent:
    """An agent that fails so many times before it succeeds."""

    async def agent(job: Job) -> Mapping[str, Any]:
        if job.attempt <= times:
            raise AgentFailed("the ink froze")
        return {"file": "story.md"}

    return agent


async def test_the_orchestrator_lets_an_agent_try_again(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure is an error line of the agent and a warning of the orchestrator, and then comes the next attempt."""
    monkeypatch.setattr(pipeline, "STAGES", (((AgentType.STORY, failing(2)),),))
    _, lines = await built(api)
    assert [line["message"] for line in lines if line["level"] == "error"] == ["the ink froze"] * 2
    assert [line["metadata"].get("attempt") for line in lines if line["message"] == "Starting story"] == [1, 2, 3]


async def test_the_orchestrator_gives_up(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the last attempt the room has failed, and agents that were to come after do not begin."""
    monkeypatch.setattr(pipeline, "STAGES", (((AgentType.STORY, failing(99)),), ((AgentType.DEPLOY, failing(0)),)))
    room, lines = await built(api, last="could not be finished")
    assert not [line for line in lines if line["message"] == "Starting deploy"]
    while (found := await api.get(f"/api/v1/rooms/{room['id']}"))["status"] == "building":
        pass
    assert found["status"] == "failed"


async def test_what_nobody_expected_ends_the_room(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """An agent with a defect does not leave a room that is being built for ever."""

    async def broken(job: Job) -> Mapping[str, Any]:
        raise ZeroDivisionError

    monkeypatch.setattr(pipeline, "STAGES", (((AgentType.STORY, broken),),))
    _, lines = await built(api, last='"failed"')
    assert lines[-1]["message"] == "Something unexpected happened"


async def test_a_log_that_cannot_be_written_holds_the_agent(tmp_path: Path) -> None:
    """“Error handling”: while the broker is away an agent waits, and then its line is there once."""
    hub = FlakyHub("memory://")
    await hub.start()
    await RoomLogs(hub).insist("42", AgentType.STORY, Level.INFO, "At last")
    assert hub.calls == 3
    assert len((await hub.broker.read(["room:42"], 0, 10)).events) == 1
    await hub.stop()


class FlakyHub(Hub):
    """A hub whose broker is away twice: once nothing is published, once it is and the answer is lost."""

    calls = 0

    async def publish(self, *args: Any, **options: Any) -> Position:
        """Publish, the third time."""
        self.calls += 1
        if self.calls == 2:
            await super().publish(*args, **options)
        if self.calls <= 2:
            raise BrokerUnavailable("the broker is away", retry_after=0.01)
        return await super().publish(*args, **options)


# -- rooms ---------------------------------------------------------------------------------------------------------------


async def test_a_restart_keeps_rooms_and_logs(tmp_path: Path) -> None:
    """Rooms and their logs are in the hub's log: both are there for the next process."""
    async with running_app(create_app(settings(tmp_path)), bearer()) as api:
        room, lines = await built(api)
    async with running_app(create_app(settings(tmp_path)), bearer()) as api:
        assert [each["id"] for each in await api.get("/api/v1/rooms")] == [room["id"]]
        async with api.stream(f"/api/v1/rooms/{room['id']}/logs?since=all") as stream:
            assert await data_until(stream, "log", '"ready"') == lines


async def test_a_restart_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """A room whose agents were interrupted is finished by the next process, without repeating what was done."""
    async with running_app(create_app(settings(tmp_path, pace=0.05)), bearer()) as api:
        room, before = await built(api, last="story took")
    async with running_app(create_app(settings(tmp_path)), bearer()) as api:
        async with api.stream(f"/api/v1/rooms/{room['id']}/logs?since=all") as stream:
            after = (await data_until(stream, "log", '"ready"'))[len(before) :]
    restarted = next(line for line in after if line["message"] == "The server was restarted; going on after story")
    assert restarted["metadata"] == {"finished": ["story"]}
    assert not [line for line in after if line["agentType"] == "story"]


@pytest.mark.parametrize(
    "body",
    [
        *({"title": ""}, {"title": " "}, {"title": "x" * 61}, {"title": "a\nb"}),
        *({"words": ["two words"]}, {"words": ["<b>"]}, {"words": ["a"] * 7}, {"words": [""]}),
    ],
)
async def test_malformed_rooms_are_refused(tmp_path: Path, body: dict[str, Any]) -> None:
    """Titles are short and printable, words are words, and a refused room does not exist."""
    hub = Hub("memory://")
    rooms = Rooms(hub, settings(tmp_path))
    async with hub.lifespan():
        with pytest.raises(InvalidInput, match="malformed"):
            await rooms.create(**body)
        assert await rooms.newest() == []


async def test_rooms_wait_for_their_turn_and_not_without_bound(tmp_path: Path) -> None:
    """A few rooms are built at once, a few more wait, and the next is refused with the time to come back."""
    hub = Hub("memory://")
    async with hub.lifespan():
        rooms = Rooms(hub, settings(tmp_path, at_once=1, waiting=1))
        await rooms.create()
        await rooms.create()
        with pytest.raises(TooManyRequests) as caught:
            await rooms.create()
        assert caught.value.retry_after == 10


async def test_the_oldest_rooms_go(tmp_path: Path) -> None:
    """Beyond a number of rooms the oldest finished ones are removed with their files."""
    async with running_app(create_app(settings(tmp_path, kept=2)), bearer()) as api:
        rooms = []
        for _ in range(3):
            room, _ = await built(api)
            rooms.append(room["id"])
            while (await api.get(f"/api/v1/rooms/{room['id']}"))["status"] == "building":
                pass
        assert [each["id"] for each in await api.get("/api/v1/rooms")] == [rooms[2], rooms[1]]
        assert not (tmp_path / "built" / rooms[0]).exists()
        assert (await api.call("GET", f"/api/v1/rooms/{rooms[0]}/files/room.zip")).status == 404
        assert (await api.call("GET", f"/api/v1/rooms/{rooms[1]}/files/story.json")).status == 404


async def test_a_room_is_known_at_every_node_at_once(tmp_path: Path) -> None:
    """Two nodes of one log, of which neither builds, and a builder beside them: a room that one node makes, the other has
    when it is asked next, and the builder hears of it. Whoever begins to read later knows the same rooms."""
    url = f"sqlite:///{tmp_path}/log.db"
    hubs = [Hub(url) for _ in range(3)]
    async with hubs[0].lifespan(), hubs[1].lifespan(), hubs[2].lifespan():
        one, other = (Rooms(hub, settings(tmp_path)) for hub in hubs[:2])
        builder = Builder(hubs[2], Register(hubs[2], 200), hubs[2], settings(tmp_path))
        async with builder.lifespan():
            room = await one.create("Gull Manor")
            assert (await other.get(room.id)).title == "Gull Manor"
            while (await other.get(room.id)).status is Status.BUILDING:
                pass
            assert (await other.file(room.id, "story.md")).is_file()
        late = Rooms(hubs[1], settings(tmp_path))
        assert await late.newest() == await one.newest() == await other.newest()


async def test_rooms_of_another_log_are_forgotten(tmp_path: Path) -> None:
    """When the log was emptied, or has dropped what was not read in time, the register begins anew with what is there."""
    hub = Hub(MemoryBroker(retention=Retention(rules=(Rule(pattern="rooms", count=3),))))
    rooms, writer = (Rooms(hub, settings(tmp_path)) for _ in range(2))
    async with hub.lifespan():
        first = await writer.create()
        assert await rooms.newest() == [first]
        others = [await writer.create() for _ in range(5)]
        assert await rooms.newest() == others[:-4:-1]
    hub.broker = MemoryBroker()
    async with hub.lifespan():
        assert await rooms.newest() == []


async def test_stopping_does_not_wait_for_agents(tmp_path: Path) -> None:
    """A shutdown interrupts agents at once; the next start goes on."""
    async with asyncio.timeout(5):
        async with running_app(create_app(settings(tmp_path, pace=60.0)), bearer()) as api:
            await built(api, last="Starting story generation")
