"""`headwater run`, and what `serve` shares with it: an application on our server, until a signal ends it.

Knows uvicorn's supervisors and our server's configuration; must not know what the application is.
"""

from __future__ import annotations

import asyncio.trsock
import ipaddress
import logging
import socket
from collections.abc import Sequence
from typing import Final

import uvicorn
from uvicorn.supervisors import ChangeReload, Multiprocess

from headwater import __version__
from headwater.auth import check_secure
from headwater.cli.logs import log_config
from headwater.cli.settings import Settings
from headwater.server import config

log = logging.getLogger("headwater")

STARTUP_FAILURE: Final = 3
"""Exit status of a server that never listened: uvicorn's own."""


def run(app: str, settings: Settings, *, reload: bool = False, factory: bool = False) -> None:
    """Run an application of the user's own on our server.

    Args:
        app: `module:name`.
        reload: start anew when a file changes.
        factory: `app` makes the application when it is called.
    """
    check_run(settings)
    run_server(app, settings, reload=reload, factory=factory, what=app)


def check_run(settings: Settings) -> None:
    """Refuse `--dev` on an address that others reach, as `serve` does; the application's own security is its own."""
    if settings.dev:
        check_secure(None, dev=True, host=settings.host)


class Server(uvicorn.Server):
    """uvicorn's server, which says where it listens once it does.

    Args:
        what: is served.
    """

    def __init__(self, config: uvicorn.Config, what: str) -> None:
        super().__init__(config)
        self._what = what

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen, then say so."""
        await super().startup(sockets)
        for server in self.servers:
            for sock in server.sockets:
                announce(sock, self.config, self._what)


def announce(sock: socket.socket | asyncio.trsock.TransportSocket, config: uvicorn.Config, what: str) -> None:
    """Log the address of a listening socket."""
    host, port = sock.getsockname()[:2]
    host = f"[{host}]" if ":" in host else host
    scheme = "https" if config.is_ssl else "http"
    log.info("Headwater %s on %s://%s:%d (%s)", __version__, scheme, host, port, what)


def run_server(app: str, settings: Settings, *, what: str, reload: bool = False, factory: bool = False) -> None:
    """Run an application, given by its import string, in as many processes as the settings say.

    Args:
        what: it is, for the line that says where it listens.
        reload, factory: see `run`.
    """
    made = config(
        app,
        direct=settings.direct,
        grace=settings.grace,
        log_config=log_config(settings.log_level, settings.log_format),
        host=settings.host,
        port=settings.port,
        workers=settings.workers,
        reload=reload,
        factory=factory,
        ssl_certfile=settings.tls_cert,
        ssl_keyfile=settings.tls_key,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=believed(settings.trusted_proxies),
    )
    if made.should_reload or made.workers > 1:
        _supervise(made, what)
        return
    server = Server(made, what)
    server.run()
    if not server.started:
        raise SystemExit(STARTUP_FAILURE)


def believed(proxies: Sequence[str]) -> list[str]:
    """The proxies as uvicorn takes them, IPv4 ones also as they look to a socket that listens on `::`, where a client from
    127.0.0.1 comes from ::ffff:127.0.0.1. What is no address or network stays as it is."""
    return [*proxies, *filter(None, map(_mapped, proxies))]


def _mapped(proxy: str) -> str | None:
    try:
        network = ipaddress.IPv4Network(proxy)
    except ValueError:
        return None
    return f"::ffff:{network.network_address}/{96 + network.prefixlen}"


def _supervise(made: uvicorn.Config, what: str) -> None:
    """Listen here, serve in processes of their own."""
    sock = made.bind_socket()
    announce(sock, made, what)
    if made.should_reload:
        ChangeReload(made, target=uvicorn.Server(made).run, sockets=[sock]).run()
    else:
        Multiprocess(made, sockets=[sock]).run()
