"""`headwater run`, and what every command that serves does."""

from __future__ import annotations

import asyncio
import signal
import socket
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from headwater.cli import running as work
from headwater.cli.settings import Settings
from headwater.errors import ConfigurationError
from tests.support.certificates import self_signed
from tests.support.server import running

APP = """
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        return await send({"type": "lifespan.shutdown.complete"})
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": scope["scheme"].encode()})

def make():
    return app
"""


@pytest.fixture(autouse=True)
def logging_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """A configuration that is made in the tests' own process must not set up the logging of all tests after it."""
    monkeypatch.setattr(work, "log_config", lambda level, form: None)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with an application."""
    (tmp_path / "mine.py").write_text(APP)
    return tmp_path


async def test_it_says_where_it_listens_and_what_it_serves(folder: Path) -> None:
    """One line, after the application has started; then it ends with status 0 when told to."""
    async with running("mine:app", cwd=folder) as server:
        await server.printed(rf"Headwater .* on http://127\.0\.0\.1:{server.port} \(mine:app\)")
        assert await server.stop(signal.SIGTERM) in (0, -signal.SIGTERM)


async def test_a_factory_is_called(folder: Path) -> None:
    """With --factory the name is a function."""
    async with running("mine:make", args=["--factory"], cwd=folder) as server:
        assert server.port


@pytest.mark.parametrize(
    ("proxies", "client", "is_believed"),
    [
        (("127.0.0.1", "::1"), "127.0.0.1", True),
        (("127.0.0.1", "::1"), "::ffff:127.0.0.1", True),
        (("127.0.0.1", "::1"), "::1", True),
        (("127.0.0.1", "::1"), "::ffff:127.0.0.2", False),
        (("10.0.0.0/8", "proxy"), "::ffff:10.1.2.3", True),
        (("10.0.0.0/8", "proxy"), "::ffff:11.1.2.3", False),
        (("10.0.0.0/8", "proxy"), "proxy", True),
        (("*",), "::ffff:11.1.2.3", True),
    ],
)
async def test_a_proxy_is_believed_however_it_comes(proxies: tuple[str, ...], client: str, is_believed: bool) -> None:
    """A socket that takes IPv6 and IPv4 shows an IPv4 proxy as an IPv6 address; if it were not believed, the limits per
    address would count all of its clients as one."""
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["client"][0])

    middleware = ProxyHeadersMiddleware(app, work.believed(proxies))
    scope: Any = {"type": "http", "client": (client, 1), "headers": [(b"x-forwarded-for", b"9.9.9.9")]}
    await middleware(scope, None, None)  # type: ignore[arg-type]
    assert seen == ["9.9.9.9" if is_believed else client]


async def test_workers_and_reload_listen_in_the_parent(folder: Path) -> None:
    """The address is the parent's, so it is said once, by it."""
    for option in (["--workers", "2"], ["--reload"]):
        async with running("mine:app", args=option, cwd=folder) as server:
            await server.printed(rf"Headwater .* on http://127\.0\.0\.1:{server.port} ")


async def test_an_application_that_cannot_start_is_an_error(folder: Path) -> None:
    """A module that is not there, and one that fails: a status other than 0, and the reason."""
    (folder / "broken.py").write_text("raise RuntimeError('no such luck')")
    for target, reason in (("missing:app", "missing"), ("broken:app", "no such luck")):
        with pytest.raises(AssertionError, match=reason):
            async with running(target, cwd=folder):
                pass


def test_development_mode_is_for_this_machine() -> None:
    """As for `serve`; without it any host may be given, because the application's security is its own."""
    with pytest.raises(ConfigurationError, match="--dev"):
        work.run("mine:app", Settings(dev=True, host="0.0.0.0"))
    work.check_run(Settings(host="0.0.0.0"))
    work.check_run(Settings(dev=True))


def test_a_server_that_never_listened_has_a_status(monkeypatch: pytest.MonkeyPatch) -> None:
    """3, as uvicorn's own."""
    monkeypatch.setattr(uvicorn.Server, "run", lambda self: None)
    with pytest.raises(SystemExit, match="3"):
        work.run("mine:app", Settings())


async def test_it_is_said_that_it_listens_once_it_does(caplog: pytest.LogCaptureFixture) -> None:
    """The port that the system chose stands in the line, and takes connections by then."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError("nothing is asked of it")

    made = uvicorn.Config(app, port=0, lifespan="off", log_config=None)
    made.load()
    server = work.Server(made, "mine")
    server.lifespan = made.lifespan_class(made)
    with caplog.at_level("INFO"):
        await server.startup()
    port = server.servers[0].sockets[0].getsockname()[1]
    assert f"on http://127.0.0.1:{port} (mine)" in caplog.text
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.close()
    await server.shutdown()


def test_a_server_that_has_served_ends_quietly(monkeypatch: pytest.MonkeyPatch) -> None:
    """No status of an error."""
    monkeypatch.setattr(uvicorn.Server, "run", lambda self: setattr(self, "started", True))
    work.run("mine:app", Settings())


class Supervisor:
    """What a supervisor is given, written down."""

    given: list[object]

    def __init__(self, *args: object, **kwargs: object) -> None:
        Supervisor.given = [*args, kwargs]

    def run(self) -> None:
        """Nothing to supervise."""


@pytest.mark.parametrize("reload", [True, False])
def test_supervisors_get_the_socket(reload: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bound here, served in processes of their own."""
    monkeypatch.setattr(work, "ChangeReload", Supervisor)
    monkeypatch.setattr(work, "Multiprocess", Supervisor)
    work.run("mine:app", Settings(port=0, workers=2), reload=reload)
    options = Supervisor.given[-1]
    assert isinstance(options, dict)
    (sock,) = options["sockets"]
    assert sock.getsockname()[1] > 0
    sock.close()


def test_an_ipv6_address_is_shown_in_brackets(caplog: pytest.LogCaptureFixture) -> None:
    """As it must stand in a URL."""
    with socket.socket(socket.AF_INET6) as sock, caplog.at_level("INFO"):
        sock.bind(("::1", 0))
        work.announce(sock, uvicorn.Config("mine:app", log_config=None), "mine")
        assert f"on http://[::1]:{sock.getsockname()[1]} (mine)" in caplog.text


async def test_it_serves_https_itself(folder: Path) -> None:
    """With a certificate and its key, which curl is told to trust; a stream over TLS ends as properly as any other."""
    certificate, key = self_signed(folder)
    args = ["--tls-cert", str(certificate), "--tls-key", str(key)]
    async with running("mine:app", args=args, cwd=folder) as server:
        await server.printed(r"on https://127\.0\.0\.1:")
        command = ["curl", "-sS", "--cacert", str(certificate), f"https://127.0.0.1:{server.port}/"]
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        assert (await process.communicate())[0] == b"https"
    async with running("tests.e2e.apps:app", args=args) as server:
        command = ["curl", "-sSN", "--cacert", str(certificate), f"https://127.0.0.1:{server.port}/stream/a"]
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        assert process.stdout is not None
        await process.stdout.readuntil(b"event: connected")
        await server.stop()
        assert b"event: closing" in (await process.communicate())[0]
        assert process.returncode == 0
