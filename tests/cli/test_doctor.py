"""`headwater doctor`: what it looks at and what it says."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from headwater.cli import doctor
from headwater.cli.doctor import Grade, examine
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


def test_the_hub_is_part_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a URL, the hub is examined too."""
    status, text = look({"HEADWATER_JWT_SECRET": SECRET}, url="http://127.0.0.1:9")
    assert status == 1
    assert "bad   hub http://127.0.0.1:9/readyz" in text
