"""What an event says, as in bench/payload.h: when it was published, its number, and text, in 120 bytes of JSON."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

PAYLOAD = 120
_TIME = slice(6, 26)


def payload(number: int) -> str:
    """The event of this number, published now."""
    head = f'{{"t":"{time.monotonic_ns():020}","n":"{number:010}","text":"'
    return head + "x" * (PAYLOAD - 2 - len(head)) + '"}'


def age_ns(payload: str | bytes) -> int:
    """How long ago it was published; both ends of a benchmark have the same clock."""
    return time.monotonic_ns() - int(payload[_TIME])


@dataclass(frozen=True)
class Times:
    """How long something took, in microseconds."""

    p50_us: float
    p99_us: float

    @classmethod
    def of(cls, nanoseconds: Sequence[int]) -> Times:
        """The quantiles of at least one duration."""
        ordered = sorted(nanoseconds)
        return cls(*(ordered[int(quantile * (len(ordered) - 1))] / 1e3 for quantile in (0.5, 0.99)))
