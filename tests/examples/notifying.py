"""What tests of the notifications application share: the application in this process, and users who may do this or that.

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

from examples.notifications.app import create_app
from examples.notifications.dev import ROLES
from examples.notifications.settings import Settings
from headwater.auth import mint
from headwater.testing.asgi import Reply, StreamReply, lifespan, open_stream, request
from tests.support.waiting import until

SECRET = "a secret of the tests, long enough"
SSE = "/api/v1/sse"
NOTIFICATIONS = "/api/v1/notifications"


def bearer(sub: str | None, *permissions: str) -> dict[str, str]:
    """The header of somebody who holds permissions."""
    return {"authorization": f"Bearer {mint(SECRET, sub=sub, permissions=permissions)}"}


class User:
    """Somebody who uses the running application."""

    def __init__(self, app: FastAPI, id: str, permissions: tuple[str, ...]) -> None:
        self.app = app
        self.id = id
        self.headers = bearer(id, *permissions)

    async def call(self, method: str, path: str, body: Any = None, **headers: str) -> Reply:
        """A request; bytes as a body are sent as they are."""
        sent = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        fields = {"content-type": "application/json", **self.headers, **fields}
        return await request(self.app, method, path, headers=fields, body=sent)

    async def get(self, path: str) -> Any:
        """What a GET that succeeds answers."""
        reply = await self.call("GET", path)
        assert reply.status == 200, reply.body
        return reply.json()

    async def made(self, path: str, body: Any = None, method: str = "POST", **headers: str) -> Any:
        """What a request that changes something answers, which succeeds."""
        reply = await self.call(method, path, body, **headers)
        assert reply.status in (200, 201, 202, 204), reply.body
        return reply.json() if reply.body else None

    async def send(self, to: str, title: str = "New Task", message: str = "Task assigned") -> str:
        """The id of a notification to somebody."""
        body = {"to": to, "title": title, "message": message}
        return str((await self.made(NOTIFICATIONS, body))["created"][0]["id"])

    async def titles(self) -> list[str]:
        """Of their notifications, the newest first."""
        return [item["title"] for item in (await self.get(NOTIFICATIONS))["items"]]

    @asynccontextmanager
    async def stream(self, query: str = "", **headers: str) -> AsyncIterator[StreamReply]:
        """Their stream, past its first frame."""
        async with open_stream(self.app, SSE + query, headers={**self.headers, **headers}) as stream:
            assert (await stream.message()).type == "connection_established"
            yield stream


class Team:
    """A running application with three users."""

    def __init__(self, app: FastAPI) -> None:
        self.app = app
        self.ada, self.ben, self.cleo = (User(app, id, permissions) for id, permissions in ROLES.items())


@asynccontextmanager
async def running_team(folder: Path, **settings: Any) -> AsyncIterator[Team]:
    """The application in a folder of its own, until the block ends; all three users have come once."""
    defaults = {
        "data": str(folder),
        "jwt_secret": SECRET,
        "pace": 0.0,
        "away": 0.05,
        "send_rate": 0.0,
        "connect_rate": 0.0,
    }
    app = create_app(Settings(**{**defaults, **settings}))
    known = (folder / "notifications.db").exists()
    async with lifespan(app):
        team = Team(app)
        for user in (team.ada, team.ben, team.cleo):
            await user.get("/api/v1/users/me")
        await until(lambda: known or app.state.hub.published == 3, "everybody to be told of the three")
        yield team


async def data_of(stream: StreamReply, type: str) -> Any:
    """The data of the next event of a type."""
    return json.loads((await stream.message_of(type)).data)


async def finished(stream: StreamReply, workflow: str) -> Any:
    """How the run of a workflow that is under way has ended, as its events say."""
    async with asyncio.timeout(10):
        while True:
            message = await stream.message()
            if message.type in ("workflow.completed", "workflow.failed"):
                run = json.loads(message.data)
                if run["workflow"] == workflow:
                    return run
