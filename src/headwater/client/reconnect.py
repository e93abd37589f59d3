"""When to come back after a connection ended, when to get a new token, and when to give up. Pure.

The shell (`subscription`, `publisher`) reports how a connection ended as an `Ending` and does what `decide` says. Knows
statuses and times; must not know sockets, clocks or sleep, so that every decision is tested as a value.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum

import msgspec

from headwater.client.received import MALFORMED
from headwater.errors import ConfigurationError

MAX_WAIT = 3600.0
"""Seconds. No server can send a client away for longer, by mistake or otherwise."""

DEFAULT_SILENCE = 45.0
"""Seconds without a byte after which a connection is dead, until heartbeats say how often they come: three of the hub's
default intervals."""

_RETRYABLE = frozenset({408, 425, 429})


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """How eagerly to come back.

    Attributes:
        base: seconds; the first wait is a random part of it, and each further one of twice as much. A `retry:` field of the
            stream replaces it.
        cap: seconds; the most that doubling comes to.
        stable: seconds a connection must last for its loss to be bad luck: then the first retry is immediate and the
            doubling begins anew.
        attempts: failures in a row after which to give up; None for never.
    """

    base: float = 1.0
    cap: float = 30.0
    stable: float = 5.0
    attempts: int | None = None

    def __post_init__(self) -> None:
        if not (0 < self.base <= self.cap and self.stable >= 0 and (self.attempts is None or self.attempts > 0)):
            raise ConfigurationError(
                f"{self!r} makes no sense", expected="0 < base <= cap, stable >= 0 and attempts of at least 1 or None"
            )


class Why(StrEnum):
    """How a connection, or the attempt at one, ended."""

    LOST = "lost"  # it was open, and the body ended or the network broke
    SILENT = "silent"  # it was open, and no byte came for too long
    CLOSING = "closing"  # the hub said that it would end it
    UNREACHABLE = "unreachable"  # no answer came
    REFUSED = "refused"  # the answer was an error status


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to know about an end.

    Attributes:
        why: see `Why`.
        lasted: seconds the connection was open; None if it never was.
        status: of a refusal.
        retry_after: seconds, from a refusal's header.
        retry: seconds, from the `retry:` field of a `closing` frame: this client's own turn to come back.
    """

    why: Why
    lasted: float | None = None
    status: int = 0
    retry_after: float | None = None
    retry: float | None = None


class Budget(msgspec.Struct, frozen=True):
    """What has been spent on coming back.

    Attributes:
        failures: in a row.
        refreshed: the token was renewed, and no connection has been open since.
    """

    failures: int = 0
    refreshed: bool = False


class Wait(msgspec.Struct, frozen=True):
    """Try again in so many seconds."""

    seconds: float


class Refresh(msgspec.Struct, frozen=True):
    """Try again at once with a new token."""


class Stop(msgspec.Struct, frozen=True):
    """The hub says that there is no more: end without an error."""


class Fail(msgspec.Struct, frozen=True):
    """Trying again would be pointless, or was tried often enough."""


Step = Wait | Refresh | Stop | Fail


def decide(
    budget: Budget,
    ending: Ending,
    policy: Policy,
    *,
    base: float | None = None,
    can_refresh: bool = False,
    random: Callable[[], float],
) -> tuple[Budget, Step]:
    """What to do after an end.

    Args:
        budget: as the previous decision left it.
        base: seconds, from the stream's `retry:` field, in place of the policy's.
        can_refresh: a new token can be had.
        random: returns a number from 0 to 1.
    """
    if ending.lasted is not None:
        budget = Budget(budget.failures)
    if ending.status == 204:
        return budget, Stop()
    if ending.status == 401 and can_refresh and not budget.refreshed:
        return Budget(budget.failures, refreshed=True), Refresh()
    if ending.status and not _may_pass(ending.status):
        return budget, Fail()
    was_stable = ending.lasted is not None and ending.lasted >= policy.stable
    failures = 1 if was_stable else budget.failures + 1
    spent = Budget(failures, budget.refreshed)
    if policy.attempts is not None and failures >= policy.attempts:
        return spent, Fail()
    return spent, Wait(
        min(MAX_WAIT, _wait(ending, failures, policy, base or policy.base, random, is_stable=was_stable))
    )


def _may_pass(status: int) -> bool:
    """Whether an error status is one that may be gone on the next try."""
    return status >= 500 or status in _RETRYABLE


def _wait(
    ending: Ending, failures: int, policy: Policy, base: float, random: Callable[[], float], *, is_stable: bool
) -> float:
    """Seconds until the next attempt, never less than the server asked for. Its `Retry-After` is the same for all clients, so
    the jitter comes on top. A closing frame's `retry:` is this client's own, so it is kept exactly, but only once: a
    server that closes at once every time is one that fails."""
    if ending.retry is not None and failures == 1:
        return ending.retry
    if is_stable and ending.why in (Why.LOST, Why.CLOSING):
        return 0.0
    jitter = random() * min(max(policy.cap, base), base * 2.0 ** min(failures - 1, 32))
    return max(ending.retry or 0.0, jitter) + (ending.retry_after or 0.0)


def parse_retry_after(value: str | None, now: float) -> float | None:
    """Seconds that a `Retry-After` header asks for: a number, or an HTTP date seen from `now` (Unix seconds). None if there
    is none or it is malformed."""
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit():
        return min(float(value[:20]), MAX_WAIT)
    moment = parse_date(value)
    return None if moment is None else min(max(0.0, moment - now), MAX_WAIT)


def parse_date(value: str | None) -> float | None:
    """Unix seconds of an HTTP date; None if it is none."""
    try:
        return parsedate_to_datetime(value or "").timestamp()
    except (ValueError, OverflowError):
        return None


class Silence:
    """How long a connection may be without a byte before it counts as dead.

    Args:
        fixed: seconds; 0 for ever; None to derive it from the heartbeats, starting with `DEFAULT_SILENCE`.

    Attributes:
        fixed: the same; may be changed at any time.
    """

    def __init__(self, fixed: float | None = None) -> None:
        self.fixed = fixed
        self._derived = DEFAULT_SILENCE
        self._last: float | None = None  # when the hub sent its previous heartbeat, by its own clock

    @property
    def seconds(self) -> float | None:
        """The deadline; None for none."""
        return self._derived if self.fixed is None else self.fixed or None

    def opened(self) -> None:
        """A new connection has its own rhythm of heartbeats."""
        self._last = None

    def heartbeat(self, data: str) -> None:
        """Take a heartbeat's data. The hub's own times are compared and not those of arrival: a consumer that was busy reads
        several heartbeats at once, and must not conclude that they come without a pause."""
        try:
            sent = datetime.fromisoformat(msgspec.json.decode(data)["timestamp"]).timestamp()
        except (*MALFORMED, KeyError, TypeError, ValueError, OverflowError):
            return
        if self._last is not None and sent > self._last:
            self._derived = min(max(3 * (sent - self._last), 5.0), MAX_WAIT)
        self._last = sent
