"""What the reference applications share: a database thread, settings, access, quiet logs; and that they share one server."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import stat
from pathlib import Path

import pytest
from fastapi import FastAPI

from examples.debates import app as debates
from examples.debates.settings import Settings as DebatesSettings
from examples.rooms import app as rooms
from examples.rooms.settings import Settings as RoomsSettings
from examples.shared.database import Database
from examples.shared.settings import Settings
from examples.shared.web import RedactTokens, prepare
from headwater import Hub
from headwater.testing.asgi import lifespan, open_stream, request
from tests.examples.reading import SECRET, bearer, data_of

SCHEMA = "CREATE TABLE IF NOT EXISTS notes (text TEXT NOT NULL UNIQUE) STRICT"


def write(connection: sqlite3.Connection, *texts: str) -> None:
    """Add notes."""
    for text in texts:
        connection.execute("INSERT INTO notes VALUES (?)", (text,))


def read(connection: sqlite3.Connection) -> list[str]:
    """All notes."""
    return [row["text"] for row in connection.execute("SELECT text FROM notes ORDER BY rowid")]


async def test_a_transaction_happens_or_not(tmp_path: Path) -> None:
    """What was written before an error in the same transaction is gone, and the next transaction works."""
    database = Database(tmp_path / "new" / "notes.db", SCHEMA)
    await database.open()
    with pytest.raises(sqlite3.IntegrityError):
        await database.run(write, "one", "one")
    await database.run(write, "two")
    assert await database.run(read) == ["two"]
    await database.aclose()
    await database.aclose()


async def test_transactions_do_not_overlap_and_outlive_their_callers(tmp_path: Path) -> None:
    """Many at once are done one after the other; one whose caller is cancelled is whole or not there; and all of it is there
    after the file was opened again."""
    database = Database(tmp_path / "notes.db", SCHEMA)
    await database.open()
    await asyncio.gather(*(database.run(write, f"{number}a", f"{number}b") for number in range(20)))
    task = asyncio.create_task(database.run(write, "xa", "xb"))
    await asyncio.sleep(0)
    task.cancel()
    await database.aclose()
    await database.open()
    notes = await database.run(read)
    await database.aclose()
    assert notes[::2] == [f"{text[:-1]}a" for text in notes[::2]]
    assert notes[1::2] == [f"{text[:-1]}b" for text in notes[::2]]
    assert len(notes) >= 40


def test_the_secret_of_development_is_kept(tmp_path: Path) -> None:
    """It is made once, for its owner only, in a folder that git does not see."""
    settings = Settings(data=str(tmp_path / "data"))
    secret = settings.secret
    assert len(secret) >= 32
    assert Settings(data=str(tmp_path / "data")).secret == secret
    assert stat.S_IMODE((tmp_path / "data/secret").stat().st_mode) == 0o600
    assert (tmp_path / "data/.gitignore").read_text() == "*\n"
    assert settings.broker_url == f"sqlite:///{tmp_path}/data/events.db"


def test_making_an_application_touches_nothing(tmp_path: Path) -> None:
    """To import one must not make folders, secrets or connections."""
    rooms.create_app(RoomsSettings(data=str(tmp_path / "rooms")))
    debates.create_app(DebatesSettings(data=str(tmp_path / "debates")))
    assert list(tmp_path.iterdir()) == []


def test_tokens_are_taken_out_of_uvicorns_log(tmp_path: Path) -> None:
    """Once, however many applications ask for it."""
    logger = logging.getLogger("uvicorn.access")
    for _ in range(2):
        prepare(FastAPI(), Settings(data=str(tmp_path)))
    assert sum(isinstance(each, RedactTokens) for each in logger.filters) == 1
    arguments = ("127.0.0.1:5", "GET", "/logs?token=abc&since=all", "1.1", 200)
    record = logging.LogRecord("uvicorn.access", logging.INFO, "", 0, '%s - "%s %s HTTP/%s" %d', arguments, None)
    assert RedactTokens().filter(record)
    assert record.getMessage() == '127.0.0.1:5 - "GET /logs?token=[redacted]&since=all HTTP/1.1" 200'


async def test_applications_share_a_server_and_a_hub(tmp_path: Path) -> None:
    """Several routers in one application, with one hub, whose lifespan is around theirs: paths do not collide, and each
    counts and logs its own clients."""
    hub = Hub("memory://")
    app = FastAPI(lifespan=hub.lifespan)
    app.include_router(rooms.router(hub, RoomsSettings(data=str(tmp_path / "rooms"), jwt_secret=SECRET, pace=0.0)))
    app.include_router(debates.router(hub, DebatesSettings(data=str(tmp_path / "debates"), jwt_secret=SECRET)))
    prepare(app, Settings(data=str(tmp_path)))
    async with lifespan(app):
        room = (await request(app, "POST", "/api/v1/rooms", headers=bearer(), json={})).json()
        debate = {"topic": "Both?", "id": "both"}
        await request(app, "POST", "/api/debates", headers=bearer(debates.MODERATE), json=debate)
        async with (
            open_stream(app, f"/api/v1/rooms/{room['id']}/logs", headers=bearer()) as logs,
            open_stream(app, "/api/debates/both/stream") as stream,
        ):
            assert data_of(await logs.message())["roomId"] == room["id"]
            assert data_of(await stream.message())["debateId"] == "both"
            found = await request(app, "GET", "/api/debates/both/clients", headers=bearer(debates.MODERATE))
            assert (len(found.json()["clients"]), found.json()["total"], hub.count()) == (1, 1, 2)
        for path in (rooms.PAGE, debates.PAGE):
            assert (await request(app, "GET", path)).status == 200


async def test_half_a_character_is_refused(tmp_path: Path) -> None:
    """JSON can spell a lone surrogate. Where a text may not have one, or has one and goes into a database, the answer is a
    sentence and not a failure; and nothing has happened."""
    app = debates.create_app(DebatesSettings(data=str(tmp_path), jwt_secret=SECRET))
    headers = {**bearer(debates.MODERATE), "content-type": "application/json"}
    async with lifespan(app):
        for body, status in ((b'{"topic": "a\\ud800b"}', 400), (b'{"topic": {"a\\ud800b": 1}}', 422)):
            reply = await request(app, "POST", "/api/debates", headers=headers, body=body)
            assert (reply.status, "detail" in reply.json()) == (status, True)
        assert (await request(app, "GET", "/api/debates")).json() == []


async def test_applications_have_no_pages_from_elsewhere(tmp_path: Path) -> None:
    """FastAPI's own would load scripts from another site, under no policy of ours."""
    app = rooms.create_app(RoomsSettings(data=str(tmp_path), jwt_secret=SECRET))
    async with lifespan(app):
        for path in ("/docs", "/redoc"):
            assert (await request(app, "GET", path)).status == 404
