"""The gallery, started as a visitor starts it: in an empty folder, with one command."""

from __future__ import annotations

import ast
import asyncio
import html
import json
import os
import re
import signal
import time
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from examples.gallery.demo import Caller, Refused
from examples.gallery.gallery import create_app
from examples.gallery.home import EVERYTHING, token_of
from examples.gallery.pulse import GalleryHub
from examples.gallery.settings import PULSE, Settings
from examples.notifications.dev import ROLES
from headwater.errors import BrokerUnavailable
from headwater.testing.asgi import lifespan, open_stream, request
from tests.support.postgres import shared_server
from tests.support.raw import RawClient, streaming
from tests.support.server import Server, running
from tests.support.waiting import PATIENCE


@pytest.fixture(autouse=True)
def database(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A database for the projects, so that no test here waits for a PostgreSQL that the gallery would start."""
    with shared_server().database() as url:
        monkeypatch.setenv("DATABASE_URL", url)
        yield url


STOPS_WITHIN = 2.0
SHOWS_SOMETHING_WITHIN = 2.0


@pytest.fixture
async def gallery(tmp_path: Path) -> AsyncIterator[Server]:
    """The running gallery."""
    async with running(["-m", "examples.gallery", "--port", "0"], program="python", cwd=tmp_path) as server:
        yield server


async def get(server: Server, path: str) -> tuple[int, dict[str, str], str]:
    """A page or file: its status, headers and text."""
    async with await RawClient.connect(server.url) as client:
        head = await client.request(path, {"Host": f"127.0.0.1:{server.port}"})
        return head.status, dict(head.headers), (await client.read_body()).decode()


async def run(command: str, wanted: bytes) -> bytes:
    """What a shell prints for a command, up to and with what is wanted of it; then the command is ended."""
    shell = await asyncio.create_subprocess_exec("bash", "-c", f"exec {command}", stdout=PIPE, stderr=DEVNULL)
    assert shell.stdout is not None
    printed = b""
    try:
        async with asyncio.timeout(3 * PATIENCE):  # the first incident of the demo comes after some seconds
            while wanted not in printed:
                printed += (piece := await shell.stdout.read(65536))
                assert piece, f"{command[:100]} printed only {printed!r}"
    finally:
        if shell.returncode is None:
            shell.terminate()
        await shell.wait()
    return printed


async def test_every_link_on_the_home_page_answers(gallery: Server) -> None:
    """Pages, routes, styles, scripts and icons: none leads nowhere, and none leads to another machine."""
    status, _, page = await get(gallery, "/")
    assert status == 200
    links = set(re.findall(r'(?:href|src)="([^"]+)"', page))
    assert {
        "/rooms",
        "/debates",
        "/operations",
        "/projects",
        "/playground",
        "/channels",
        "/metrics",
        "/openapi.json",
    } <= links
    for link in links - {"#apps", "#terminal"}:
        assert link.startswith("/"), link
        status, _, _ = await get(gallery, link)
        assert status == 200, link
    assert {'id="apps"', 'id="terminal"'} <= set(re.findall(r'id="\w+"', page))


async def test_every_page_forbids_what_is_inline_or_elsewhere(gallery: Server) -> None:
    """All pages have a strict content security policy, and keep to it."""
    for path in ("/", "/rooms", "/debates", "/operations", "/projects", "/notifications", "/playground"):
        _, headers, page = await get(gallery, path)
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        assert "unsafe" not in policy
        assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", page), path


async def test_the_lines_to_copy_work_as_they_stand(gallery: Server) -> None:
    """Every line is put into a shell as it is on the page; each shows what it promises."""
    _, _, page = await get(gallery, "/")
    found = re.findall(r"<h3>([^<]+)</h3>.*?<code>([^<]+)</code>", page)
    commands = {html.unescape(title): html.unescape(command) for title, command in found}
    assert re.fullmatch(rb'\{"ids":\["\w+-\d+"\]\}', await run(commands.pop("Publish"), b"]}"))
    assert b"event: connected" in await run(commands.pop("Listen"), b"\n\n")
    assert b"data: Hello" in await run(commands.pop("Catch up"), b"data: Hello\n")
    polled = json.loads(await run(commands.pop("Poll"), b'"reset":null}'))
    assert [event["data"] for event in polled["events"]] == ["Hello"]
    assert b'"permissions":["servers.read"]' in await run(commands.pop("Operations, as the operator"), b"servers.read")
    shown = await run(commands.pop("The same, as support"), b"event: incident.created\n")
    assert b"event: server." not in shown
    assert json.loads(await run(commands.pop("Rooms"), b"]"))[0]["id"]
    assert json.loads(await run(commands.pop("Debates"), b"]"))[0]["topic"]
    begun = json.loads(await run(commands.pop("Index the handbook"), b"}}"))
    assert begun["status"] in ("queued", "running")
    assert b'"type":"progress_update"' in await run(commands.pop("Projects"), b'"progress_update"')
    assert commands == {}


async def test_something_is_live_at_once(gallery: Server) -> None:
    """The pulse comes within two seconds of opening the page, and the applications move by themselves."""
    begun = time.monotonic()
    async with streaming(f"{gallery.url}/events?channel={PULSE}") as client:
        beat = json.loads((await client.message_of("beat")).data)
        assert time.monotonic() - begun < SHOWS_SOMETHING_WITHIN
        assert set(beat) == {"events", "rate", "streams", "published", "delivered", "latencyMs"}
        assert beat["streams"] == 1
        passed: set[str] = set()
        async with asyncio.timeout(3 * PATIENCE):
            while not {"room", "debate", "operations", "project", "user"} <= passed:
                beat = json.loads((await client.message_of("beat")).data)
                passed |= {event["channel"].partition(":")[0] for event in beat["events"]}


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
async def test_it_stops_at_once_and_cleanly(gallery: Server, how: signal.Signals) -> None:
    """Ctrl-C ends it within two seconds, with streams open, and each stream is told."""
    async with streaming(f"{gallery.url}/events?channel={PULSE}") as client:
        await client.message_of("beat")
        begun = time.monotonic()
        code = await gallery.stop(how)
        assert time.monotonic() - begun < STOPS_WITHIN
        await client.message_of("closing")
        await client.read_body()
        assert client.ended == "whole"
    assert code in (0, -how)
    assert "Traceback" not in gallery.output
    assert '"error"' not in gallery.output


async def test_it_begins_again_where_it_was(tmp_path: Path) -> None:
    """Everything is in one folder, invisible to git: what was said before a restart is still there."""
    for times in (1, 2):
        async with running(["-m", "examples.gallery", "--port", "0"], program="python", cwd=tmp_path) as server:
            async with await RawClient.connect(server.url) as client:
                await client.request("/channels/hello", method="POST", body=b"again")
                await client.read_body()
            _, _, channels = await get(server, "/channels?prefix=hello")
            assert json.loads(channels)["channels"][0]["events"] == times
            await server.stop()
    assert os.listdir(tmp_path) == [".gallery"]
    assert (tmp_path / ".gallery/.gitignore").read_text() == "*\n"


async def test_it_is_for_this_machine_only(tmp_path: Path) -> None:
    """Everybody may do everything in it, so it does not listen where others reach it."""
    with pytest.raises(AssertionError, match="can be reached from other machines"):
        async with running(["-m", "examples.gallery", "--host", "0.0.0.0"], program="python", cwd=tmp_path):
            pass
    assert os.listdir(tmp_path) == []


# -- in this process -----------------------------------------------------------------------------------------------------


async def test_tokens_are_for_pages_of_this_machine(tmp_path: Path, database: str) -> None:
    """A name that somebody else made point here (DNS rebinding) gets neither the page nor a token."""
    app = create_app(Settings(data=str(tmp_path), demo=False, database=database))
    async with lifespan(app):
        for path, method in (("/", "GET"), ("/operations/dev/token/operator", "POST")):
            reply = await request(app, method, path, headers={"host": "rebound.example"})
            assert reply.status == 403, path
            assert b"eyJ" not in reply.body
        assert b"eyJ" in (await request(app, "GET", "/")).body
        assert (await request(app, "GET", "/gallery/home.html")).status == 404


async def test_the_example_on_the_home_page_is_python(tmp_path: Path, database: str) -> None:
    """What the page shows could be pasted."""
    app = create_app(Settings(data=str(tmp_path), demo=False, database=database))
    async with lifespan(app):
        page = (await request(app, "GET", "/")).body.decode()
    match = re.search(r'<code id="example">(.+?)</code>', page, re.DOTALL)
    assert match
    source = html.unescape(re.sub(r"<[^>]+>", "", match[1]))
    assert len(ast.parse(source).body) == 4


async def test_one_token_opens_every_application(tmp_path: Path, database: str) -> None:
    """The applications share a folder, hence a secret."""
    settings = Settings(data=str(tmp_path), demo=False, database=database)
    app = create_app(settings)
    async with lifespan(app):
        call = Caller(app, lambda: token_of(settings, "you", EVERYTHING))
        assert await call("GET", "/api/v1/rooms") == []
        assert (await call("POST", "/api/debates", {"topic": "Tea"}))["topic"] == "Tea"
        assert await call("GET", "/api/v1/servers") == []
        assert (await call("GET", "/api/v1/users/me"))["id"] == "you"
        with pytest.raises(Refused, match="GET /nowhere: 404"):
            await call("GET", "/nowhere")


async def test_the_pulse_tells_no_secrets(tmp_path: Path, database: str) -> None:
    """It names channels and types; data, which not everybody may see, and the pulse itself are not in it."""
    app = create_app(Settings(data=str(tmp_path), demo=False, database=database))
    async with lifespan(app), open_stream(app, f"/events?channel={PULSE}") as stream:
        hub = app.state.hub
        await hub.publish("operations", "server.created", {"name": "secret"}, permissions=["servers.read"])
        while not (beat := json.loads((await stream.message_of("beat")).data))["events"]:
            pass
        assert beat["events"] == [{"channel": "operations", "type": "server.created"}]
        assert beat["published"] == 1
        assert b"secret" not in stream.body


async def test_the_pulse_outlives_an_outage(
    tmp_path: Path, database: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A beat that cannot be published is skipped; the next one comes."""
    outages = [BrokerUnavailable("no log")]
    publish = GalleryHub.publish

    async def failing(hub: GalleryHub, channel: str, *args: object, **options: object) -> object:
        if outages:
            raise outages.pop()
        return await publish(hub, channel, *args, **options)  # type: ignore[arg-type] # passed through

    monkeypatch.setattr(GalleryHub, "publish", failing)
    app = create_app(Settings(data=str(tmp_path), demo=False, database=database))
    async with lifespan(app), open_stream(app, f"/events?channel={PULSE}") as stream:
        await stream.message_of("beat")
    assert "the pulse is skipped" in caplog.text


async def test_the_demo_plays_an_outage(tmp_path: Path, database: str) -> None:
    """A service really stops listening: its test fails, an incident goes from open to resolved, and everybody is told."""
    app = create_app(Settings(data=str(tmp_path), pace=0.01, database=database))
    async with lifespan(app), open_stream(app, "/events?channel=operations&channel=hello") as stream:
        assert (await stream.message()).type == "connected"
        found = []
        while (message := await stream.message()).type != "notification.sent":
            if message.type == "server.status_changed":
                found.append(json.loads(message.data)["data"]["newStatus"])
        assert json.loads(message.data)["data"]["message"] == "Shop is back"
    assert "FAILED" in found
    assert "SUCCESS" in found[found.index("FAILED") :]
    settings = Settings(data=str(tmp_path), demo=False, database=database)
    app = create_app(settings)
    async with lifespan(app):
        call = Caller(app, lambda: token_of(settings, "you", EVERYTHING))
        incident = (await call("GET", "/api/v1/incidents"))[-1]
        assert (incident["title"], incident["status"]) == ("Shop does not answer: restarted", "RESOLVED")


async def test_the_demo_notifies_people(tmp_path: Path, database: str) -> None:
    """People are told of this and that, workflows really run, and one of them fails for a reason that is true."""
    settings = Settings(data=str(tmp_path), pace=0.01, database=database)
    app = create_app(settings)
    headers = {"authorization": f"Bearer {token_of(settings, 'ada', ROLES['ada'])}"}
    async with lifespan(app), open_stream(app, "/api/v1/sse", headers=headers) as stream:
        assert (await stream.message()).type == "connection_established"
        task = json.loads((await stream.message_of("notification.created")).data)
        assert (task["title"], task["from"]) == ("New Task", "demo")
        assert json.loads((await stream.message_of("workflow.completed")).data)["workflow"] == "archive"
        work = json.loads((await stream.message_of("system.maintenance")).data)
        assert work["title"] == "The index is being rebuilt"
        failed = json.loads((await stream.message_of("workflow.failed")).data)
    assert re.match("report.txt is new since files-.*.tar.gz was written", failed["error"])
