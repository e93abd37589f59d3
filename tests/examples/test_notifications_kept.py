"""Nothing is lost between the database and the stream, whenever the process dies; and what workflows find is true."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import threading
from collections.abc import AsyncIterator, Coroutine, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from examples.notifications import api, keys, runs, users, workflows
from examples.notifications.keys import once
from examples.notifications.workflows import SAMPLES, WORKFLOWS, Bench, WorkflowFailed
from examples.shared.database import Database
from headwater import Draft, Hub, Position
from headwater.errors import BrokerUnavailable
from tests.examples.notifying import NOTIFICATIONS, Team, data_of, finished, running_team
from tests.support.waiting import until


@pytest.fixture
async def team(tmp_path: Path) -> AsyncIterator[Team]:
    """The running application and three users."""
    async with running_team(tmp_path) as team:
        yield team


def break_log(monkeypatch: pytest.MonkeyPatch, errors: list[Exception]) -> None:
    """Have the hub's log fail so many times."""
    publish_all = Hub.publish_all

    async def failing(hub: Hub, drafts: Sequence[Draft]) -> tuple[Position, ...]:
        if errors:
            raise errors.pop()
        return await publish_all(hub, drafts)

    monkeypatch.setattr(Hub, "publish_all", failing)


# -- from the database to the stream -------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [BrokerUnavailable("no log"), RuntimeError("a defect")], ids=["outage", "defect"])
async def test_what_cannot_be_told_now_is_told_later(
    team: Team, error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """While the log cannot be written, requests are answered as ever, and their events come in order when it can."""
    async with team.ben.stream() as stream:
        break_log(monkeypatch, [error])
        await team.ada.send("ben", "first")
        await team.ada.send("ben", "second")
        assert await team.ben.titles() == ["second", "first"]
        assert [(await data_of(stream, "notification.created"))["title"] for _ in range(2)] == ["first", "second"]
    assert "telling" in caplog.text


async def test_what_was_kept_and_not_told_is_told_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that dies between the two leaves the event in the outbox; whoever comes back gets it, in its place."""
    async with running_team(tmp_path) as team:
        cursor = (await team.ben.get(NOTIFICATIONS))["cursor"]
        errors: list[Exception] = [BrokerUnavailable("no log")] * 1000
        break_log(monkeypatch, errors)
        await team.ada.send("ben", "kept")
    errors.clear()
    async with running_team(tmp_path) as team, team.ben.stream(f"?lastEventId={cursor}") as stream:
        assert (await data_of(stream, "notification.created"))["title"] == "kept"


async def test_what_was_told_and_is_still_in_the_outbox_is_not_told_twice(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that dies after publishing and before noting it publishes again, with the same key."""
    publish_all = Hub.publish_all
    dying = [RuntimeError("killed")]

    async def told(hub: Hub, drafts: Sequence[Draft]) -> tuple[Position, ...]:
        positions = await publish_all(hub, drafts)
        if dying:
            raise dying.pop()
        return positions

    async with team.ben.stream() as stream:
        monkeypatch.setattr(Hub, "publish_all", told)
        await team.ada.send("ben", "once")
        await until(lambda: not dying, "the first attempt")
        await team.ada.send("ben", "after it")
        assert [(await data_of(stream, "notification.created"))["title"] for _ in range(2)] == ["once", "after it"]


async def abandon(request: Coroutine[Any, Any, object], monkeypatch: pytest.MonkeyPatch) -> None:
    """Cancel a request, as a server or a middleware does whose client has left, while its transaction is under way."""
    asking = asyncio.ensure_future(request)
    begun, may_end = asyncio.Event(), threading.Event()
    loop, original = asyncio.get_running_loop(), keys.once

    def slow(*args: Any) -> Any:
        loop.call_soon_threadsafe(begun.set)
        may_end.wait(30)
        return original(*args)

    with monkeypatch.context() as patch:
        patch.setattr(api, "once", slow)
        await begun.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        may_end.set()


async def test_what_an_abandoned_request_has_changed_is_told(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its transaction cannot be called back, so everybody hears of it as of any other."""
    async with team.ben.stream() as stream:
        await data_of(stream, "user.status_changed")
        for _ in range(5):  # each waits its turn behind what the outbox is asked: then nobody looks into it any more
            await team.ben.titles()
        await abandon(team.ada.send("ben", "kept"), monkeypatch)
        assert (await data_of(stream, "notification.created"))["title"] == "kept"


async def test_a_workflow_that_was_started_runs_though_nobody_waits(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would be under way for ever, and never start again."""
    async with team.ada.stream() as stream:
        await abandon(team.ada.made("/api/v1/workflows/report/runs"), monkeypatch)
        assert (await data_of(stream, "workflow.completed"))["workflow"] == "report"


async def test_a_run_ends_even_if_that_cannot_be_kept_at_once(
    team: Team, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Else nobody could start the workflow again."""
    finish, errors = runs.finish, [sqlite3.OperationalError("database is locked")]

    def failing(connection: sqlite3.Connection, run: runs.Run, kept: int) -> None:
        if errors:
            raise errors.pop()
        finish(connection, run, kept)

    monkeypatch.setattr(runs, "finish", failing)
    async with team.ada.stream() as stream:
        await team.ada.made("/api/v1/workflows/report/runs")
        assert (await finished(stream, "report"))["status"] == "completed"
    assert "could not be told of" in caplog.text


async def test_a_file_whose_name_is_no_text_is_told_of(team: Team, tmp_path: Path) -> None:
    """As well as that can be done in JSON."""
    async with team.ada.stream() as stream:
        await team.ada.made("/api/v1/workflows/archive/runs")
        await finished(stream, "archive")
        (tmp_path / "files" / os.fsdecode(b"\xff")).touch()
        await team.ada.made("/api/v1/workflows/verify/runs")
        assert (await finished(stream, "verify"))["error"].startswith("? is new since files-")


async def test_keys_are_kept_for_a_day(tmp_path: Path) -> None:
    """Then they are free again, so that what is kept is bounded."""
    database = Database(tmp_path / "keys.db", keys.SCHEMA)
    await database.open()

    def ask(connection: Any, key: str, at: str) -> Any:
        answer = json.loads(bytes(once(connection, "ada", key, "request", lambda _: datetime.now(UTC).isoformat())))
        connection.execute("UPDATE keys SET at = ? WHERE key = ?", (at, key))
        return answer

    first = await database.run(ask, "old", "2000-01-01T00:00:00.000Z")
    assert await database.run(ask, "old", "2000-01-01T00:00:00.000Z") == first
    await database.run(ask, "new", "9999-01-01T00:00:00.000Z")  # any other request sweeps
    assert await database.run(ask, "old", "9999-01-01T00:00:00.000Z") != first
    await database.aclose()


# -- who is there, after a restart ---------------------------------------------------------------------------------------


async def test_whoever_does_not_come_back_after_a_restart_goes_offline(tmp_path: Path) -> None:
    """A process that was killed has told nobody; the next one finds out, and those who came back were never away."""
    async with running_team(tmp_path, away=60.0) as team, team.ada.stream() as stream, team.ben.stream():
        while (await data_of(stream, "user.status_changed"))["id"] != "ben":
            pass
    async with running_team(tmp_path, away=0.3) as team, team.ada.stream() as stream:
        change = await data_of(stream, "user.status_changed")
        known = {user["id"]: user["status"] for user in (await team.ada.get("/api/v1/users"))["items"]}
    assert (change["id"], change["status"]) == ("ben", "offline")
    assert known == {"ada": "online", "ben": "offline", "cleo": "offline"}


async def test_who_is_there_is_kept_later_if_it_cannot_be_kept_now(
    team: Team, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A database that is locked or full for a moment leaves nobody there, or away, for ever."""
    set_status, errors = users.set_status, [sqlite3.OperationalError("database is locked")] * 2

    def failing(connection: sqlite3.Connection, id: str, status: users.Status) -> None:
        if errors:
            raise errors.pop()
        set_status(connection, id, status)

    monkeypatch.setattr(users, "set_status", failing)
    async with team.ada.stream() as stream:
        change = await data_of(stream, "user.status_changed")
    assert (change["id"], change["status"]) == ("ada", "online")
    assert "it could not be kept that a user is online" in caplog.text


async def test_a_reload_is_no_absence(tmp_path: Path) -> None:
    """Whoever is back within `away` has not been gone."""
    async with running_team(tmp_path, away=60.0) as team, team.ada.stream() as stream:
        await data_of(stream, "user.status_changed")
        for _ in range(3):
            async with team.ben.stream():
                pass
        await team.cleo.made("/api/v1/users/me", {"about": "x"}, "PATCH")
        changes = []
        while (message := await stream.message()).type != "user.updated":
            changes.append(json.loads(message.data))
    assert [(change["id"], change["status"]) for change in changes] == [("ben", "online")]


# -- workflows -----------------------------------------------------------------------------------------------------------


async def test_verify_finds_what_has_changed(team: Team, tmp_path: Path) -> None:
    """It succeeds after archiving, and fails when a file has changed, has gone or is new since, and says which."""
    async with team.ada.stream() as stream:
        for name, error in (("archive", None), ("verify", None)):
            await team.ada.made(f"/api/v1/workflows/{name}/runs")
            assert (await finished(stream, name))["error"] == error
        files = tmp_path / "files"
        (files / "prices.csv").write_text("article,price\n")
        (files / "minutes.txt").unlink()
        (files / "extra.txt").write_text("x")
        await team.ada.made("/api/v1/workflows/verify/runs")
        failed = await finished(stream, "verify")
    said = failed["error"].partition(" since ")[0]
    assert said == "extra.txt is new, minutes.txt has gone, prices.csv has changed"
    assert [step["title"] for step in failed["steps"]] == ["Find the newest archive", "Read it to its last byte"]


async def test_a_run_that_is_under_way_is_not_begun_twice(tmp_path: Path) -> None:
    """Who asks for it again gets the same run."""
    async with running_team(tmp_path, pace=0.1) as team, team.ada.stream() as stream:
        runs = await asyncio.gather(*(team.ada.made("/api/v1/workflows/report/runs") for _ in range(3)))
        assert len({run["id"] for run in runs}) == 1
        assert (await finished(stream, "report"))["status"] == "completed"
        assert stream.body.count(b"event: workflow.started") == 1
        assert (await team.ada.made("/api/v1/workflows/report/runs"))["id"] != runs[0]["id"]


async def test_a_run_that_a_restart_interrupts_has_failed(tmp_path: Path) -> None:
    """That is told at the next start, to its starter, too."""
    async with running_team(tmp_path, pace=60.0) as team:
        cursor = (await team.ada.get("/api/v1/workflows"))["cursor"]
        await team.ada.made("/api/v1/workflows/archive/runs")
    async with running_team(tmp_path) as team, team.ada.stream(f"?lastEventId={cursor}") as stream:
        failed = await finished(stream, "archive")
        assert (failed["error"], failed["durationMs"]) == ("the server was restarted", None)
        assert (await data_of(stream, "notification.created"))["message"] == "the server was restarted"
        assert (await team.ada.get("/api/v1/workflows"))["runs"] == [failed]


async def test_files_that_cannot_be_used_fail_a_run(team: Team, tmp_path: Path) -> None:
    """The folder has gone: the run says so, and the next one may succeed."""
    (tmp_path / "files").rename(tmp_path / "elsewhere")
    async with team.ada.stream() as stream:
        await team.ada.made("/api/v1/workflows/report/runs")
        assert (await finished(stream, "report"))["error"] == "the files cannot be used: No such file or directory"


async def test_a_defect_of_a_step_is_told_without_its_words(
    team: Team, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What nobody expected stands in the server's log."""

    def broken(path: Path) -> list[Path]:
        raise RuntimeError("secret")

    monkeypatch.setattr(workflows, "contents", broken)
    async with team.ada.stream() as stream:
        await team.ada.made("/api/v1/workflows/report/runs")
        assert (await finished(stream, "report"))["error"] == "something unexpected happened"
    assert "secret" in caplog.text


def bench(folder: Path) -> Bench:
    """A bench with the sample files."""
    workflows.prepare(folder / "files", folder / "archives")
    return Bench(folder / "files", folder / "archives")


def do(bench: Bench, name: str) -> str:
    """Do all steps of a workflow; the result."""
    return [step.work(bench) for step in WORKFLOWS[name].steps][-1]


def test_the_sample_files_are_written_once(tmp_path: Path) -> None:
    """What somebody has made of them stays."""
    files = bench(tmp_path).files
    assert {path.name for path in files.iterdir()} == set(SAMPLES)
    (files / "prices.csv").unlink()
    bench(tmp_path)
    assert {path.name for path in files.iterdir()} == set(SAMPLES) - {"prices.csv"}


def test_three_archives_are_kept(tmp_path: Path) -> None:
    """The oldest go."""
    for _ in range(5):
        assert do(bench(tmp_path), "archive").startswith("3 files in files-")
    assert len(list((tmp_path / "archives").iterdir())) == 3


def test_links_are_no_files(tmp_path: Path) -> None:
    """They may lead anywhere, so they are neither read nor archived."""
    found = bench(tmp_path)
    (found.files / "passwords").symlink_to("/etc/passwd")
    assert do(found, "archive").startswith("3 files")


@pytest.mark.parametrize("how", ["cut", "changed", "replaced"])
def test_a_damaged_archive_is_found_out(tmp_path: Path, how: str) -> None:
    """Whatever has happened to it."""
    do(bench(tmp_path), "archive")
    (archive,) = (tmp_path / "archives").iterdir()
    data = bytearray(archive.read_bytes())
    data[len(data) // 2] ^= 0xFF
    archive.write_bytes({"cut": bytes(data[:-20]), "changed": bytes(data), "replaced": b"no archive at all"}[how])
    with pytest.raises(WorkflowFailed, match="is damaged"):
        do(bench(tmp_path), "verify")


def test_an_empty_folder_is_not_archived(tmp_path: Path) -> None:
    """There would be nothing in the archive."""
    found = bench(tmp_path)
    for path in found.files.iterdir():
        path.unlink()
    for name in ("archive", "report"):
        with pytest.raises(WorkflowFailed, match="the folder is empty"):
            do(found, name)


def test_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that were put there by somebody else cannot keep a server busy for long."""
    monkeypatch.setattr(workflows, "MAX_BYTES", 100)
    with pytest.raises(WorkflowFailed, match="are too much for a workflow"):
        do(bench(tmp_path), "archive")
