"""Who watches: the ids of clients, a channel for each, and a log line when one comes or goes.

A client's id is the address of its own channel: whoever knows it can read what is sent to that client alone. So the random
part is long, and only moderators may list ids. A client that wants to keep its id over a reconnect brings it along as
`?clientId=`; the hub then sends what came to that channel meanwhile, like everything else. Must not know debates' rules.
"""

from __future__ import annotations

import logging
import re
import secrets
import time

from headwater import Hub, StreamInfo
from headwater.errors import InvalidInput

log = logging.getLogger("examples.debates")

_DEBATE = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
_SUFFIX = re.compile(r"-[0-9]{13}-0\.[0-9]{16,24}\Z")


def check_debate_id(debate_id: str) -> str:
    """Raises InvalidInput unless this could be the id of a debate."""
    if not _DEBATE.match(debate_id):
        raise InvalidInput(
            f"the debate id {debate_id[:80]!r} is malformed", expected="1 to 64 letters, digits, _ and -"
        )
    return debate_id


def channel(debate_id: str) -> str:
    """What everybody who watches a debate gets."""
    return f"debate:{debate_id}"


def own_channel(debate_id: str, client_id: str) -> str:
    """What one client gets."""
    return f"debate:{debate_id}:client:{client_id}"


def new_client_id(debate_id: str) -> str:
    """An id for a client that brought none: the debate, the time, and 80 bits of chance."""
    return f"{debate_id}-{int(time.time() * 1000)}-0.{secrets.randbelow(10**24):024d}"


def check_client_id(debate_id: str, client_id: str) -> str:
    """Raises InvalidInput unless this is the id of a client of this debate."""
    if not client_id.startswith(debate_id) or not _SUFFIX.match(client_id.removeprefix(debate_id)):
        raise InvalidInput("clientId is malformed", expected="an id as `connected` brings it, of the same debate")
    return client_id


class Clients:
    """The clients of all debates on a hub, which may serve other things as well. Logs them as they register and unregister.

    Attributes:
        total: how many are connected.
    """

    def __init__(self, hub: Hub) -> None:
        self.total = 0
        self._hub = hub
        hub.on_connect(self._connected)
        hub.on_disconnect(self._disconnected)

    def count(self, debate_id: str) -> int:
        """How many clients of a debate are connected here."""
        return self._hub.count(channel(debate_id))

    def of(self, debate_id: str) -> list[str]:
        """The ids of the clients of a debate that are connected here, each once, in the order in which they came."""
        found = (_ids(info) for info in self._hub.infos(limit=self._hub.count()))
        return list(dict.fromkeys(ids[1] for ids in found if ids and ids[0] == debate_id))

    def _connected(self, info: StreamInfo) -> None:
        if ids := _ids(info):
            extra = {"client_id": ids[1], "debate_id": ids[0], "address": info.address}
            log.info("[SSE] Client %s connected to debate %s", ids[1], ids[0], extra=extra)
            self._count(1)

    def _disconnected(self, info: StreamInfo, reason: str) -> None:
        if ids := _ids(info):
            numbers = {"seconds": round(info.seconds, 3), "events": info.events, "bytes": info.bytes}
            extra = {"client_id": ids[1], "debate_id": ids[0], "reason": reason, **numbers}
            log.info("[SSE] Client %s disconnected", ids[1], extra=extra)
            self._count(-1)

    def _count(self, change: int) -> None:
        self.total += change
        log.info("[SSE] Total clients: %d", self.total, extra={"clients": self.total})


def _ids(info: StreamInfo) -> tuple[str, str] | None:
    """The debate and the client of a stream; None for a stream of something else."""
    for name in info.channels:
        debate, separator, client = name.removeprefix("debate:").partition(":client:")
        if separator and name.startswith("debate:"):
            return debate, client
    return None
