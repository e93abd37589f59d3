"""Which fault happens when, to whom, and for how long: drawn from the seed before the run begins.

Pure. Two faults may overlap, but never on the same thing, so that the end of one does not undo the other. Knows the names of
faults; what they do is in `stores` and `world`.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

EVERY: Final = 1.0
"""Seconds between the beginnings of faults."""


WAIT: Final = 2.0
"""Seconds that publishing waits out an outage of the store here; short, so that refusals happen, too."""


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of fault.

    Attributes:
        name: as in the report.
        target: what it happens to: `link`, `store`, `node` or `publisher`.
        shortest, longest: seconds it lasts; 0 for what is over at once.
        weight: how often it is drawn, relative to the others.
        rest: seconds for which its target is spared afterwards.
    """

    name: str
    target: str
    shortest: float = 0.0
    longest: float = 0.0
    weight: int = 2
    rest: float = 0.5


LINK: Final = (
    Kind(name="cut", target="link", shortest=0.1, longest=3, weight=3),
    Kind(name="drop", target="link", weight=3),
    Kind(name="stall", target="link", shortest=0.5, longest=6, weight=3),
    Kind(name="stall up", target="link", shortest=0.5, longest=6),
    Kind(name="stall down", target="link", shortest=0.5, longest=6),
    Kind(name="answers lost", target="link", shortest=0.2, longest=1.5, weight=4),
    Kind(name="delay", target="link", shortest=1, longest=4),
    Kind(name="trickle", target="link", shortest=0.5, longest=2),
    Kind(name="half close up", target="link"),
    Kind(name="half close down", target="link"),
)
NODE: Final = (
    Kind(name="node terminated", target="node", weight=2, rest=8),
    Kind(name="node killed", target="node", weight=2, rest=8),
    Kind(name="node frozen", target="node", shortest=0.5, longest=3, weight=2),
)
PUBLISHER: Final = (Kind(name="publisher killed", target="publisher", weight=2, rest=5),)
REDIS: Final = (
    Kind(name="clients killed (normal)", target="store"),
    Kind(name="clients killed (pubsub)", target="store", weight=3),
    Kind(name="redis asleep", target="store", shortest=0.2, longest=3),
    Kind(name="redis frozen", target="store", shortest=0.3, longest=4),
    Kind(name="output buffers overflow", target="store", shortest=1, longest=2),
    Kind(name="redis restarted", target="store", rest=2),
    Kind(name="redis killed", target="store", shortest=0.1, longest=2, rest=2),
)
LOSSY: Final = (
    Kind(name="redis emptied", target="store", weight=3, rest=4),
    Kind(name="redis restored", target="store", shortest=1, longest=4, weight=3, rest=4),
)
"""What loses confirmed data: everything at once, or what came after a copy was made, which then takes the place of it."""

POSTGRES: Final = (
    Kind(name="sessions ended", target="store", weight=3),
    Kind(name="leader ended", target="store", weight=3),
    Kind(name="postgres frozen", target="store", shortest=0.3, longest=4),
    Kind(name="postgres restarted", target="store", rest=2),
    Kind(name="postgres killed", target="store", shortest=0.1, longest=2, rest=2),
)
SQLITE: Final = (Kind(name="file locked", target="store", shortest=0.2, longest=3, weight=8),)


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """Something that goes wrong.

    Attributes:
        at: seconds after the beginning.
        kind: its name.
        target: see `Kind`.
        index: which of them.
        length: seconds.
        dice: a number from 0 to 1, for whatever else the kind leaves open.
    """

    at: float
    kind: str
    target: str
    index: int = 0
    length: float = 0.0
    dice: float = 0.0

    def __str__(self) -> str:
        where = "" if self.target == "store" else f" {self.index}"
        return f"{self.at:.1f} s {self.kind}{where}" + (f" for {self.length:.1f} s" if self.length else "")


def schedule(seed: int, duration: float, kinds: Sequence[Kind], counts: Mapping[str, int]) -> list[Fault]:
    """The faults of a run, by time.

    Args:
        seed: decides everything.
        duration: seconds.
        kinds: that may happen.
        counts: how many there are of each target.
    """
    chance = random.Random(f"{seed} faults")
    possible = [kind for kind in kinds if counts.get(kind.target, 0)]
    weights = [kind.weight for kind in possible]
    busy: dict[tuple[str, int], float] = {}  # until when a target is broken or spared
    faults = []
    for step in range(1, int(duration / EVERY) + 1):
        at = step * EVERY + chance.uniform(-0.4, 0.4) * EVERY
        for kind in chance.choices(possible, weights, k=20) if possible else ():
            index = chance.randrange(counts[kind.target])
            length = min(chance.uniform(kind.shortest, kind.longest), max(0.1, duration - at)) if kind.longest else 0.0
            if busy.get((kind.target, index), 0.0) <= at:
                busy[kind.target, index] = at + length + kind.rest
                dice = chance.random()
                name, target = kind.name, kind.target
                faults.append(Fault(at=at, kind=name, target=target, index=index, length=length, dice=dice))
                break
    return faults
