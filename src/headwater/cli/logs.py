"""How a Headwater process logs: a line per happening, JSON where nobody watches, never a token.

For our own commands only: a library does not configure its application's logging.
"""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from headwater.auth import redact
from headwater.cli.terminal import visible

_OWN: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}


def log_config(level: str, form: str) -> dict[str, Any]:
    """What `logging.config.dictConfig` takes: this process's records, and each worker's, to standard error.

    Args:
        level: debug, info, warning or error.
        form: text, json, or auto, which is text if standard error is a terminal.
    """
    is_text = form == "text" or (form == "auto" and sys.stderr.isatty())
    uvicorn_level = "WARNING" if level == "info" else level.upper()  # it repeats what we say
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": Text if is_text else Json}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
        "root": {"handlers": ["stderr"], "level": level.upper()},
        "loggers": {"uvicorn.error": {"level": uvicorn_level}},
    }


def fields(record: logging.LogRecord) -> dict[str, Any]:
    """What a record says beyond its message: the `extra` it was logged with, snapshots of streams spread out."""
    found: dict[str, Any] = {}
    for name, value in vars(record).items():
        if name in _OWN or value is None:
            continue
        if isinstance(value, msgspec.Struct):
            found.update(msgspec.to_builtins(value))
        else:
            found[name] = value
    if record.exc_info and record.exc_info[0] is not None:
        found["error"] = logging.Formatter().formatException(record.exc_info)
    return found


class Json(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as a line."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": redact(record.getMessage()),
            **{name: redact(value) if isinstance(value, str) else value for name, value in fields(record).items()},
        }
        return msgspec.json.encode(line, enc_hook=str).decode()


class Text(logging.Formatter):
    """One readable line, its fields at the end."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as a line."""
        at = datetime.fromtimestamp(record.created, UTC).astimezone().strftime("%H:%M:%S")
        extra = fields(record)
        trace = extra.pop("error", None)
        words = " ".join(f"{name}={_short(value)}" for name, value in extra.items())
        line = redact(f"{at} {record.levelname.lower():7} {record.getMessage()} {words}".rstrip())
        return visible(f"{line}\n{redact(trace)}" if trace else line)


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return str(value)
