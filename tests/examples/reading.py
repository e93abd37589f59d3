"""What tests of the rooms and the debates share: an application in this process, callers, and frames as their teams wrote
them down.

Knows routes and frames; must not know the applications' modules.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI

from headwater.auth import mint
from headwater.testing.asgi import Reply, StreamReply, lifespan, open_stream, request
from headwater.wire import Message
from tests.support.raw import RawClient

SECRET = "a secret of the tests, long enough"
ISO = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


def bearer(*permissions: str) -> dict[str, str]:
    """The header of somebody who holds permissions."""
    return {"authorization": f"Bearer {mint(SECRET, sub='ada', permissions=permissions)}"}


class Api:
    """A running application, and somebody who uses it."""

    def __init__(self, app: FastAPI, headers: dict[str, str]) -> None:
        self.app = app
        self.headers = headers

    async def call(self, method: str, path: str, body: Any = None, *, headers: dict[str, str] | None = None) -> Reply:
        """A request; without `headers` the user's own."""
        sent = b"" if body is None else json.dumps(body).encode()
        fields = {**(self.headers if headers is None else headers), "content-type": "application/json"}
        return await request(self.app, method, path, headers=fields, body=sent)

    async def get(self, path: str) -> Any:
        """What a GET that succeeds answers."""
        reply = await self.call("GET", path)
        assert reply.status == 200, reply.body
        return reply.json()

    async def made(self, path: str, body: Any = None) -> Any:
        """What a POST that succeeds answers."""
        reply = await self.call("POST", path, body)
        assert reply.status in (200, 201, 202), reply.body
        return reply.json()

    @asynccontextmanager
    async def stream(self, path: str, **headers: str) -> AsyncIterator[StreamReply]:
        """A stream as the user gets it."""
        fields = {**self.headers, **{name.replace("_", "-"): value for name, value in headers.items()}}
        async with open_stream(self.app, path, headers=fields) as stream:
            yield stream


@asynccontextmanager
async def running_app(app: FastAPI, headers: dict[str, str]) -> AsyncIterator[Api]:
    """The application, until the block ends."""
    async with lifespan(app):
        yield Api(app, headers)


async def posted(url: str, path: str, body: Any, headers: Mapping[str, str]) -> Any:
    """What a POST to a server at `url` answers, which must be a success."""
    async with await RawClient.connect(url) as client:
        fields = {**headers, "Content-Type": "application/json"}
        head = await client.request(path, fields, method="POST", body=json.dumps(body).encode())
        answer = json.loads(await client.read_body())
        assert head.status in (200, 201), answer
        return answer


def data_of(message: Message) -> Any:
    """The data of a message."""
    return json.loads(message.data)


async def data_until(stream: StreamReply, type: str, last: str) -> list[dict[str, Any]]:
    """The data of messages of a type, up to the first that has `last` somewhere in it."""
    found: list[dict[str, Any]] = []
    while not (found and last in json.dumps(found[-1])):
        found.append(data_of(await stream.message_of(type)))
    return found


def documented_frames(body: bytes) -> list[str]:
    """The frames of a stream as both teams documented them: `event:` and `data:` lines. What Headwater adds for resuming, and
    parsers take care of (`id:`, `retry:`, `channel:`), is left out, and so are comments."""
    frames = body.decode().split("\n\n")[:-1]
    return ["\n".join(_documented(frame.split("\n"))) for frame in frames]


def _documented(lines: Sequence[str]) -> list[str]:
    return [line for line in lines if not re.match(r"(id|retry|channel)?:", line)]
