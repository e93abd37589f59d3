"""What the operations application does besides telling of it: connections that go nowhere else, jobs that really run."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from examples.operations import bus, jobs, store
from examples.operations.bus import EventBus, SystemEvent
from examples.operations.servers import Servers
from examples.operations.settings import Settings
from examples.operations.store import Run, ServerStatus
from examples.shared.database import Database
from headwater import Hub
from headwater.errors import BrokerUnavailable, NotAllowed, Unavailable
from tests.examples.operating import Desk, event_of, listening, operating


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    """The running application."""
    async with operating(tmp_path) as running:
        yield running


async def servers_of(hub: Hub, folder: Path, **settings: Any) -> tuple[Servers, Database]:
    """The module on its own."""
    database = Database(folder / "servers.db", store.SCHEMA)
    await database.open()
    return Servers(EventBus(hub), database, Settings(data=str(folder), **settings)), database


# -- servers -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    ["10.0.0.1", "169.254.169.254", "example.com", "0.0.0.0", "::ffff:10.0.0.1", "127.0.0.1.example.com", "2130706433"],
)
async def test_connections_stay_on_this_machine(desk: Desk, host: str) -> None:
    """A server elsewhere is refused when it is registered and when one is moved there: nobody gets this machine to knock on
    doors of the network behind it."""
    assert (await desk.call("POST", "/api/v1/servers", {"name": "Web", "host": host})).status == 403
    server = await desk.made("/api/v1/servers", {"name": "Web", "host": "127.0.0.1"})
    moved = await desk.call("PATCH", f"/api/v1/servers/{server['id']}", {"host": host})
    assert (moved.status, moved.json()["fix"]) == (403, "list it in OPERATIONS_REACHABLE")


async def test_the_operator_may_list_hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """OPERATIONS_REACHABLE names hosts that tests may reach; a host that is no longer in it is not connected to."""
    monkeypatch.setenv("OPERATIONS_REACHABLE", "db.internal, Cache.internal")
    assert Settings.from_env("OPERATIONS").hosts == {"db.internal", "cache.internal"}
    hub = Hub("memory://")
    async with hub.lifespan():
        listed, database = await servers_of(hub, tmp_path, reachable="db.internal")
        server = await listed.create("Database", "DB.internal", 5432)
        await database.aclose()
        unlisted, database = await servers_of(hub, tmp_path)
        tested = await unlisted.test_connection(server.id)
        await database.aclose()
    assert (tested.status, tested.message) == (ServerStatus.FAILED, "connections to 'DB.internal' are not allowed")


async def test_a_server_that_never_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection test has an end."""

    async def never(host: str, port: int) -> None:
        await asyncio.get_running_loop().create_future()

    monkeypatch.setattr(asyncio, "open_connection", never)
    async with operating(tmp_path, patience=0.01) as desk:
        server = await desk.made("/api/v1/servers", {"name": "Silent", "host": "127.0.0.1", "port": 9})
        tested = await desk.made(f"/api/v1/servers/{server['id']}/test")
    assert (tested["status"], tested["message"]) == ("FAILED", "no answer from port 9 within 0.01 s")


async def test_who_asks_meanwhile_shares_the_test(desk: Desk) -> None:
    """Ten people who test one server at the same time make one connection and one event."""
    connections = 0

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        writer.close()

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as listener, desk.watching("servers.read") as stream:
        port = listener.sockets[0].getsockname()[1]
        server = await desk.made("/api/v1/servers", {"name": "Web", "host": "127.0.0.1", "port": port})
        await asyncio.gather(*(desk.made(f"/api/v1/servers/{server['id']}/test") for _ in range(10)))
        await desk.call("PATCH", f"/api/v1/servers/{server['id']}", {"name": "Last"})
        await stream.message_of("server.updated")
    tests = bytes(stream.body).count(b"event: server.status_changed")
    assert connections == tests
    assert tests < 10


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": "", "host": "localhost"},
        {"name": "x", "host": "a b"},
        {"name": "x", "host": "localhost", "port": 0},
    ],
)
async def test_malformed_servers_are_refused(desk: Desk, body: dict[str, Any]) -> None:
    """Bad input changes nothing."""
    assert (await desk.call("POST", "/api/v1/servers", body)).status == 422
    assert (await desk.call("GET", "/api/v1/servers")).json() == []


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PATCH", "/api/v1/servers/none"),
        ("POST", "/api/v1/servers/none/test"),
        ("PATCH", "/api/v1/incidents/none"),
        ("POST", "/api/v1/automations/none/run"),
    ],
)
async def test_what_does_not_exist_is_not_found(desk: Desk, method: str, path: str) -> None:
    """A server, incident or automation that is not there is a 404 that says so."""
    reply = await desk.call(method, path, {"name": "x"} if "servers" in path else {"title": "x"})
    assert (reply.status, reply.json()["title"]) == (404, "Not found")


async def test_a_change_of_nothing_is_refused(desk: Desk) -> None:
    """A PATCH says what to change."""
    server = await desk.made("/api/v1/servers", {"name": "Web", "host": "127.0.0.1"})
    reply = await desk.call("PATCH", f"/api/v1/servers/{server['id']}", {})
    assert (reply.status, reply.json()["expected"]) == (400, "name or host or port")


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/api/v1/servers", None),
        ("POST", "/api/v1/servers", {"name": "Web", "host": "127.0.0.1"}),
        ("GET", "/api/v1/incidents", None),
        ("POST", "/api/v1/incidents", {"title": "Fire"}),
        ("GET", "/api/v1/automations", None),
        ("POST", "/api/v1/automations/back-up/run", None),
        ("POST", "/api/v1/broadcasts", {"message": "Tea"}),
    ],
)
async def test_every_route_needs_its_permission(desk: Desk, method: str, path: str, body: Any) -> None:
    """A token without the permission gets a 403."""
    assert (await desk.call(method, path, body, permissions=("something.else",))).status == 403
    assert (await desk.call(method, path, body)).status < 300


# -- incidents -----------------------------------------------------------------------------------------------------------


async def test_moving_an_incident_to_where_it_is_tells_nobody(desk: Desk) -> None:
    """Two people who resolve the same incident make one event."""
    async with desk.watching("incidents.read") as stream:
        incident = await desk.made("/api/v1/incidents", {"title": "Fire"})
        for status in ("RESOLVED", "RESOLVED", "OPEN"):
            await desk.made(f"/api/v1/incidents/{incident['id']}/status", {"status": status})
        moves = [(await event_of(stream, "incident.status_changed"))["data"] for _ in range(2)]
    assert [(move["oldStatus"], move["newStatus"]) for move in moves] == [("OPEN", "RESOLVED"), ("RESOLVED", "OPEN")]


async def test_only_so_many_closed_incidents_are_kept(tmp_path: Path) -> None:
    """The oldest resolved ones go; what is open stays however old."""
    async with operating(tmp_path, kept=2) as desk:
        ids = [(await desk.made("/api/v1/incidents", {"title": title}))["id"] for title in "abcd"]
        for closed in ids[1:]:
            await desk.made(f"/api/v1/incidents/{closed}/status", {"status": "RESOLVED"})
        await desk.made("/api/v1/incidents", {"title": "e"})
        titles = [incident["title"] for incident in (await desk.call("GET", "/api/v1/incidents")).json()]
    assert titles == ["e", "d", "a"]


# -- automations ---------------------------------------------------------------------------------------------------------


async def outcome(desk: Desk, name: str) -> dict[str, Any]:
    """What a run of an automation ended with."""
    async with desk.watching("automations.read") as stream:
        await desk.made(f"/api/v1/automations/{name}/run")
        await stream.message_of("automation.started")
        message = await stream.message()
        assert message.type in ("automation.completed", "automation.failed")
        found: dict[str, Any] = (await last_runs(desk))[name]
        assert message.type == f"automation.{found['status'].lower()}"
    return found


async def last_runs(desk: Desk) -> dict[str, dict[str, Any]]:
    """The last run of each automation."""
    automations = (await desk.call("GET", "/api/v1/automations")).json()
    return {each["name"]: each["lastRun"] for each in automations}


async def test_backups_are_real_and_few(desk: Desk, tmp_path: Path) -> None:
    """The copy holds what the database holds, can be verified, and only the newest three stay."""
    await desk.made("/api/v1/incidents", {"title": "Fire"})
    for _ in range(4):
        assert (await outcome(desk, "back-up"))["status"] == "COMPLETED"
    copies = jobs.backups(tmp_path / "backups")
    assert len(copies) == 3
    with closing(sqlite3.connect(copies[-1])) as copy:
        assert copy.execute("SELECT title FROM incidents").fetchall() == [("Fire",)]
    verified = await outcome(desk, "verify-backup")
    assert verified["output"].splitlines()[-1].endswith("rows can be restored")
    copies[-1].write_bytes(b"no database at all")
    damaged = await outcome(desk, "verify-backup")
    assert (damaged["status"], damaged["output"].splitlines()[-1]) == ("FAILED", f"{copies[-1].name} is damaged")


async def test_checking_servers(desk: Desk) -> None:
    """One server that does not answer fails the check, and the output says which."""
    async with listening() as port:
        await desk.made("/api/v1/servers", {"name": "Web", "host": "127.0.0.1", "port": port})
        assert (await outcome(desk, "check-servers"))["output"].splitlines()[-1] == "1 of 1 answered"
    failed = await outcome(desk, "check-servers")
    lines = [f"Web: nothing listens on port {port}", "1 of 1 did not answer"]
    assert (failed["status"], failed["output"].splitlines()) == ("FAILED", lines)


async def test_measuring_the_disk(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is nearly full fails the check."""
    assert (await outcome(desk, "measure-disk"))["status"] == "COMPLETED"
    monkeypatch.setattr(jobs, "LEAST_FREE", 1.1)
    assert (await outcome(desk, "measure-disk"))["status"] == "FAILED"


async def test_a_job_that_breaks_fails(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What nobody expected is logged with its traceback, and told without it."""

    async def broken(desk: jobs.Desk) -> str:
        raise RuntimeError("secret details")

    monkeypatch.setitem(jobs.JOBS, "back-up", jobs.Job("Back up", "", broken))
    failed = await outcome(desk, "back-up")
    assert (failed["status"], failed["output"]) == ("FAILED", "something unexpected happened\n")
    assert "secret details" in caplog.text


async def test_an_automation_runs_once_at_a_time(tmp_path: Path) -> None:
    """Who starts it while it runs gets the run that is under way."""
    async with operating(tmp_path, pace=60.0) as desk:
        first, second = [await desk.made("/api/v1/automations/back-up/run") for _ in range(2)]
    assert first == second


async def test_a_restart_ends_what_was_running(tmp_path: Path) -> None:
    """A run that a restart interrupted is told to have failed."""
    async with operating(tmp_path, pace=60.0) as desk, desk.watching("automations.read", "logs.read") as stream:
        run = await desk.made("/api/v1/automations/measure-disk/run")
        await stream.message_of("log.added")
        begin = stream.decoder.last_event_id
    async with operating(tmp_path) as desk, desk.watching("automations.read", **{"last-event-id": begin}) as stream:
        event = await event_of(stream, "automation.failed")
        assert (await last_runs(desk))["measure-disk"]["status"] == "FAILED"
    assert (event["data"]["id"], event["data"]["error"]) == (run["id"], "the server was restarted")


# -- the bus -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("outages", [1, 1000])
async def test_an_outage_of_the_log(outages: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has happened is offered again while the log cannot be written, under one key; but not for ever."""
    monkeypatch.setattr(bus, "PATIENCE", 0.05)
    hub = Hub("memory://")
    keys: list[object] = []
    publish = hub.publish

    async def failing(*args: Any, **options: Any) -> Any:
        keys.append(options["idempotency_key"])
        if len(keys) <= outages:
            raise BrokerUnavailable("no log", retry_after=0.01)
        return await publish(*args, **options)

    monkeypatch.setattr(hub, "publish", failing)
    async with hub.lifespan():
        emitting = EventBus(hub).emit(type=SystemEvent.LOG_ADDED, data={})
        if outages > 1:
            with pytest.raises(Unavailable):
                await emitting
        else:
            await emitting
            assert len(keys) == 2
    assert len(set(keys)) == 1


async def test_an_automation_whose_events_nobody_takes(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A run that cannot be told of is logged, and the automation can be started again."""
    ended = asyncio.Event()

    async def refused(*args: Any, **options: Any) -> Any:
        ended.set()
        raise NotAllowed("no")

    with monkeypatch.context() as patched:
        patched.setattr(EventBus, "emit", refused)
        first = await desk.made("/api/v1/automations/measure-disk/run")
        await ended.wait()
        second = first
        while second["id"] == first["id"]:
            second = await desk.made("/api/v1/automations/measure-disk/run")
    assert "a run could not be told of" in caplog.text


def test_runs_keep_what_they_said(tmp_path: Path) -> None:
    """Lines are added, never replaced."""
    connection = sqlite3.connect(tmp_path / "runs.db")
    connection.row_factory = sqlite3.Row
    connection.executescript(store.SCHEMA)
    store.insert(connection, Run(id="a", automation="back-up", started_at="2026"))
    for line in ("one", "two"):
        store.append_output(connection, "a", line)
    found = store.get(connection, Run, "a")
    assert found is not None
    assert found.output == "one\ntwo\n"
    connection.close()
