"""What the dashboard is fed by: a sample a second, as events of a hub of its own.

The samples are the hub's (`Sampler`); here they become a log in memory, of ten minutes, that lives on this node alone. A
dashboard is then a client like any other: it begins with the history, resumes by id, polls where it cannot stream. The log is
made when somebody first looks. Knows hubs and the limiter; must not know requests.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Iterable
from importlib.metadata import version
from typing import Any, Final

import msgspec

from headwater.asgi.limits import Limiter
from headwater.brokers.base import Broker, Counting, Examinable, Renewable, Retention, Rule
from headwater.brokers.memory import MemoryBroker
from headwater.errors import Unavailable
from headwater.event import Draft
from headwater.hub import Hub
from headwater.hub.opening import check_open
from headwater.hub.sampling import EVERY, KEPT, Sample
from headwater.single_flight import SingleFlight

CHANNEL: Final = "$stats"
"""The only channel of that log."""

ASK_TIME: Final = 2.0
"""Seconds that the broker gets to say where the log is."""

LIST_TTL: Final = 1.0
"""Seconds for which a list answers everyone who asks for it."""

PARTING: Final = 0.5
"""Seconds that dashboards get to take their last bytes when the hub stops."""

RETENTION: Final = Retention(rules=(Rule(pattern="$**", count=KEPT, age=None),))


class Node(msgspec.Struct, frozen=True):
    """Whose numbers these are.

    Attributes:
        host: the machine's name.
        pid: the process.
        version: of Headwater.
        broker: the kind of log that it shares with other nodes.
        can: what this broker can besides: `count` its troubles, `renew` its log, be `examined`.
    """

    host: str
    pid: int
    version: str
    broker: str
    can: tuple[str, ...]


class Pulse(msgspec.Struct, frozen=True):
    """The broker, asked just now.

    Attributes:
        answers: whether it did.
        head: the cursor of the log's newest event, of whichever node.
        here: the cursor up to which this node has received it.
        behind: positions between that and what this node has received.
        ms: that the answer took.
    """

    answers: bool
    head: str | None = None
    here: str | None = None
    behind: int = 0
    ms: float | None = None


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """What the dashboard is told once a second.

    Attributes:
        node: whose numbers these are.
        sample: the hub's numbers.
        refused: requests over a limit, by reason; None where the sample is from before somebody looked.
        pulse: the broker; None likewise.
    """

    node: Node
    sample: Sample
    refused: dict[str, int] | None = None
    pulse: Pulse | None = None


class Board:
    """The dashboard's log of one hub.

    Args:
        hub: it is about.
        limiter: counts what was over a limit.

    Attributes:
        lists: shares lists among those who look at the same ones.
    """

    def __init__(self, hub: Hub, limiter: Limiter) -> None:
        self.lists: SingleFlight[Any] = SingleFlight(ttl=LIST_TTL, max_keys=64)
        self._hub = hub
        self._limiter = limiter
        self._opening: SingleFlight[Hub] = SingleFlight()
        self._own: Hub | None = None
        self._node = node_of(hub.broker)
        self._pulse: Pulse | None = None
        self._is_asking = False

    @property
    def headers(self) -> dict[str, str]:
        """Of answers that are about this process: a page whose requests reach several of them can tell."""
        return {"headwater-node": f"{self._node.host}/{self._node.pid}"}

    async def open(self) -> Hub:
        """The hub that has the samples, from now until the one it is about shuts down.

        Raises:
            Unavailable: that one does not run, or shuts down.
        """
        self._hub.check_running()
        check_open(self._hub.parting)
        return self._own or await self._opening.do("", self._open)

    async def _open(self) -> Hub:
        hub = self._hub
        own = Hub(MemoryBroker(RETENTION), timing=hub.timing, ring_events=KEPT, wall=hub.wall)
        await own.start()
        await own.broker.append(_drafts(Snapshot(node=self._node, sample=sample) for sample in hub.sampler.history))
        self._own = own
        hub.spawn(self._live(own))
        return own

    async def _live(self, own: Hub) -> None:
        hub = self._hub
        watchers = hub.sampler.watchers

        def watch(sample: Sample) -> None:
            hub.spawn(self._tell(own, sample))

        watchers.append(watch)
        hub.kin.add(own)
        try:
            await asyncio.shield(hub.parting)
            await own.drain(PARTING)
        finally:
            hub.kin.remove(own)
            watchers.remove(watch)
            self._own = None
            await own.stop()

    async def _tell(self, own: Hub, sample: Sample) -> None:
        if own is not self._own:  # it ended since this was begun
            return
        is_looked_at = any(channel.users for channel in own.registry.channels.values())  # by streams or held polls
        if is_looked_at and not self._is_asking:
            self._hub.spawn(self._ask())
        refused = {reason.value: count for reason, count in self._limiter.refused.items()}
        pulse = self._pulse if is_looked_at else None
        snapshot = Snapshot(node=self._node, sample=sample, refused=refused, pulse=pulse)
        await own.broker.append(_drafts([snapshot]))

    async def _ask(self) -> None:
        """Where the log is: a round trip a second at most, and only while somebody looks."""
        self._is_asking = True
        fanout = self._hub.fanout
        begun = time.perf_counter()
        try:
            async with asyncio.timeout(ASK_TIME):
                head = await self._hub.broker.head()
        except (Unavailable, TimeoutError):
            self._pulse = Pulse(False)
        else:
            behind = max(0, head.seq - fanout.received) if head.epoch == fanout.epoch else 0
            here = fanout.cursor(fanout.received)
            self._pulse = Pulse(True, str(head), here, behind, round((time.perf_counter() - begun) * 1000, 2))
        finally:
            self._is_asking = False


def _drafts(snapshots: Iterable[Snapshot]) -> list[Draft]:
    return [Draft.json(CHANNEL, "sample", snapshot) for snapshot in snapshots]


def node_of(broker: Broker) -> Node:
    """This process."""
    abilities = {"count": Counting, "renew": Renewable, "be examined": Examinable}
    can = tuple(name for name, ability in abilities.items() if isinstance(broker, ability))
    return Node(socket.gethostname(), os.getpid(), version("headwater"), kind_of(broker), can)


def kind_of(broker: Broker) -> str:
    """A broker's kind: memory, sqlite, redis, postgres; the name of its class, if it is not one of ours."""
    parts = type(broker).__module__.split(".")
    return parts[2] if parts[:2] == ["headwater", "brokers"] else type(broker).__name__


__all__ = ["ASK_TIME", "CHANNEL", "EVERY", "LIST_TTL", "Board", "Node", "Pulse", "Snapshot", "kind_of", "node_of"]
