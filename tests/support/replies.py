"""A server that answers as it was told to, for tests of what clients do with whole connections.

Knows the replies of tests/data/client_cases.json and HTTP/1.1, and notes each request. Each connection carries one request.
It also serves files, so that a browser's page has the server for its origin.
"""

from __future__ import annotations

import asyncio
import json
from asyncio import StreamReader, StreamWriter
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.support.source import ROOT

CASES: list[dict[str, Any]] = json.loads((ROOT / "tests/data/client_cases.json").read_text())["cases"]
WIRE_CASES: list[dict[str, Any]] = json.loads((ROOT / "tests/data/wire_cases.json").read_text())["cases"]

_STREAM = "text/event-stream"
_TYPES = {".js": "text/javascript", ".mjs": "text/javascript", ".json": "application/json", ".html": "text/html"}
_NOTHING: Mapping[str, Any] = {"status": 204, "body": "", "type": ""}


class Replies:
    """A running server; use `replying`.

    Attributes:
        requests: the headers of the requests for each run of a case, in order, one character per byte.
    """

    def __init__(self, files: Mapping[str, Path | str]) -> None:
        self.url = ""
        self.requests: defaultdict[str, list[dict[str, str]]] = defaultdict(list)
        self._cases = {case["name"]: case for case in CASES}
        self._files = files

    async def serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        """Answer one request."""
        with suppress(OSError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            first, *lines = head.removesuffix("\r\n\r\n").split("\r\n")
            headers = {
                name.strip().lower(): value.strip() for name, _, value in (each.partition(":") for each in lines)
            }
            for piece in self._answer(urlsplit(first.split(" ")[1]), headers):
                writer.write(piece)
                await writer.drain()
            writer.close()
            await writer.wait_closed()

    def _answer(self, url: Any, headers: dict[str, str]) -> list[bytes]:
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        if url.path != "/case":
            return self._file(url.path)
        case, run = self._cases[query["name"]], query["run"]
        if "direct" in query:
            return _reply({**case["replies"][len(self.requests[run]) - 1], "redirect": None})
        self.requests[run].append(headers)
        number = len(self.requests[run])
        reply = case["replies"][number - 1] if number <= len(case["replies"]) else _NOTHING
        return _reply({**reply, "location": f"/case?{url.query}&direct=1"})

    def _file(self, path: str) -> list[bytes]:
        found = self._files.get(path)
        if found is None:
            return _reply({"status": 404, "body": "", "type": ""})
        text = found if isinstance(found, str) else found.read_text()
        kind = _TYPES[Path(path).suffix or ".html"]
        return _reply({"type": f"{kind}; charset=utf-8", "body": text.encode().decode("latin-1")})


def _reply(reply: Mapping[str, Any]) -> list[bytes]:
    """The bytes of an answer, in pieces."""
    if reply.get("redirect"):
        return [f"HTTP/1.1 {reply['redirect']} x\r\nLocation: {reply['location']}\r\n{_END}".encode()]
    status = reply.get("status", 200)
    body = reply["body"] if isinstance(reply["body"], list) else [reply["body"]]
    headers = {"Content-Type": reply.get("type", _STREAM), **reply.get("headers", {}), "Connection": "close"}
    if status in (204, 205):
        body = []
    else:
        headers["Transfer-Encoding"] = "chunked"
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items() if value)
    pieces = [b"%x\r\n%b\r\n" % (len(piece), piece.encode("latin-1")) for piece in body if piece]
    last = [b"0\r\n\r\n"] if "Transfer-Encoding" in headers else []
    return [f"HTTP/1.1 {status} x\r\n{head}\r\n".encode(), *pieces, *last]


_END = "Content-Length: 0\r\nConnection: close\r\n\r\n"


@asynccontextmanager
async def replying(files: Mapping[str, Path | str] | None = None) -> AsyncIterator[Replies]:
    """Such a server, until the block ends.

    Args:
        files: what else it serves: paths to files, or to their text.
    """
    replies = Replies(files or {})
    server = await asyncio.start_server(replies.serve, "127.0.0.1", 0)
    replies.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield replies
    finally:
        server.close()


def expected(case: Mapping[str, Any], *, python: bool = False) -> dict[str, Any]:
    """What has to come out of a case, in the form in which clients report."""
    opened = case.get("python_opened", case["opened"]) if python else case["opened"]
    return {"events": case["events"], "final": case["final"], "opened": opened}


def sent(case: Mapping[str, Any], requests: list[dict[str, str]]) -> str:
    """What is wrong with the requests of a case; empty if nothing is."""
    seen = [request.get("last-event-id") for request in requests]
    tokens = [request.get("authorization") for request in requests]
    wrong = [] if seen == case["sent"] else [f"sent the ids {seen}"]
    wrong += [] if tokens == case.get("authorization", [None] * len(tokens)) else [f"sent the tokens {tokens}"]
    wrong += ["asked for something else"] * any(request.get("accept") != _STREAM for request in requests)
    return "; ".join(wrong)
