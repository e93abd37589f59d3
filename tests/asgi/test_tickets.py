"""Buying tickets."""

from __future__ import annotations

from headwater.testing.asgi import open_stream
from tests.support.site import bearer, serving


async def test_a_token_buys_a_ticket_that_opens_one_stream() -> None:
    """The ticket carries the token's grants, for 30 seconds and one use."""
    async with serving(dev=False) as site:
        bought = await site.post("/tickets", headers=bearer(subscribe=["room:*"]))
        assert (bought.status, bought.json()["expires_in"]) == (201, 30)
        assert bought.headers["cache-control"] == "no-store"
        target = f"/events?channel=room:1&ticket={bought.json()['ticket']}"
        async with open_stream(site.app, target) as stream:
            assert (await stream.message()).type == "connected"
        again = await site.get(target)
        assert (again.status, again.json()["title"]) == (401, "Not authenticated")
        assert 'error="invalid_token"' in again.headers["www-authenticate"]


async def test_a_ticket_grants_no_more_than_its_token() -> None:
    """What the token may not read, the ticket may not either."""
    async with serving(dev=False) as site:
        ticket = (await site.post("/tickets", headers=bearer(subscribe=["a"]))).json()["ticket"]
        assert (await site.get(f"/events?channel=b&ticket={ticket}")).status == 403


async def test_a_ticket_does_not_outlive_its_token() -> None:
    """`expires_in` is what is left of the token, if that is less."""
    async with serving(dev=False) as site:
        left = (await site.post("/tickets", headers=bearer(ttl=5))).json()["expires_in"]
        assert left in (4, 5)


async def test_nobody_buys_without_a_token() -> None:
    """401 without credentials, 403 with a ticket: tickets would renew themselves for ever."""
    async with serving(dev=False) as site:
        assert (await site.post("/tickets")).status == 401
        ticket = (await site.post("/tickets", headers=bearer())).json()["ticket"]
        reply = await site.post(f"/tickets?ticket={ticket}")
        assert (reply.status, reply.json()["expected"]) == (403, "a token")


async def test_a_principal_has_so_many_tickets() -> None:
    """Then it has to wait; others have theirs."""
    async with serving(dev=False) as site:
        headers = bearer("ada")
        statuses = [(await site.post("/tickets", headers=headers)).status for _ in range(101)]
        assert statuses == [201] * 100 + [429]
        assert (await site.post("/tickets", headers=bearer("eve"))).status == 201
