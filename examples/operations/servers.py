"""Servers: registered, changed, and really connected to when somebody asks whether they answer.

A connection test opens a TCP connection and closes it again, without sending a byte. It goes to this machine and to hosts
that the operator has listed, and nowhere else: otherwise whoever may register a server could have this one knock on doors
of the network behind it (server-side request forgery). Other names are not even looked up.

Knows the store, the bus and sockets; must not know HTTP.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import secrets
import socket
import time
from collections.abc import Mapping
from functools import partial
from typing import Any, Final, TypeVar

from examples.operations import store
from examples.operations.bus import EventBus, SystemEvent
from examples.operations.settings import Settings
from examples.operations.store import Server, ServerStatus
from examples.shared.database import Database
from headwater import SingleFlight
from headwater.errors import InvalidInput, NotAllowed, NotFound

T = TypeVar("T")

READ: Final = "servers.read"
WRITE: Final = "servers.write"

MAX_SERVERS: Final = 1000


class Servers:
    """All servers."""

    def __init__(self, bus: EventBus, database: Database, settings: Settings) -> None:
        self._bus = bus
        self._database = database
        self._settings = settings
        self._tests: SingleFlight[Server] = SingleFlight()

    async def all(self) -> list[Server]:
        """Every server, oldest first."""
        return (await self._database.run(store.newest, Server))[::-1]

    async def get(self, server_id: str) -> Server:
        """A server. Raises NotFound."""
        return found(await self._database.run(store.get, Server, server_id), server_id)

    async def create(self, name: str, host: str, port: int) -> Server:
        """Register a server.

        Raises:
            NotAllowed: connections to this host are not allowed. InvalidInput: there are too many servers.
        """
        self._check_host(host)
        server = Server(id=secrets.token_hex(6), name=name, host=host, port=port)
        if len(await self.all()) >= MAX_SERVERS:
            raise InvalidInput(f"there are {MAX_SERVERS} servers", expected="no more than that")
        await self._database.run(store.insert, server)
        await self._bus.emit(
            type=SystemEvent.SERVER_CREATED,
            data={"id": server.id, "name": server.name, "host": server.host, "status": server.status},
            permissions=[READ],
        )
        return server

    async def update(self, server_id: str, changes: Mapping[str, Any]) -> Server:
        """Change a server's name, host or port. Raises NotFound, and NotAllowed as `create`."""
        if "host" in changes:
            self._check_host(changes["host"])
        _, server = found(await self._database.run(store.edit, Server, server_id, changes), server_id)
        await self._bus.emit(
            type=SystemEvent.SERVER_UPDATED,
            data={"id": server.id, "name": server.name, "changes": dict(changes)},
            permissions=[READ],
        )
        return server

    async def test_connection(self, server_id: str) -> Server:
        """Find out whether a server answers, and tell everybody. Who asks while it is being tested shares the answer.

        Raises:
            NotFound: there is no such server.
        """
        return await self._tests.do(server_id, partial(self._test, server_id))

    async def _test(self, server_id: str) -> Server:
        server = await self.get(server_id)
        success, message = await self._connect(server.host, server.port)
        status = ServerStatus.SUCCESS if success else ServerStatus.FAILED
        result = {"status": status, "message": message}
        _, server = found(await self._database.run(store.edit, Server, server_id, result), server_id)
        await self._bus.emit(
            type=SystemEvent.SERVER_STATUS_CHANGED,
            data={"id": server.id, "oldStatus": "TESTING", "newStatus": status, "message": message},
            permissions=[READ],
        )
        return server

    async def _connect(self, host: str, port: int) -> tuple[bool, str]:
        """Whether a TCP connection can be opened, and what to tell people about it."""
        begun = time.perf_counter()
        try:
            self._check_host(host)
            async with asyncio.timeout(self._settings.patience):
                _, writer = await asyncio.open_connection(host, port)
        except NotAllowed as error:  # it was allowed when the server was registered
            return False, error.what
        except TimeoutError:
            return False, f"no answer from port {port} within {self._settings.patience:g} s"
        except ConnectionRefusedError:
            return False, f"nothing listens on port {port}"
        except socket.gaierror:
            return False, f"the name {host} leads nowhere"
        except OSError as error:
            return False, f"port {port} cannot be reached: {error.strerror or error}"
        milliseconds = 1000 * (time.perf_counter() - begun)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        return True, f"port {port} answered in {milliseconds:.1f} ms"

    def _check_host(self, host: str) -> None:
        if not (_is_here(host) or host.lower() in self._settings.hosts):
            raise NotAllowed(
                f"connections to {host[:80]!r} are not allowed",
                expected="this machine, or a host that is listed",
                fix="list it in OPERATIONS_REACHABLE",
            )


def found(value: T | None, server_id: str) -> T:
    """What the store has of a server. Raises NotFound if that is nothing."""
    if value is None:
        raise NotFound(f"there is no server {server_id[:60]!r}", fix="GET /api/v1/servers lists them")
    return value


def _is_here(host: str) -> bool:
    """Whether a host is this machine by any name that nobody else can give a meaning to."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
