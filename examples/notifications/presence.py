"""Who is there: a user with at least one open stream, however many tabs they have.

Knows streams as the hub tells of them, and users; must not know what the streams carry.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter

from examples.notifications import users
from examples.notifications.events import EVERYONE, own_channel
from examples.notifications.outbox import Ledger
from examples.notifications.users import Status
from headwater import Hub
from headwater.hub.statistics import StreamInfo

log = logging.getLogger("examples.notifications")


class Presence:
    """Counts open streams, and has everybody told whose first has opened and whose last has ended.

    Args:
        hub: whose streams are counted, as long as it lives.
        ledger: where it is kept, and told from.
        away: seconds for which somebody may have no stream and still be there.
    """

    def __init__(self, hub: Hub, ledger: Ledger, away: float) -> None:
        self._ledger = ledger
        self._away = away
        self._open: Counter[str] = Counter()  # streams by user
        self._leaving: dict[str, asyncio.TimerHandle] = {}  # users whose last stream has ended
        self._changed: set[str] = set()  # users to be looked at
        self._wake = asyncio.Event()
        hub.on_connect(self._opened)
        hub.on_disconnect(self._closed)

    async def run(self) -> None:
        """Keep and tell, until cancelled. Whom an earlier life has left behind as being there gets time to come back."""
        try:
            for user in await self._ledger.read(users.online):
                if not self._open[user]:
                    self._leave(user)
            while True:
                await self._wake.wait()
                self._wake.clear()
                while self._changed:
                    await self._settle(self._changed.pop())
        finally:
            for timer in self._leaving.values():
                timer.cancel()
            self._leaving.clear()

    async def _settle(self, user: str) -> None:
        status = Status.ONLINE if self._open[user] else Status.OFFLINE
        try:
            await self._ledger.change(users.set_status, user, status)
        except Exception:
            log.exception("it could not be kept that a user is %s", status)
            self._leave(user)  # and is tried again, when it is seen who is still there

    def _opened(self, info: StreamInfo) -> None:
        if (user := _user_of(info)) is not None:
            self._open[user] += 1
            if (timer := self._leaving.pop(user, None)) is not None:
                timer.cancel()
            self._look(user)

    def _closed(self, info: StreamInfo, reason: str) -> None:
        if (user := _user_of(info)) is not None:
            self._open[user] -= 1
            if self._open[user] <= 0:
                del self._open[user]
                self._leave(user)

    def _leave(self, user: str) -> None:
        if user not in self._leaving:
            self._leaving[user] = asyncio.get_running_loop().call_later(self._away, self._left, user)

    def _left(self, user: str) -> None:
        del self._leaving[user]
        self._look(user)

    def _look(self, user: str) -> None:
        self._changed.add(user)
        self._wake.set()


def _user_of(info: StreamInfo) -> str | None:
    """Whose bell a stream is for; None if it is another one of the same hub."""
    user = info.principal
    return user if user is not None and {own_channel(user), EVERYONE} == set(info.channels) else None
