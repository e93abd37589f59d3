"""Tickets: single-use stand-ins that let a token stay out of URLs.

A browser's EventSource cannot set headers, and a token in a URL ends up in histories and other people's logs. So a client
buys a ticket with its token and puts that in the URL: it is worthless after 30 seconds, and after its first use.

A ticket is the principal itself, with an expiry and a random number, signed with a key that all processes of an
installation derive from the same secret. So each of them reads the others' tickets without asking anybody. What a
signature cannot do is make a ticket single-use: for that the random numbers of used tickets are written into a
`Register`. The one here is in memory, so with several processes a ticket could be used once in each of them, within its
30 seconds; processes that share a register (any store that can add a key if it is not there) close that gap.

The principal's grants can be read from a ticket, as from any signed token; they cannot be changed. Knows principals and
signatures; must not know requests or JWT.
"""

from __future__ import annotations

import base64
import hmac
import secrets
import time
from collections import Counter, deque
from collections.abc import Callable, Hashable
from heapq import heappop, heappush
from typing import Final, Protocol

import msgspec

from headwater.auth.claims import refused
from headwater.channels import Principal
from headwater.errors import ConfigurationError, TooLarge, TooManyRequests, Unavailable

LIFETIME: Final = 30.0
"""Seconds between buying a ticket and opening the stream with it: a slow network's worth."""

MAX_TICKETS: Final = 10_000
MAX_TICKETS_PER_PRINCIPAL: Final = 100
MAX_USED: Final = 100_000
MAX_TICKET_LENGTH: Final = 8192  # as for tokens: it has to fit a URL
MIN_SECRET_BYTES: Final = 32

_MAC = 32
_NONCE = 16  # 128 bits: nobody guesses one, and none comes twice
_TIME = 8
_PURPOSE = b"headwater ticket 1"


class Register(Protocol):
    """Remembers which tickets were used."""

    async def use(self, nonce: bytes, until: float, now: float) -> bool:
        """Write down `nonce` until the Unix time `until`; whether it was not there yet.

        Raises:
            Unavailable: it cannot be written down, so the ticket must not be accepted.
        """


class MemoryRegister:
    """A register of this process alone.

    Args:
        capacity: nonces remembered at most, about 200 bytes each. Reached only if that many tickets are used within their
            lifetime; then `Unavailable` is raised, because to forget one would let it be used again.
    """

    def __init__(self, capacity: int = MAX_USED) -> None:
        self._capacity = capacity
        self._used: set[bytes] = set()
        self._ends: list[tuple[float, bytes]] = []  # a heap, because the clock may be put back

    async def use(self, nonce: bytes, until: float, now: float) -> bool:
        """See `Register.use`."""
        while self._ends and self._ends[0][0] <= now:
            self._used.discard(heappop(self._ends)[1])
        if nonce in self._used:
            return False
        if len(self._used) >= self._capacity:
            raise Unavailable(f"{self._capacity} tickets were used within {LIFETIME:g} s", retry_after=LIFETIME)
        self._used.add(nonce)
        heappush(self._ends, (until, nonce))
        return True


class TicketOffice:
    """Issues and redeems tickets.

    Args:
        secret: at least 32 bytes that all processes of the installation share: the JWT secret, or random bytes that the
            parent process hands to its workers. Tickets are signed with a key derived from it, so a ticket is never a
            token and a token never a ticket.
        register: remembers used tickets; in memory by default.
        capacity: issued tickets that have not expired yet, at most.
        per_principal: of them, one principal's.
        clock: Unix time in seconds, for what tickets say.
        monotonic: seconds that only grow, for counting tickets: a clock that is put back must not make old ones count for
            longer.

    Raises:
        ConfigurationError: the secret is too short.
    """

    def __init__(
        self,
        secret: str | bytes,
        *,
        register: Register | None = None,
        capacity: int = MAX_TICKETS,
        per_principal: int = MAX_TICKETS_PER_PRINCIPAL,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        raw = secret.encode() if isinstance(secret, str) else secret
        if len(raw) < MIN_SECRET_BYTES:
            raise ConfigurationError(
                f"the secret for tickets is {len(raw)} bytes long", expected=f"at least {MIN_SECRET_BYTES}"
            )
        self._key = hmac.digest(raw, _PURPOSE, "sha256")
        self._register: Register = MemoryRegister() if register is None else register
        self._capacity = capacity
        self._per_principal = per_principal
        self._clock = clock
        self._monotonic = monotonic
        self._issued: deque[tuple[float, Hashable]] = deque()
        self._holders: Counter[Hashable] = Counter()

    def issue(self, principal: Principal) -> str:
        """A ticket for `principal`: URL-safe text, for one use within 30 seconds and no longer than the principal's own
        `expires_at`.

        Raises:
            NotAuthenticated: the principal has expired.
            TooManyRequests: it holds as many tickets as it may.
            Unavailable: as many tickets as there may be have not expired yet.
            TooLarge: its grants do not fit a ticket.
        """
        now = self._clock()
        if principal.expires_at is not None and principal.expires_at <= now:
            raise refused("the token expired", fix="get a new one from its issuer")
        holder: Hashable = principal if principal.id is None else principal.id
        counted_at = self._monotonic()
        self._make_room(holder, counted_at)
        ticket = self._sign(principal, now + LIFETIME)
        self._issued.append((counted_at + LIFETIME, holder))
        self._holders[holder] += 1
        return ticket

    async def redeem(self, ticket: str) -> Principal:
        """The principal that the ticket was issued for.

        Raises:
            NotAuthenticated: with `invalid_token`; it is malformed, forged, expired or was used before.
            Unavailable: the register cannot tell.
        """
        nonce, until, body = self._open(ticket)
        now = self._clock()
        if until <= now:
            raise refused("the ticket expired", expected=f"its use within {LIFETIME:g} s", fix="get a new one")
        principal = msgspec.json.decode(body, type=Principal)
        if principal.expires_at is not None and principal.expires_at <= now:
            raise refused("the token behind the ticket expired", fix="get a new one from its issuer")
        if not await self._register.use(nonce, until, now):
            raise refused("the ticket was used before", fix="get a new one for each connection")
        return principal

    def _make_room(self, holder: Hashable, now: float) -> None:
        while self._issued and self._issued[0][0] <= now:
            _, former = self._issued.popleft()
            self._holders[former] -= 1
            if not self._holders[former]:
                del self._holders[former]
        if self._holders[holder] >= self._per_principal:
            raise TooManyRequests(
                f"{self._per_principal} tickets of this principal have not expired yet",
                fix="use one for each connection, and get it just before",
                retry_after=LIFETIME,
            )
        if len(self._issued) >= self._capacity:
            raise Unavailable(
                f"{self._capacity} tickets have not expired yet, as many as there may be",
                fix="send the token in an Authorization header",
                retry_after=max(1.0, self._issued[0][0] - now),
            )

    def _sign(self, principal: Principal, until: float) -> str:
        body = msgspec.json.encode(principal)
        signed = secrets.token_bytes(_NONCE) + int(until * 1000).to_bytes(_TIME) + body
        ticket = base64.urlsafe_b64encode(hmac.digest(self._key, signed, "sha256") + signed).rstrip(b"=").decode()
        if len(ticket) > MAX_TICKET_LENGTH:
            raise TooLarge(
                f"the principal's grants make a ticket of {len(ticket)} characters",
                expected=f"at most {MAX_TICKET_LENGTH}",
                fix="send the token in an Authorization header, or grant patterns instead of many names",
            )
        return ticket

    def _open(self, ticket: str) -> tuple[bytes, float, bytes]:
        if len(ticket) > MAX_TICKET_LENGTH:
            raise refused(f"the ticket is {len(ticket)} characters long", expected=f"at most {MAX_TICKET_LENGTH}")
        try:
            raw = base64.b64decode(ticket.encode() + b"=" * (-len(ticket) % 4), b"-_", validate=True)
        except ValueError:
            raw = b""
        mac, signed = raw[:_MAC], raw[_MAC:]
        if not hmac.compare_digest(mac, hmac.digest(self._key, signed, "sha256")):
            raise refused("this is no ticket of this installation", fix="see that all its processes share one secret")
        return signed[:_NONCE], int.from_bytes(signed[_NONCE : _NONCE + _TIME]) / 1000, signed[_NONCE + _TIME :]
