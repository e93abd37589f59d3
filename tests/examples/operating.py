"""What tests of the operations application share: the application in this process, and users who hold this or that.

Knows the application's routes; must not know its modules.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI

from examples.operations.app import ROLES, create_app
from examples.operations.settings import Settings
from headwater.auth import mint
from headwater.testing.asgi import Reply, StreamReply, lifespan, open_stream, request

SECRET = "a secret of the tests, long enough"
STREAM = "/api/v1/events/stream"
EVERYTHING = ROLES["operator"]


class Desk:
    """The running application, and somebody who uses it."""

    def __init__(self, app: FastAPI) -> None:
        self.app = app

    async def call(
        self, method: str, path: str, body: Any = None, *, permissions: tuple[str, ...] = EVERYTHING
    ) -> Reply:
        """A request of somebody who holds `permissions`."""
        sent = json.dumps(body).encode() if body is not None else b""
        headers = {**bearer(permissions), "content-type": "application/json"}
        return await request(self.app, method, path, headers=headers, body=sent)

    async def made(self, path: str, body: Any = None) -> Any:
        """What a POST that succeeds answers."""
        reply = await self.call("POST", path, body)
        assert reply.status in (200, 201, 202), reply.body
        return reply.json()

    @asynccontextmanager
    async def watching(self, *permissions: str, **headers: str) -> AsyncIterator[StreamReply]:
        """The stream of somebody who holds `permissions`, past its first frame."""
        async with open_stream(self.app, STREAM, headers={**bearer(permissions), **headers}) as stream:
            assert (await stream.message()).type == "connected"
            yield stream


def bearer(permissions: tuple[str, ...] = ()) -> dict[str, str]:
    """The header of somebody who holds `permissions`."""
    return {"authorization": f"Bearer {mint(SECRET, sub='ada', permissions=permissions)}"}


@asynccontextmanager
async def operating(folder: Path, **settings: Any) -> AsyncIterator[Desk]:
    """The application in a folder of its own, until the block ends."""
    app = create_app(Settings(data=str(folder), jwt_secret=SECRET, **{"pace": 0.0, **settings}))
    async with lifespan(app):
        yield Desk(app)


@asynccontextmanager
async def listening() -> AsyncIterator[int]:
    """A port of this machine that takes connections."""
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    async with server:
        yield int(server.sockets[0].getsockname()[1])


async def event_of(stream: StreamReply, type: str) -> dict[str, Any]:
    """The next event of a type, as the envelope that its data is."""
    found: dict[str, Any] = json.loads((await stream.message_of(type)).data)
    return found
