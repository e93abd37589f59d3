"""The `headwater` command: arguments in, the right work called, errors as sentences."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from headwater import __version__
from headwater.cli import bench, doctor, running, serve, tools
from headwater.cli.main import main
from headwater.cli.settings import Settings
from headwater.errors import RequestRefused

SECRET = "a secret that is long enough for HS256"
Recorded = list[tuple[tuple[Any, ...], dict[str, Any]]]


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command runs where there is no headwater.toml, and without our environment's settings."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("os.environ", {"PATH": "/usr/bin"})
    monkeypatch.setattr(sys, "path", list(sys.path))


@pytest.fixture
def record(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Recorded]:
    """Replaces a command's work by something that writes its arguments down."""

    def replace(module: object, name: str, answer: Any = None) -> Recorded:
        calls: Recorded = []

        def work(*args: Any, **kwargs: Any) -> Any:
            calls.append((args, kwargs))
            return answer

        monkeypatch.setattr(module, name, work)
        return calls

    return replace


def test_the_version_is_the_packages() -> None:
    """`--version` and the package agree."""
    assert CliRunner().invoke(main, ["--version"]).output.strip() == f"headwater, version {__version__}"


def test_serve_hands_over_its_flags_as_settings(record: Callable[..., Recorded]) -> None:
    """Flags become settings; a file named with --config is read."""
    calls = record(serve, "serve")
    Path("other.toml").write_text("port = 1\nworkers = 3")
    result = CliRunner().invoke(main, ["serve", "--dev", "--port", "0", "--config", "other.toml"])
    assert result.exit_code == 0, result.output
    assert calls == [((Settings(dev=True, port=0, workers=3),), {})]


def test_run_hands_over_the_application_and_the_broker(record: Callable[..., Recorded]) -> None:
    """The application finds the --broker in its environment, and its own modules in the current directory."""
    import os

    calls = record(running, "run")
    assert CliRunner().invoke(main, ["run", "app:app", "--reload", "--broker", "memory://"]).exit_code == 0
    assert calls == [(("app:app", Settings(broker="memory://")), {"reload": True, "factory": False})]
    assert os.environ["HEADWATER_BROKER"] == "memory://"
    assert sys.path[0] == os.getcwd()
    assert CliRunner().invoke(main, ["run", "app:make", "--factory"]).exit_code == 0
    assert calls[1][1] == {"reload": False, "factory": True}


def test_token_prints_a_token() -> None:
    """Three parts, and nothing else on the line."""
    Path("headwater.toml").write_text(f'jwt_secret = "{SECRET}"')
    result = CliRunner().invoke(main, ["token", "--sub", "ada", "--subscribe", "**", "--ttl", "5m"])
    assert result.exit_code == 0
    assert result.output.count(".") == 2


def test_our_errors_are_sentences_with_status_2() -> None:
    """No traceback: what happened, what was expected, what to do."""
    result = CliRunner().invoke(main, ["token"])
    assert result.exit_code == 2
    assert result.output.startswith("headwater: there is no secret to sign a token with. expected HEADWATER_JWT_SECRET")


def test_publish_reads_standard_input_without_data(
    record: Callable[..., Recorded], monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that it can end a pipe; with DATA it does not wait for one."""
    calls = record(tools, "publish", "e-1")
    result = CliRunner().invoke(main, ["publish", "a", "--type", "x"], input='{"n":1}')
    assert result.output == "e-1\n"
    assert calls[0][0] == ("a", '{"n":1}')
    assert calls[0][1]["type"] == "x"
    CliRunner().invoke(main, ["publish", "a", "2", "--broker", "memory://"])
    assert (calls[1][0], calls[1][1]["broker"]) == (("a", "2"), "memory://")


def test_tail_takes_its_hub_and_token_from_the_environment(record: Callable[..., Recorded]) -> None:
    """HEADWATER_URL and HEADWATER_TOKEN spare the flags."""
    calls = record(tools, "tail")
    env = {"HEADWATER_URL": "http://hub", "HEADWATER_TOKEN": "t"}
    assert CliRunner().invoke(main, ["tail", "a", "b", "--json", "--count", "1"], env=env).exit_code == 0
    options = {"since": None, "as_json": True, "url": "http://hub", "token": "t", "count": 1}
    assert calls == [((("a", "b"),), options)]


def test_what_a_server_says_cannot_control_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither in an error, nor in an id, nor in what the doctor found."""

    def refused(*args: object, **kwargs: object) -> None:
        raise RequestRefused(403, "\x1b[2J")

    def examine(*args: object, echo: Callable[[str], object], **kwargs: object) -> int:
        echo("\x1b[2J")
        return 0

    monkeypatch.setattr(tools, "tail", refused)
    monkeypatch.setattr(tools, "publish", lambda *args, **kwargs: "\x1b[2J")
    monkeypatch.setattr(doctor, "examine", examine)
    for arguments in (["tail", "a"], ["publish", "a", "1"], ["doctor"]):
        assert "\\x1b[2J" in CliRunner().invoke(main, arguments).output


def test_doctor_ends_with_what_it_found(record: Callable[..., Recorded]) -> None:
    """1 if anything must be mended, so that a deployment can ask."""
    calls = record(doctor, "examine", 1)
    assert CliRunner().invoke(main, ["doctor", "--url", "http://hub"]).exit_code == 1
    assert calls[0][1]["url"] == "http://hub"


def test_bench_measures(record: Callable[..., Recorded]) -> None:
    """With its defaults, and its numbers checked."""
    calls = record(bench, "measure")
    assert CliRunner().invoke(main, ["bench"]).exit_code == 0
    assert (calls[0][1]["streams"], calls[0][1]["events"], calls[0][1]["url"]) == (200, 200, None)
    assert CliRunner().invoke(main, ["bench", "--streams", "0"]).exit_code == 2
