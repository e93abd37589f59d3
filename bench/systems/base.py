"""What the suite must know of a system to measure it: how to start it, where it streams, how it takes an event.

Knows no measurement. Every system gets the same 120 bytes of JSON per event and the same requests but for what its own
interface asks for.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

BACKLOG = 4096  # of every listening socket, so that a reconnect storm meets the system and not the kernel's SYN queue


def available() -> None:
    """Nothing is missing."""


def needs(module: str) -> Callable[[], str | None]:
    """What is missing unless a Python module can be imported."""
    return lambda: None if find_spec(module) else f"the Python module {module} is not installed (scripts/setup-test)"


@dataclass(frozen=True, kw_only=True)
class Publish:
    """How a system takes events: the request's path and headers, and what surrounds the payloads in its body.

    Attributes:
        separator: between the events of a request that carries several.
    """

    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    prefix: str = ""
    separator: str = ""
    suffix: str = ""

    def template(self) -> bytes:
        """The four texts that the load generator builds requests from: head, prefix, separator, suffix."""
        head = head_of("POST", self.path, {"Content-Type": "application/json", **self.headers})
        texts = (head, self.prefix, self.separator, self.suffix)
        return b"".join(text.encode() + b"\0" for text in texts)


@dataclass(frozen=True, kw_only=True)
class System:
    """A system under test.

    Attributes:
        name: how it is asked for and what it is called in the JSON.
        title: what it is called in tables and plots.
        command: given a port and a directory of its own, what to run; the suite pins it to the server's core.
        stream: path of the stream.
        stream_headers: what its streams send besides the usual.
        publish: how it takes one event.
        publish_many: how it takes several in one request; None where it cannot.
        environment: variables set for it.
        missing: why it cannot be measured here, or None.
        durable: what an answered publish means, in a few words.
    """

    name: str
    title: str
    command: Callable[[int, Path], Sequence[str]]
    stream: str
    stream_headers: Mapping[str, str] = field(default_factory=dict)
    publish: Publish
    publish_many: Publish | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    missing: Callable[[], str | None] = available
    durable: str = "in memory"

    def stream_request(self, headers: Mapping[str, str] | None = None) -> bytes:
        """The request that opens a stream, ended by NUL for the load generator."""
        everything = {"Accept": "text/event-stream", **self.stream_headers, **(headers or {})}
        return head_of("GET", self.stream, everything).encode() + b"\r\n\0"


def head_of(method: str, path: str, headers: Mapping[str, str]) -> str:
    """A request line and headers, without the blank line that ends them."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join(lines) + "\r\n"


def uvicorn(app: str) -> Callable[[int, Path], Sequence[str]]:
    """Runs an ASGI application under plain uvicorn at its fastest: uvloop, httptools, no access log."""

    def command(port: int, _directory: Path) -> Sequence[str]:
        options = ["--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning"]
        return [sys.executable, "-m", "uvicorn", app, "--port", str(port), "--backlog", str(BACKLOG), *options]

    return command
