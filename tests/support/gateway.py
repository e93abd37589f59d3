"""nginx and Caddy in front of nodes, run from the very files in deploy/.

Knows how each is started, and the few things in its files that are an operator's to fill in: addresses, certificates, logs
and nodes. Everything else runs as it is checked in. Must not know what the nodes serve.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import ssl
from asyncio.subprocess import STDOUT
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.support.certificates import self_signed
from tests.support.source import ROOT
from tests.support.waiting import until

DEPLOY = ROOT / "deploy"

GatewayKind = Literal["nginx", "caddy"]
GATEWAYS: tuple[GatewayKind, ...] = ("nginx", "caddy")


@dataclass(frozen=True)
class Gateway:
    """One that runs.

    Attributes:
        kind: which.
        folder: with its files and logs.
        port: for HTTP/1.1 in the clear, which the files in deploy/ do not offer and our raw client needs.
        tls_port: for TLS, with HTTP/2.
    """

    kind: GatewayKind
    folder: Path
    port: int
    tls_port: int

    @property
    def url(self) -> str:
        """The base URL in the clear."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def tls_url(self) -> str:
        """The base URL over TLS."""
        return f"https://localhost:{self.tls_port}"

    @property
    def logged(self) -> str:
        """All that stands in its logs."""
        return "".join(path.read_text() for path in sorted(self.folder.glob("*.log")))


@contextmanager
def held_ports(count: int) -> Iterator[list[int]]:
    """Ports that nobody else is given until the block ends. Each is held by a socket that does not listen, which a server
    that binds with SO_REUSEADDR does not mind: for servers that have to be told theirs, or come back at the same."""
    with ExitStack() as stack:
        holders = [stack.enter_context(socket.socket()) for _ in range(count)]
        for holder in holders:
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            holder.bind(("127.0.0.1", 0))
        yield [int(holder.getsockname()[1]) for holder in holders]


def any_certificate() -> ssl.SSLContext:
    """Trusts whoever answers, and offers HTTP/2."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    return context


@asynccontextmanager
async def gateway(kind: GatewayKind, folder: Path, nodes: Sequence[int]) -> AsyncIterator[Gateway]:
    """Run one until the block ends.

    Args:
        folder: an empty one.
        nodes: their ports.
    """
    with held_ports(3) as (port, tls_port, other):
        made = Gateway(kind, folder, port, tls_port)
        if kind == "nginx":
            fill_in(folder, made, other, [f"127.0.0.1:{node}" for node in nodes])
            words, env = nginx_words(folder), {}
        else:
            words = [command("caddy"), "run", "--config", str(DEPLOY / "caddy/Caddyfile")]
            env = caddy_env(made, other, nodes)
        async with _running(words, env, folder) as process:
            await until(lambda: process.returncode is not None or _accepts(port), f"{kind} to listen")
            assert process.returncode is None, made.logged
            yield made


# -- nginx ---------------------------------------------------------------------------------------------------------------


def fill_in(folder: Path, made: Gateway, other: int, nodes: Sequence[str]) -> None:
    """Copy nginx's files and fill in what docs/howto/deploy.md says is the operator's.

    Args:
        other: a port for the `server` that refuses the clear.
        nodes: their addresses.
    """
    shutil.copytree(DEPLOY / "nginx", folder, dirs_exist_ok=True)
    certificate, key = self_signed(folder)
    # The clear is refused at one port and, for our raw client, served at another.
    site = {
        "listen 443 ssl http2;": f"listen 127.0.0.1:{made.tls_port} ssl http2; listen 127.0.0.1:{made.port};",
        "listen [::]:443 ssl http2;": "",
        "listen 80;": f"listen 127.0.0.1:{other};",
        "listen [::]:80;": "",
        "/etc/headwater/tls/cert.pem": str(certificate),
        "/etc/headwater/tls/key.pem": str(key),
        "/var/log/nginx/": f"{folder}/",
    }
    replace_in(folder / "headwater/site.conf", site)
    replace_in(folder / "headwater/nodes.conf", dict(zip(("127.0.0.1:8001", "127.0.0.1:8002"), nodes, strict=True)))
    # Debian's folders for large bodies are for root alone.
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    with (folder / "headwater/nodes.conf").open("a") as file:
        file.writelines(f"{each}_temp_path {folder}/{each};\n" for each in kinds)


def replace_in(path: Path, values: Mapping[str, str]) -> None:
    """Replace texts that have to stand in a file."""
    text = path.read_text()
    for old, new in values.items():
        assert old in text, f"{path.name} has no {old!r}"
        text = text.replace(old, new)
    path.write_text(text)


def nginx_words(folder: Path) -> list[str]:
    """The command that runs nginx in the foreground, with what it would write elsewhere in `folder`."""
    log = folder / "nginx.log"
    user = "user root; " if os.geteuid() == 0 else ""
    main = f"daemon off; pid {folder}/pid; error_log {log}; {user}"
    return [command("nginx"), "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(log), "-g", main]


# -- Caddy ---------------------------------------------------------------------------------------------------------------


def caddy_env(made: Gateway, other: int, nodes: Sequence[int]) -> dict[str, str]:
    """What the Caddyfile reads from the environment, and where Caddy keeps its own things."""
    return {
        "CADDY_SITE": f"http://:{made.port}, {made.tls_url}",
        "CADDY_NODES": " ".join(f"127.0.0.1:{node}" for node in nodes),
        "CADDY_LOG": str(made.folder / "access.log"),
        "CADDY_HTTP_PORT": str(other),
        "CADDY_ADMIN": f"unix/{made.folder}/admin.sock",
        "XDG_DATA_HOME": str(made.folder / "data"),
        "XDG_CONFIG_HOME": str(made.folder / "config"),
    }


# -- both ----------------------------------------------------------------------------------------------------------------


def command(name: str) -> str:
    """Where a program is.

    Raises:
        AssertionError: nowhere; with what installs it.
    """
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")
    assert found, f"there is no {name}: apt-get install {name} (scripts/setup-test does)"
    return found


@asynccontextmanager
async def _running(
    words: Sequence[str], env: Mapping[str, str], folder: Path
) -> AsyncIterator[asyncio.subprocess.Process]:
    with (folder / "output.log").open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *words, stdout=output, stderr=STDOUT, env={**os.environ, **env}, cwd=folder, start_new_session=True
        )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
