"""How much one hub, one principal and one address may ask for: counters and token buckets.

Pure: the clock is passed in, nothing waits, and whoever is refused learns after how many seconds to come back. Knows
addresses and principals as text; must not know requests, streams or how either is found out. All counts are this
process's own: with several workers each of them allows this much.
"""

from __future__ import annotations

import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from enum import StrEnum
from typing import Final, Self

import msgspec

from headwater.errors import ConfigurationError, HubFull, TooManyRequests

FULL_RETRY_AFTER: Final = 5.0
"""Seconds after which to try again where only someone else's leaving makes room: a guess, since nobody knows when."""

MAX_BUCKETS: Final = 100_000
"""Buckets held at most for each rate, about 25 MB. Reached only if that many callers are throttled at the same time."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Every limit of the HTTP side. 0 switches a limit off.

    The numbers are judgement: generous for a person with many tabs, an office behind one address and a busy backend; small
    enough that none of them alone brings a hub down.

    Attributes:
        max_streams: open streams of this process.
        max_streams_per_principal: open streams of one principal; anonymous callers are held to their address alone.
        max_streams_per_address: open streams of one IPv4 address or IPv6 /64.
        max_event_bytes: UTF-8 bytes of one event's data.
        connect_rate: new streams per address and second; bursts up to one second's worth.
        publish_rate: events per principal and second; bursts up to one second's worth, or one batch.
        max_channels_per_stream: channels that one stream may name.
        max_batch: events in one publish request.
        max_body_bytes: of a request.
        max_url_bytes: of a request's path and query; a token of 8 KiB must fit.
        max_header_bytes: of all of a request's headers together.

    Raises:
        ConfigurationError: a limit is negative, no number, or a fraction where things are counted.
    """

    max_streams: int = 100_000
    max_streams_per_principal: int = 100
    max_streams_per_address: int = 1_000
    max_event_bytes: int = 256 * 1024
    connect_rate: float = 100.0
    publish_rate: float = 1_000.0
    max_channels_per_stream: int = 100
    max_batch: int = 1_000
    max_body_bytes: int = 4 * 1024 * 1024
    max_url_bytes: int = 16 * 1024
    max_header_bytes: int = 64 * 1024

    def __post_init__(self) -> None:
        for field in msgspec.structs.fields(self):
            value = getattr(self, field.name)
            whole = field.type is int
            if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
                raise ConfigurationError(
                    f"limit {field.name} is {value!r}", expected="a whole number" if whole else "a number"
                )
            if not 0 <= value < math.inf:
                raise ConfigurationError(
                    f"limit {field.name} is {value!r}", expected="0 or more", fix="0 switches a limit off"
                )

    def for_development(self) -> Self:
        """The same without what holds single callers back: on a developer's machine there is only one."""
        return msgspec.structs.replace(
            self, max_streams_per_principal=0, max_streams_per_address=0, connect_rate=0.0, publish_rate=0.0
        )


def exceeds(value: float, limit: float) -> bool:
    """Whether `value` is over `limit`, where a limit of 0 is none."""
    return 0 < limit < value


class Bucket:
    """A token bucket: fills at `rate` per second up to `capacity`, begins full.

    A request larger than the capacity is let through by a full bucket and leaves it in debt, so that a batch of any legal
    size can pass, and pays for itself afterwards.

    Args:
        rate: tokens per second; more than 0.
        capacity: tokens it holds; more than 0.
        now: monotonic seconds.
    """

    __slots__ = ("_at", "_capacity", "_level", "_rate")

    def __init__(self, rate: float, capacity: float, now: float) -> None:
        self._rate = rate
        self._capacity = capacity
        self._level = capacity
        self._at = now

    def take(self, count: float, now: float) -> float:
        """Take `count` tokens and return 0.0; or take none and return the seconds after which they could be had."""
        self._fill(now)
        missing = min(count, self._capacity) - self._level
        if missing > 0:
            return missing / self._rate
        self._level -= count
        return 0.0

    def is_full(self, now: float) -> bool:
        """Whether it holds all it can: a full bucket remembers nothing that a new one would not."""
        self._fill(now)
        return self._level >= self._capacity

    def _fill(self, now: float) -> None:
        # A clock that seems to stand still or go back (two threads, a suspended machine) fills nothing.
        if now > self._at:
            self._level = min(self._capacity, self._level + (now - self._at) * self._rate)
            self._at = now


class Buckets:
    """One bucket per caller, held only while it is not full.

    Every `take` also looks at two buckets whose turn it is and drops them if they are full again, so memory follows the
    callers that were active in the last moments, without a timer and without ever walking through all of them.

    Args:
        rate: tokens per second and caller; 0 lets everything pass.
        most: buckets held at most; beyond it the one whose turn it is is dropped though it is not full, and counted.
    """

    def __init__(self, rate: float, *, most: int = MAX_BUCKETS) -> None:
        self._rate = rate
        self._capacity = max(1.0, rate)
        self._most = most
        # In order of whose turn it is. A plain dict finds its first key ever more slowly when keys go from the front.
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()
        self.forgotten = 0

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, caller: str, count: float, now: float) -> float:
        """As `Bucket.take`, from the caller's bucket."""
        if not self._rate:
            return 0.0
        self._sweep(now)
        bucket = self._buckets.get(caller)
        if bucket is None:
            if len(self._buckets) >= self._most:
                self._buckets.popitem(last=False)
                self.forgotten += 1
            bucket = self._buckets[caller] = Bucket(self._rate, self._capacity, now)
        return bucket.take(count, now)

    def _sweep(self, now: float) -> None:
        for _ in range(min(2, len(self._buckets))):
            caller, bucket = next(iter(self._buckets.items()))
            if bucket.is_full(now):
                del self._buckets[caller]
            else:
                self._buckets.move_to_end(caller)


class Refusal(StrEnum):
    """Why someone was turned away; the `reason` label of a counter."""

    HUB_FULL = "hub_full"
    PRINCIPAL_STREAMS = "principal_streams"
    ADDRESS_STREAMS = "address_streams"
    CONNECT_RATE = "connect_rate"
    PUBLISH_RATE = "publish_rate"


class Lease:
    """The place of one open stream in the counts. Release it when the stream ends, or use it in a `with`."""

    __slots__ = ("_address", "_limiter", "_principal")

    def __init__(self, limiter: Limiter, address: str | None, principal: str | None) -> None:
        self._limiter: Limiter | None = limiter
        self._address = address
        self._principal = principal

    def release(self) -> None:
        """Give the place back. Idempotent."""
        limiter, self._limiter = self._limiter, None
        if limiter is not None:
            limiter._leave(self._address, self._principal)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.release()


class Limiter:
    """Counts what is open and how fast more comes, and refuses what goes over the limits.

    Args:
        limits: how much is allowed.
        clock: monotonic seconds.
        max_buckets: callers whose rate is remembered at most, for each of the two rates.

    Attributes:
        streams: leases held now.
        refused: how often each reason turned someone away.
    """

    def __init__(
        self, limits: Limits, *, clock: Callable[[], float] = time.monotonic, max_buckets: int = MAX_BUCKETS
    ) -> None:
        self.limits = limits
        self.streams = 0
        self.refused: dict[Refusal, int] = dict.fromkeys(Refusal, 0)
        self._clock = clock
        self._of_principal = _Counter(limits.max_streams_per_principal)
        self._of_address = _Counter(limits.max_streams_per_address)
        self._connects = Buckets(limits.connect_rate, most=max_buckets)
        self._publishes = Buckets(limits.publish_rate, most=max_buckets)

    @property
    def forgotten(self) -> int:
        """How many buckets were dropped before they were full, because `max_buckets` were held."""
        return self._connects.forgotten + self._publishes.forgotten

    def connect(self, address: str | None, principal: str | None) -> Lease:
        """Admit one stream.

        Args:
            address: the peer's IP address; None (a Unix socket) is not held to the limits of an address.
            principal: its id; None (anonymous) is not held to the limits of a principal.

        Raises:
            TooManyRequests: the address connects too fast, or it or the principal has too many streams.
            HubFull: the hub has as many as it may.
        """
        group = address and address_group(address)
        # The rate counts attempts, refused ones too: it is there to make hammering cheap for us.
        if group and (wait := self._connects.take(group, 1, self._clock())):
            raise self._too_fast(Refusal.CONNECT_RATE, "this address opens streams too fast", wait, "connects")
        if exceeds(self.streams + 1, self.limits.max_streams):
            self.refused[Refusal.HUB_FULL] += 1
            raise HubFull(f"the hub holds {self.streams} streams, all it may", retry_after=FULL_RETRY_AFTER)
        if principal is not None and self._of_principal.is_full(principal):
            raise self._too_many(Refusal.PRINCIPAL_STREAMS, "this principal", self.limits.max_streams_per_principal)
        if group and self._of_address.is_full(group):
            raise self._too_many(Refusal.ADDRESS_STREAMS, "this address", self.limits.max_streams_per_address)
        self.streams += 1
        self._of_principal.add(principal)
        self._of_address.add(group)
        return Lease(self, group, principal)

    def publish(self, principal: str | None, count: int) -> None:
        """Admit `count` events.

        Args:
            principal: its id; all that have none share one bucket.
            count: events in the request.

        Raises:
            TooManyRequests: the principal publishes too fast; none of the events was admitted.
        """
        # A name cannot be empty, so this is nobody's.
        if wait := self._publishes.take(principal or "", count, self._clock()):
            raise self._too_fast(Refusal.PUBLISH_RATE, "this principal publishes too fast", wait, "events")

    def _leave(self, address: str | None, principal: str | None) -> None:
        self.streams -= 1
        self._of_principal.remove(principal)
        self._of_address.remove(address)

    def _too_fast(self, reason: Refusal, what: str, wait: float, unit: str) -> TooManyRequests:
        self.refused[reason] += 1
        rate = self.limits.connect_rate if reason is Refusal.CONNECT_RATE else self.limits.publish_rate
        return TooManyRequests(what, expected=f"at most {rate:g} {unit} per second", retry_after=wait)

    def _too_many(self, reason: Refusal, who: str, most: int) -> TooManyRequests:
        self.refused[reason] += 1
        return TooManyRequests(
            f"{who} has {most} streams open, all it may",
            fix="share one stream between tabs, or close some",
            retry_after=FULL_RETRY_AFTER,
        )


class _Counter:
    """Open streams by name, without an entry for a name that has none."""

    __slots__ = ("_counts", "_most")

    def __init__(self, most: int) -> None:
        self._most = most
        self._counts: dict[str, int] = {}

    def is_full(self, name: str) -> bool:
        return exceeds(self._counts.get(name, 0) + 1, self._most)

    def add(self, name: str | None) -> None:
        if name and self._most:
            self._counts[name] = self._counts.get(name, 0) + 1

    def remove(self, name: str | None) -> None:
        if name and self._most:
            self._counts[name] -= 1
            if not self._counts[name]:
                del self._counts[name]


def address_group(address: str) -> str:
    """What counts as one address: an IPv4 address, or the /64 of an IPv6 one, since a single machine has all of its /64 to
    choose from. A port, which some proxies add and some servers leave there, is no part of it. Text that is no address
    stands for itself."""
    host = address[1:].partition("]")[0] if address[:1] == "[" else address
    if host.count(":") == 1:
        host = host.partition(":")[0]
    try:
        parsed = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return f"{ipaddress.IPv6Address(int(parsed) >> 64 << 64)}/64"
