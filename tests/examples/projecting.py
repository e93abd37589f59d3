"""What tests of the projects application share: the application in this process, people with tokens, and psql.

Knows the application's routes and tables; must not know its modules beyond how it is made.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from fastapi import FastAPI

from examples.projects.app import create_app
from examples.projects.settings import Settings
from headwater.auth import mint
from headwater.testing.asgi import Reply, StreamReply, lifespan, open_stream, request
from tests.support.postgres import database_of, rows, shared_server

SECRET = "a secret of the tests, long enough"
STATUS = "/api/projects/test/status"

MARKER = "that was all"
"""Names a source whose update says that everything before it has come."""


def token(*projects: str) -> str:
    """A token for some projects."""
    return mint(SECRET, sub="alice", subscribe=[f"project:{name}" for name in projects])


def bearer(*projects: str) -> dict[str, str]:
    """The header of somebody who may see these projects; `test` if none is named."""
    return {"authorization": f"Bearer {token(*(projects or ('test',)))}"}


class Desk:
    """The running application, somebody who uses it, and somebody with psql.

    Attributes:
        url: of the database.
    """

    def __init__(self, app: FastAPI, url: str) -> None:
        self.app = app
        self.url = url

    async def call(self, method: str, path: str, body: Any = None, **headers: str) -> Reply:
        """A request of somebody who may see the project `test`."""
        sent = b"" if body is None else json.dumps(body).encode()
        return await request(
            self.app, method, path, headers={**bearer(), "content-type": "application/json", **headers}, body=sent
        )

    async def state(self) -> Any:
        """The project as the page loads it."""
        reply = await self.call("GET", "/api/projects/test")
        assert reply.status == 200, reply.body
        return reply.json()

    @asynccontextmanager
    async def watching(self, cursor: str = "", project: str = "test") -> AsyncIterator[StreamReply]:
        """The stream of a project, past its first message."""
        headers = {**bearer(project), **({"last-event-id": cursor} if cursor else {})}
        async with open_stream(self.app, f"/api/projects/{project}/status", headers=headers) as stream:
            await stream.message()
            yield stream

    async def psql(self, sql: str) -> str:
        """What psql, in a process of its own, prints for some SQL."""
        command = ("-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", sql)
        return (await asyncio.to_thread(_psql, command, self.url)).strip()


def _psql(command: tuple[str, ...], url: str) -> str:
    return shared_server().tool("psql", *command, database=database_of(url))


def mark(url: str, project: str = "test") -> None:
    """Have the stream say that everything before has come."""
    rows(
        url,
        "INSERT INTO ingestion_sources (project_id, source_name) VALUES (%s, %s) ON CONFLICT DO NOTHING",
        (project, MARKER),
    )
    rows(
        url,
        "UPDATE ingestion_sources SET status = 'pending' WHERE project_id = %s AND source_name = %s",
        (project, MARKER),
    )


async def up_to_mark(stream: StreamReply, url: str, project: str = "test") -> list[dict[str, Any]]:
    """The data of everything that comes on a stream because of what has been committed so far."""
    await asyncio.to_thread(mark, url, project)
    found: list[dict[str, Any]] = []
    while True:
        message = await stream.message()
        if message.type == "message":
            found.append(json.loads(message.data))
            if (found[-1].get("sourceName"), found[-1].get("status")) == (MARKER, "pending"):
                return found[:-1]


@contextmanager
def database() -> Iterator[str]:
    """The URL of an empty database, as the application is given it."""
    with shared_server().database() as url:
        yield url


@asynccontextmanager
async def projecting(folder: Path, **settings: Any) -> AsyncIterator[Desk]:
    """The application with empty tables, until the block ends; without a worker."""
    url = emptied()
    given = {"works": False, "folders": f"test={folder}", "jwt_secret": SECRET, **settings}
    app = create_app(Settings(data=str(folder / ".data"), database=url, **given))
    async with lifespan(app):
        yield Desk(app, url)


def emptied() -> str:
    """The URL of a database that tests use one after the other, with nothing in it that one of them would hear of."""
    url = kept()
    if rows(url, "SELECT FROM pg_namespace WHERE nspname = 'headwater'"):
        rows(url, "TRUNCATE ingestion_sources, jobs, proposed_nodes, headwater.outbox")
    return url


@lru_cache(maxsize=1)
def kept() -> str:
    """The URL of that database, made when it is first asked for; it goes with its server."""
    shared_server().create_database("projects")
    return shared_server().url("projects")
