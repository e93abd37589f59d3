"""What follows when changes of rows have gone unnoticed, because no hub took any for too long.

First the triggers note changes again (`renew` sees to that, and remembers that they had ceased), and only then does a new
epoch tell every page to load its state anew: a change that comes after a page has loaded must not be passed over. Who had
begun before may have found the triggers quiet, and may not have committed yet: a page would load its state without that, and
never hear of it. So when all who were under way are over there is a second epoch. The table `state` remembers that it is
owed, should the leader change meanwhile.
"""

from __future__ import annotations

import logging
import math

from headwater.brokers.postgres.link import Link
from headwater.brokers.postgres.sequencer import Target

PAUSE = 0.05  # seconds before the first look at who is still under way; doubled each time
LONGEST = 5.0

_log = logging.getLogger("headwater.brokers.postgres")


class Lapse:
    """Deals with it, if there is one.

    Args:
        link: the session's.
        target: where events go.
        leader: number of the one who deals with it.
    """

    def __init__(self, link: Link, target: Target, leader: int) -> None:
        self._link = link
        self._target = target
        self._leader = leader
        self._before: set[str] = set()
        self._pause = PAUSE
        self._next = 0.0

    async def begin(self) -> None:
        """After each promise to triggers, and before anything is taken: find out, and tell those who stream.

        Raises:
            BrokerUnavailable: another broker cannot tell them now; it is to be begun again.
            psycopg.Error, OSError: as for `Link.row`.
        """
        if self._before or await self._link.row("lapse") == (False,):
            return
        _log.warning("no hub has taken changes of rows for too long, so triggers stopped noting them: some are lost")
        self._pause, self._next = PAUSE, 0.0
        self._before = await self._under_way()
        await self._target.lapse(self._leader)
        if not self._before:
            await self._settle()

    async def step(self, now: float) -> float:
        """Go on with it, if it is time.

        Args:
            now: loop time.

        Returns:
            seconds until it wants to go on.

        Raises:
            BrokerUnavailable, psycopg.Error, OSError: as for `begin`.
        """
        if not self._before:
            return math.inf
        if now < self._next:
            return self._next - now
        self._before &= await self._under_way()
        if self._before:
            self._pause = min(2 * self._pause, LONGEST)  # a backup takes hours
            self._next = now + self._pause
            return self._pause
        await self._target.lapse(self._leader)
        await self._settle()
        return math.inf

    async def _under_way(self) -> set[str]:
        (names,) = await self._link.row("transactions")
        return set(names)

    async def _settle(self) -> None:
        await self._link.rows("settle", leader=self._leader)
