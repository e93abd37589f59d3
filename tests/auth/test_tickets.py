"""Tickets: good for one use, for a short time, from any process of the installation, and never for more than the token."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.auth.tickets import LIFETIME, MAX_TICKET_LENGTH, MemoryRegister, TicketOffice
from headwater.channels import ANYONE, EVERYTHING, Principal
from headwater.errors import ConfigurationError, NotAuthenticated, TooLarge, TooManyRequests, Unavailable
from tests.support.tokens import SECRET

NOW = 1_800_000_000.0
ADA = Principal(
    id="ada",
    permissions=frozenset({"rooms.read", "x"}),
    subscribe=("room:*",),
    publish=("room:42",),
    expires_at=NOW + 3600,
)


class Clock:
    """Unix time that passes when the test says so."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


def office(clock: Clock | None = None, **settings: Any) -> TicketOffice:
    """An office of the test installation."""
    clock = clock or Clock()
    return TicketOffice(settings.pop("secret", SECRET), clock=clock, **{"monotonic": clock, **settings})


async def refusal(tickets: TicketOffice, ticket: str) -> str:
    """What the bearer of a bad ticket is told."""
    with pytest.raises(NotAuthenticated) as caught:
        await tickets.redeem(ticket)
    assert caught.value.code == "invalid_token"
    assert not ticket or ticket not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("principal", [ADA, ANYONE, EVERYTHING, Principal(id="ü" * 255)])
async def test_a_ticket_is_the_principal(principal: Principal) -> None:
    """Who redeems it is exactly who it was issued for."""
    tickets = office()
    assert await tickets.redeem(tickets.issue(principal)) == principal


async def test_a_ticket_is_good_for_one_use() -> None:
    """The second use is refused, also when both come at the same time."""
    tickets = office()
    ticket = tickets.issue(ADA)
    outcomes = await asyncio.gather(*(tickets.redeem(ticket) for _ in range(5)), return_exceptions=True)
    assert [outcome == ADA for outcome in outcomes] == [True, False, False, False, False]
    assert "used before" in await refusal(tickets, ticket)


async def test_a_ticket_expires() -> None:
    """It is good until just before thirty seconds have passed."""
    clock = Clock()
    tickets = office(clock)
    early, late = tickets.issue(ADA), tickets.issue(ADA)
    clock.now += LIFETIME - 0.001
    assert await tickets.redeem(early) == ADA
    clock.now += 0.001
    assert "expired" in await refusal(tickets, late)


async def test_a_ticket_does_not_outlive_its_token() -> None:
    """A token that has expired buys none, and one bought just before is worth nothing just after."""
    clock = Clock()
    tickets = office(clock)
    short = Principal(id="ada", expires_at=NOW + 5)
    ticket = tickets.issue(short)
    clock.now += 5
    assert "token behind the ticket expired" in await refusal(tickets, ticket)
    with pytest.raises(NotAuthenticated, match="the token expired"):
        tickets.issue(short)


async def test_processes_with_one_secret_take_each_others_tickets() -> None:
    """Each redeems what the other issued; a shared register makes that single-use, too."""
    register = MemoryRegister()
    one, two = office(register=register), office(register=register)
    ticket = one.issue(ADA)
    assert await two.redeem(ticket) == ADA
    assert "used before" in await refusal(one, ticket)


async def test_without_a_shared_register_each_process_takes_a_ticket_once() -> None:
    """This is the documented limit of the register in memory."""
    one, two = office(), office()
    ticket = one.issue(ADA)
    assert await one.redeem(ticket) == await two.redeem(ticket) == ADA


async def test_other_installations_tickets_are_refused() -> None:
    """Another secret is another installation."""
    ticket = office(secret="another secret that is long enough").issue(ADA)
    assert "no ticket of this installation" in await refusal(office(), ticket)


@pytest.mark.parametrize("ticket", ["", "A", "AAAA", "x" * 100, "!" * 100, "é" * 40, "\ud800", "=", "A=A", "A" * 8193])
async def test_nonsense_is_no_ticket(ticket: str) -> None:
    """Short, long, not base64, not ASCII: refused in a sentence."""
    assert await refusal(office(), ticket)


@given(st.integers(0, 10_000), st.integers(1, 255))
async def test_a_changed_ticket_is_no_ticket(position: int, change: int) -> None:
    """Changing any byte of it breaks it."""
    tickets = office()
    ticket = tickets.issue(ADA)
    raw = bytearray(base64.urlsafe_b64decode(ticket + "=" * (-len(ticket) % 4)))
    raw[position % len(raw)] ^= change
    changed = base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
    assert "no ticket of this installation" in await refusal(tickets, changed)


@given(st.text(max_size=100))
async def test_any_text_is_no_ticket(text: str) -> None:
    """Nothing but NotAuthenticated comes out."""
    assert await refusal(office(), text + "?")


async def test_tickets_are_url_safe_and_never_equal() -> None:
    """A ticket can stand in a query as it is; a thousand for one principal are a thousand different ones."""
    tickets = office(per_principal=1000)
    issued = {tickets.issue(ADA) for _ in range(1000)}
    assert len(issued) == 1000
    assert all(ticket.replace("-", "a").replace("_", "a").isalnum() and ticket.isascii() for ticket in issued)


def test_grants_must_fit_a_ticket() -> None:
    """A principal too large for a URL is told to use the header; and it then holds no ticket."""
    tickets = office(capacity=1)
    with pytest.raises(TooLarge, match=f"at most {MAX_TICKET_LENGTH}.*Authorization header"):
        tickets.issue(Principal(id="ada", subscribe=tuple(f"room:{number}" for number in range(1000))))
    assert tickets.issue(ADA)


def test_one_principal_cannot_take_all_tickets() -> None:
    """Beyond its own bound a principal is told to wait; others still get theirs."""
    clock = Clock()
    tickets = office(clock, per_principal=2)
    for _ in range(2):
        tickets.issue(ADA)
    with pytest.raises(TooManyRequests, match="2 tickets of this principal") as caught:
        tickets.issue(ADA)
    assert caught.value.retry_after == LIFETIME
    tickets.issue(Principal(id="bob"))
    clock.now += LIFETIME
    assert tickets.issue(ADA)
    assert tickets._holders == {"ada": 1}


def test_nameless_principals_are_not_one() -> None:
    """Tokens without a sub are told apart by what else they say."""
    tickets = office(per_principal=1)
    one, two = Principal(subscribe=("a",)), Principal(subscribe=("b",))
    tickets.issue(one)
    tickets.issue(two)
    with pytest.raises(TooManyRequests):
        tickets.issue(one)


def test_tickets_are_bounded() -> None:
    """When as many as there may be have not expired, the answer is 503 until the oldest does."""
    clock = Clock()
    tickets = office(clock, capacity=2)
    tickets.issue(Principal(id="a"))
    clock.now += 10
    tickets.issue(Principal(id="b"))
    with pytest.raises(Unavailable, match="2 tickets have not expired") as caught:
        tickets.issue(Principal(id="c"))
    assert caught.value.retry_after == LIFETIME - 10
    assert caught.value.status == 503
    clock.now += LIFETIME - 10
    tickets.issue(Principal(id="c"))


async def test_used_tickets_are_forgotten_when_they_are_worthless() -> None:
    """The register holds what could still be used, and no more."""
    register = MemoryRegister()
    for number in range(100):
        assert await register.use(bytes([number]), NOW + number + LIFETIME, NOW + number)
        assert not await register.use(bytes([number]), NOW + number + LIFETIME, NOW + number)
    assert len(register._used) == len(register._ends) == LIFETIME


async def test_a_full_register_refuses_rather_than_forgets() -> None:
    """To forget a used ticket would let it be used again."""
    register = MemoryRegister(capacity=1)
    tickets = office(register=register)
    assert await tickets.redeem(tickets.issue(ADA))
    with pytest.raises(Unavailable, match="1 tickets were used") as caught:
        await tickets.redeem(tickets.issue(ADA))
    assert caught.value.retry_after == LIFETIME


@pytest.mark.parametrize("secret", ["", "x" * 31, b"x" * 31])
def test_the_secret_must_be_long_enough(secret: str | bytes) -> None:
    """Tickets are signed, so the same rule holds as for tokens."""
    with pytest.raises(ConfigurationError, match="at least 32"):
        TicketOffice(secret)


async def test_a_secret_may_be_bytes() -> None:
    """Text is its UTF-8."""
    assert await office(secret=SECRET.encode()).redeem(office().issue(ADA)) == ADA


async def test_the_office_has_a_clock_of_its_own() -> None:
    """Without one given it is the machine's."""
    tickets = TicketOffice(SECRET)
    assert await tickets.redeem(tickets.issue(ANYONE)) == ANYONE


async def test_a_clock_that_was_put_back_stops_nobody() -> None:
    """Tickets from before it neither count nor are remembered for longer than those that come after: who buys and uses one
    now and then still can."""
    clock, monotonic, register = Clock(), Clock(), MemoryRegister(capacity=2)
    tickets = office(clock, monotonic=monotonic, register=register, per_principal=2, capacity=2)
    await tickets.redeem(tickets.issue(ADA))
    clock.now -= 3600
    for _ in range(10):
        clock.now += LIFETIME + 1
        monotonic.now += LIFETIME + 1
        await tickets.redeem(tickets.issue(ADA))


async def test_a_clock_that_was_put_back_makes_no_ticket_good_twice() -> None:
    """A used one is remembered for as long as it would be accepted, which is longer then."""
    clock = Clock()
    tickets = office(clock)
    ticket = tickets.issue(ADA)
    await tickets.redeem(ticket)
    clock.now -= 3600
    await tickets.redeem(tickets.issue(ADA))
    clock.now += 3600
    assert "used before" in await refusal(tickets, ticket)
