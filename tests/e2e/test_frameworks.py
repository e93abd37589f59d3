"""The examples of docs/howto/frameworks.md, as they stand there."""

from __future__ import annotations

from pathlib import Path

import pytest

from headwater.auth import mint
from tests.e2e.test_quickstart import block
from tests.support.raw import RawClient, streaming
from tests.support.server import Kind, running

PAGE = "docs/howto/frameworks.md"
SECRET = "a secret of at least 32 bytes, from your vault"


@pytest.mark.parametrize("kind", ["headwater", "uvicorn", "hypercorn", "granian"])
async def test_starlette(kind: Kind, tmp_path: Path) -> None:
    """A Starlette application streams and publishes under every server."""
    (tmp_path / "mine.py").write_text(block(PAGE, "python", holding="path_params"))
    async with running("mine:app", server=kind, cwd=tmp_path) as server:
        async with streaming(f"{server.url}/rooms/1/events") as stream, await RawClient.connect(server.url) as client:
            assert (await stream.message()).type == "connected"
            head = await client.request("/rooms/1/say", method="POST", body=b'{"text":"hi"}')
            assert head.status == 200
            assert (await stream.message()).data == '{"text":"hi"}'


async def test_the_hub_mounted_in_an_application(tmp_path: Path) -> None:
    """All of it answers under the path, tokens are checked, and what it says about paths has the prefix."""
    (tmp_path / "mine.py").write_text(block(PAGE, "python", holding="Mount("))
    token = mint(SECRET, sub="ada", subscribe=["room:*"], publish=["room:*"])
    headers = {"Authorization": f"Bearer {token}"}
    async with running("mine:app", cwd=tmp_path) as server, await RawClient.connect(server.url) as client:
        assert (await client.request("/live/events?channel=room:1")).status == 401
        await client.read_body()
        async with streaming(f"{server.url}/live/events?channel=room:1", headers) as stream:
            assert (await stream.message()).type == "connected"
            head = await client.request("/live/channels/room:1", headers, method="POST", body=b"hi")
            assert head.status == 201
            assert (await stream.message()).data == "hi"


async def test_errors_of_headwater_in_fastapi_routes(tmp_path: Path) -> None:
    """One line makes them problems with their status, instead of a 500."""
    program = block(PAGE, "python", holding="handle_error")
    route = '\n\n@app.get("/bad")\nasync def bad():\n    await hub.publish("no channel")\n'
    (tmp_path / "mine.py").write_text(program + route)
    async with running("mine:app", cwd=tmp_path) as server, await RawClient.connect(server.url) as client:
        head = await client.request("/bad")
        assert (head.status, head.headers["content-type"]) == (400, "application/problem+json")
        assert b"no channel" in await client.read_body()
