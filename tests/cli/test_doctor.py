"""`headwater doctor`: what it looks at and what it says."""

from __future__ import annotations

import resource
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from headwater.brokers.base import Finding, Grade
from headwater.brokers.memory import MemoryBroker
from headwater.cli import doctor
from headwater.cli.doctor import examine
from headwater.cli.settings import Settings
from tests.support.server import running

SECRET = "a secret that is long enough for HS256"


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no headwater.toml."""
    monkeypatch.chdir(tmp_path)


def look(environ: dict[str, str], url: str | None = None, token: str | None = None) -> tuple[int, str]:
    """The exit status and everything it says."""
    lines: list[str] = []
    status = examine(environ, None, url=url, token=token, echo=lines.append)
    return status, "\n".join(lines)


def test_a_good_installation_has_nothing_to_mend() -> None:
    """Settings, security, machine and log are each looked at; the log by a probe that really travels through it."""
    status, text = look({"HEADWATER_JWT_SECRET": SECRET, "HEADWATER_MAX_STREAMS": "10"})
    assert status == 0, text
    assert "security: tokens are required" in text
    assert "open files: " in text
    assert "a probe came back after" in text
    assert text.endswith("nothing to mend")


def test_settings_that_cannot_be_read_are_the_only_finding() -> None:
    """Nothing can be said about a hub whose settings are wrong."""
    status, text = look({"HEADWATER_PORT": "x"})
    assert status == 1
    assert text.splitlines()[-1] == "1 to mend"
    assert "log" not in text


def test_what_must_be_mended_is_counted() -> None:
    """No key, and a log in a folder that is not there."""
    status, text = look({"HEADWATER_BROKER": "sqlite:///missing/log.db"})
    assert status == 1
    assert "bad   security: no key is configured" in text
    assert "bad   log sqlite:///missing/log.db" in text
    assert "2 to mend" in text


def test_a_broker_says_what_it_knows_of_its_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its findings follow the probe; one that has none to offer is not asked."""

    async def look_at(broker: MemoryBroker) -> list[Finding]:
        await broker.head()  # it is open
        return [Finding(Grade.BAD, "the store forgets")]

    settings = Settings(broker="memory://")
    assert [finding.grade for finding in doctor.log(settings)] == [Grade.GOOD]
    monkeypatch.setattr(MemoryBroker, "examine", look_at, raising=False)
    probe, finding = doctor.log(settings)
    assert (probe.grade, finding) == (Grade.GOOD, Finding(Grade.BAD, "the store forgets"))


@pytest.mark.parametrize("broker", ["sqlite://me:hunter2@h/x.db", "mongodb://me:hunter2@h"])
def test_passwords_are_not_shown(broker: str) -> None:
    """Whatever is wrong with the URL they are in: the log's, or a hub's."""
    environ = {"HEADWATER_JWT_SECRET": SECRET, "HEADWATER_BROKER": broker}
    status, text = look(environ, url="http://me:hunter2@127.0.0.1:9")
    assert status == 1
    assert "me:***@h" in text
    assert "hub http://me:***@127.0.0.1:9/readyz" in text
    assert "hunter2" not in text


def test_a_good_logs_password_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is wrong, and the line that says so is often pasted somewhere."""
    monkeypatch.setattr("headwater.brokers._MODULES", {"redis": "headwater.brokers.memory"})
    monkeypatch.setattr("headwater.brokers.memory.from_url", lambda url, retention: MemoryBroker(retention))
    (finding,) = doctor.log(Settings(broker="redis://me:hunter2@h/0"))
    assert (finding.grade, finding.text.partition(": a probe")[0]) == (Grade.GOOD, "log redis://me:***@h/0")


def test_development_mode_is_noted() -> None:
    """It is no fault, and should not be overlooked."""
    assert [finding.grade for finding in doctor.security(Settings(dev=True))] == [Grade.NOTE]


def test_machines_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Too few files for the streams that are allowed, a uvicorn without what we need, a SQLite from long ago."""
    monkeypatch.setattr(resource, "getrlimit", lambda what: (1024, 4096))
    monkeypatch.setattr(doctor, "self_check", lambda: ["RequestResponseCycle.send"])
    monkeypatch.setattr("sqlite3.sqlite_version_info", (3, 30, 0))
    found = list(doctor.machine(Settings()))
    assert [finding.grade for finding in found] == [Grade.NOTE, Grade.NOTE, Grade.BAD]
    assert "at most about 824 streams" in found[0].text
    assert "RequestResponseCycle.send" in found[1].text


async def test_a_running_hub_is_asked(tmp_path: Path) -> None:
    """Health, readiness and numbers of a hub that answers."""
    import asyncio

    async with running(["serve", "--dev", "--port", "0", "--broker", f"sqlite:///{tmp_path}/l.db"]) as server:
        found = await asyncio.to_thread(lambda: list(doctor.hub(server.url + "/", "token-is-ignored-in-dev")))
        assert [finding.grade for finding in found] == [Grade.GOOD] * 3, found
    found = await asyncio.to_thread(lambda: list(doctor.hub(server.url, None)))
    assert [finding.grade for finding in found] == [Grade.BAD] * 3
    assert "refused" in found[0].text


def test_numbers_that_deserve_a_look() -> None:
    """Lagging streams, resets and refusals are notes with what they mean."""
    stats = {"lagging": 2, "resets": {"expired": 1}, "rejections": {"Not allowed": 3}}
    assert [finding.grade for finding in doctor._numbers(stats)] == [Grade.NOTE] * 3
    assert list(doctor._numbers({"lagging": 0, "resets": {}, "rejections": {}})) == []


Answer = Callable[[BaseHTTPRequestHandler], None]


@contextmanager
def answering(answer: Answer) -> Iterator[str]:
    """A server whose every GET is given to `answer`; yields its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def body(content: bytes) -> Answer:
    """Answer with this."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    return answer


@pytest.mark.parametrize("content", [b"[]", b"<html>", b"\xff", pytest.param(b"[" * 100_000, id="deep")])
def test_what_is_no_hub_is_said_to_be_none(content: bytes) -> None:
    """Another server's answer is a finding like others."""
    with answering(body(content)) as url:
        *_, last = doctor.hub(url, None)
    assert (last.grade, last.text) == (Grade.BAD, f"hub {url}/stats: what answers there is no hub")


def test_what_is_no_http_is_a_finding() -> None:
    """Anything may listen on a port."""

    def greet(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"SSH-2.0-x\r\n")

    with answering(greet) as url:
        assert {finding.grade for finding in doctor.hub(url, None)} == {Grade.BAD}


def test_the_token_goes_to_the_hub_alone() -> None:
    """It is an administrator's. Whoever an answer leads to does not get it."""
    seen: list[str | None] = []

    def elsewhere(handler: BaseHTTPRequestHandler) -> None:
        seen.append(handler.headers["Authorization"])
        body(b"{}")(handler)

    with answering(elsewhere) as other:

        def redirect(handler: BaseHTTPRequestHandler) -> None:
            assert handler.headers["Authorization"] == "Bearer secret"
            handler.send_response(302)
            handler.send_header("Location", other)
            handler.send_header("Content-Length", "0")
            handler.end_headers()

        with answering(redirect) as url:
            assert {finding.grade for finding in doctor.hub(url, "secret")} == {Grade.GOOD}
    assert seen == [None] * 3


def test_the_hub_is_part_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a URL, the hub is examined too."""
    status, text = look({"HEADWATER_JWT_SECRET": SECRET}, url="http://127.0.0.1:9")
    assert status == 1
    assert "bad   hub http://127.0.0.1:9/readyz" in text
