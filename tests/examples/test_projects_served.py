"""The projects in processes of their own: command lines, a killed server, and the PostgreSQL that comes along."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import stat
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import psycopg
import pytest

from examples.projects.changes import RULES
from examples.projects.postgres import Kept, NoServer, programs
from examples.projects.projects import Projects
from examples.projects.settings import FOLDERS, Settings
from headwater.changes.declared import load_rules
from headwater.errors import ConfigurationError, Unavailable
from tests.examples.commands import curl, curl_lines
from tests.examples.projecting import SECRET, bearer, database, mark
from tests.support.postgres import rows, shared_server
from tests.support.raw import RawClient, streaming
from tests.support.server import Server, running
from tests.support.waiting import PATIENCE, until

APP = "examples.projects.app:app"


def env(folder: Path, url: str = "", **more: str) -> dict[str, str]:
    """The environment of a server."""
    return {"PROJECTS_DATA": str(folder / "data"), "DATABASE_URL": url, "PROJECTS_FOLDERS": f"test={folder}", **more}


async def test_every_command_of_the_page_works(tmp_path: Path) -> None:
    """The lines of docs/examples/projects.md, one after the other, with what each of them answers put into the next."""
    token, state, stream, begin = curl_lines("docs/examples/projects.md")
    with database() as url:
        async with running(APP, env={**env(tmp_path, url), "PROJECTS_FOLDERS": ""}) as server:
            values = {"YOUR_TOKEN": json.loads(await curl(token, server.port))["token"]}
            assert json.loads(await curl(state, server.port, **values))["jobs"] == []
            shown = await curl(stream, server.port, **values)
            assert 'data: {"type":"connected","message":"Connected to status updates"}\n' in shown
            assert json.loads(await curl(begin, server.port, **values))["status"] == "queued"


async def test_a_killed_server_loses_nothing(tmp_path: Path) -> None:
    """Rows change while there is no server at all; the client comes back with its last id and has every change once."""
    settings = {"HEADWATER_JWT_SECRET": SECRET, "PROJECTS_WORKS": "false"}
    insert = (
        "INSERT INTO proposed_nodes (project_id, title, confidence)"
        " SELECT 'test', %s || n, 1 FROM generate_series(1, 50) AS n"
    )
    with database() as url:
        async with running(APP, env=env(tmp_path, url, **settings)) as server:
            target = "/api/projects/test/status"
            async with streaming(server.url + target, bearer()) as client:
                rows(url, insert, ("before ",))
                for _ in range(21):
                    last = await client.message()
                await server.stop(signal.SIGKILL)
        rows(url, insert, ("meanwhile ",))
        async with running(APP, env=env(tmp_path, url, **settings)) as server:
            async with streaming(server.url + target, {**bearer(), "Last-Event-ID": last.id}) as client:
                await client.message()
                found = [json.loads((await client.message_of("message")).data)["title"] for _ in range(80)]
    expected = [f"before {number}" for number in range(21, 51)] + [f"meanwhile {number}" for number in range(1, 51)]
    assert found == expected


def test_the_rules_can_be_installed_from_the_command_line() -> None:
    """`--changes examples.projects.changes:RULES` names them."""
    assert load_rules("examples.projects.changes:RULES") == RULES


def test_settings_are_read() -> None:
    """From the environment, also under the names that the team and platforms use; and a wrong one is named."""
    given = Settings.from_env(
        "PROJECTS", {"DATABASE_URL": "postgresql:///x", "NEXT_PUBLIC_APP_URL": "https://a.example"}
    )
    assert (given.database, given.origins, given.projects) == ("postgresql:///x", ("https://a.example",), FOLDERS)
    with pytest.raises(ConfigurationError, match="name=/path"):
        assert Settings(folders="nothing").projects


async def test_without_a_database_it_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Beside other applications it does without, and answers 503."""
    projects = Projects(Settings(data=str(tmp_path), database="postgresql://nobody@127.0.0.1:1/none", works=False))
    async with projects.beside():
        with pytest.raises(Unavailable, match="no database"):
            await projects.running()
    assert "there are no projects" in caplog.text


# -- the server that comes along ------------------------------------------------------------------------------------------


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that everybody can reach: as root, the server runs as somebody else."""
    folder = Path(tempfile.mkdtemp(prefix="headwater-test-"))
    folder.chmod(0o755)
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setenv("TMPDIR", str(folder))
    yield folder
    shutil.rmtree(folder)


def postmaster(place: Path) -> int | None:
    """The server's process, if it runs."""
    for file in place.rglob("postmaster.pid"):
        with suppress(FileNotFoundError, ProcessLookupError, ValueError, IndexError):
            pid = int(file.read_text().splitlines()[0])
            os.kill(pid, 0)
            return pid
    return None


@asynccontextmanager
async def gallery(place: Path) -> AsyncIterator[Server]:
    """The gallery, with its own PostgreSQL."""
    arguments = ["-m", "examples.gallery", "--port", "0", "--no-demo"]
    async with running(arguments, program="python", cwd=place, env={"DATABASE_URL": ""}) as server:
        yield server


async def get(server: Server, path: str, method: str = "GET") -> dict[str, str]:
    """What a route answers, from JSON."""
    async with await RawClient.connect(server.url) as client:
        head = await client.request(path, {"Host": f"127.0.0.1:{server.port}"}, method=method)
        body = await client.read_body()
        assert head.status == 200, body
        found: dict[str, str] = json.loads(body)
        return found


def password_mode(place: Path) -> int:
    """Who may read the password."""
    (password,) = place.rglob("password")
    return stat.S_IMODE(password.stat().st_mode)


async def test_postgresql_comes_and_goes_with_the_gallery(place: Path) -> None:
    """It starts by itself, in a folder, with a password; the same data are there the next time; it ends with SIGTERM, and
    when the gallery is killed."""
    async with gallery(place) as server:
        url = (await get(server, "/projects/dev/database"))["url"]
        rows(url, "INSERT INTO proposed_nodes (project_id, title, confidence) VALUES ('handbook', 'Tea', 1)")
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(url.replace("projects:", "projects:wrong"))
        await server.stop(signal.SIGTERM)
        await until(lambda: postmaster(place) is None, "PostgreSQL to end")
    async with gallery(place) as server:
        url = (await get(server, "/projects/dev/database"))["url"]
        assert rows(url, "SELECT title FROM proposed_nodes") == [("Tea",)]
        assert postmaster(place) is not None
        await server.stop(signal.SIGKILL)
        await until(lambda: postmaster(place) is None, "PostgreSQL to end")
    assert password_mode(place) == 0o600


def test_a_server_left_behind_is_used_again(place: Path) -> None:
    """Whoever comes next finds it; who ends last stops it; and a crash is recovered from."""
    kept = Kept(place / "postgres")
    data = kept._data
    with kept.used() as first, Kept(place / "postgres").used() as second:
        assert first == second
        pid = postmaster(place)
        assert pid is not None
    assert postmaster(place) is None
    with kept.used() as url:  # as if its keeper had been killed
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE kept ()")
        pid = postmaster(place)
        assert pid is not None
        os.kill(pid, signal.SIGQUIT)
        _wait_gone(data, pid)
        with Kept(place / "postgres").used() as again:
            assert rows(again, "SELECT count(*) FROM kept") == [(0,)]
    assert postmaster(place) is None


def _wait_gone(data: Path, pid: int) -> None:
    subprocess.run(["tail", f"--pid={pid}", "-f", "/dev/null"], check=True, timeout=PATIENCE)
    assert postmaster(data.parent) is None


def test_a_version_that_is_not_there_is_said(place: Path) -> None:
    """Data of a PostgreSQL that the wheel does not have are not touched."""
    data = place / "data"
    data.mkdir()
    (data / "PG_VERSION").write_text("9\n")
    with pytest.raises(NoServer, match="no PostgreSQL 9: delete"):
        programs(data)
    assert programs(place / "none").name == "bin"


async def test_two_nodes_say_the_same(tmp_path: Path) -> None:
    """“Connection pooling for multiple projects” is several nodes on one database here: a client of each gets every change,
    with the same ids."""
    settings = {"HEADWATER_JWT_SECRET": SECRET, "PROJECTS_WORKS": "false"}
    with shared_server().database() as url:
        async with running(APP, env=env(tmp_path / "1", url, PROJECTS_FOLDERS="test=/", **settings)) as one:
            async with running(APP, env=env(tmp_path / "2", url, PROJECTS_FOLDERS="test=/", **settings)) as other:
                target = "/api/projects/test/status"
                async with (
                    streaming(one.url + target, bearer()) as here,
                    streaming(other.url + target, bearer()) as there,
                ):
                    await here.message()
                    await there.message()
                    await asyncio.to_thread(mark, url)
                    assert await here.message_of("message") == await there.message_of("message")
