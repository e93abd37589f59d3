"""How our own processes log."""

from __future__ import annotations

import json
import logging
import logging.config
import sys
from io import StringIO

import pytest

from headwater.cli.logs import Json, Text, fields, log_config
from headwater.hub import StreamInfo

INFO = StreamInfo(
    id=7,
    state="live",
    principal="ada",
    address="127.0.0.1",
    channels=("a", "b"),
    permissions=(),
    seconds=1.23456,
    events=3,
    bytes=99,
    behind=0,
)


def record(message: str, **extra: object) -> logging.LogRecord:
    """A record as `log.info(message, extra=...)` makes it."""
    made = logging.makeLogRecord({"msg": message, "levelname": "INFO", "name": "headwater"})
    vars(made).update(extra)
    return made


def failed() -> logging.LogRecord:
    """A record of an exception whose text holds a token."""
    try:
        raise ValueError("GET /events?token=abc.def.ghi")
    except ValueError:
        return logging.makeLogRecord({"msg": "broken", "levelname": "ERROR", "exc_info": sys.exc_info()})


def test_a_disconnect_is_one_json_object_with_the_streams_numbers() -> None:
    """Snapshots are spread into the line: duration, bytes and reason can be searched for."""
    line = json.loads(Json().format(record("disconnect", stream=INFO, reason="client", nothing=None)))
    assert line["message"] == "disconnect"
    assert (line["reason"], line["bytes"], line["seconds"], line["channels"]) == ("client", 99, 1.23456, ["a", "b"])
    assert "nothing" not in line


def test_a_text_line_has_the_same_in_short() -> None:
    """Message first, then `name=value`."""
    line = Text().format(record("disconnect", stream=INFO, reason="client"))
    assert "info    disconnect id=7" in line
    assert "channels=a,b" in line
    assert "seconds=1.23 " in line


@pytest.mark.parametrize("formatter", [Json(), Text()])
def test_tokens_are_never_written(formatter: logging.Formatter) -> None:
    """Not in messages, not in fields, not in tracebacks."""
    for made in (record("GET /events?token=abc.def.ghi", path="/e?ticket=secretticket&a=1"), failed()):
        line = formatter.format(made)
        assert "abc.def.ghi" not in line
        assert "secretticket" not in line


def test_a_traceback_comes_with_its_record() -> None:
    """As a field in JSON, below the line in text."""
    assert "ValueError" in json.loads(Json().format(failed()))["error"]
    assert "\n    Traceback" in Text().format(failed())


def test_a_text_line_is_one_line_that_controls_no_terminal() -> None:
    """What is logged may come from elsewhere, such as a header or a server's answer."""
    line = Text().format(record("failed: \x1b[2J\n12:00:00 info    all is well", address="\x9b31m"))
    assert "\x1b" not in line
    assert "\x9b" not in line
    assert "\n12:00:00" not in line


def test_an_empty_exc_info_is_no_error() -> None:
    """`exc_info=True` outside an exception adds nothing."""
    assert fields(record("x", exc_info=(None, None, None))) == {}


@pytest.mark.parametrize(
    ("form", "tty", "expected"), [("json", True, Json), ("text", False, Text), ("auto", True, Text)]
)
def test_the_form_follows_the_terminal(form: str, tty: bool, expected: type, monkeypatch: pytest.MonkeyPatch) -> None:
    """`auto` is text where somebody watches; a named form is what it says."""
    stream = StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: tty, raising=False)
    monkeypatch.setattr("sys.stderr", stream)
    assert log_config("info", form)["formatters"]["line"]["()"] is expected


def test_levels_reach_the_loggers() -> None:
    """uvicorn's own lines about starting are left out at `info`, since we say it better; at `debug` they are back."""
    assert log_config("info", "json")["loggers"]["uvicorn.error"]["level"] == "WARNING"
    assert log_config("debug", "json")["loggers"]["uvicorn.error"]["level"] == "DEBUG"
    assert log_config("error", "json")["root"]["level"] == "ERROR"
