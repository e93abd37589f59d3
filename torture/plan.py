"""What a run is made of, all of it drawn from one seed: channels, permissions, streams and events.

Pure: the same seed draws the same. Knows the rules of channels and permissions; must not know processes, sockets or brokers.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from typing import Final

import msgspec

PERMISSIONS: Final = ("read", "audit", "staff")
SECRET: Final = "torture torture torture torture torture torture!"
"""Signs the tokens of a run. The hubs it opens live as long as the run."""

_RIGHTS: Final = ((), (), (), ("read",), ("audit",), ("read", "audit"), ("read", "audit", "staff"))
_FEW: Final = 0.1
"""Share of the streams that ask for a rare channel."""

_LARGE: Final = 48 * 1024
"""Bytes of the events that fill socket buffers, so that slow streams lag and Redis' output buffers overflow."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How much of everything.

    Attributes:
        seed: decides whatever is left to chance in what is planned (what the machine makes of it is not planned).
        duration: seconds under load.
        nodes, streams, channels, publishers: how many.
        rate: events per second, of all publishers together.
        stay: seconds that a stream's connection lasts on average before its client leaves; 0 for as long as it can.
        heartbeat: seconds between heartbeats.
        straight: how many of the publishers append to the broker themselves; the others go through the nodes.
        lossy: the store may lose what it has confirmed.
    """

    seed: int = 1
    duration: float = 60.0
    nodes: int = 3
    streams: int = 200
    channels: int = 50
    publishers: int = 4
    rate: float = 60.0
    stay: float = 8.0
    heartbeat: int = 1
    straight: int = 3
    lossy: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """The channels."""
        return tuple(f"room:{number}" for number in range(self.channels))


class Listener(msgspec.Struct, frozen=True, kw_only=True):
    """One stream: what it asks for, over all of its connections.

    Attributes:
        number: its name.
        channels: at least one.
        permissions: in its token.
        since: where its first connection begins: `now` or `all`.
        slow: it stops reading now and then, with small buffers.
    """

    number: int
    channels: tuple[str, ...]
    permissions: frozenset[str]
    since: str = "now"
    slow: bool = False

    def may_see(self, channel: str, permissions: frozenset[str]) -> bool:
        """Whether an event is for it."""
        return channel in self.channels and permissions <= self.permissions


def listeners(plan: Plan) -> list[Listener]:
    """The streams of a run. One in ten is slow, and has half of all channels: only much data makes slowness felt. The last
    quarter of the channels is asked for by few, so that nodes begin and cease to follow them all the time."""
    chance = random.Random(f"{plan.seed} listeners")
    usual = plan.names[: math.ceil(0.75 * plan.channels)]
    rare = plan.names[len(usual) :]
    found = []
    for number in range(plan.streams):
        slow = number % 10 == 9
        wanted = len(usual) * 2 // 3 + 1 if slow else chance.randint(1, min(5, len(usual)))
        channels = chance.sample(usual, min(wanted, len(usual)))
        if rare and chance.random() < _FEW:
            channels.append(chance.choice(rare))
        listener = Listener(
            number=number,
            channels=tuple(channels),
            permissions=frozenset(chance.sample(PERMISSIONS, chance.randint(0, len(PERMISSIONS)))),
            since=chance.choice(("now", "now", "now", "all")),
            slow=slow,
        )
        found.append(listener)
    return found


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """One event that a publisher means to publish.

    Attributes:
        id: unique in the run; the event's data begins with it.
        channel, permissions: as in the draft.
        size: bytes of padding in its data.
    """

    id: str
    channel: str
    permissions: tuple[str, ...]
    size: int

    @property
    def data(self) -> str:
        """The event's data, as JSON: decided by the id and the size alone, so that it need not be kept to be known."""
        return f'{{"id":"{self.id}","pad":"{"." * self.size}"}}'


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """What one call publishes.

    Attributes:
        said: its events, in order.
        keyed: with idempotency keys, so that it can be tried again until its outcome is known.
        pause: seconds to wait before it.
    """

    said: tuple[Said, ...]
    keyed: bool
    pause: float


def batches(plan: Plan, publisher: str, lane: int, lanes: int) -> Iterator[Batch]:
    """What one lane of a publisher publishes, one batch after the other, without end."""
    chance = random.Random(f"{plan.seed} {publisher} {lane}")
    mean = 2.0  # events of a batch
    number = 0
    while True:
        number += 1
        names = [f"{publisher}-{lane}-{number}-{index}" for index in range(chance.choice((1, 1, 1, 1, 2, 3, 5)))]
        yield Batch(
            said=tuple(_said(chance, plan, name) for name in names),
            keyed=chance.random() < 0.8,
            pause=chance.expovariate(plan.rate / mean / max(1, plan.publishers * lanes)),
        )


def _said(chance: random.Random, plan: Plan, id: str) -> Said:
    size = _LARGE if chance.random() < 0.03 else chance.choice((0, 10, 100, 1000))
    return Said(id=id, channel=chance.choice(plan.names), permissions=chance.choice(_RIGHTS), size=size)
